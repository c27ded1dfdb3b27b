"""Writing to MongoDB: what the storage contract cannot see of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import pytest
import pytest_asyncio

from backchat.errors import StaleWrite, TooLarge, Unavailable
from backchat.ports.storage import Change, Delete, Purge, Put, Query, Range, RecordStore, Require
from backchat.services.retrying import retrying
from backchat.testing.records import KINDS, OpenKinds, event, ids, note, versions
from backchat_mongo import transactions
from mongo_heard import Heard, Lost, listen
from mongo_place import opening, settings_of


@pytest.fixture(params=["pymongo", "motor"])
def open_store(mongo_url: str, request: pytest.FixtureRequest) -> OpenKinds:
    return opening(settings_of(mongo_url, f"writes_{request.param}", request.param))


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    heard = Heard()
    listen(monkeypatch, heard)
    return heard


@pytest_asyncio.fixture
async def stores(heard: Heard, open_store: OpenKinds) -> AsyncGenerator[Sequence[RecordStore], None]:
    """Two of them on one database, as two processes have them."""
    async with AsyncExitStack() as opened:
        yield [await opened.enter_async_context(open_store(KINDS)) for _ in range(2)]


@pytest.fixture
def store(stores: Sequence[RecordStore]) -> RecordStore:
    return stores[0]


def in_transaction(command: Any) -> bool:
    return "autocommit" in command


@pytest.mark.parametrize(
    ("change", "command"),
    [
        (note(2), "insert"),
        (note(1, title="x", expect=1), "update"),
        (note(1, title="x", expect=None), "update"),
        (note(2, expect=None), "update"),
        (Delete("note", "n001"), "delete"),
        (Delete("note", "n001", 1), "delete"),
    ],
)
async def test_one_change_of_one_record_is_one_command(
    store: RecordStore, heard: Heard, change: Change, command: str
) -> None:
    await store.apply([note(1)])
    heard.commands.clear()
    await store.apply([change])
    ((name, said),) = heard.commands
    assert name == command
    assert not in_transaction(said)
    assert said["writeConcern"] == {"w": "majority", "j": True}
    assert "txnNumber" in said  # it may be sent again, and is done once


@pytest.mark.parametrize(
    "changes",
    [
        [note(2), event("r", 1)],
        [note(1, expect=1), note(2)],
        [Require("note", "n001"), event("r", 1)],
        [Purge("note", ranges=(Range("id", low=""),))],
    ],
)
async def test_everything_else_is_one_transaction(store: RecordStore, heard: Heard, changes: list[Change]) -> None:
    await store.apply([note(1)])
    heard.commands.clear()
    await store.apply(changes)
    assert all(in_transaction(said) for _, said in heard.commands)
    assert len({said["txnNumber"] for _, said in heard.commands}) == 1
    assert heard.names.count("commitTransaction") == 1
    assert heard.names[-1] == "commitTransaction"
    assert heard.commands[0][1]["readConcern"]["level"] == "snapshot"
    assert heard.commands[-1][1]["writeConcern"] == {"w": "majority", "j": True}


async def test_a_kind_costs_a_command_however_many_records_change(store: RecordStore, heard: Heard) -> None:
    await store.apply([note(n) for n in range(50)])
    heard.commands.clear()
    await store.apply([*(note(n, title="x", expect=1) for n in range(50)), *(event("r", n) for n in range(50))])
    assert heard.names == ["update", "insert", "commitTransaction"]


class Gate:
    """Holds the next transaction before its commit."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.opened = asyncio.Event(), asyncio.Event()
        commit = transactions._commit

        async def held(session: Any, attempt: transactions.Attempt) -> None:
            if not self.reached.is_set():
                self.reached.set()
                await self.opened.wait()
            await commit(session, attempt)

        monkeypatch.setattr(transactions, "_commit", held)


