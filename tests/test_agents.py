"""Replies that agents make: what reaches the log, what is stored and booked, and what of their errors is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from backchat.domain.message import Text, ToolCall, ToolResult, Usage
from backchat.domain.run import CallEnded, TextDelta, ToolCalled, ToolReturned
from backchat.domain.usage import Credits, Price
from backchat.errors import (
    BackchatError,
    Cancelled,
    InsufficientCredits,
    Internal,
    InvalidInput,
    NotConfigured,
    ProviderError,
    ProviderThrottled,
    ProviderTimeout,
)
from backchat.ports.agents import Agent, AgentTurn
from backchat.ports.providers import Abilities, Finish, ImageData, PromptMessage, UsageReport
from backchat.ports.storage import Change
from backchat.services.runstate import run_put
from backchat.services.stored import conversation_put
from backchat.testing.agent import AgentContract
from backchat.testing.provider import ScriptedProvider, Step
from backchat.testing.tool import ScriptedTool
from nodes import ANN, SlowStore, node
from tools_made import LOOK, call, shape, tell


class Plain:
    """Lets the model call tools until it calls none."""

    async def answer(self, turn: AgentTurn) -> None:
        messages = list(turn.messages)
        while True:
            async with aclosing(turn.ask(messages)) as events:
                heard = [event async for event in events]
            calls = [e for e in heard if isinstance(e, ToolCall)]
            if not calls:
                return
            text = "".join([e.text for e in heard if isinstance(e, TextDelta)])
            messages.append(PromptMessage("assistant", (*([Text(text)] if text else []), *calls)))
            messages += [PromptMessage("tool", (await turn.call(c),)) for c in calls]


class Made:
    """An agent that is a function."""

    def __init__(self, work: Callable[[AgentTurn], Awaitable[None]]) -> None:
        self.answer = work


class TestPlain(AgentContract):
    @pytest.fixture
    def agent(self) -> object:
        return Plain()


@pytest.fixture
async def store() -> SlowStore:
    return SlowStore()


async def ask(turn: AgentTurn, *messages: PromptMessage) -> list[object]:
    async with aclosing(turn.ask(messages or turn.messages)) as events:
        return [event async for event in events]


async def test_an_agent_goes_the_way_of_the_built_in_loop(store: SlowStore) -> None:
    """Same events, messages and usage, whoever makes the reply."""
    turns: list[list[Step]] = [
        ["One. ", call("c1", "look", "a"), call("c2", "look", "b"), UsageReport(Usage(1, 1)), Finish("tool_calls")],
        [ToolCall("c3", "look", '{"what": ["x"]}'), UsageReport(Usage(2, 2))],
        [call("c1", "look", "c"), UsageReport(Usage(3, 3))],
        ["Done.", UsageReport(Usage(4, 4)), Finish("stop")],
    ]
    logs, stored, requests, booked = [], [], [], []
    for agent in ("none", "plain"):
        provider = ScriptedProvider(["hi"], *turns)
        one_store = SlowStore()
        async with node(one_store, provider, tools=[ScriptedTool("look", tell)], agents={"plain": Plain()}) as one:
            id = await one.begun(agent=agent, system="Be brief.")
            run = await one.say("go", conversation=id)
            ended, _ = await one.runs.result(ANN, run.id)
            logs.append([e for _, e in await one.read(run)][:-1])
            whole = await one.conversations.whole(ANN, id)
            stored.append([(m.role, m.parts, m.status, m.usage, m.model) for m in whole])
            requests.append(provider.requests[1:])
            booked.append([(u.usage, u.estimated, u.purpose) for u in await one.booked() if u.payer.run == run.id])
            assert (ended.usage, whole[-1].id) == (Usage(10, 10), run.answer)
    returned = [{e for e in log if isinstance(e, ToolReturned)} for log in logs]
    assert returned[0] == returned[1]
    assert [[e for e in log if not isinstance(e, ToolReturned)] for log in logs][1:] == [
        [e for e in logs[0] if not isinstance(e, ToolReturned)]
    ]
    assert stored[0] == stored[1]
    assert booked[0] == booked[1]
    assert [r.system for r in requests[1]] == ["Be brief."] * 4
    assert shape(requests[0][3].messages)[:6] == shape(requests[1][3].messages)[:6]


Failing = Callable[[AgentTurn], Awaitable[None]]


async def _wraps(turn: AgentTurn) -> None:
    try:
        await ask(turn)
    except BackchatError as error:
        raise RuntimeError("graph failed") from error


async def _hides(turn: AgentTurn) -> None:
    with suppress(Exception):
        await ask(turn)


@pytest.mark.parametrize("work", [_wraps, _hides])
async def test_what_the_model_failed_with_is_what_the_run_fails_with(store: SlowStore, work: Failing) -> None:
    provider = ScriptedProvider(["hi"], ["half", ProviderThrottled("slow down")])
    async with node(store, provider, agents={"made": Made(work)}) as one:
        id = await one.begun(agent="made")
        run = await one.say("go", conversation=id)
        with pytest.raises(ProviderThrottled, match="slow down"):
            await one.runs.result(ANN, run.id)
        last = (await one.conversations.whole(ANN, id))[-1]
        assert (last.text, last.status) == ("half", "failed")


async def test_an_agent_may_ask_again_after_a_failure(store: SlowStore) -> None:
    async def again(turn: AgentTurn) -> None:
        with suppress(ProviderError):
            await ask(turn)
        await ask(turn)

    provider = ScriptedProvider(["hi"], ["half", ProviderError("cut")], ["whole", UsageReport(Usage(7, 7))])
    async with node(store, provider, agents={"made": Made(again)}) as one:
        id = await one.begun(agent="made")
        run = await one.say("go!", conversation=id)
        ended, answer = await one.runs.result(ANN, run.id)
        assert answer is not None
        assert (ended.status, answer.text) == ("completed", "whole")
        assert [m.text for m in await one.conversations.whole(ANN, id)][2:] == ["go!", "half", "whole"]
        booked = [u for u in await one.booked() if u.payer.run == run.id]
    assert [(u.usage, u.estimated) for u in booked] == [(Usage(3, 1), True), (Usage(7, 7), False)]


async def test_a_crash_of_an_agent_is_an_internal_error_without_its_words(store: SlowStore) -> None:
    async def crash(turn: AgentTurn) -> None:
        await ask(turn)
        raise ValueError("sk-secret")

    async with node(store, ScriptedProvider(["said"]), agents={"made": Made(crash)}) as one:
        id = await one.begun(agent="made")
        run = await one.say("go", conversation=id)
        with pytest.raises(Internal) as failed:
            await one.runs.result(ANN, run.id)
        assert "secret" not in str(failed.value)
        assert (await one.texts(id))[-1] == ("assistant", "said", "failed")


async def _swallows(turn: AgentTurn) -> None:
    with suppress(asyncio.CancelledError):
        await ask(turn)


async def _turns_into_another(turn: AgentTurn) -> None:
    try:
        await ask(turn)
    except asyncio.CancelledError:
        raise RuntimeError("graph failed") from None


@pytest.mark.parametrize("work", [_swallows, _turns_into_another])
@pytest.mark.parametrize("why", ["cancelled", "limit"])
async def test_an_agent_cannot_hide_that_it_was_stopped(store: SlowStore, work: Failing, why: str) -> None:
    provider = ScriptedProvider(["hi"], ["half", asyncio.Event()])
    limit = timedelta(seconds=60 if why == "cancelled" else 0.05)
    async with node(store, provider, agents={"made": Made(work)}, limit=limit) as one:
        id = await one.begun(agent="made")
        run = await one.say("go", conversation=id)
        await anext(one.runs.follow(ANN, run.id))
        if why == "cancelled":
            assert (await one.runs.cancel(ANN, run.id)).status == "cancelled"
        with pytest.raises(Cancelled if why == "cancelled" else ProviderTimeout):
            await one.runs.result(ANN, run.id)
        assert provider.open == 0


async def test_rounds_and_credits_hold_for_agents(store: SlowStore) -> None:
    agents: dict[str, Agent] = {"plain": Plain()}
    rounds: list[Step] = ["x", call("c1", "look"), UsageReport(Usage(10, 0))]
    provider = ScriptedProvider(["hi"], *[rounds] * 20)
    async with node(store, provider, tools=[ScriptedTool("look")], agents=agents, tool_rounds=2) as one:
        id = await one.begun(agent="plain")
        with pytest.raises(ProviderError, match="again and again"):
            await one.runs.result(ANN, (await one.say("go", conversation=id)).id)
    assert len(provider.requests) == 4
    provider = ScriptedProvider(["hi", UsageReport(Usage(0, 0))], ["x", call("c1", "look"), UsageReport(Usage(10, 0))])
    credits = Credits(prices={"scripted-1": Price(input=Decimal(100_000))}, per_user=Decimal(1))
    async with node(SlowStore(), provider, tools=[ScriptedTool("look")], agents=agents, credits=credits) as one:
        id = await one.begun(agent="plain")
        run = await one.say("go", conversation=id)
        with pytest.raises(InsufficientCredits):
            await one.runs.result(ANN, run.id)
        assert len(provider.requests) == 2
        with pytest.raises(InsufficientCredits):
            await one.say("more", conversation=id)
        assert (await one.texts(id))[-2:] == [("assistant", "x", "failed"), ("tool", "", "complete")]


async def test_an_agent_that_is_not_there(store: SlowStore) -> None:
    gate = asyncio.Event()
    provider = ScriptedProvider(["hi"], ["x", call("c1", "look")])
    async with node(store, provider, agents={"plain": Plain()}, tools=[ScriptedTool("look", gate)]) as one:
        id = await one.begun(agent="gone")
        with pytest.raises(NotConfigured, match="'gone'"):
            await one.say("go", conversation=id)
        with pytest.raises(InvalidInput, match="server's tools only") as refused:
            await one.say("go", conversation=id, agent="plain", tools=[LOOK], takes_tools=True)
        assert refused.value.field == "body.tools"
        assert len(await one.texts(id)) == 2
    async with node(store, ScriptedProvider(["ok"])) as later:  # configured otherwise, with a run of before
        run = await later.say("go", conversation=id, agent="none")
        await later.runs.result(ANN, run.id)
        before = replace(run, id="again", answer="answer", recipe=replace(run.recipe, agent="plain"), version=0)
        current = await later.conversations.open(ANN, id)
        changes: list[Change] = [run_put(before), conversation_put(replace(current, active_run="again"))]
        await store.apply(changes)
        current = await later.conversations.open(ANN, id)
        later.runs.start(replace(before, version=1), lambda live: later.engine.work(live, current))
        with pytest.raises(NotConfigured, match="'plain'"):
            await later.runs.result(ANN, "again")


async def test_calls_that_the_model_did_not_make_are_not_run(store: SlowStore) -> None:
    tool = ScriptedTool("look", tell)
    told: list[ToolResult] = []

    async def meddles(turn: AgentTurn) -> None:
        told.append(await turn.call(call("c0", "look", "x")))
        await ask(turn)
        told.append(await turn.call(ToolCall("c1", "other", "{}")))
        told.append(await turn.call(ToolCall("c1", "look", json.dumps({"what": "changed"}))))
        told.append(await turn.call(call("c1", "look", "again")))
        await ask(turn)

    provider = ScriptedProvider(["hi"], [call("c1", "look", "made")], ["ok"])
    async with node(store, provider, tools=[tool], agents={"made": Made(meddles)}) as one:
        id = await one.begun(agent="made")
        run = await one.say("go", conversation=id)
        assert (await one.runs.result(ANN, run.id))[0].status == "completed"
        log = [e for _, e in await one.read(run)]
    assert tool.calls == [{"what": "made"}]
    assert [r.content for r in told[2:]] == ["told made", "told made"]
    assert all(r.content.startswith("Error: ") for r in told[:2])
    assert (
        len([e for e in log if isinstance(e, ToolCalled)]) == len([e for e in log if isinstance(e, ToolReturned)]) == 1
    )


async def test_asks_go_one_after_the_other_each_a_message(store: SlowStore) -> None:
    async def twice(turn: AgentTurn) -> None:
        await asyncio.gather(ask(turn), ask(turn))

    provider = ScriptedProvider(["hi"], ["a", "b"], ["c", "d"])
    async with node(store, provider, agents={"made": Made(twice)}) as one:
        id = await one.begun(agent="made")
        run = await one.say("go", conversation=id)
        await one.runs.result(ANN, run.id)
        assert [m[1] for m in await one.texts(id)][2:] == ["go", "ab", "cd"]
        assert len([e for _, e in await one.read(run) if isinstance(e, CallEnded)]) == 1


async def test_fallback_and_its_sight(store: SlowStore) -> None:
    seeing = ScriptedProvider(["hi"], [ProviderError("down")], name="seeing")
    blind = ScriptedProvider(["spare"], name="blind", abilities=Abilities(vision=False))
    async with node(store, seeing, blind, agents={"plain": Plain()}) as one:
        run = await one.say("look", images=[ImageData("image/png", b"x")])
        await one.runs.result(ANN, run.id)
        await one.set(run.conversation, agent="plain")
        ended, answer = await one.runs.result(ANN, (await one.say("go", conversation=run.conversation)).id)
    assert answer is not None
    assert (ended.status, ended.provider, answer.provider, answer.text) == ("completed", "blind", "blind", "spare")
    assert blind.requests[0].messages[0].parts == (Text("look"), Text("[image: image/png]"))
