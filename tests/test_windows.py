"""Counting in windows: exact whoever counts, at few commits, and at none for who is over the limit."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from backchat.errors import StaleWrite, Unavailable
from backchat.ports.storage import Change, Put, Query, Record
from backchat.services.kinds import KINDS
from backchat.services.windows import Quota, Windows
from backchat.testing.memory_store import MemoryStore
from nodes import SlowStore, node

NOON = datetime(2026, 3, 1, 12, 0, 0, 250000, tzinfo=UTC)
EPOCH = int(NOON.timestamp())


class Clock:
    def __init__(self) -> None:
        self.time = NOON

    def __call__(self) -> datetime:
        return self.time

    def move(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class Shelf(MemoryStore):
    """Gives way before it reads and writes, as a store does that works on files, and counts what it is asked.

    ``broken`` makes its next writes fail; ``held``, while it is clear, keeps them waiting.
    """

    def __init__(self) -> None:
        super().__init__(KINDS)
        self.finds = self.commits = self.stale = self.broken = 0
        self.writing = asyncio.Event()
        self.held = asyncio.Event()
        self.held.set()

    async def find(self, query: Query) -> Sequence[Record]:
        await asyncio.sleep(0)
        self.finds += 1
        return await super().find(query)

    async def apply(self, changes: Sequence[Change]) -> None:
        self.writing.set()
        await asyncio.sleep(0)
        await self.held.wait()
        if self.broken:
            self.broken -= 1
            raise Unavailable("the store does not answer")
        try:
            await super().apply(changes)
        except StaleWrite:
            self.stale += 1
            raise
        self.commits += 1

    async def records(self) -> Sequence[Record]:
        return await super().find(Query(kind="rate"))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def quota(calls: int, seconds: int = 60, *caller: str) -> Quota:
    return Quota(calls, seconds, caller or ("a",))


async def passed(windows: Windows, *quotas: Quota, times: int) -> int:
    """So many calls at once; how many of them are within all quotas."""
    found = await asyncio.gather(*[windows.count(quotas) for _ in range(times)])
    return sum(not each[-1].exceeded for each in found)


async def test_a_window_begins_with_its_first_call_and_ends_exactly(shelf: Shelf, clock: Clock) -> None:
    one, other = Windows(shelf, clock), Windows(shelf, clock)
    three = quota(3, 120)
    left = []
    for windows in (one, other, one, other):
        (window,) = await windows.count([three])
        left.append((window.remaining, window.exceeded, window.ends_at - EPOCH, window.ends_in))
        clock.move(10)
    assert left == [(2, False, 120.25, 120), (1, False, 120.25, 110), (0, False, 120.25, 100), (0, True, 120.25, 90)]
    clock.move(79.999)
    for windows in (one, other):
        assert (await windows.count([three]))[0].exceeded
    clock.move(0.001)
    (window,) = await one.count([three])
    assert (window.remaining, window.ends_at - EPOCH) == (2, 240.25)
    (window,) = await other.count([three])
    assert (window.remaining, window.ends_at - EPOCH) == (1, 240.25)


async def test_callers_and_quotas_do_not_mix(shelf: Shelf, clock: Clock) -> None:
    windows = Windows(shelf, clock)
    quotas = [quota(1, 60, *caller) for caller in (("a", "b"), ("a", "c"), ("a", "b/c"), ("a/b", "c"), ("ab",))]
    quotas += [quota(2, 60, "a", "b"), quota(1, 61, "a", "b")]
    for each in quotas:
        assert not (await windows.count([each]))[0].exceeded
    assert (await windows.count([quotas[0]]))[0].exceeded
    assert not (await windows.count([quotas[-2]]))[0].exceeded


async def test_a_call_counts_until_it_is_refused(shelf: Shelf, clock: Clock) -> None:
    """One that the first quota refuses costs the second nothing; one that the second refuses counts in the first."""
    windows = Windows(shelf, clock)
    place, ann, bob = quota(4, 60, "place"), quota(2, 60, "ann"), quota(2, 60, "bob")
    told = [[w.remaining - w.exceeded for w in await windows.count([place, ann])] for _ in range(3)]
    assert told == [[3, 1], [2, 0], [1, -1]]
    assert [[w.remaining - w.exceeded for w in await windows.count([place, bob])] for _ in range(2)] == [[0, 1], [-1]]
    assert (await windows.count([bob]))[0].remaining == 0


async def test_many_at_once_cost_one_commit(shelf: Shelf, clock: Clock) -> None:
    windows = Windows(shelf, clock)
    assert await passed(windows, quota(30), quota(200, 60, "b"), times=100) == 30
    assert (shelf.commits, shelf.stale) == (1, 0)
    assert (await windows.count([quota(200, 60, "b")]))[0].remaining == 200 - 30 - 1


async def test_processes_count_together(shelf: Shelf, clock: Clock) -> None:
    processes = [Windows(shelf, clock) for _ in range(4)]
    fifty = quota(50)

    async def client(windows: Windows) -> int:
        return sum([not (await windows.count([fifty]))[0].exceeded for _ in range(10)])

    within = await asyncio.gather(*[client(windows) for windows in processes for _ in range(3)])
    assert sum(within) == 50
    assert shelf.stale > 0, "they never met"


async def test_who_is_over_the_limit_costs_nothing(shelf: Shelf, clock: Clock) -> None:
    windows = Windows(shelf, clock)
    assert await passed(windows, quota(3), times=3) == 3
    before = (shelf.commits, shelf.finds)
    assert await passed(windows, quota(3), quota(9, 60, "b"), times=100) == 0
    assert (shelf.commits, shelf.finds) == before


async def test_another_process_looks_once(shelf: Shelf, clock: Clock) -> None:
    assert await passed(Windows(shelf, clock), quota(3), times=3) == 3
    other = Windows(shelf, clock)
    before = (shelf.commits, shelf.finds)
    assert [(await other.count([quota(3)]))[0].exceeded for _ in range(5)] == [True] * 5
    assert (shelf.commits, shelf.finds) == (before[0], before[1] + 1)


async def test_a_caller_who_leaves_costs_the_others_nothing(shelf: Shelf, clock: Clock) -> None:
    """The one that writes for all is cut off in the middle: nothing is counted twice, and nobody waits for ever."""
    windows = Windows(shelf, clock)
    ten = quota(10)
    shelf.held.clear()
    tasks = [asyncio.create_task(windows.count([ten])) for _ in range(4)]
    await shelf.writing.wait()
    tasks[0].cancel()
    shelf.held.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert sorted(w[0].remaining for w in found if not isinstance(w, BaseException)) == [6, 7, 8]
    assert (await windows.count([ten]))[0].remaining == 5


async def test_a_store_that_does_not_answer(shelf: Shelf, clock: Clock) -> None:
    windows = Windows(shelf, clock)
    shelf.broken = 1
    found = await asyncio.gather(*[windows.count([quota(9)]) for _ in range(4)], return_exceptions=True)
    assert [type(each) for each in found] == [Unavailable] * 4
    assert (await windows.count([quota(9)]))[0].remaining == 8


async def test_an_outage_is_waited_for_once(shelf: Shelf, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """By those who were there when it was tried; whoever comes later is tried anew."""
    monkeypatch.setattr("backchat.services.windows.AT_ONCE", 2)
    windows = Windows(shelf, clock)
    shelf.broken = 1
    shelf.held.clear()
    early = [asyncio.create_task(windows.count([quota(9)])) for _ in range(2)]
    behind = [asyncio.create_task(windows.count([quota(9)])) for _ in range(5)]
    await shelf.writing.wait()
    late = asyncio.create_task(windows.count([quota(9)]))
    await asyncio.sleep(0)
    shelf.held.set()
    found = await asyncio.gather(*early, *behind, return_exceptions=True)
    assert [type(each) for each in found] == [Unavailable] * 7
    assert [w.remaining for w in await late] == [8]


async def test_a_caller_who_leaves_before_it_was_their_turn_is_not_counted(shelf: Shelf, clock: Clock) -> None:
    windows = Windows(shelf, clock)
    shelf.held.clear()
    first = asyncio.create_task(windows.count([quota(9)]))
    await shelf.writing.wait()
    gone = [asyncio.create_task(windows.count([quota(9)])) for _ in range(3)]
    await asyncio.sleep(0)
    for task in gone:
        task.cancel()
    await asyncio.wait(gone)
    shelf.held.set()
    assert [w.remaining for w in await first] == [8]
    assert [w.remaining for w in await windows.count([quota(9)])] == [7]


@pytest.mark.parametrize("hours", [-24, 24 * 365])
async def test_a_clock_that_was_wrong_for_a_moment_locks_nobody_out(shelf: Shelf, clock: Clock, hours: int) -> None:
    windows = Windows(shelf, clock)
    clock.move(3600 * hours)
    assert await passed(windows, quota(2), times=3) == 2
    clock.move(-3600 * hours)
    assert [w.remaining for w in await windows.count([quota(2)])] == [1]
    clock.move(59)
    assert await passed(windows, quota(2), times=3) == 1


async def test_clocks_that_differ_a_little_make_no_second_window(shelf: Shelf, clock: Clock) -> None:
    slow, fast = Windows(shelf, lambda: clock() - timedelta(seconds=2)), Windows(shelf, clock)
    within = sum([await passed(windows, quota(4), times=1) for windows in (fast, slow, fast, slow, slow, fast)])
    assert within == 4


async def test_what_is_stored_names_nobody(shelf: Shelf, clock: Clock) -> None:
    await Windows(shelf, clock).count(
        [quota(2, 60, "login", "address", "192.0.2.1"), quota(2, 60, "login", "user", "ann")]
    )
    records = await shelf.records()
    assert len(records) == 2
    for record in records:
        assert re.fullmatch("[0-9a-f]{64}", record.id)
        assert record.doc == {"count": 1, "expires": "2026-03-01T12:01:00.250Z"}


async def test_full_windows_are_forgotten_when_there_are_too_many(
    shelf: Shelf, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are counted right all the same: the store knows."""
    monkeypatch.setattr("backchat.services.windows.REMEMBERED", 3)
    windows = Windows(shelf, clock)
    quotas = [quota(1, 60, f"caller {n}") for n in range(5)]
    for each in quotas:
        assert not (await windows.count([each]))[0].exceeded
    before = (shelf.commits, shelf.finds)
    assert [(await windows.count([each]))[0].exceeded for each in reversed(quotas)] == [True] * 5
    assert (shelf.commits, shelf.finds) == (before[0], before[1] + 2)


async def test_one_batch_does_not_grow_without_end(shelf: Shelf, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backchat.services.windows.AT_ONCE", 10)
    sizes: list[int] = []
    apply = shelf.apply

    async def measured(changes: Sequence[Change]) -> None:
        sizes.append(sum(isinstance(change, Put) for change in changes))
        await apply(changes)

    monkeypatch.setattr(shelf, "apply", measured)
    windows = Windows(shelf, clock)
    await asyncio.gather(*[windows.count([quota(1, 60, f"caller {n}")]) for n in range(35)])
    assert sum(sizes) == 35
    assert max(sizes) == 10


async def test_windows_that_are_over_are_deleted() -> None:
    store = SlowStore()
    async with node(store) as one:
        windows = one.services.windows
        await windows.count([quota(2, 60), quota(2, 3600, "b")])
        await one.workers.sweep()
        assert len(await store.find(Query(kind="rate"))) == 2
        one.time += timedelta(seconds=60, milliseconds=1)
        await one.workers.sweep()
        assert len(await store.find(Query(kind="rate"))) == 1
        assert [w.remaining for w in await windows.count([quota(2, 60), quota(2, 3600, "b")])] == [1, 0]