async def test_what_hangs_on_a_record_does_not_outlive_it(
    stores: Sequence[RecordStore], heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch requires a record that another one deletes, with all that hangs on it, before the first is through."""
    one, other = stores
    await one.apply([note(1)])
    gate = Gate(monkeypatch)
    requiring = asyncio.ensure_future(one.apply([Require("note", "n001"), event("r", 1)]))
    await gate.reached.wait()
    turned_away = heard.next("abortTransaction")
    deleting = asyncio.ensure_future(other.apply([Delete("note", "n001"), Purge("event", (("run", ("r",)),))]))
    told = asyncio.ensure_future(turned_away.wait())
    await asyncio.wait([deleting, told], return_when=asyncio.FIRST_COMPLETED)
    too_early = deleting.done()
    gate.opened.set()
    await asyncio.gather(requiring, deleting)
    assert not too_early
    await told
    assert await versions(one, "n001") == [0]
    assert await ids(one, kind="event") == []


async def test_the_same_race_many_times(stores: Sequence[RecordStore]) -> None:
    one, other = stores
    rounds = range(25)
    await one.apply([note(n) for n in rounds])
    races = []
    for n in rounds:
        required: list[Change] = [Require("note", f"n{n:03}"), event(f"r{n}", 1)]
        deleted: list[Change] = [Delete("note", f"n{n:03}"), Purge("event", (("run", (f"r{n}",)),))]
        races += [one.apply(required), other.apply(deleted)]
    ended = await asyncio.gather(*races, return_exceptions=True)
    assert {type(end) for end in ended} <= {type(None), StaleWrite}
    assert all(end is None for end in ended[1::2])
    assert await ids(one) == []
    assert await ids(one, kind="event") == []


async def test_within_one_process_nobody_is_turned_away(store: RecordStore, heard: Heard) -> None:
    await store.apply([note(1)])
    heard.commands.clear()

    async def writer(n: int) -> None:
        for i in range(3):
            await store.apply([Require("note", "n001"), event(f"r{n}", i)])
            await store.apply([note(1, expect=None, by=n), event(f"q{n}", i)])

    await asyncio.gather(*(writer(n) for n in range(16)))
    assert heard.names.count("commitTransaction") == 96
    assert heard.names.count("abortTransaction") == 0
    assert await versions(store, "n001") == [49]


async def test_writers_of_two_processes_all_get_through(stores: Sequence[RecordStore]) -> None:
    await stores[0].apply([note(1, count=0)])

    async def writer(n: int) -> None:
        store = stores[n % 2]

        async def attempt(i: int) -> None:
            record = await store.get("note", "n001")
            assert record is not None
            await store.apply([note(1, count=record.doc["count"] + 1, expect=record.version), event(f"r{n}", i)])

        for i in range(3):
            await retrying(partial(attempt, i))

    await asyncio.gather(*(writer(n) for n in range(8)))
    record = await stores[0].get("note", "n001")
    assert record is not None
    assert (record.doc["count"], record.version) == (24, 25)
    assert len(await ids(stores[0], kind="event")) == 24


async def test_a_cancelled_batch_is_undone(open_store: OpenKinds, monkeypatch: pytest.MonkeyPatch) -> None:
    heard, lost = Heard(), Lost()
    listen(monkeypatch, heard, lost)
    batch: list[Change] = [note(1), event("r", 1), Put("label", "l", {}, 0)]
    async with open_store(KINDS) as store:
        for _ in range(3):
            begun, ended = heard.next("insert"), heard.next("abortTransaction")
            applying = asyncio.ensure_future(store.apply(batch))
            await begun.wait()
            applying.cancel()
            with pytest.raises(asyncio.CancelledError):
                await applying
            await ended.wait()
            assert await versions(store, "n001") == [0]
        await store.apply(batch)
        assert {*lost.reasons} <= {"poolClosed"}
    async with open_store(KINDS) as store:
        assert await versions(store, "n001") == [1]
        assert await ids(store, kind="event") == ["r/000001"]


async def test_a_store_that_is_closed_meanwhile_undoes_it_first(
    open_store: OpenKinds, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Heard()
    listen(monkeypatch, heard)
    async with open_store(KINDS) as store:
        begun = heard.next("insert")
        applying = asyncio.ensure_future(store.apply([note(1), event("r", 1), Put("label", "l", {}, 0)]))
        await begun.wait()
        applying.cancel()
    assert "abortTransaction" in heard.names
    assert applying.cancelled()
    with pytest.raises(Unavailable):
        await store.apply([note(2)])
    async with open_store(KINDS) as store:
        assert await ids(store) == []


async def test_a_cancelled_insert_leaves_its_neighbours_alone(store: RecordStore) -> None:
    applying = [asyncio.ensure_future(store.apply([event("r", n)])) for n in range(20)]
    await asyncio.sleep(0)
    for one in applying[1::2]:
        one.cancel()
    ended = await asyncio.gather(*applying, return_exceptions=True)
    assert [type(end) for end in ended] == [type(None), asyncio.CancelledError] * 10
    found = await ids(store, kind="event")
    assert set(found) >= {f"r/{n:06}" for n in range(0, 20, 2)}


async def test_inserts_that_go_together_fail_alone(open_store: OpenKinds, monkeypatch: pytest.MonkeyPatch) -> None:
    heard, commits = Heard(), list[int]()
    listen(monkeypatch, heard)
    async with open_store(KINDS, commits.append) as store:
        await store.apply([note(0, code="taken")])
        heard.commands.clear()
        commits.clear()
        puts = [note(n) for n in range(1, 30)]
        puts[3] = note(0)
        puts[7] = note(8, code="taken")
        puts[9] = note(10, blob="x" * (17 << 20))
        puts[11] = note(12, tags="no list")
        ended = await asyncio.gather(*(store.apply([put]) for put in puts), return_exceptions=True)
        failed = {n: str(end) for n, end in enumerate(ended) if end is not None}
        assert failed.keys() == {3, 7, 9, 11}
        assert failed[3] == "note n000 is not at version 0"
        assert failed[7] == "another note has the same owner, code"
        assert type(ended[9]) is TooLarge
        assert failed[11] == "note.tags is not a list of strings"
        assert len(await ids(store)) == 26
        assert sum(commits) == 25
        assert heard.names.count("insert") <= 3


async def test_commits_are_counted(open_store: OpenKinds) -> None:
    commits: list[int] = []
    async with open_store(KINDS, commits.append) as store:
        await store.apply([note(1)])
        await store.apply([note(1, expect=1), event("r", 1)])
        await store.apply([note(1, expect=2)])
        for stale in ([note(1)], [note(1, expect=9)], [note(1, expect=9), event("r", 2)], [Delete("note", "n001", 9)]):
            with pytest.raises(StaleWrite):
                await store.apply(stale)
        assert commits == [1, 1, 1]


async def test_a_stale_batch_says_which_record_it_is(store: RecordStore) -> None:
    await store.apply([note(n) for n in range(9)])
    changes = [note(n, expect=7 if n == 5 else 1) for n in range(9)]
    with pytest.raises(StaleWrite, match=r"^note n005 is not at version 7$"):
        await store.apply(changes)
    with pytest.raises(StaleWrite, match=r"^note n009 is not there$"):
        await store.apply([*changes[:5], Require("note", "n009")])
    with pytest.raises(StaleWrite, match=r"^note n004 is not at version 0$"):
        await store.apply([event("r", 1), Delete("note", "n004", 0)])
    with pytest.raises(StaleWrite, match=r"^another note has the same owner, code$"):
        await store.apply([note(11, code="x"), note(12, code="x")])
    assert await versions(store, *[f"n{n:03}" for n in range(9)]) == [1] * 9


async def test_values_that_have_moved_are_still_taken(store: RecordStore) -> None:
    await store.apply([note(1, code="x"), note(2, code="y"), note(3, code="z"), note(4)])
    moved = [note(1, code="y", expect=1), note(2, code="z", expect=1), note(3, code="x", expect=1)]
    await store.apply([*moved, note(4, expect=1), event("r", 1)])
    assert await versions(store, "n001", "n002", "n003", "n004") == [2, 2, 2, 2]
    for code in "xyz":
        with pytest.raises(StaleWrite):
            await store.apply([note(5, code=code)])
        with pytest.raises(StaleWrite):  # for once more among themselves: two of them cannot be whole
            await store.apply([note(1, code=code, expect=2), note(2, code=code, expect=2)])
    await store.apply([note(6), note(7)])  # nulls are still not compared


async def test_moved_and_purged_in_one_batch(store: RecordStore) -> None:
    await store.apply([note(1, code="x", day=1), note(2, code="y", day=2)])
    early = Purge("note", ranges=(Range("day", 1, 2),))
    await store.apply([note(3, code="x", day=3), early, note(4, code="y", day=4), Delete("note", "n002", 1)])
    found = await store.find(Query(kind="note", order=("day",)))
    assert [(r.id, r.doc["code"], r.version) for r in found] == [("n003", "x", 1), ("n004", "y", 1)]
    await store.apply(
        [note(5, code="q", day=1), early, note(5, code="x2", day=1, expect=0), note(3, code="q", expect=1)]
    )
    assert await versions(store, "n003", "n005") == [2, 1]


async def test_a_record_moves_to_another_partition(store: RecordStore) -> None:
    await store.apply([note(1), note(2), note(3)])
    await store.apply([note(1, owner="bob", expect=1)])
    await store.apply([note(2, owner="bob", expect=1), note(3, owner="bob", expect=None), event("r", 1)])
    assert await ids(store, ("owner", ["ann"])) == []
    assert [r.version for r in await store.find(Query(kind="note", where=(("owner", ("bob",)),)))] == [2, 2, 2]
