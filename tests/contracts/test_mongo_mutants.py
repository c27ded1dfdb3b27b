"""The contract, and the tests of the MongoDB store, find broken ones: each of these has a fault, and a test fails."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import backchat_mongo
from backchat.testing.records import KINDS
from backchat.testing.storage import DurableStorageContract
from mutants import Mutant, cases, mutated

OTHERS = ("mongo_heard", "mongo_place", "test_mongo_writes")
"""What imports the package, and so is imported with it."""
MUTANTS = [
    Mutant(
        "a batch that fails is committed",
        "transactions.py",
        "await session.abort_transaction()",
        "await session.commit_transaction()",
        "test_a_batch_is_all_or_nothing",
    ),
    Mutant(
        "some of a batch is outside its transaction",
        "batches.py",
        "await collection.insert_many(few, session=session)",
        "await collection.insert_many(few)",
        "test_nobody_sees_an_unfinished_batch",
    ),
    Mutant(
        "a batch is two transactions",
        "batches.py",
        "                await _at_once(connection, layouts[kind], part, session)",
        "                await _at_once(connection, layouts[kind], part, session)\n"
        "                await session.commit_transaction()\n"
        "                await connection.begin(session)",
        "test_nobody_sees_an_unfinished_batch",
    ),
    Mutant(
        "one server is enough for one change",
        "drivers.py",
        '"w": "majority"',
        '"w": 1',
        "test_one_change_of_one_record_is_one_command",
    ),
    Mutant(
        "one server is enough for a transaction",
        "drivers.py",
        'WriteConcern(w="majority", j=True)',
        "WriteConcern(w=1, j=True)",
        "test_everything_else_is_one_transaction",
    ),
    Mutant(
        "commands are not sent again",
        "drivers.py",
        '"retryWrites": True',
        '"retryWrites": False',
        "test_one_change_of_one_record_is_one_command",
    ),
    Mutant(
        "versions are not compared",
        "batches.py",
        "where[VERSION] = fate.before",
        "pass",
        "test_an_expectation_that_does_not_hold",
    ),
    Mutant(
        "versions do not grow",
        "batches.py",
        '"$inc": {VERSION: fate.growth}',
        '"$inc": {VERSION: 0}',
        "test_put_whatever_is_there",
    ),
    Mutant(
        "what is not there is made",
        "batches.py",
        "upsert=not fate.must_be",
        "upsert=True",
        "test_a_batch_is_all_or_nothing",
    ),
    Mutant(
        "a delete takes no heed of versions",
        "applying.py",
        "if fate.must_be and not deleted.deleted_count:",
        "if False:",
        "test_an_expectation_that_does_not_hold",
    ),
    Mutant(
        "purges come last",
        "plan.py",
        "if parts[-1].purges:",
        "if False:",
        "test_a_batch_is_done_in_its_order",
    ),
    Mutant(
        "a purge takes no heed of ranges",
        "batches.py",
        "selection(layout, purge.where, purge.ranges)",
        'selection(layout, purge.where or [("id", ["n003"])], ())',
        "test_purge",
    ),
    Mutant(
        "what is required is only looked at",
        "batches.py",
        '    done = await collection.update_many({"_id": {"$in": [*ids]}}, mark, session=session)\n'
        "    if done.matched_count < len(ids):",
        '    if await collection.count_documents({"_id": {"$in": [*ids]}}, session=session) < len(ids):',
        "test_what_hangs_on_a_record_does_not_outlive_it",
    ),
    Mutant("unique groups are not checked", "layout.py", "unique=True)", "unique=False)", "test_unique_groups"),
    Mutant(
        "nulls are compared",
        "documents.py",
        "found[name] = id if any(found[field] is None for field in group) else None",
        "found[name] = None",
        "test_a_unique_group_with_a_null_is_not_checked",
    ),
    Mutant(
        "what has moved is not compared again",
        "batches.py",
        "            if whole:",
        "            if False:",
        "test_values_that_have_moved_are_still_taken",
    ),
    Mutant(
        "one that fails takes its neighbours with it",
        "inserting.py",
        "return self._told_apart(error.details, group)",
        "return {n: translation(error) for n in range(len(group))}",
        "test_inserts_that_go_together_fail_alone",
    ),
    Mutant(
        "conflicts are not got over",
        "transactions.py",
        'if not error.has_error_label("TransientTransactionError") or attempt.left <= 0:',
        "if True:",
        "test_what_hangs_on_a_record_does_not_outlive_it",
    ),
    Mutant(
        "nobody waits for a turn",
        "turns.py",
        "async with turn.lock:",
        "if True:",
        "test_within_one_process_nobody_is_turned_away",
    ),
    Mutant(
        "what is cancelled is committed",
        "applying.py",
        "attempt.abandoned = True",
        "attempt.abandoned = False",
        "test_a_store_that_is_closed_meanwhile_undoes_it_first",
    ),
    Mutant(
        "closing waits for nothing",
        "applying.py",
        "await let_end(self._tasks)",
        "pass",
        "test_a_store_that_is_closed_meanwhile_undoes_it_first",
    ),
    Mutant(
        "a page too long",
        "reading.py",
        '"limit": query.limit,',
        '"limit": query.limit + 1,',
        "test_limit_and_offset",
    ),
    Mutant(
        "a page that begins one too early",
        "reading.py",
        '"skip": query.offset',
        '"skip": max(0, query.offset - 1)',
        "test_limit_and_offset",
    ),
    Mutant(
        "a place is not passed",
        "filters.py",
        'strict, loose = ("$lt", "$lte") if query.descending else ("$gt", "$gte")',
        'strict, loose = ("$lte", "$lte") if query.descending else ("$gte", "$gte")',
        "test_after_is_strict_and_needs_no_record",
    ),
    Mutant("ties are not broken", "reading.py", 'ordered["_id"] = None', "pass", "test_pages_hold_everything_once"),
    Mutant(
        "words are found in the middle of others",
        "filters.py",
        'return {"$regex": f"^{word}"}',
        'return {"$regex": word}',
        "test_every_word_begins_one",
    ),
    Mutant(
        "a word must be whole",
        "filters.py",
        'return {"$regex": f"^{word}"}',
        'return {"$regex": f"^{word}$"}',
        "test_every_word_begins_one",
    ),
]

APART = ["unique groups are not checked", "closing waits for nothing"]
"""What leaves something behind has a database of its own: another index, or a transaction that locks its records."""


@asynccontextmanager
async def given(url: str, database: str, names: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
    """The fixtures of these names, of the package as it is imported now."""
    place = importlib.import_module("mongo_place")
    async with AsyncExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        fixtures = {"monkeypatch": patch, "open_store": place.opening(place.settings_of(url, database, timeout=10))}
        if "heard" in names:
            writes = importlib.import_module("test_mongo_writes")
            fixtures["heard"] = writes.Heard()
            writes.listen(patch, fixtures["heard"])
        if many := 2 * ("stores" in names) or int("store" in names):
            opened = [await stack.enter_async_context(fixtures["open_store"](KINDS)) for _ in range(many)]
            fixtures |= {"store": opened[0], "stores": opened}
        yield {name: fixtures[name] for name in names if name in fixtures}


async def failure(url: str, database: str, name: str) -> BaseException | None:
    """What the test fails with."""
    of_contract = hasattr(DurableStorageContract, name)
    test = getattr(DurableStorageContract if of_contract else importlib.import_module("test_mongo_writes"), name)
    names = dict.fromkeys(test.__code__.co_varnames[: test.__code__.co_argcount])
    for arguments in cases(test):
        async with given(url, database, names) as fixtures:
            try:
                await test(*([DurableStorageContract()] if of_contract else []), **fixtures, **arguments)
            except (Exception, pytest.fail.Exception) as error:
                return error
    return None


def database_for(mutant: Mutant | None) -> str:
    return f"mutants_{APART.index(mutant.fault)}" if mutant and mutant.fault in APART else "mutants"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.fault)
def test_a_fault_is_found(mutant: Mutant, mongo_url: str, tmp_path: Path) -> None:
    with mutated(backchat_mongo, tmp_path, mutant, OTHERS):
        assert asyncio.run(failure(mongo_url, database_for(mutant), mutant.caught_by)) is not None


@pytest.mark.parametrize("name", sorted({mutant.caught_by for mutant in MUTANTS}))
def test_without_a_fault_none_is_found(name: str, mongo_url: str, tmp_path: Path) -> None:
    with mutated(backchat_mongo, tmp_path, None, OTHERS):
        assert asyncio.run(failure(mongo_url, database_for(None), name)) is None
