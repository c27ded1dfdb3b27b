"""For authors of agents: the port's contract, and a turn that is made by a scripted model."""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import pytest

from backchat.domain.message import Text, ToolCall, ToolResult
from backchat.domain.run import TextDelta
from backchat.domain.tool import ToolDefinition
from backchat.errors import ProviderError
from backchat.ports.agents import Agent
from backchat.ports.providers import Finish, ModelRequest, PromptMessage, ProviderEvent
from backchat.ports.tools import Tool, ToolFailed
from backchat.testing.provider import ScriptedProvider, Step
from backchat.testing.tool import ScriptedTool


class ScriptedTurn:
    """An ``AgentTurn`` whose model says what it is told; see ``ScriptedProvider`` for the steps of each call of it.

    asked   the messages of each call of the model;  answers  what the tools answered, in that order
    said    the events that came out of all calls;  begun  is set with the first of them
    """

    def __init__(self, *turns: Sequence[Step], tools: Sequence[Tool] = (), said: str = "hello") -> None:
        self._model = ScriptedProvider(*turns)
        self._tools = {t.definition.name: t for t in tools}
        self.messages: Sequence[PromptMessage] = [PromptMessage("user", (Text(said),))]
        self.answers: list[ToolResult] = []
        self.said: list[ProviderEvent] = []
        self.begun = asyncio.Event()

    @property
    def tools(self) -> Sequence[ToolDefinition]:
        return [t.definition for t in self._tools.values()]

    @property
    def asked(self) -> Sequence[Sequence[PromptMessage]]:
        return [request.messages for request in self._model.requests]

    @property
    def text(self) -> str:
        return "".join([e.text for e in self.said if isinstance(e, TextDelta)])

    async def ask(self, messages: Sequence[PromptMessage]) -> AsyncGenerator[ProviderEvent, None]:
        async with aclosing(self._model.stream(ModelRequest(messages=list(messages), tools=self.tools))) as events:
            async for event in events:
                self.said.append(event)
                self.begun.set()
                yield event

    async def call(self, call: ToolCall) -> ToolResult:
        try:
            content = await self._tools[call.name].run(json.loads(call.arguments))
        except ToolFailed as failure:
            content = f"Error: {failure}"
        result = ToolResult(call.id, content)
        self.answers.append(result)
        return result


def _call(id: str, name: str, what: str) -> ToolCall:
    return ToolCall(id, name, json.dumps({"what": what}))


def _results(messages: Sequence[PromptMessage]) -> list[ToolResult]:
    return [p for m in messages if m.role == "tool" for p in m.parts if isinstance(p, ToolResult)]


def _calls(messages: Sequence[PromptMessage]) -> list[tuple[str, str, object]]:
    parts = [p for m in messages if m.role == "assistant" for p in m.parts]
    return [(p.id, p.name, json.loads(p.arguments)) for p in parts if isinstance(p, ToolCall)]


class AgentContract(ABC):
    """Subclass it, provide an ``agent`` fixture, and pytest runs what every agent must keep.

    It is written for agents that let a model call tools until it answers; it says nothing of others.
    """

    @pytest.fixture
    @abstractmethod
    def agent(self) -> object:
        """The opened agent under test."""

    async def test_lets_the_model_answer(self, agent: Agent) -> None:
        turn = ScriptedTurn(["Hel", "lo", Finish("stop")])
        await agent.answer(turn)
        assert turn.text == "Hello"
        assert [list(messages) for messages in turn.asked] == [list(turn.messages)]

    async def test_runs_tools_until_the_model_calls_none(self, agent: Agent) -> None:
        async def tell(arguments: object) -> str:
            return f"told {json.dumps(arguments)}"

        tools = [ScriptedTool("near", tell), ScriptedTool("far", tell)]
        turn = ScriptedTurn(
            ["Let me see. ", _call("c1", "near", "a"), _call("c2", "far", "b"), Finish("tool_calls")],
            [_call("c3", "far", "c"), Finish("tool_calls")],
            ["Both.", Finish("stop")],
            tools=tools,
        )
        await agent.answer(turn)
        assert (len(turn.asked), turn.text) == (3, "Let me see. Both.")
        assert sorted(r.call for r in turn.answers[:2]) == ["c1", "c2"]
        second, third = turn.asked[1:]
        assert _results(second) == [ToolResult("c1", 'told {"what": "a"}'), ToolResult("c2", 'told {"what": "b"}')]
        assert _calls(second) == [("c1", "near", {"what": "a"}), ("c2", "far", {"what": "b"})]
        assert Text("Let me see. ") in [p for m in second for p in m.parts]
        assert [r.call for r in _results(third)] == ["c1", "c2", "c3"]
        assert [list(asked[:1]) for asked in turn.asked] == [list(turn.messages)] * 3
        assert [t.calls for t in tools] == [[{"what": "a"}], [{"what": "b"}, {"what": "c"}]]

    async def test_a_failed_tool_is_for_the_model_to_judge(self, agent: Agent) -> None:
        tool = ScriptedTool("look", ToolFailed("too dark"))
        turn = ScriptedTurn([_call("c1", "look", "a"), Finish("tool_calls")], ["Sorry."], tools=[tool])
        await agent.answer(turn)
        assert _results(turn.asked[1]) == [ToolResult("c1", "Error: too dark")]
        assert turn.text == "Sorry."

    async def test_what_the_model_fails_with_ends_the_turn(self, agent: Agent) -> None:
        turn = ScriptedTurn(["half", ProviderError("cut off")])
        with pytest.raises(Exception) as failure:  # frameworks put it into errors of theirs
            await agent.answer(turn)
        assert not isinstance(failure.value, AssertionError | asyncio.TimeoutError)
        assert len(turn.asked) == 1

    @pytest.mark.parametrize("where", ["model", "tool"])
    async def test_ends_when_it_is_cancelled(self, agent: Agent, where: str) -> None:
        never = asyncio.Event()
        tool = ScriptedTool("look", never)
        first: Sequence[Step] = ["half", never] if where == "model" else [_call("c1", "look", "a")]
        turn = ScriptedTurn(first, ["late"], tools=[tool])
        answering = asyncio.ensure_future(agent.answer(turn))
        async with asyncio.timeout(5):
            await (turn.begun if where == "model" else tool.begun).wait()
            answering.cancel()
            await asyncio.wait([answering])
        assert answering.cancelled()
        assert tool.running == 0
        assert "late" not in turn.text

    async def test_turns_at_the_same_time_do_not_mix(self, agent: Agent) -> None:
        async def tell(arguments: object) -> str:
            await asyncio.sleep(0)
            return json.dumps(arguments)

        turns = [
            ScriptedTurn(
                [_call("c1", "look", str(n)), Finish("tool_calls")],
                [f"It is {n}."],
                tools=[ScriptedTool("look", tell)],
                said=f"hello {n}",
            )
            for n in range(8)
        ]
        await asyncio.gather(*[agent.answer(turn) for turn in turns])
        for n, turn in enumerate(turns):
            assert turn.text == f"It is {n}."
            assert _results(turn.asked[1]) == [ToolResult("c1", json.dumps({"what": str(n)}))]
            assert list(turn.asked[1][:1]) == list(turn.messages)
