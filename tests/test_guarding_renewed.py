"""Another provider under the same name."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from backchat.domain.run import StatusNote
from backchat.errors import (
    ProviderError,
)
from backchat.testing.provider import ScriptedProvider, collect, said
from guarded import DOWN, HI, Counts, Paced, asks, broken, failure, guarded, settled
from leaping import leaping


@leaping
async def test_streams_end_with_the_provider_they_began_with() -> None:
    old, new, over = Paced(["o", 10, "ld"]), ScriptedProvider(["new"], model="m-2"), asyncio.Event()
    guard = guarded(ScriptedProvider())
    guard.serve(old, over)
    async with aclosing(guard.stream(HI)) as first, aclosing(guard.stream(HI)) as second:
        await anext(first)
        await anext(second)
        guard.serve(new, asyncio.Event())
        assert guard.model == "m-2"
        assert said(await collect(guard, HI)) == "new"
        assert said([event async for event in first]) == "ld"
        assert not over.is_set()
        assert said([event async for event in second]) == "ld"
        assert over.is_set()


@leaping
async def test_what_nobody_uses_is_over_at_once_and_lists_are_a_use() -> None:
    over, wait = asyncio.Event(), asyncio.Event()
    guard = guarded(ScriptedProvider())
    guard.serve(ScriptedProvider(listed=[wait, "m"]), over)
    listing = asyncio.create_task(guard.models())
    await settled()
    guard.withdraw()
    assert not over.is_set()
    wait.set()
    assert await listing == ["m"]
    assert over.is_set()
    idle = asyncio.Event()
    guard.serve(ScriptedProvider(), idle)
    guard.withdraw()
    assert idle.is_set()


@leaping
async def test_a_new_provider_has_a_new_circuit_and_the_old_ones_failures_are_its_own() -> None:
    meter = Counts()
    _, guard = broken([10, DOWN], failures=1, meter=meter)
    late = asks(guard)
    await settled()
    guard.serve(ScriptedProvider(["fine"]), asyncio.Event())
    with pytest.raises(ProviderError):
        await late
    assert meter.circuits == []
    assert said(await collect(guard, HI)) == "fine"
    _, guard = broken([DOWN], failures=1, meter=meter)
    await failure(guard)
    guard.serve(ScriptedProvider(["fine"]), asyncio.Event())
    assert meter.circuits == [True, False]
    assert said(await collect(guard, HI)) == "fine"


@leaping
async def test_an_attempt_after_the_first_goes_to_whoever_is_there_by_then() -> None:
    guard = guarded(ScriptedProvider([DOWN]))
    async with aclosing(guard.stream(HI)) as events:
        assert isinstance(await anext(events), StatusNote)
        guard.serve(ScriptedProvider(["new"]), asyncio.Event())
        assert said([event async for event in events]) == "new"


@leaping
async def test_one_that_was_taken_out_answers_no_more() -> None:
    guard = guarded(ScriptedProvider(model="m-1"))
    guard.withdraw()
    error = await failure(guard)
    assert (str(error), error.at_work) == ("the provider scripted is no longer configured on this server", False)
    assert guard.model == "m-1"
