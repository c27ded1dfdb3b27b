"""Calls that nobody waits for: they come behind all others, and give way to them."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest

from backchat.domain.run import StatusNote, TextDelta
from backchat.errors import GaveWay, ProviderError
from backchat.ports.providers import ModelRequest
from backchat.services.guarding import Guarded
from backchat.testing.provider import ScriptedProvider, collect, said
from guarded import DOWN, HI, Counts, Paced, asks, guarded, now, settled
from leaping import leaping

QUIET = replace(HI, background=True)


def notes(guard: Guarded, caller: str = "ann") -> asyncio.Task[str]:
    """Something is asked in the background, and gets a text."""

    async def ask() -> str:
        return said(await collect(guard, replace(QUIET, caller=caller)))

    return asyncio.create_task(ask())


@leaping
async def test_the_last_slot_is_for_replies() -> None:
    provider = Paced([10, "ok"])
    guard = guarded(provider, at_once=3)
    quiet = [notes(guard, who) for who in ("ann", "bob", "cat")]
    await settled()
    assert provider.open == 2
    reply = asks(guard)
    await settled()
    assert provider.open == 3, "it did not wait"
    await asyncio.gather(reply, *quiet)
    assert provider.asked_at == [0, 0, 0, 10]


@leaping
async def test_replies_go_first() -> None:
    provider = Paced([10, "ok"])
    guard = guarded(provider, at_once=2)
    first = [asks(guard), asks(guard)]
    await settled()
    quiet = notes(guard, "bob")
    await settled()
    replies = [asks(guard), asks(guard), asks(guard)]
    await asyncio.gather(*first, *replies, quiet)
    assert [r.background for r in provider.requests] == [False] * 5 + [True]
    assert provider.asked_at == [0, 0, 10, 10, 20, 30], "and the last slot stayed free for as long"


@leaping
async def test_who_comes_when_a_reply_waits_waits_too() -> None:
    provider = Paced([10, "ok"])
    guard = guarded(provider, at_once=1)
    tasks = [asks(guard), asks(guard)]
    await settled()
    async with aclosing(guard.stream(QUIET)) as events:
        assert isinstance(await anext(events), StatusNote)
        assert await anext(events) == TextDelta("ok")
    assert (now(), [r.background for r in provider.requests]) == (30, [False, False, True])
    await asyncio.gather(*tasks)


@leaping
async def test_it_waits_for_as_long_as_others_are_there() -> None:
    provider, meter = Paced([100, "ok"]), Counts()
    guard = guarded(provider, meter=meter, at_once=1, wait=20)
    reply = asks(guard)
    await settled()
    quiet = notes(guard)
    await settled()
    assert meter.queue == 1
    assert [await reply, await quiet, now()] == ["ok", "ok", 200]


@leaping
async def test_the_only_slot_is_given_to_a_reply_at_once() -> None:
    provider = Paced(["so", 1000, "late"], [10, "reply"], ["again"])
    guard = guarded(provider, at_once=1, wait=20, failures=1)
    quiet = notes(guard)
    await asyncio.sleep(3)
    reply = asks(guard)
    with pytest.raises(GaveWay) as caught:
        await quiet
    assert caught.value.at_work
    assert (now(), provider.open) == (3, 1)
    assert await reply == "reply"
    assert now() == 13
    assert await notes(guard) == "again", "it was no failure of the service, and the slot is free"


@leaping
async def test_one_that_gives_way_is_enough() -> None:
    provider = Paced([1000, "late"], [1000, "late"], [10, "reply"])
    guard = guarded(provider, at_once=3)
    quiet = [notes(guard, who) for who in ("ann", "bob")]
    await settled()
    guard.limit(replace(guard.limits, at_once=2))
    replies = [asks(guard), asks(guard)]
    await asyncio.sleep(1)
    assert [task.done() for task in quiet] == [False, True], "the one that began last"
    assert await asyncio.gather(*replies) == ["reply"] * 2
    assert 20 <= now() < 20.1
    quiet[0].cancel()


@leaping
async def test_one_whose_turn_has_just_come_gives_way_before_it_is_made() -> None:
    provider = Paced(["one", 10], ["reply"])
    guard = guarded(provider, at_once=1)
    holds, replies = guard.stream(HI), guard.stream(HI)
    await anext(holds)
    quiet = notes(guard)
    await settled()
    await holds.aclose()  # its turn has come, and it does not know it yet
    assert isinstance(await anext(replies), StatusNote)
    assert said([event async for event in replies]) == "reply"
    with pytest.raises(GaveWay) as caught:
        await quiet
    assert (caught.value.at_work, len(provider.requests)) == (False, 2)


@leaping
async def test_one_whose_reader_is_busy_gives_way_when_it_comes_back() -> None:
    provider = Paced(["one", 1000], ["reply"])
    guard = guarded(provider, at_once=1)
    async with aclosing(guard.stream(QUIET)) as events:
        await anext(events)
        reply = asks(guard)
        await asyncio.sleep(5)
        with pytest.raises(GaveWay):
            await anext(events)
        assert now() < 5.1
    assert await reply == "reply"


@leaping
async def test_it_holds_no_slot_while_it_pauses() -> None:
    provider = Paced([DOWN], ["reply", 100], ["fine"])
    guard = guarded(provider, at_once=1)
    quiet = notes(guard)
    await settled()
    reply = asks(guard)
    await settled()
    assert provider.open == 1
    assert [await reply, await quiet] == ["reply", "fine"]
    assert provider.asked_at == [0, 0, 100]
    assert not guard._slots.all_taken


# ---- what waits on this side ----------------------------------------------------------------------------------------


def heard() -> tuple[ModelRequest, list[tuple[bool, float]]]:
    """A request, and what it is told and when."""
    told: list[tuple[bool, float]] = []
    return replace(HI, waits=lambda waits: told.append((waits, now()))), told


@leaping
async def test_whoever_asks_is_told_when_it_waits_and_when_it_is_made() -> None:
    guard = guarded(Paced([10, "ok"], [DOWN], ["fine"]), at_once=1)
    first = asks(guard)
    await settled()
    request, told = heard()
    assert said(await collect(guard, request)) == "fine"
    assert told == [(True, 0), (False, 10), (True, 10), (False, 10.25)]
    await first


@leaping
async def test_a_request_that_does_not_wait_is_made_at_once() -> None:
    request, told = heard()
    assert said(await collect(guarded(ScriptedProvider(["fine"])), request)) == "fine"
    assert told == [(False, 0)]


@leaping
async def test_one_that_never_gets_its_turn_is_told_of_none() -> None:
    guard = guarded(Paced([100, "ok"]), at_once=1, wait=5)
    first = asks(guard)
    await settled()
    request, told = heard()
    with pytest.raises(ProviderError):
        await collect(guard, request)
    assert told == [(True, 0)]
    await first
