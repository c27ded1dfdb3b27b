"""The guard around a provider: how long it is waited for, and how often it is asked."""

from __future__ import annotations

import asyncio
import gc
from contextlib import aclosing, suppress
from typing import Any
from weakref import ref

import pytest

from backchat.domain.message import Text, Usage
from backchat.domain.run import StatusNote, TextDelta
from backchat.errors import (
    ProviderCredentials,
    ProviderError,
    ProviderRejected,
    ProviderThrottled,
    ProviderTimeout,
)
from backchat.ports.providers import Finish, ModelRequest, PromptMessage, ProviderEvent, UsageReport
from backchat.services.guarding import Guarded
from backchat.testing.provider import ScriptedProvider, collect, said
from guarded import DOWN, HI, Counts, Paced, guarded, now
from leaping import LeapingLoop, leaping

NOTE, REPORT = StatusNote("the model is being loaded"), UsageReport(Usage(7, 0))


async def heard(guard: Guarded, request: ModelRequest = HI) -> tuple[list[ProviderEvent], Exception | None]:
    """What a stream said, and how it failed."""
    events: list[ProviderEvent] = []
    async with aclosing(guard.stream(request)) as stream:
        try:
            async for event in stream:
                events.append(event)  # noqa: PERF401 - what came before the failure counts
        except ProviderError as error:
            return events, error
    return events, None


# ---- silence --------------------------------------------------------------------------------------------------------


@leaping
async def test_a_provider_that_does_not_begin_is_given_up() -> None:
    provider = Paced([1000, "late"])
    events, error = await heard(guarded(provider, first_token=30))
    assert (events, now()) == ([], 30)
    assert type(error) is ProviderTimeout
    assert error.at_work, "it may have read the prompt"
    assert str(error) == "the model service did not begin to answer within 30 seconds"
    assert (provider.open, provider.closed, len(provider.requests)) == (0, 1, 1)
    assert error.__context__ is None or error.__suppress_context__


@leaping
async def test_a_provider_that_falls_silent_is_given_up_and_what_it_said_stays() -> None:
    provider = Paced([25, "one", 9, "two", 1000, "late"])
    events, error = await heard(guarded(provider, first_token=30, between_tokens=10))
    assert (said(events), now()) == ("onetwo", 44)
    assert type(error) is ProviderTimeout
    assert str(error) == "the model service said nothing more for 10 seconds"
    assert (provider.open, provider.closed, len(provider.requests)) == (0, 1, 1)


@leaping
async def test_the_longer_wait_may_be_the_one_between_tokens() -> None:
    events, error = await heard(guarded(Paced([4, "one", 25, "two", 40]), first_token=5, between_tokens=30))
    assert (said(events), type(error), now()) == ("onetwo", ProviderTimeout, 59)


@leaping
async def test_notes_are_a_sign_of_life_and_no_beginning() -> None:
    provider = Paced([25, NOTE, 25, NOTE, 25, "one", 9, NOTE, 9, "two", 11])
    events, error = await heard(guarded(provider, first_token=30, between_tokens=10))
    assert (said(events), type(error), now()) == ("onetwo", ProviderTimeout, 103)
    events, error = await heard(guarded(Paced([25, NOTE, 31, "late"]), first_token=30, between_tokens=10))
    assert (events, type(error), now()) == ([NOTE], ProviderTimeout, 103 + 55)


@leaping
async def test_the_count_of_the_prompt_is_no_beginning_either() -> None:
    events, error = await heard(guarded(Paced([1, REPORT, 29, "one"]), first_token=30, between_tokens=10))
    assert (said(events), error) == ("one", None)


@leaping
async def test_whoever_reads_slowly_is_not_the_providers_fault() -> None:
    guard = guarded(Paced(["one", 9, "two", 9, "three"]), first_token=30, between_tokens=10)
    async with aclosing(guard.stream(HI)) as events:
        async for _ in events:
            await asyncio.sleep(1000)


@leaping
async def test_who_waits_may_change() -> None:
    guard = guarded(Paced(["one", 1000, "late"]), between_tokens=10)
    events = guard.stream(HI)
    await asyncio.create_task(anext(events))
    with pytest.raises(ProviderTimeout):
        await asyncio.create_task(anext(events))
    await events.aclose()
    assert now() == 10


@leaping
async def test_no_timer_is_set_for_each_event() -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, LeapingLoop)
    assert len(await collect(guarded(ScriptedProvider(["x"] * 10_000)), HI)) == 10_001
    assert loop.timers < 5


@leaping
async def test_no_timer_is_left() -> None:
    await collect(guarded(Paced([5, "one"])), HI)
    loop: Any = asyncio.get_running_loop()
    assert [timer for timer in loop._scheduled if not timer.cancelled()] == []


@leaping
async def test_somebody_elses_cancellation_stays_theirs() -> None:
    provider = Paced([1000], [1000], ["fine"])
    guard = guarded(provider, first_token=30)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(20):
            await collect(guard, HI)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(30):  # at the same moment
            await collect(guard, HI)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    assert said(await collect(guard, HI)) == "fine"


@leaping
async def test_after_a_timeout_a_task_can_be_cancelled_as_before() -> None:
    guard = guarded(Paced([1000]), first_token=30)
    _, error = await heard(guard)
    assert isinstance(error, ProviderTimeout)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await asyncio.sleep(2)


@leaping
async def test_a_cancellation_that_was_ignored_before_is_not_taken_for_another_one() -> None:
    async def stubborn() -> Exception | None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(1000)
        return (await heard(guarded(Paced([1000]), first_token=30)))[1]

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(1)
    task.cancel()
    assert type(await task) is ProviderTimeout


