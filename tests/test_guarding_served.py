"""Guards as a server has them: what its users see of a provider that fails, is full, or is left alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from backchat.domain.identity import Identity
from backchat.domain.message import Usage
from backchat.domain.run import StatusNote
from backchat.errors import ProviderError, ProviderThrottled
from backchat.ports.providers import UsageReport
from backchat.services.saying import Say
from backchat.services.usage_records import usage_between
from backchat.testing.plugin import Serve
from backchat.testing.provider import ScriptedProvider
from backchat.testing.server import Box

pytestmark = pytest.mark.any_storage
ANN = Identity(user="ann")
DOWN = ProviderError("the model service failed (status 503)", at_work=False)
BROKE = ProviderError("the connection broke")
REPORT = UsageReport(Usage(7, 3))


async def two(serve: Serve, first: ScriptedProvider, **limits: Any) -> tuple[Box, ScriptedProvider]:
    """A server that asks the first, and then a second one, which answers."""
    second = ScriptedProvider(["fine", REPORT], name="second", model="m-2")
    providers = {"one": {"use": first.name, "limits": limits}, "two": {"use": "second"}}
    box = await serve({"providers": providers, "fallback": ["two"], "dialects": ["chat"]}, [first, second])
    return box, second


async def reply(box: Box, **more: Any) -> tuple[Any, list[str]]:
    """The answer, and the notes that came before it."""
    run = await box.services.turns.say(ANN, Say(text="hi", **more))
    notes = [
        event.text
        async for batch in box.services.runs.follow(ANN, run.id)
        for _, event in batch
        if isinstance(event, StatusNote)
    ]
    return (await box.services.conversations.transcript(ANN, run.conversation, limit=9))[-1], notes


async def booked(box: Box) -> list[tuple[str, int, int, bool]]:
    store = box.services.runs.store
    return [(u.provider, u.usage.input_tokens, u.usage.output_tokens, u.estimated) async for u in usage_between(store)]


async def test_whoever_is_asked_in_vain_is_told_and_the_next_one_answers(serve: Serve) -> None:
    first = ScriptedProvider([DOWN], name="first")
    box, second = await two(serve, first, retries=1, failures=1)
    answer, notes = await reply(box)
    assert (answer.text, answer.provider, answer.model, answer.status) == ("fine", "two", "m-2", "complete")
    assert answer.metadata["tried"] == [{"provider": "one", "code": "provider_error"}]
    assert notes == ["one failed; asking it again", "one does not answer; asking two"]
    assert len(first.requests) == 2
    assert await booked(box) == [("two", 7, 3, False)]

    answer, notes = await reply(box)
    assert (answer.text, answer.metadata["tried"]) == ("fine", [{"provider": "one", "code": "provider_error"}])
    assert notes == ["one does not answer; asking two"]
    assert len(first.requests) == 2, "its circuit is open"
    assert len(second.requests) == 2
    async with box.client.get("/metrics") as response:
        shown = await response.text()
    assert 'backchat_provider_retries_total{provider="one"} 1.0' in shown
    assert 'backchat_provider_circuits_open{provider="one"} 1.0' in shown


async def test_what_may_have_cost_something_is_booked_on_who_was_asked(serve: Serve) -> None:
    box, _ = await two(serve, ScriptedProvider([BROKE], name="first"))
    answer, _ = await reply(box)
    assert (answer.text, answer.metadata["tried"]) == ("fine", [{"provider": "one", "code": "provider_error"}])
    assert sorted(await booked(box)) == [("one", 1, 0, True), ("two", 7, 3, False)]


async def test_the_next_one_is_asked_when_the_queue_is_full(serve: Serve) -> None:
    gate = asyncio.Event()
    first = ScriptedProvider(["slow", gate], name="first")
    box, second = await two(serve, first, at_once=1, wait=0.05)
    slow = await box.services.turns.say(ANN, Say(text="hi"))
    await anext(box.services.runs.follow(ANN, slow.id))
    answer, notes = await reply(box)
    assert (answer.text, answer.metadata["tried"]) == ("fine", [{"provider": "one", "code": "provider_rate_limited"}])
    assert notes == ["one is asked by many at the moment; waiting for a turn", "one does not answer; asking two"]
    gate.set()
    _, whole = await box.services.runs.result(ANN, slow.id)
    assert whole is not None
    assert whole.text == "slow"
    assert [len(p.requests) for p in (first, second)] == [1, 1]


async def test_turns_are_by_user(serve: Serve) -> None:
    first = ScriptedProvider(name="first")
    box, _ = await two(serve, first)
    await reply(box)
    assert first.requests[0].caller == "ann"


async def test_a_reply_that_is_cancelled_gives_its_place_back(serve: Serve) -> None:
    first = ScriptedProvider(["slow", asyncio.Event()], ["quick"], name="first")
    box, _ = await two(serve, first, at_once=1, wait=30)
    slow = await box.services.turns.say(ANN, Say(text="hi"))
    await anext(box.services.runs.follow(ANN, slow.id))
    await box.services.runs.cancel(ANN, slow.id)
    assert (await reply(box))[0].text == "quick"
    assert (first.open, first.closed) == (0, 1)


async def test_nothing_is_booked_of_a_reply_that_never_had_its_turn(serve: Serve) -> None:
    first = ScriptedProvider(["slow", asyncio.Event()], name="first")
    box, _ = await two(serve, first, at_once=1, wait=30)
    slow = await box.services.turns.say(ANN, Say(text="hi"))
    await anext(box.services.runs.follow(ANN, slow.id))
    queued = await box.services.turns.say(ANN, Say(text="w" * 4000))
    events = box.services.runs.follow(ANN, queued.id)
    assert any(isinstance(event, StatusNote) for _, event in await anext(events))
    await box.services.runs.cancel(ANN, queued.id)
    assert (len(first.requests), await booked(box)) == (1, [])


async def test_a_client_is_told_when_to_come_again(serve: Serve) -> None:
    first = ScriptedProvider([ProviderThrottled("no credit left", retry_after=90)], name="first")
    providers = {"one": {"use": "first", "limits": {"failures": 1}}}
    box = await serve({"providers": providers, "dialects": ["chat"]}, [first])
    headers = await box.key()
    for detail in ("no credit left", "one has failed again and again with scripted-1, and is left alone for a while"):
        async with box.client.post("/api/chat", json={"text": "hi"}, headers=headers) as response:
            assert (response.status, await response.json()) == (502, {"detail": detail})
            assert int(response.headers["Retry-After"]) in (89, 90)
    assert len(first.requests) == 1
