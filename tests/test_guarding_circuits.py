"""Circuits: a provider that fails again and again is left alone for a while."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from backchat.domain.message import Usage
from backchat.domain.run import TextDelta
from backchat.errors import (
    ProviderCredentials,
    ProviderError,
    ProviderRejected,
    ProviderThrottled,
    ProviderTimeout,
)
from backchat.ports.providers import ModelRequest, ProviderEvent, UsageReport
from backchat.services.circuits import MOST_FAILING
from backchat.testing.provider import ScriptedProvider, collect, said
from guarded import DOWN, HI, Counts, asks, broken, failure, guarded, now, settled
from leaping import leaping


@leaping
async def test_a_provider_that_fails_again_and_again_is_left_alone_then_tried_by_one() -> None:
    meter = Counts()
    provider, guard = broken([DOWN], [DOWN], [DOWN], [10, "back"], ["fine"], meter=meter)
    with capture_logs() as lines:
        for _ in range(3):
            assert await failure(guard) is DOWN
        assert meter.circuits == [True]
        await asyncio.sleep(10.5)
        refused = await failure(guard)
        assert (refused.at_work, refused.retry_after, type(refused)) == (False, 20, ProviderError)
        assert str(refused) == "scripted has failed again and again with scripted-1, and is left alone for a while"
        assert len(provider.requests) == 3, "it was not asked"

        await asyncio.sleep(19.5)
        tries = asks(guard, "ann")
        await settled()
        assert (await failure(guard)).retry_after == 1, "one is enough to find out"
        assert len(provider.requests) == 4
        assert await tries == "back"
        assert said(await collect(guard, HI)) == "fine"
    assert meter.circuits == [True, False]
    assert [line for line in lines if line["event"].startswith("provider.circuit")] == [
        {
            "event": "provider.circuit_opened",
            "log_level": "warning",
            "source": "backchat.services.circuits",
            "provider": "scripted",
            "model": "scripted-1",
            "code": "provider_error",
            "failures": 3,
            "seconds": 30,
        },
        {
            "event": "provider.circuit_closed",
            "log_level": "info",
            "source": "backchat.services.circuits",
            "provider": "scripted",
            "model": "scripted-1",
        },
    ]


@leaping
async def test_a_trial_that_fails_is_the_next_pause() -> None:
    provider, guard = broken([DOWN], [DOWN], [DOWN], [5, DOWN], ["fine"], failures=3)
    for _ in range(3):
        await failure(guard)
    await asyncio.sleep(30)
    assert await failure(guard) is DOWN
    assert (await failure(guard)).retry_after == 30
    await asyncio.sleep(30)
    assert said(await collect(guard, HI)) == "fine"
    assert len(provider.requests) == 5


@leaping
async def test_a_trial_that_is_given_up_leaves_the_trial_to_the_next_one() -> None:
    _, guard = broken([DOWN], [DOWN], [DOWN], [1000], ["fine"])
    for _ in range(3):
        await failure(guard)
    await asyncio.sleep(30)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await collect(guard, HI)
    assert said(await collect(guard, HI)) == "fine"


@leaping
async def test_others_go_on_with_the_first_that_a_trial_hears() -> None:
    _, guard = broken([DOWN], [DOWN], [DOWN], ["on", 100, "e"], ["two"])
    for _ in range(3):
        await failure(guard)
    await asyncio.sleep(30)
    async with aclosing(guard.stream(HI)) as events:
        assert await anext(events) == TextDelta("on")
        assert said(await collect(guard, HI)) == "two"


@leaping
async def test_a_trial_that_is_heard_and_breaks_off_is_one_failure() -> None:
    _, guard = broken([DOWN], [DOWN], [DOWN], ["ha", ProviderError("the connection broke")], ["fine"])
    for _ in range(3):
        await failure(guard)
    await asyncio.sleep(30)
    await failure(guard)
    assert said(await collect(guard, HI)) == "fine"


@leaping
async def test_a_service_may_ask_for_a_longer_pause() -> None:
    for asked, pause in ((90, 90), (10, 30), (86_400, 600)):
        _, guard = broken([ProviderThrottled("no credit", retry_after=asked)], failures=1, pause=30)
        await failure(guard)
        expected = pause if asked > 10 else None  # one that asks for a moment is there
        assert (await failure(guard)).retry_after == (expected if expected else asked)


@pytest.mark.parametrize(
    ("error", "counts"),
    [
        (DOWN, True),
        (ProviderError("the connection broke"), True),
        (ProviderTimeout("nothing came"), True),
        (ProviderThrottled("no credit left"), True),
        (ProviderThrottled("slow down", retry_after=2), False),
        (ProviderRejected("no such model"), False),
        (ProviderCredentials("wrong key"), False),
    ],
    ids=lambda value: str(value),
)
def test_what_counts_as_a_failure_of_the_service(error: ProviderError, counts: bool) -> None:
    @leaping
    async def run() -> None:
        _, guard = broken([DOWN], [error], ["never"], failures=2)
        await failure(guard)
        assert await failure(guard) is error
        if counts:
            assert (await failure(guard)).retry_after == 30
        else:
            assert said(await collect(guard, HI)) == "never"

    run()


@pytest.mark.parametrize("between", [["fine"], [ProviderRejected("no such model")]], ids=["answered", "rejected"])
def test_only_failures_in_a_row_count(between: Any) -> None:
    @leaping
    async def run() -> None:
        _, guard = broken([DOWN], [DOWN], between, [DOWN], [DOWN], ["fine"])
        for _ in range(5):
            with suppress(ProviderError):
                await collect(guard, HI)
        assert said(await collect(guard, HI)) == "fine"

    run()


@leaping
async def test_answers_that_break_off_count_too() -> None:
    _, guard = broken(["half", ProviderError("the connection broke")], [UsageReport(Usage(1)), DOWN], failures=2)
    for _ in range(2):
        await failure(guard)
    assert (await failure(guard)).retry_after == 30


@leaping
async def test_a_call_that_fails_is_one_failure_however_often_it_was_made() -> None:
    provider, guard = broken([DOWN], retries=5, failures=2)
    assert await failure(guard) is DOWN
    assert await failure(guard) is DOWN, "not that the circuit is open, which helps nobody"
    assert len(provider.requests) == 12
    assert (await failure(guard)).retry_after == 30
    assert len(provider.requests) == 12


@leaping
async def test_a_call_that_is_answered_in_the_end_is_no_failure() -> None:
    _, guard = broken([DOWN], ["fine"], [DOWN], [DOWN], ["fine"], retries=1, failures=2)
    assert said(await collect(guard, HI)) == "fine"
    await failure(guard)
    assert said(await collect(guard, HI)) == "fine"


@leaping
async def test_no_attempt_is_made_on_a_circuit_that_others_have_opened() -> None:
    provider, guard = broken([1, DOWN], [DOWN], retries=1, failures=1)
    first = asks(guard, "ann")
    await settled()
    await failure(guard)
    assert len(provider.requests) == 3
    with pytest.raises(ProviderError) as caught:
        await first
    assert caught.value is DOWN
    assert (now(), len(provider.requests)) == (1, 3)
    await asyncio.sleep(28)
    assert (await failure(guard)).retry_after == 2, "the other one's failure did not lengthen the pause"


class Picky(ScriptedProvider):
    """One of its models is broken."""

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ProviderEvent, None]:
        if request.model == "broken":
            raise DOWN
        async with aclosing(super().stream(request)) as events:
            async for event in events:
                yield event


@leaping
async def test_a_model_that_is_broken_says_nothing_of_the_others() -> None:
    meter = Counts()
    guard = guarded(Picky(["fine"]), meter=meter, retries=0, failures=2)
    for model in ("broken", "broken"):
        with pytest.raises(ProviderError) as caught:
            await collect(guard, replace(HI, model=model))
        assert caught.value is DOWN
    with pytest.raises(ProviderError, match="scripted has failed again and again with broken, and is left alone"):
        await collect(guard, replace(HI, model="broken"))
    assert said(await collect(guard, HI)) == "fine"
    assert said(await collect(guard, replace(HI, model="other"))) == "fine"
    assert meter.circuits == [True]
    guard.withdraw()
    assert meter.circuits == [True, False]


@leaping
async def test_the_model_that_is_meant_is_the_same_named_or_not() -> None:
    _, guard = broken([DOWN], failures=2)
    await failure(guard)
    with pytest.raises(ProviderError):
        await collect(guard, replace(HI, model="scripted-1"))
    assert (await failure(guard)).retry_after == 30


@leaping
async def test_an_open_circuit_is_told_once_for_all_models() -> None:
    meter = Counts()
    provider, guard = broken([DOWN], [DOWN], ["a"], ["b"], failures=1, meter=meter)
    for model in ("one", "two"):
        with pytest.raises(ProviderError):
            await collect(guard, replace(HI, model=model))
    assert meter.circuits == [True]
    await asyncio.sleep(31)
    assert said(await collect(guard, replace(HI, model="one"))) == "a"
    assert meter.circuits == [True]
    assert said(await collect(guard, replace(HI, model="two"))) == "b"
    assert meter.circuits == [True, False]
    assert len(provider.requests) == 4


@leaping
async def test_failures_of_made_up_models_do_not_pile_up() -> None:
    _, guard = broken([DOWN], failures=2)
    for n in range(MOST_FAILING + 10):
        with pytest.raises(ProviderError):
            await collect(guard, replace(HI, model=f"made-up-{n}"))
    assert guard._service is not None
    assert len(guard._service.circuits._failing) == MOST_FAILING

    _, guard = broken(["fine"])
    for n in range(10):
        await collect(guard, replace(HI, model=f"made-up-{n}"))
    gc.collect()
    assert guard._service is not None
    assert (len(guard._service.circuits._failing), len(guard._service.circuits._used)) == (0, 0)


@leaping
async def test_whoever_waits_for_a_turn_is_refused_once_the_circuit_is_open() -> None:
    provider, guard = broken([5, DOWN], at_once=1, failures=2)
    tasks = [asks(guard, "ann") for _ in range(5)]
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(end) for end in ends[:2]] == [str(DOWN)] * 2
    assert {str(end) for end in ends[2:]} == {
        "scripted has failed again and again with scripted-1, and is left alone for a while"
    }
    assert (now(), len(provider.requests)) == (10, 2)


@leaping
async def test_who_began_before_closes_the_circuit_but_does_not_open_it_again() -> None:
    _, guard = broken([35, DOWN], [20, "late"], [DOWN], [DOWN], [DOWN], ["fine"], [DOWN], [DOWN], ["fine"])
    fails, late = asks(guard, "ann"), asks(guard, "bob")
    await settled()
    for _ in range(3):
        await failure(guard)
    assert await late == "late"
    assert said(await collect(guard, HI)) == "fine"
    await failure(guard)
    await failure(guard)
    await asyncio.wait((fails,))
    assert now() == 35
    assert (await failure(guard)).retry_after == 30, "the third in a row"


@leaping
async def test_a_late_failure_does_not_lengthen_the_pause() -> None:
    _, guard = broken([35, DOWN], [DOWN], [DOWN], [DOWN], ["fine"])
    fails = asks(guard, "ann")
    await settled()
    for _ in range(3):
        await failure(guard)
    await asyncio.wait((fails,))
    assert said(await collect(guard, HI)) == "fine"


@leaping
async def test_nobody_queues_for_a_provider_that_is_left_alone() -> None:
    _, guard = broken(["long", 100], [DOWN], at_once=2, failures=1)
    async with aclosing(guard.stream(HI)) as events:
        await anext(events)
        await failure(guard)
        guard.limit(replace(guard.limits, at_once=1))
        assert (await failure(guard)).retry_after == 30
        assert now() == 0
