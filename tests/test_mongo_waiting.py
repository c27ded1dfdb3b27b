"""Who waits for MongoDB, and for how long: without a server, in the moments that one seldom brings about."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from pymongo.errors import BulkWriteError, NetworkTimeout, OperationFailure, PyMongoError

from backchat.errors import BackchatError, StaleWrite, Unavailable
from backchat.ports.storage import Put
from backchat.ports.words import words
from backchat.testing.records import KINDS, ignore, note
from backchat_mongo import applying, inserting
from backchat_mongo.applying import Applying
from backchat_mongo.drivers import Stored
from backchat_mongo.failures import translated
from backchat_mongo.freezing import FrozenStore
from backchat_mongo.inserting import Inserts, encoded
from backchat_mongo.layout import layout_of
from backchat_mongo.transactions import Attempt, transact
from backchat_mongo.watching import look, patience

LAYOUTS = {kind.name: layout_of(kind) for kind in KINDS}


class Collection:
    """Each command waits for ``gate`` and raises the next of ``errors``, if that is one."""

    def __init__(self, *errors: Exception | None) -> None:
        self.gate = asyncio.Event()
        self.asked: list[int] = []
        self._errors = list(errors)

    async def insert_many(self, records: Sequence[Any], ordered: bool) -> None:
        self.asked.append(len(records))
        await self.gate.wait()
        if self._errors and (error := self._errors.pop(0)) is not None:
            raise error


class Connected:
    timeout = 5.0

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    def collection(self, name: str) -> Collection:
        return self._collection


def inserts(collection: Collection, on_commit: Callable[[int], None] = ignore) -> Inserts:
    return Inserts(Connected(collection), LAYOUTS["note"], on_commit, asyncio.create_task)  # type: ignore[arg-type]


def added(to: Inserts, count: int) -> list[asyncio.Future[None]]:
    return [to.add(Put("note", f"{n}", {}, 0), encoded({"_id": f"{n}"})) for n in range(count)]


async def outcomes(waiting: Sequence[asyncio.Future[None]]) -> list[Any]:
    async with asyncio.timeout(5):
        return [type(each) for each in await asyncio.gather(*waiting, return_exceptions=True)]


async def test_an_outage_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """By those who were there when it was tried; whoever comes later is tried anew."""
    monkeypatch.setattr(inserting, "GROUP", 2)
    collection = Collection(NetworkTimeout("silent"))
    to = inserts(collection)
    early = added(to, 7)
    await asyncio.sleep(0)
    assert collection.asked == [2]
    late = added(to, 1)
    collection.gate.set()
    assert await outcomes(early) == [Unavailable] * 7
    assert await outcomes(late) == [type(None)]
    assert collection.asked == [2, 1]


async def test_what_fails_by_itself_does_not_fail_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inserting, "GROUP", 2)
    collection = Collection(BulkWriteError({"writeErrors": [{"index": 1, "code": 11000}]}), OperationFailure("no", 8))
    collection.gate.set()
    waiting = added(inserts(collection), 5)
    kind = type(None)
    assert await outcomes(waiting) == [kind, StaleWrite, Unavailable, Unavailable, kind]


async def test_a_fault_of_ours_strands_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inserting, "GROUP", 2)

    def fails(count: int) -> None:
        raise LookupError

    collection = Collection()
    collection.gate.set()
    assert await outcomes(added(inserts(collection, fails), 5)) == [LookupError] * 5


@pytest.mark.parametrize(("timeout", "milliseconds"), [(30, 1_000), (3, 1_000), (1, 333), (0.001, 1)])
def test_a_watch_asks_for_less_than_the_time_of_an_answer(timeout: float, milliseconds: int) -> None:
    assert patience(timeout) == milliseconds


class Deaf:
    """A stream that overhears a cancellation, as PyMongo's does now and then."""

    resume_token = None

    async def try_next(self) -> Stored | None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return {"change": 1}
        return None


async def test_a_look_that_is_cancelled_ends_whatever_the_driver_makes_of_it() -> None:
    looking = asyncio.create_task(look(Deaf()))
    await asyncio.sleep(0)
    looking.cancel()
    async with asyncio.timeout(5):
        await asyncio.wait({looking})
    assert looking.cancelled()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await look(Deaf())


class Slowly:
    """Reads that go on when nobody waits for them any more; ``most`` of them were under way at once."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.asked = self.now = self.most = 0

    async def get(self, layout: Any, id: str) -> None:
        self.asked += 1
        await asyncio.shield(asyncio.create_task(self._read()))

    async def _read(self) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        await self.gate.wait()
        self.now -= 1


@pytest.mark.filterwarnings("error")
async def test_a_frozen_store_is_read_by_one_at_a_time() -> None:
    reading = Slowly()
    store = FrozenStore(LAYOUTS, reading)  # type: ignore[arg-type]
    first, second, third = [asyncio.create_task(store.get("note", f"{n}")) for n in range(3)]
    await asyncio.sleep(0)
    for task in (second, first):  # one while it waits for its turn, one while it has it
        task.cancel()
    await asyncio.wait({first, second}, timeout=5)
    assert first.cancelled()
    assert second.cancelled()
    for _ in range(10):
        await asyncio.sleep(0)
    reading.gate.set()
    async with asyncio.timeout(5):
        assert await third is None
    assert (reading.asked, reading.most) == (2, 1)


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (OperationFailure("met", 112, {"code": 112}), "met others"),
        (NetworkTimeout("in the midst of it"), "met others"),
        (OperationFailure("something else", 8, {"code": 8, "codeName": "UnknownError"}), "UnknownError"),
    ],
)
async def test_a_batch_that_met_others_until_its_time_was_over_says_so(last: PyMongoError, said: str) -> None:
    attempt = Attempt(60)
    tries = 0

    async def work(session: Any) -> None:
        nonlocal tries
        tries += 1
        error = OperationFailure("met", 112, {"code": 112}) if tries == 1 else last
        error._add_error_label("TransientTransactionError")
        if tries > 1:
            attempt._deadline = 0
        raise error

    with pytest.raises(BackchatError, match=said), translated():
        await transact(Sessions(), attempt, work)  # type: ignore[arg-type]
    assert tries == 2


class Sessions:
    """A connection whose transactions can be begun and undone."""

    def session(self) -> Sessions:
        return self

    async def __aenter__(self) -> Sessions:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def begin(self, session: Any) -> None:
        pass

    async def abort_transaction(self) -> None:
        pass


@pytest.mark.parametrize(("length", "aside"), [(100, False), (applying.LONG + 1, True)])
async def test_long_texts_are_taken_apart_beside_the_event_loop(
    monkeypatch: pytest.MonkeyPatch, length: int, aside: bool
) -> None:
    threads: set[int] = set()

    def noted(text: str) -> Any:
        threads.add(threading.get_ident())
        return words(text)

    monkeypatch.setattr("backchat_mongo.documents.words", noted)
    collection = Collection()
    collection.gate.set()
    store = Applying(Connected(collection), LAYOUTS, ignore)  # type: ignore[arg-type]
    text = "word " * (length // 5 + 1)
    await store.apply([note(1, title=text)])
    assert collection.asked == [1]
    assert threads
    assert (threading.get_ident() not in threads) == aside
