"""The agent ``langgraph``: what passes between the server and a real graph, and how it ends."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackManager
from langchain_core.messages import HumanMessage
from langchain_core.tracers import LangChainTracer
from marshmallow import ValidationError

import backchat_langgraph
from backchat.domain.message import Reasoning, Text, ToolCall, ToolResult, Usage
from backchat.domain.run import ReasoningDelta, TextDelta
from backchat.domain.tool import ToolDefinition
from backchat.errors import BackchatError, ConfigError, InsufficientCredits, ProviderError, ProviderThrottled
from backchat.plugins import Plugins
from backchat.ports.agents import Agent
from backchat.ports.providers import Finish, ImageData, PromptMessage, ProviderEvent, UsageReport
from backchat.testing.provider import WEATHER
from backchat_langgraph.model import TurnModel
from backchat_langgraph.opening import Settings, SettingsSchema, open_langgraph

QUESTION = PromptMessage("user", (Text("What is it like in Paris and Rome?"),))
PARIS = ToolCall("c1", "get_weather", '{"city" :  "Paris"}')
ROME = ToolCall("c2", "get_weather", '{"city": "Rome"}')
Step = ProviderEvent | BaseException | asyncio.Event


class ScriptedTurn:
    """A turn whose model plays one script for each question, the last one again and again."""

    tools: Sequence[ToolDefinition] = (WEATHER,)

    def __init__(self, *scripts: Sequence[Step], messages: Sequence[PromptMessage] = (QUESTION,)) -> None:
        self._scripts = scripts
        self.messages = messages
        self.asked: list[list[PromptMessage]] = []
        self.called: list[ToolCall] = []
        self.meeting: asyncio.Barrier | None = None
        self.waits = asyncio.Event()
        self.in_tool = asyncio.Event()
        self.finish_tool: asyncio.Event | None = None
        self.tool_cancelled = self.model_closed = False

    async def ask(self, messages: Sequence[PromptMessage]) -> AsyncGenerator[ProviderEvent, None]:
        script = self._scripts[min(len(self.asked), len(self._scripts) - 1)]
        self.asked.append(list(messages))
        try:
            for step in script:
                if isinstance(step, BaseException):
                    raise step
                if isinstance(step, asyncio.Event):
                    self.waits.set()
                    await step.wait()
                    continue
                yield step
        finally:
            self.model_closed = True

    async def call(self, call: ToolCall) -> ToolResult:
        self.called.append(call)
        self.in_tool.set()
        try:
            if self.meeting is not None:
                await self.meeting.wait()
            if self.finish_tool is not None:
                await self.finish_tool.wait()
        except asyncio.CancelledError:
            self.tool_cancelled = True
            raise
        return ToolResult(call.id, f"weather for {call.id}")


@pytest.fixture
async def agent() -> AsyncIterator[Agent]:
    async with open_langgraph(Settings()) as agent:
        yield agent


# ---- a reply


async def test_one_answer_is_one_question(agent: Agent) -> None:
    turn = ScriptedTurn([TextDelta("Mild."), Finish("stop")])
    await agent.answer(turn)
    assert turn.asked == [[QUESTION]]
    assert turn.called == []


async def test_calls_are_run_side_by_side_and_their_results_asked_about(agent: Agent) -> None:
    turn = ScriptedTurn(
        [
            ReasoningDelta("Hm"),
            ReasoningDelta("m."),
            TextDelta("I "),
            TextDelta("look."),
            PARIS,
            ROME,
            Finish("tool_calls"),
        ],
        [TextDelta("Mild."), Finish("stop")],
    )
    turn.meeting = asyncio.Barrier(2)
    async with asyncio.timeout(10):
        await agent.answer(turn)
    assert sorted(turn.called, key=lambda call: call.id) == [PARIS, ROME]  # the arguments as the model wrote them
    assert turn.asked[1] == [
        QUESTION,
        PromptMessage("assistant", (Reasoning("Hmm."), Text("I look."), PARIS, ROME)),
        PromptMessage("tool", (ToolResult("c1", "weather for c1"),)),
        PromptMessage("tool", (ToolResult("c2", "weather for c2"),)),
    ]
    assert len(turn.asked) == 2


async def test_goes_on_for_as_many_rounds_as_the_model_wants(agent: Agent) -> None:
    turn = ScriptedTurn([PARIS], [ROME], [ToolCall("c3", "get_weather", "{}")], [TextDelta("Done.")])
    await agent.answer(turn)
    assert [call.id for call in turn.called] == ["c1", "c2", "c3"]
    assert [len(messages) for messages in turn.asked] == [1, 3, 5, 7]


async def test_a_call_of_no_known_tool_is_the_servers_to_answer(agent: Agent) -> None:
    unknown = ToolCall("c1", "launch", "[1, 2]")
    turn = ScriptedTurn([unknown], [TextDelta("No.")])
    await agent.answer(turn)
    assert turn.called == [unknown]
    assert turn.asked[1][1:] == [
        PromptMessage("assistant", (unknown,)),
        PromptMessage("tool", (ToolResult("c1", "weather for c1"),)),
    ]


async def test_the_history_reaches_the_model_as_it_was(agent: Agent) -> None:
    history = (
        PromptMessage("user", (Text("look "), ImageData("image/png", bytes(range(256))), Text("here"))),
        PromptMessage("assistant", (Reasoning("hm"), Text("I look."), PARIS, Text("Then:"), ROME)),
        PromptMessage("tool", (ToolResult("c1", "sunny"),)),
        PromptMessage("tool", (ToolResult("c2", ""),)),
        PromptMessage("assistant", (Text("Sun."),)),
        QUESTION,
    )
    turn = ScriptedTurn([TextDelta("ok")], messages=history)
    await agent.answer(turn)
    assert turn.asked == [list(history)]
    assert turn.called == []  # what was called for long ago is not called again


async def test_replies_made_at_the_same_time_do_not_meet(agent: Agent) -> None:
    turns = [
        ScriptedTurn(
            [ToolCall(f"c{n}", "get_weather", "{}")],
            [TextDelta("x")],
            messages=[PromptMessage("user", (Text(str(n)),))],
        )
        for n in range(5)
    ]
    barrier = asyncio.Barrier(5)
    for turn in turns:
        turn.meeting = barrier
    async with asyncio.timeout(10):
        await asyncio.gather(*[agent.answer(turn) for turn in turns])
    assert [turn.called for turn in turns] == [[ToolCall(f"c{n}", "get_weather", "{}")] for n in range(5)]
    assert [turn.asked[1][0].parts for turn in turns] == [(Text(str(n)),) for n in range(5)]


# ---- how it ends


@pytest.mark.parametrize(
    "error", [ProviderThrottled("slow down", retry_after=3), InsufficientCredits("no credits left")]
)
@pytest.mark.parametrize("first", [[], [PARIS]])
async def test_errors_come_out_as_they_are(agent: Agent, error: BackchatError, first: list[Step]) -> None:
    turn = ScriptedTurn(*([first] if first else []), [TextDelta("I "), error])
    with pytest.raises(type(error)) as caught:
        await agent.answer(turn)
    assert caught.value is error


@pytest.mark.parametrize("steps", [2, 3, 4, 5])
async def test_takes_no_more_steps_than_configured(steps: int) -> None:
    turn = ScriptedTurn([PARIS])
    async with open_langgraph(Settings(max_steps=steps)) as agent:
        with pytest.raises(ProviderError, match=f"in {steps} steps") as caught:
            await agent.answer(turn)
    assert type(caught.value) is ProviderError
    assert (len(turn.asked), len(turn.called)) == ((steps + 1) // 2, steps // 2)


async def test_needs_a_step_for_the_end() -> None:
    turn = ScriptedTurn([PARIS], [TextDelta("Sun.")])
    async with open_langgraph(Settings(max_steps=4)) as agent:
        await agent.answer(turn)
    assert len(turn.asked) == 2


async def test_a_cancel_reaches_the_model(agent: Agent) -> None:
    turn = ScriptedTurn([TextDelta("I"), asyncio.Event()])
    task = asyncio.create_task(agent.answer(turn))
    async with asyncio.timeout(10):
        await turn.waits.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert turn.model_closed


async def test_a_cancel_reaches_the_tools(agent: Agent) -> None:
    turn = ScriptedTurn([PARIS, ROME])
    turn.finish_tool = asyncio.Event()
    task = asyncio.create_task(agent.answer(turn))
    async with asyncio.timeout(10):
        await turn.in_tool.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert turn.tool_cancelled
    assert len(turn.asked) == 1


async def test_nothing_of_a_reply_is_traced(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment says: LangSmith would get everything that was said."""
    for name in ("LANGSMITH_TRACING", "LANGSMITH_TRACING_V2", "LANGCHAIN_TRACING_V2"):
        monkeypatch.setenv(name, "true")
    monkeypatch.setenv("LANGSMITH_API_KEY", "secret")
    monkeypatch.setenv("LANGSMITH_ENDPOINT", "http://127.0.0.1:9")
    made: list[object] = []
    monkeypatch.setattr(LangChainTracer, "__init__", lambda *args, **more: made.append(args))
    configure, managers = AsyncCallbackManager.configure, []

    def watched(*args: Any, **more: Any) -> AsyncCallbackManager:
        managers.append(configure(*args, **more))
        return managers[-1]

    monkeypatch.setattr(AsyncCallbackManager, "configure", watched)
    await agent.answer(ScriptedTurn([PARIS], [TextDelta("Sun.")]))
    assert made == []
    assert managers
    assert all(manager.handlers == [] for manager in managers)


