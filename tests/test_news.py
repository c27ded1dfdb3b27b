"""How readers learn what is said in runs of another process, at the services: from one watch, or by looking."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Container, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from backchat.domain.run import Run, RunEnded, TextDelta
from backchat.errors import Unavailable
from backchat.ports.abilities import Watched
from backchat.ports.storage import Delete, Query, Record
from backchat.services import news
from backchat.services.runlog import events_purge
from backchat.testing.provider import ScriptedProvider
from nodes import ANN, Node, SlowStore, node


class Counting(SlowStore):
    """``looks``: how often it was asked for a run or for events; ``begun``: how many watches there have been."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = self.begun = 0
        self.is_down = False

    async def get(self, kind: str, id: str) -> Record | None:
        self.looks += kind == "run"
        return await super().get(kind, id)

    async def find(self, query: Query) -> Sequence[Record]:
        self.looks += query.kind == "event"
        return await super().find(query)

    @asynccontextmanager
    async def watch(
        self, kind: str, partitions: Container[str]
    ) -> AsyncGenerator[AsyncIterator[Sequence[Record]], None]:
        if self.is_down:
            raise Unavailable("nothing answers")
        self.begun += 1
        async with super().watch(kind, partitions) as told:
            yield told

    @property
    def watching(self) -> int:
        return len(self._watches)

    def lose(self) -> None:
        """The connection on which it tells."""
        for *_, box in self._watches:
            box.fail(Unavailable("the connection is lost"))


class Blind(Counting):
    """A store that cannot be watched."""

    watch = None  # type: ignore[assignment]


@pytest.fixture
def store() -> Counting:
    return Counting()


def words(count: int) -> tuple[ScriptedProvider, list[asyncio.Event]]:
    """A model that says so many words, each when it is let."""
    gates = [asyncio.Event() for _ in range(count)]
    return ScriptedProvider([step for n, gate in enumerate(gates) for step in (f"{n} ", gate)]), gates


class Reader:
    """Reads a run in a node; ``batches`` are what has come."""

    def __init__(self, at: Node, run: Run) -> None:
        self.batches: list[Sequence[tuple[int, Any]]] = []
        self._come = asyncio.Condition()
        self.task = asyncio.create_task(self._read(at, run))

    async def _read(self, at: Node, run: Run) -> None:
        async for batch in at.runs.follow(ANN, run.id):
            async with self._come:
                self.batches.append(batch)
                self._come.notify_all()

    @property
    def text(self) -> str:
        return "".join(e.text for _, e in self.events if isinstance(e, TextDelta))

    @property
    def events(self) -> list[tuple[int, Any]]:
        return [event for batch in self.batches for event in batch]

    async def until(self, words: str) -> None:
        """Wait until what has come ends with these."""
        async with asyncio.timeout(10), self._come:
            await self._come.wait_for(lambda: self.text.endswith(words))


