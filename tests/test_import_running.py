"""Imports while they run: progress, ends of every kind, several at a time, several processes, and stores that fail."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from backchat.domain.limits import ImportLimits
from backchat.errors import Draining, NotFound, NotOwned, RateLimited, TooLarge, Unavailable
from backchat.ports.importing import Unreadable
from backchat.ports.storage import Change, Delete, Put, Query
from backchat.services import import_work
from backchat.services.import_records import KEPT, Import
from backchat.services.imports import MOST_AT_ONCE
from backchat.services.kinds import KINDS
from backchat.services.stored import message_of
from backchat.testing.memory_store import MemoryStore
from imports_desk import ANN, BOB, Desk, Item, Product, message, summary, talk
from sqlite_files import opened


class Gated(Product):
    """Gives out an item whenever ``gate`` is released; ``asked`` counts the items that it was asked for."""

    def __init__(self) -> None:
        super().__init__("product")
        self.gate = threading.Semaphore(0)
        self.asked, self.is_open = 0, False

    def read(self, file: BinaryIO) -> Iterator[Item]:
        for item in super().read(file):
            self.asked += 1
            if not self.is_open:
                assert self.gate.acquire(timeout=20)
            yield item

    def open(self) -> None:
        self.is_open = True
        self.gate.release(100)


class Turnstile(MemoryStore):
    """Takes nothing while it is ``closed``; ``waiting`` counts what would."""

    def __init__(self) -> None:
        super().__init__(KINDS)
        self.closed, self.waiting = False, 0
        self._opened = asyncio.Event()

    def open(self) -> None:
        self.closed = False
        self._opened.set()

    async def apply(self, changes: Sequence[Change]) -> None:
        if self.closed:
            self.waiting += 1
            await self._opened.wait()
        await super().apply(changes)


@pytest.fixture
def gated() -> Gated:
    return Gated()


@pytest.fixture
async def desk(gated: Gated) -> AsyncIterator[Desk]:
    made = Desk(MemoryStore(KINDS), importers=(gated,))
    async with made.imports:
        yield made
        gated.open()


async def until(holds: Callable[[], object]) -> None:
    """What happens in a thread, or in the other process, is looked for."""
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def gather(seen: list[Import], steps: AsyncIterator[Import]) -> None:
    async for at in steps:
        seen.append(at)  # noqa: PERF401 (others look at it meanwhile)


async def test_progress_is_followed_to_the_end(desk: Desk, gated: Gated) -> None:
    data = gated.export(*[talk(str(n)) for n in range(6)], padding=100_000)
    begun = await desk.imports.begin(ANN, io.BytesIO(data), name="x.json")
    assert (begun.status, begun.size, begun.read, begun.name) == ("running", len(data), 0, "x.json")
    seen: list[Import] = []

    following = asyncio.create_task(gather(seen, desk.imports.follow(ANN, begun.id)))
    gated.gate.release(3)
    await until(lambda: any(at.imported == 3 for at in seen))
    assert 0 < seen[-1].read < len(data)
    gated.open()
    await following
    assert summary(seen[-1]) == ("done", 6, 0, 0)
    assert seen[-1].read == len(data)
    assert seen[-1].ended_at is not None
    assert [at.imported for at in seen] == sorted(at.imported for at in seen)
    assert [at async for at in desk.imports.follow(ANN, begun.id)] == [await desk.imports.open(ANN, begun.id)]


async def test_waiting_for_the_end_is_bounded(desk: Desk, gated: Gated) -> None:
    begun = await desk.imports.begin(ANN, io.BytesIO(gated.export(talk())), name="x")
    assert (await desk.imports.ended(ANN, begun.id, 0)).status == "running"
    gated.open()
    assert summary(await desk.imports.ended(ANN, begun.id, 20)) == ("done", 1, 0, 0)


async def test_an_import_is_its_owners(desk: Desk, gated: Gated) -> None:
    gated.open()
    done = await desk.bring_from(gated, talk())
    for ask in (desk.imports.open, desk.imports.cancel):
        with pytest.raises(NotOwned):
            await ask(BOB, done.id)
        with pytest.raises(NotFound):
            await ask(ANN, "no such import")


async def test_problems_are_counted_and_the_first_hundred_told(desk: Desk, gated: Gated) -> None:
    gated.open()
    items: list[Item] = [Unreadable(f"bad {n}" if n % 2 else None, "its dates are none") for n in range(120)]
    result = await desk.bring_from(gated, talk("a"), *items, talk("b"))
    assert summary(result) == ("done", 2, 0, 120)
    assert [(p.index, p.title, p.reason) for p in result.problems] == [
        (n + 1, f"bad {n}" if n % 2 else None, "its dates are none") for n in range(100)
    ]


class Broken(Product):
    def read(self, file: BinaryIO) -> Iterator[Item]:
        yield from super().read(file)
        raise KeyError("a secret of the user")


async def test_an_importer_that_fails_is_a_fault_that_repeats_nothing(
    caplog: pytest.LogCaptureFixture, capsys: Any
) -> None:
    broken = Broken()
    desk = Desk(MemoryStore(KINDS), importers=(broken,))
    async with desk.imports:
        strange: Any = talk("odd", message("m", parts=5))
        result = await desk.take(broken.export(talk("a"), strange, talk("b")))
    assert (result.status, result.imported, result.failed) == ("failed", 2, 1)
    assert result.problem == "the file could not be read because of a fault of the server"
    assert result.problems[0].reason == "it could not be converted because of a fault of the server"
    said = caplog.text + "".join(capsys.readouterr())
    assert "KeyError" in said
    assert "secret" not in said


async def test_files_are_closed_and_refused_ones_too(gated: Gated) -> None:
    gated.open()
    desk = Desk(MemoryStore(KINDS), importers=(gated,), limits=ImportLimits(max_size=1000))
    async with desk.imports:
        fits, large = io.BytesIO(gated.export(talk())), io.BytesIO(b" " * 1001)
        begun = await desk.imports.begin(ANN, fits, name="x")
        await desk.imports.ended(ANN, begun.id, 20)
        with pytest.raises(TooLarge):
            await desk.imports.begin(ANN, large, name="x")
    late = io.BytesIO(b"[]")
    with pytest.raises(Draining):
        await desk.imports.begin(ANN, late, name="x")
    assert (fits.closed, large.closed, late.closed) == (True, True, True)


# ---- ends before the end --------------------------------------------------------------------------------------------


async def test_a_cancelled_import_keeps_what_it_has_and_a_further_one_completes_it(desk: Desk, gated: Gated) -> None:
    data = gated.export(*[talk(str(n)) for n in range(5)], padding=300_000)
    begun = await desk.imports.begin(ANN, io.BytesIO(data), name="x")
    gated.gate.release(2)
    await until(lambda: gated.asked == 3)
    await until(lambda: desk.imports._live[begun.id].work.at.imported == 2)
    cancelling = asyncio.create_task(desk.imports.cancel(ANN, begun.id))
    await asyncio.sleep(0)
    gated.open()
    ended = await cancelling
    assert (ended.status, ended.imported, ended.failed) == ("cancelled", 2, 0)
    assert await desk.imports.cancel(ANN, begun.id) == ended
    assert await desk.counts() == (2, 4)
    assert summary(await desk.take(data)) == ("done", 3, 2, 0)


async def test_no_more_than_so_many_at_a_time_and_those_that_wait_can_be_cancelled(gated: Gated) -> None:
    desk = Desk(MemoryStore(KINDS), importers=(gated,), limits=ImportLimits(at_once=2))
    async with desk.imports:
        data = gated.export(talk())
        files = [io.BytesIO(data) for _ in range(4)]
        begun = [await desk.imports.begin(ANN, file, name="x") for file in files]
        await until(lambda: gated.asked == 2)
        assert (await desk.imports.cancel(ANN, begun[3].id)).status == "cancelled"
        assert files[3].closed
        assert gated.asked == 2
        gated.open()
        ends = [await desk.imports.ended(ANN, b.id, 20) for b in begun[:3]]
        assert [e.status for e in ends] == ["done"] * 3
        assert sum(e.imported for e in ends) == 1


async def test_cancelling_one_that_waits_twice_ends_it_once(gated: Gated) -> None:
    """Also when both come at the same time, and while what it became is written down."""
    store = Turnstile()
    desk = Desk(store, importers=(gated,), limits=ImportLimits(at_once=1))
    async with desk.imports:
        data = gated.export(talk())
        first = await desk.imports.begin(ANN, io.BytesIO(data), name="x")
        await until(lambda: gated.asked == 1)
        file = io.BytesIO(data)
        waiting = await desk.imports.begin(ANN, file, name="y")
        store.closed = True  # it ends, and cannot write that down yet
        cancels = [asyncio.create_task(desk.imports.cancel(ANN, waiting.id))]
        await until(lambda: store.waiting)
        cancels += [asyncio.create_task(desk.imports.cancel(ANN, waiting.id)) for _ in range(2)]
        for _ in range(20):
            await asyncio.sleep(0)
        store.open()
        assert [c.status for c in await asyncio.gather(*cancels)] == ["cancelled"] * 3
        assert file.closed
        assert waiting.id not in desk.imports._live
        gated.open()
        assert (await desk.imports.ended(ANN, first.id, 20)).status == "done"
        again = await desk.take(data)
        assert (again.status, again.skipped) == ("done", 1)  # its place is free


async def test_one_user_has_not_more_than_some_that_have_not_ended(desk: Desk, gated: Gated) -> None:
    data = gated.export(talk())
    begun = [await desk.imports.begin(ANN, io.BytesIO(data), name="x") for _ in range(MOST_AT_ONCE - 1)]
    files = [io.BytesIO(data) for _ in range(3)]
    ends = await asyncio.gather(
        *[desk.imports.begin(ANN, file, name="x") for file in files], return_exceptions=True
    )  # at the same time
    assert sum(isinstance(e, RateLimited) for e in ends) == 2
    assert sum(file.closed for file in files) == 2
    other = await desk.imports.begin(BOB, io.BytesIO(data), name="x")
    assert (await desk.imports.cancel(ANN, begun[-1].id)).status == "cancelled"
    last = await desk.imports.begin(ANN, io.BytesIO(data), name="x")
    gated.open()
    assert (await desk.imports.ended(ANN, last.id, 20)).status == "done"
    assert (await desk.imports.ended(BOB, other.id, 20)).status == "done"


async def test_one_that_begins_while_the_server_ends_is_refused(gated: Gated) -> None:
    store = Turnstile()
    desk = Desk(store, importers=(gated,))
    file = io.BytesIO(gated.export(talk()))
    async with desk.imports:
        store.closed = True
        beginning = asyncio.create_task(desk.imports.begin(ANN, file, name="x"))
        await until(lambda: store.waiting)
    store.open()
    with pytest.raises(Draining):
        await beginning
    assert file.closed
    assert await store.count(Query(kind="import")) == 0
    assert gated.asked == 0


async def test_the_end_of_the_server_interrupts(gated: Gated) -> None:
    store = MemoryStore(KINDS)
    desk = Desk(store, importers=(gated,), limits=ImportLimits(at_once=1))
    data = gated.export(*[talk(str(n)) for n in range(5)], padding=300_000)
    async with desk.imports:
        begun = [await desk.imports.begin(ANN, io.BytesIO(data), name="x") for _ in range(2)]
        gated.gate.release(2)
        await until(lambda: gated.asked == 3)
        opening = asyncio.get_running_loop().call_later(0.05, gated.open)
    opening.cancel()
    ends = [await desk.imports.open(ANN, b.id) for b in begun]
    assert [(e.status, e.failed, e.problem) for e in ends] == [("interrupted", 0, None)] * 2
    assert ends[0].imported <= 3
    assert await desk.counts() == (ends[0].imported, 2 * ends[0].imported)


# ---- several processes ----------------------------------------------------------------------------------------------


async def test_another_process_sees_it_and_can_stop_it(gated: Gated) -> None:
    store = MemoryStore(KINDS)
    await store.apply([Put("worker", "this", {"at": "now"})])
    desk, other = Desk(store, importers=(gated,)), Desk(store, worker="other")
    data = gated.export(*[talk(str(n)) for n in range(5)], padding=300_000)
    async with desk.imports, other.imports:
        begun = await desk.imports.begin(ANN, io.BytesIO(data), name="x")
        seen: list[Import] = []

        following = asyncio.create_task(gather(seen, other.imports.follow(ANN, begun.id)))
        gated.gate.release(2)
        await until(lambda: seen and seen[-1].imported == 2)
        cancelling = asyncio.create_task(other.imports.cancel(ANN, begun.id))
        await until(lambda: any(at.cancelled for at in seen))
        gated.gate.release(1)  # progress, with which it looks at its record
        await until(lambda: desk.imports._live[begun.id].work.stop is not None)
        gated.open()
        assert (await cancelling).status == "cancelled"
        await following
    assert seen[-1].status == "cancelled"
    assert seen[-1].imported == (await desk.counts())[0] < 5


async def test_another_process_can_stop_one_that_waits(gated: Gated) -> None:
    store = MemoryStore(KINDS)
    await store.apply([Put("worker", "this", {"at": "now"})])
    desk = Desk(store, importers=(gated,), limits=ImportLimits(at_once=1))
    other = Desk(store, worker="other")
    async with desk.imports, other.imports:
        data = gated.export(talk())
        first = await desk.imports.begin(ANN, io.BytesIO(data), name="x")
        waiting = await desk.imports.begin(ANN, io.BytesIO(data), name="y")
        await until(lambda: gated.asked == 1)
        assert (await other.imports.cancel(ANN, waiting.id)).status == "cancelled"
        assert waiting.id not in desk.imports._live
        gated.open()
        assert summary(await desk.imports.ended(ANN, first.id, 20)) == ("done", 1, 0, 0)
        assert gated.asked == 1


async def test_that_of_a_process_that_has_died_is_interrupted(gated: Gated) -> None:
    store = MemoryStore(KINDS)
    await store.apply([Put("worker", "this", {"at": "now"})])
    desk, other = Desk(store, importers=(gated,)), Desk(store, worker="other")
    async with desk.imports, other.imports:
        begun = await desk.imports.begin(ANN, io.BytesIO(gated.export(talk())), name="x")
        assert (await other.imports.open(ANN, begun.id)).status == "running"
        await store.apply([Delete("worker", "this")])
        assert (await other.imports.open(ANN, begun.id)).status == "interrupted"
        assert [at.status async for at in other.imports.follow(ANN, begun.id)] == ["interrupted"]
        gated.open()


async def test_how_it_went_is_known_for_a_day(desk: Desk, gated: Gated) -> None:
    gated.open()
    done = await desk.bring_from(gated, talk())
    desk.time += KEPT - timedelta(minutes=1)
    await desk.bring_from(gated, talk())
    assert (await desk.imports.open(ANN, done.id)).status == "done"
    desk.time += timedelta(minutes=2)
    await desk.bring_from(gated, talk())
    with pytest.raises(NotFound):
        await desk.imports.open(ANN, done.id)


async def test_nothing_is_stored_for_somebody_who_is_gone(desk: Desk, gated: Gated) -> None:
    data = gated.export(*[talk(str(n)) for n in range(8)], padding=300_000)
    begun = await desk.imports.begin(ANN, io.BytesIO(data), name="x")
    gated.gate.release(1)
    await until(lambda: desk.imports._live[begun.id].work.at.imported == 1)
    await desk.store.apply([Delete("import", begun.id)])
    gated.open()
    await until(lambda: not desk.imports._live)
    assert await desk.counts() == (1, 2)
    with pytest.raises(NotFound):
        await desk.imports.open(ANN, begun.id)


# ---- stores ---------------------------------------------------------------------------------------------------------


class Failing(MemoryStore):
    """Does not take conversations any more after some."""

    def __init__(self, good: int) -> None:
        super().__init__(KINDS)
        self.good = good

    async def apply(self, changes: Sequence[Change]) -> None:
        await asyncio.sleep(0)
        if any(c.kind == "conversation" for c in changes):
            self.good -= 1
            if self.good < 0:
                raise Unavailable("the database cannot be used: disk full")
        await super().apply(changes)


async def test_a_store_that_fails_ends_the_import_and_the_next_one_completes_it() -> None:
    store = Failing(4)
    desk = Desk(store)
    async with desk.imports:
        data = desk.product.export(*[talk(str(n)) for n in range(100)])
        result = await desk.take(data)
        assert (result.status, result.problem, result.imported) == ("failed", "the storage does not answer", 4)
        assert await desk.counts() == (4, 8)
        store.good = 1000
        assert summary(await desk.take(data)) == ("done", 96, 4, 0)


class Slow(MemoryStore):
    """Commits when it is told to; ``waiting`` counts the batches that wait for it."""

    def __init__(self) -> None:
        super().__init__(KINDS)
        self.go, self.waiting = asyncio.Event(), 0

    async def apply(self, changes: Sequence[Change]) -> None:
        if any(c.kind == "conversation" for c in changes):
            self.waiting += 1
            await self.go.wait()
        await super().apply(changes)


async def test_what_is_on_the_way_to_a_slow_store_is_bounded(gated: Gated, monkeypatch: pytest.MonkeyPatch) -> None:
    room, blocked = import_work._room, asyncio.Event()

    async def told(storing: Any) -> None:
        """Says when it waits for the store: until it ends nothing is read then."""
        waiting = asyncio.create_task(room(storing))
        await asyncio.sleep(0)
        if not waiting.done():
            blocked.set()
        await waiting

    monkeypatch.setattr(import_work, "_room", told)
    store = Slow()
    gated.open()
    desk = Desk(store, importers=(gated,))
    async with desk.imports, AsyncExitStack() as opened_at_last:
        opened_at_last.callback(lambda: store.go.set())
        small, large = gated.export(*[talk(str(n)) for n in range(500)]), [talk(f"l{n}") for n in range(25)]
        begun = await desk.imports.begin(ANN, io.BytesIO(small), name="x")
        await until(lambda: blocked.is_set() and store.waiting >= 2)
        assert gated.asked <= 40
        assert store.waiting == 2
        store.go.set()
        assert summary(await desk.imports.ended(ANN, begun.id, 20)) == ("done", 500, 0, 0)
        store.go, store.waiting, gated.asked = asyncio.Event(), 0, 0
        blocked.clear()
        begun = await desk.imports.begin(ANN, io.BytesIO(gated.export(*large, padding=500_000)), name="x")
        await until(lambda: blocked.is_set() and store.waiting >= 1)
        assert gated.asked <= 2
        assert store.waiting == 1
        store.go.set()
        assert summary(await desk.imports.ended(ANN, begun.id, 20)) == ("done", 25, 0, 0)


async def test_on_sqlite_it_is_found_by_its_words_at_once(tmp_path: Path) -> None:
    async with opened(tmp_path / "x.db", KINDS) as store:
        desk = Desk(store)
        async with desk.imports:
            items = [talk(str(n), message("m", text=f"word{n} and more"), tags=("t",)) for n in range(100)]
            long = talk("long", *[message(str(n), str(n - 1), f"said{n}") for n in range(1000)])
            data = desk.product.export(*items, long)
            assert summary(await desk.take(data)) == ("done", 101, 0, 0)
            assert await desk.counts() == (101, 1100)
            for word, count in (("word99", 1), ("said999", 1), ("more", 100)):
                found = await store.find(Query(kind="message", where=(("owner", ("ann",)),), words=word, limit=1000))
                assert len(found) == count
                assert all(word in message_of(r).text for r in found)
            assert summary(await desk.take(data)) == ("done", 0, 101, 0)
            assert len(await store.find(Query(kind="tag"))) == 1
