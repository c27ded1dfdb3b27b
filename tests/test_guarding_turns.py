"""Who is asked when: turns with a provider that answers so many at once."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest

from backchat.domain.run import StatusNote, TextDelta
from backchat.errors import (
    ProviderThrottled,
)
from backchat.services.slots import Slots
from backchat.testing.provider import ScriptedProvider, collect, said
from guarded import HI, Counts, Paced, asks, guarded, now, settled
from leaping import leaping


@leaping
async def test_so_many_are_at_work_at_once() -> None:
    provider, meter = Paced([10, "ok"]), Counts()
    guard = guarded(provider, meter=meter, at_once=2)
    tasks = [asks(guard, "ann") for _ in range(5)]
    await settled()
    assert (provider.open, meter.queue) == (2, 3)
    assert await asyncio.gather(*tasks) == ["ok"] * 5
    assert provider.asked_at == [0, 0, 10, 10, 20]
    assert meter.queue == 0


@leaping
async def test_somebody_with_many_calls_holds_nobody_else_up() -> None:
    provider = Paced([1, "ok"])
    guard = guarded(provider, at_once=1)
    tasks = [asks(guard, "ann") for _ in range(4)]
    await settled()
    tasks += [asks(guard, "bob") for _ in range(2)]
    await settled()
    tasks += [asks(guard, "cat")]
    await asyncio.gather(*tasks)
    assert [r.caller for r in provider.requests] == ["ann", "bob", "cat", "ann", "bob", "ann", "ann"]


async def test_the_one_with_the_fewest_at_work_is_next_and_of_theirs_the_lightest() -> None:
    slots, order, ends = Slots(2), list[str](), asyncio.Event()

    async def work(owner: str, weight: int) -> None:
        async with slots.one(owner, weight):
            order.append(f"{owner}{weight}")
            await (ends.wait() if weight == 9 else asyncio.sleep(0))

    tasks = [asyncio.create_task(work(*job)) for job in (("ann", 9), ("bob", 0), ("ann", 0), ("bob", 2), ("bob", 1))]
    await asyncio.wait(tasks[1:])
    assert order == ["ann9", "bob0", "bob1", "bob2", "ann0"]
    ends.set()
    await tasks[0]
    assert not slots.all_taken
    assert not slots._at_work
    assert not slots._turns


@leaping
async def test_who_waits_is_told_so_and_not_for_ever() -> None:
    provider, meter = Paced([100, "ok"]), Counts()
    guard = guarded(provider, meter=meter, at_once=1, wait=20)
    first = asks(guard, "ann")
    await settled()
    async with aclosing(guard.stream(HI)) as events:
        assert await anext(events) == StatusNote("scripted is asked by many at the moment; waiting for a turn")
        with pytest.raises(ProviderThrottled, match=r"asked by too many .* no turn in 20 seconds") as caught:
            await anext(events)
    assert (caught.value.at_work, caught.value.retry_after) == (False, 20)
    assert (now(), meter.queue, len(provider.requests)) == (20, 0, 1)
    assert await first == "ok"
    assert said(await collect(guard, HI)) == "ok", "its place is not taken"


@leaping
async def test_waiting_for_a_turn_is_not_waiting_for_the_first_token() -> None:
    guard = guarded(Paced([9, "ok"]), at_once=1, first_token=10)
    assert await asyncio.gather(*[asks(guard, "ann") for _ in range(3)]) == ["ok"] * 3


@leaping
async def test_closing_a_stream_frees_its_slot_at_once() -> None:
    provider = ScriptedProvider(["one", asyncio.Event()])
    guard = guarded(provider, at_once=1)
    async with aclosing(guard.stream(HI)) as events:
        await anext(events)
        waiting = guard.stream(HI)
        assert isinstance(await anext(waiting), StatusNote)
        begun = asyncio.create_task(anext(waiting))
        await settled()
        assert not begun.done()
    assert await begun == TextDelta("one")
    await waiting.aclose()
    assert not guard._slots.all_taken


@leaping
async def test_who_leaves_the_queue_leaves_nothing_in_it() -> None:
    provider, meter = Paced([10, "ok"]), Counts()
    guard = guarded(provider, meter=meter, at_once=1)
    first, leaves, stays = [asks(guard, "ann") for _ in range(3)]
    await settled()
    leaves.cancel()
    await asyncio.wait((leaves,))
    assert meter.queue == 1
    assert [await first, await stays] == ["ok", "ok"]
    assert len(provider.requests) == 2
    assert not guard._slots._at_work


@leaping
async def test_who_leaves_when_a_slot_becomes_free_does_not_take_it() -> None:
    guard = guarded(Paced(["one", 10], ["ok"]), at_once=1)
    holds = guard.stream(HI)
    await anext(holds)
    leaves, stays = asks(guard), asks(guard)
    await settled()
    leaves.cancel()
    await holds.aclose()
    assert await stays == "ok"
    assert not guard._slots.all_taken


@leaping
async def test_another_number_at_once_holds_from_now_on() -> None:
    provider = Paced([10, "ok"])
    guard = guarded(provider)
    tasks = [asks(guard, "ann") for _ in range(3)]
    await settled()
    guard.limit(replace(guard.limits, at_once=1))
    tasks += [asks(guard, "ann") for _ in range(4)]
    await settled()
    assert provider.open == 3
    await asyncio.wait(tasks[:3])
    await settled()
    assert provider.open == 1
    guard.limit(replace(guard.limits, at_once=None))
    await settled()
    assert provider.open == 4
    await asyncio.gather(*tasks)