async def settled(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_what_another_process_says_is_shown_without_asking_the_store(store: Counting) -> None:
    provider, gates = words(40)
    async with node(store, provider) as one, node(store) as two:
        run = await one.say("hi")
        readers = [Reader(two, run) for _ in range(3)]
        for reader in readers:
            await reader.until("0 ")
        await settled(lambda: store.watching == 1)
        await settled(lambda: store.looks >= 2 * len(readers))
        looks, began = store.looks, asyncio.get_running_loop().time()
        for n, gate in enumerate(gates[:-1]):
            gate.set()
            for reader in readers:
                await reader.until(f"{n + 1} ")
        assert store.looks - looks <= 2 * len(readers)  # when the watch began, everybody looked once more
        assert asyncio.get_running_loop().time() - began < 39 * news.POLL / 2
        gates[-1].set()
        for reader in readers:
            await reader.task
        log = await one.read(run)
    for reader in readers:
        assert reader.events == log
        assert isinstance(reader.events[-1][1], RunEnded)
    assert store.begun == 1


async def test_many_readers_of_silent_runs_cost_next_to_nothing(store: Counting) -> None:
    gate = asyncio.Event()
    async with node(store, ScriptedProvider(["one", gate])) as one, node(store) as two:
        runs = [await one.say("hi") for _ in range(100)]
        readers = [Reader(two, run) for run in runs]
        waiting = [asyncio.create_task(two.runs.result(ANN, run.id)) for run in runs]
        for reader in readers:
            await reader.until("one")
        await settled(lambda: store.watching == 1)
        await asyncio.sleep(0.3)
        looks = store.looks
        await asyncio.sleep(0.5)
        assert store.looks - looks < len(runs) / 10
        gate.set()
        assert {(await task)[0].status for task in waiting} == {"completed"}
        await asyncio.gather(*[reader.task for reader in readers])
        assert {type(reader.events[-1][1]) for reader in readers} == {RunEnded}


async def test_readers_go_on_when_a_watch_is_lost(store: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(news, "PAUSES", (0.01, 0.02))
    provider, gates = words(8)
    async with node(store, provider) as one, node(store) as two:
        run = await one.say("hi")
        reader = Reader(two, run)
        for n, gate in enumerate(gates):
            await reader.until(f"{n} ")
            if n == 2:
                await settled(lambda: store.watching == 1)
                store.is_down = True
                store.lose()
                await settled(lambda: store.watching == 0)
            if n == 5:
                store.is_down = False
                await settled(lambda: store.watching == 1)
            gate.set()
        await reader.task
        assert reader.events == await one.read(run)
    assert store.begun == 2
    assert store.watching == 0


@pytest.mark.parametrize("end", ["ended", "cancelled"])
async def test_a_store_that_cannot_be_watched_is_looked_at(end: str) -> None:
    store = Blind()
    assert not isinstance(store, Watched)
    provider, gates = words(3)
    async with node(store, provider) as one, node(store) as two, one.workers:
        run = await one.say("hi")
        reader, result = Reader(two, run), asyncio.create_task(two.runs.result(ANN, run.id))
        for gate in gates[:2]:
            gate.set()
        await reader.until("0 1 2 ")
        if end == "cancelled":
            assert (await two.runs.cancel(ANN, run.id)).status == "cancelled"
        gates[2].set()
        await reader.task
        assert reader.events == await one.read(run)
        await asyncio.gather(result, return_exceptions=True)


async def test_the_watch_ends_some_time_after_the_last_reader(store: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(news, "LINGER", 0.02)
    gate = asyncio.Event()
    async with node(store, ScriptedProvider(["one", gate])) as one, node(store) as two:
        own = Reader(one, await one.say("hi"))
        await own.until("one")
        assert store.begun == 0  # what happens in one's own process is known
        run = await one.say("hi")
        for begun in (1, 2):
            reader = Reader(two, run)
            await reader.until("one")
            await settled(lambda: store.watching == 1)
            reader.task.cancel()
            await settled(lambda: store.watching == 0)
            assert store.begun == begun
        gate.set()
        await own.task
        assert (await two.read(run))[-1][1].status == "completed"
        assert store.begun == 2  # nothing has to be waited for


class Slow(Counting):
    """Its watches take a while to end: ``may_end`` lets them."""

    def __init__(self) -> None:
        super().__init__()
        self.may_end = asyncio.Event()
        self.ended = 0

    @asynccontextmanager
    async def watch(
        self, kind: str, partitions: Container[str]
    ) -> AsyncGenerator[AsyncIterator[Sequence[Record]], None]:
        async with super().watch(kind, partitions) as told:
            try:
                yield told
            finally:
                await self.may_end.wait()
                self.ended += 1


async def test_the_end_of_a_watch_is_not_that_of_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(news, "LINGER", 0)
    store = Slow()
    async with news.News(store) as told:
        with told.of("a"):
            told.patience()
            await settled(lambda: store.watching == 1)
            assert told.patience() > news.POLL
        await settled(lambda: told._watching is None)
        with told.of("b"):
            assert told.patience() == news.POLL  # none yet
            await settled(lambda: store.watching == 2)
            store.may_end.set()
            await settled(lambda: store.ended == 1)
            assert told.patience() > news.POLL
            assert store.begun == 2


async def test_a_watch_that_is_ending_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(news, "LINGER", 0)
    store = Slow()
    async with news.News(store) as told:
        with told.of("a"):
            told.patience()
            await settled(lambda: store.watching == 1)
        await settled(lambda: told._watching is None)
        asyncio.get_running_loop().call_later(0.01, store.may_end.set)
    assert store.ended == 1


async def test_readers_who_come_and_go_keep_the_watch(store: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often they do: one watch lingers once."""
    timers: list[asyncio.TimerHandle] = []
    loop = asyncio.get_running_loop()
    later = loop.call_later

    def noted(delay: float, *rest: Any, **more: Any) -> asyncio.TimerHandle:
        timer = later(delay, *rest, **more)
        if delay == news.LINGER:
            timers.append(timer)
        return timer

    monkeypatch.setattr(loop, "call_later", noted)
    async with news.News(store) as told:
        for _ in range(3):
            with told.of("a"):
                told.patience()
                await settled(lambda: store.watching == 1)
        assert [timer.cancelled() for timer in timers] == [True, True, False]
    assert [timer.cancelled() for timer in timers] == [True] * 3
    assert store.begun == 1


async def test_a_reader_that_is_far_behind_misses_nothing(store: Counting) -> None:
    provider, gates = words(3 * news.TAIL)
    async with node(store, provider) as one, node(store) as two:
        run = await one.say("hi")
        slow = two.runs.follow(ANN, run.id)
        found = list(await anext(slow))
        keeping_up = Reader(two, run)
        for n, gate in enumerate(gates):
            gate.set()
            await keeping_up.until(f"{min(n + 1, len(gates) - 1)} ")
        await keeping_up.task
        found += [pair async for batch in slow for pair in batch]
        assert found == keeping_up.events == await one.read(run)
        assert len(found) > 2 * news.TAIL


async def test_a_reader_of_a_run_that_is_deleted_leaves(store: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(news, "INSURED", 0.05)
    async with node(store, ScriptedProvider(["one", asyncio.Event()])) as one, node(store) as two:
        run = await one.say("hi")
        reader = Reader(two, run)
        await reader.until("one")
        await settled(lambda: store.watching == 1)
        await store.apply([Delete("run", run.id), events_purge(run.id)])
        async with asyncio.timeout(10):
            await reader.task
        assert reader.text == "one"
