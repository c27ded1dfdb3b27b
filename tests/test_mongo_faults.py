"""MongoDB fails in the midst of a batch: there is the old state then or the new one, and all that was acknowledged."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from backchat.errors import BackchatError, StaleWrite, Unavailable
from backchat.ports.storage import Change, Delete, Purge, Put, Query, RecordStore, Require
from backchat.testing.memory_store import MemoryStore
from backchat.testing.records import KINDS, OpenKinds, event, note
from bench.mongod import Mongod, one_node
from mongo_cut import relay
from mongo_place import opening, settings_of
from one_mongod import missing

State = Mapping[str, Mapping[str, tuple[int, Any]]]
BEFORE: list[Change] = [
    *(note(n, code=code) for n, code in enumerate(("x", "y", "z", None), 1)),
    *(event("a", n) for n in range(5)),
    Put("label", "l", {"name": "one"}, 0),
]
BATCHES: dict[str, list[Change]] = {
    "insert": [note(9)],
    "update": [note(1, title="new", expect=1)],
    "put": [note(1, title="new", expect=None)],
    "delete": [Delete("note", "n001", 1)],
    "all": [
        Require("note", "n004"),
        note(1, title="new", expect=1),
        note(9),
        Put("label", "l", {"name": "two"}),
        Delete("note", "n003", 1),
        Purge("event", (("run", ("a",)),)),
        event("b", 1),
    ],
    "values that move": [note(1, code="y", expect=1), note(2, code="x", expect=1), event("b", 1)],
}
AFTER: list[Change] = [event("after", 1), note(4, title="after", expect=1)]
CONFLICT, TIMES_OUT, FAILS = {"errorCode": 112}, {"errorCode": 262}, {"errorCode": 8}
CLOSES = {"closeConnection": True}
DRIVERS = ("pymongo", "motor") if os.environ.get("BACKCHAT_SOAK") else ("pymongo",)
"""What differs between the drivers is tested with both; to fail in every way with both takes a while: ``make soak``."""
LATE = {"writeConcernError": {"code": 64, "errmsg": "waiting for replication timed out"}}
"""The command is carried out; whether it will survive is not known."""


@pytest.fixture(scope="module")
def mongod() -> Iterator[Mongod]:
    if reason := missing():
        pytest.skip(reason)
    with one_node(options=("--setParameter", "notablescan=1", "--setParameter", "enableTestCommands=1")) as server:
        yield server


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def open_store(mongod: Mongod, driver: str) -> OpenKinds:
    return opening(settings_of(mongod.url, f"faults_{driver}", driver, timeout=10))


class Failing:
    """The next commands of these names fail."""

    def __init__(self, mongod: Mongod, commands: Sequence[str], how: Mapping[str, Any], mode: Any) -> None:
        self._mongod = mongod
        self._data = {"failCommands": commands, "appName": "backchat", **how}
        self._mode = mode
        self.met = 0

    async def __aenter__(self) -> Failing:
        self._before = (await self._set(self._mode, self._data))["count"]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.met = (await self._set("off", {}))["count"] - self._before

    async def _set(self, mode: Any, data: Any) -> Any:
        command = {"configureFailPoint": "failCommand", "mode": mode, "data": data}
        return await asyncio.to_thread(self._mongod.command, command)


async def state(store: RecordStore) -> State:
    return {
        kind.name: {r.id: (r.version, r.doc) for r in await store.find(Query(kind=kind.name, limit=1000))}
        for kind in KINDS
    }


async def state_after(*batches: Sequence[Change]) -> State:
    reference = MemoryStore(KINDS)
    for batch in batches:
        await reference.apply(batch)
    return await state(reference)


async def attempt(store: RecordStore, batch: Sequence[Change]) -> BackchatError | None:
    try:
        await store.apply(batch)
    except BackchatError as error:
        return error
    return None


@pytest.mark.parametrize(
    ("batch", "command", "how"),
    [
        ("insert", "insert", TIMES_OUT),
        ("insert", "insert", CLOSES),
        ("update", "update", TIMES_OUT),
        ("update", "update", CLOSES),
        ("put", "update", CLOSES),
        ("delete", "delete", TIMES_OUT),
        ("delete", "delete", CLOSES),
        ("all", "insert", CONFLICT),
        ("all", "insert", CLOSES),
        ("all", "update", CONFLICT),
        ("all", "update", CLOSES),
        ("all", "delete", CONFLICT),
        ("all", "delete", CLOSES),
        ("all", "commitTransaction", CONFLICT),
        ("all", "commitTransaction", TIMES_OUT),
        ("all", "commitTransaction", LATE),
        ("all", "commitTransaction", CLOSES),
        ("values that move", "find", CONFLICT),
        ("values that move", "find", CLOSES),
        ("values that move", "abortTransaction", TIMES_OUT),
        ("values that move", "abortTransaction", CLOSES),
    ],
)
async def test_what_passes_is_got_over(
    open_store: OpenKinds, mongod: Mongod, batch: str, command: str, how: Mapping[str, Any]
) -> None:
    async with open_store(KINDS) as store:
        await store.apply(BEFORE)
        async with Failing(mongod, [command], how, {"times": 1}) as failing:
            assert await attempt(store, BATCHES[batch]) is None
        assert failing.met == 1
        assert await state(store) == await state_after(BEFORE, BATCHES[batch])


@pytest.mark.parametrize(
    ("batch", "command", "how", "stored"),
    [
        ("insert", "insert", FAILS, False),
        ("insert", "insert", LATE, True),
        ("update", "update", FAILS, False),
        ("update", "update", LATE, True),
        ("delete", "delete", FAILS, False),
        ("delete", "delete", LATE, True),
        ("all", "insert", FAILS, False),
        ("all", "update", FAILS, False),
        ("all", "delete", FAILS, False),
        ("all", "commitTransaction", FAILS, False),
        ("values that move", "find", FAILS, False),
    ],
)
async def test_what_does_not_pass_is_told(
    open_store: OpenKinds, mongod: Mongod, batch: str, command: str, how: Mapping[str, Any], stored: bool
) -> None:
    async with open_store(KINDS) as store:
        await store.apply(BEFORE)
        async with Failing(mongod, [command], how, "alwaysOn") as failing:
            assert type(await attempt(store, BATCHES[batch])) is Unavailable
        assert failing.met >= 1
        # And it goes on: no session, no connection and no lock is left behind.
        assert await attempt(store, AFTER) is None
        done = [BATCHES[batch]] if stored else []
        assert await state(store) == await state_after(BEFORE, *done, AFTER)


@pytest.mark.parametrize("command", ["insert", "commitTransaction"])
async def test_a_server_that_never_gets_well(mongod: Mongod, driver: str, command: str) -> None:
    # A database of its own: a transaction whose commit never arrives keeps others from its records for a minute.
    open_store = opening(settings_of(mongod.url, f"unwell_{driver}_{command}", driver, timeout=1))
    async with open_store(KINDS) as store:
        await store.apply(BEFORE)
        async with Failing(mongod, [command], CLOSES, "alwaysOn"):
            assert type(await attempt(store, BATCHES["all"])) is Unavailable
        assert await state(store) == await state_after(BEFORE)


async def test_a_batch_that_does_not_fit_into_the_cache(open_store: OpenKinds, mongod: Mongod) -> None:
    async with open_store(KINDS) as store:
        async with Failing(mongod, ["insert"], {"errorCode": 388}, "alwaysOn"):
            with pytest.raises(Unavailable, match=r"^the batch does not fit into the cache of the database"):
                await store.apply([note(1), event("r", 1)])
        assert await attempt(store, [note(1), event("r", 1)]) is None


async def test_a_stale_batch_that_cannot_be_undone(open_store: OpenKinds, mongod: Mongod) -> None:
    async with open_store(KINDS) as store:
        await store.apply(BEFORE)
        async with Failing(mongod, ["abortTransaction"], FAILS, "alwaysOn") as failing:
            assert type(await attempt(store, [*BATCHES["all"], note(2)])) is StaleWrite
        assert failing.met >= 1
        assert await state(store) == await state_after(BEFORE)
        assert await attempt(store, BATCHES["all"]) is None


@pytest.mark.parametrize(
    ("batch", "command"),
    [
        ("insert", "insert"),
        ("put", "update"),
        ("delete", "delete"),
        ("all", "insert"),
        ("all", "commitTransaction"),
        ("values that move", "abortTransaction"),
    ],
)
async def test_an_answer_is_lost(mongod: Mongod, driver: str, batch: str, command: str) -> None:
    """The server has done it, and nobody was told: it is done once, and acknowledged."""
    async with relay(mongod.port) as lossy:
        url = f"mongodb://127.0.0.1:{lossy.port}/?directConnection=true"
        open_store = opening(settings_of(url, f"faults_{driver}", driver, timeout=10))
        async with open_store(KINDS) as store:
            await store.apply(BEFORE)
            lossy.arm(command, 1)
            assert await attempt(store, BATCHES[batch]) is None
            assert lossy.broken == 1
            assert await state(store) == await state_after(BEFORE, BATCHES[batch])


async def test_all_answers_are_lost(mongod: Mongod, driver: str) -> None:
    """Nobody can know whether the batch was stored; but it is, or it is not."""
    async with relay(mongod.port) as lossy:
        url = f"mongodb://127.0.0.1:{lossy.port}/?directConnection=true"
        open_store = opening(settings_of(url, f"faults_{driver}", driver, timeout=1))
        async with open_store(KINDS) as store:
            await store.apply(BEFORE)
            lossy.arm("commitTransaction", 1_000)
            assert type(await attempt(store, BATCHES["all"])) is Unavailable
            lossy.arm("", 0)
            assert await state(store) == await state_after(BEFORE, BATCHES["all"])