@leaping
async def test_a_provider_that_makes_something_else_of_a_cancellation_is_late_all_the_same() -> None:
    class Blames(ScriptedProvider):
        async def stream(self, request: ModelRequest) -> Any:
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                raise ProviderError("the connection broke") from None
            yield TextDelta("late")

    _, error = await heard(guarded(Blames(), first_token=30))
    assert type(error) is ProviderTimeout


@leaping
async def test_limits_that_change_hold_for_an_open_stream() -> None:
    guard = guarded(Paced(["one", 9, "two", 9, "three"]), between_tokens=10)
    async with aclosing(guard.stream(HI)) as events:
        assert await anext(events) == TextDelta("one")
        assert await anext(events) == TextDelta("two")
        guard.limit(type(guard.limits)(between_tokens=5))
        with pytest.raises(ProviderTimeout):
            await anext(events)


# ---- asking again ---------------------------------------------------------------------------------------------------


@leaping
async def test_a_failure_that_cost_nothing_is_asked_again() -> None:
    provider, meter = Paced([DOWN], [DOWN], ["fine"]), Counts()
    events, error = await heard(guarded(provider, meter=meter, retries=2))
    assert (said(events), error) == ("fine", None)
    assert provider.asked_at == [0, 0.25, 0.75], "ever longer pauses"
    assert provider.requests == [HI] * 3
    assert [e.text for e in events if isinstance(e, StatusNote)] == ["scripted failed; asking it again"] * 2
    assert meter.again == 2


@leaping
async def test_it_is_not_asked_more_often_than_allowed() -> None:
    for retries in (0, 3):
        provider = Paced([DOWN])
        _, error = await heard(guarded(provider, retries=retries))
        assert error is DOWN
        assert len(provider.requests) == retries + 1


@leaping
async def test_the_service_says_when_it_wants_to_be_asked_again() -> None:
    provider = Paced([ProviderThrottled("slow down", retry_after=7)], ["fine"])
    events, _ = await heard(guarded(provider))
    assert said(events) == "fine"
    assert provider.asked_at == [0, 7.25]


@pytest.mark.parametrize(
    "error",
    [
        ProviderThrottled("slow down", retry_after=60),
        ProviderThrottled("no credit left"),
        ProviderError("down for a while", retry_after=3600, at_work=False),
        ProviderRejected("no such model"),
        ProviderCredentials("wrong key"),
        ProviderError("the connection broke"),
        ProviderTimeout("nothing came"),
    ],
    ids=lambda error: f"{type(error).__name__} {error}",
)
def test_what_is_hopeless_or_may_have_cost_something_is_not_asked_again(error: ProviderError) -> None:
    @leaping
    async def run() -> None:
        provider = Paced([error], ["never"])
        events, failed = await heard(guarded(provider))
        assert (events, failed, len(provider.requests)) == ([], error, 1)

    run()


@pytest.mark.parametrize("first", ["a", REPORT, Finish("stop")], ids=["text", "usage", "end"])
def test_nothing_is_asked_again_once_anything_of_the_answer_came(first: Any) -> None:
    @leaping
    async def run() -> None:
        provider = Paced([NOTE, first, DOWN], ["never"])
        events, error = await heard(guarded(provider))
        assert (len(events), error, len(provider.requests)) == (2, DOWN, 1)

    run()


@leaping
async def test_notes_do_not_keep_it_from_being_asked_again() -> None:
    events, error = await heard(guarded(Paced([NOTE, DOWN], ["fine"])))
    assert (said(events), error) == ("fine", None)


@leaping
async def test_the_pause_is_somewhere_in_its_upper_half() -> None:
    asked: list[tuple[float, float]] = []

    def spread(low: float, high: float) -> float:
        asked.append((low, high))
        return high

    provider = Paced([DOWN])
    guard = guarded(provider, retries=6, failures=100)
    guard._spread = spread
    await heard(guard)
    assert asked == [(0.25, 0.5), (0.5, 1), (1, 2), (2, 4), (4, 8), (5, 10)]


@leaping
async def test_a_pause_can_be_cancelled_and_keeps_no_slot() -> None:
    guard = guarded(Paced([DOWN], ["fine"]), at_once=1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await collect(guard, HI)
    assert said(await collect(guard, HI)) == "fine"
    assert now() == 0.1


# ---- what is held, and what passes ----------------------------------------------------------------------------------


@leaping
async def test_the_prompt_is_not_held_while_the_answer_streams() -> None:
    class Heavy(str):
        pass

    class Forgets(ScriptedProvider):
        async def stream(self, request: ModelRequest) -> Any:
            del request
            yield TextDelta("one")
            yield TextDelta("two")

    text = Heavy("heavy")
    alive = ref(text)
    async with aclosing(
        guarded(Forgets()).stream(ModelRequest(messages=[PromptMessage("user", (Text(text),))]))
    ) as events:
        await anext(events)
        del text
        gc.collect()
        assert alive() is None


@leaping
async def test_closing_a_stream_closes_the_providers() -> None:
    provider = ScriptedProvider(["one", "two"])
    async with aclosing(guarded(provider).stream(HI)) as events:
        await anext(events)
        assert provider.open == 1
    assert (provider.open, provider.closed) == (0, 1)


@leaping
async def test_what_a_provider_is_shows_through() -> None:
    provider = ScriptedProvider(model="m-7", listed=["m-7", "m-8"])
    guard = guarded(provider)
    assert (guard.model, guard.abilities, await guard.models()) == ("m-7", provider.abilities, ["m-7", "m-8"])