@pytest.mark.parametrize("name", ["LANGCHAIN_TRACING", "LANGCHAIN_HANDLER"])
async def test_does_not_start_where_no_graph_could_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "true")
    with pytest.raises(ConfigError, match=name):
        async with open_langgraph(Settings()):
            pass


# ---- its parts


async def test_the_model_tells_langchain_what_it_took() -> None:
    used = Usage(input_tokens=7, output_tokens=5, cached_tokens=3, reasoning_tokens=2)
    turn = ScriptedTurn(
        [TextDelta("Sun"), UsageReport(Usage(1, 1)), TextDelta("ny"), UsageReport(used), Finish("length")]
    )
    said = await TurnModel(turn=turn).ainvoke([HumanMessage("hi")])
    assert said.text == "Sunny"
    assert said.usage_metadata == {
        "input_tokens": 7,
        "output_tokens": 5,
        "total_tokens": 12,
        "input_token_details": {"cache_read": 3},
        "output_token_details": {"reasoning": 2},
    }
    assert said.response_metadata["finish_reason"] == "length"


def test_its_options() -> None:
    component = Plugins([backchat_langgraph]).agents.pick("langgraph")
    assert component.schema.load({}) == Settings(max_steps=25)
    assert component.extra == "langgraph"
    for bad in ({"max_steps": 1}, {"max_steps": True}, {"steps": 3}):
        with pytest.raises(ValidationError):
            SettingsSchema().load(bad)


def test_only_who_uses_it_imports_langgraph() -> None:
    script = "import sys, backchat_langgraph, backchat.app; print([n for n in sys.modules if n.startswith('lang')])"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
