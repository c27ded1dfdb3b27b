"""For authors of providers, and of whatever calls one: the port's contract, and a double that says what it is told."""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from itertools import pairwise

import pytest
from marshmallow import RAISE, Schema

from backchat.domain.message import Text, ToolCall, ToolResult, Usage
from backchat.domain.run import ReasoningDelta, TextDelta
from backchat.errors import ProviderError
from backchat.hookspecs import hookimpl
from backchat.ports.component import Component
from backchat.ports.providers import (
    Abilities,
    Finish,
    LLMProvider,
    ModelRequest,
    PromptMessage,
    ProviderBackend,
    ProviderEvent,
    ToolDefinition,
    UsageReport,
)

Step = ProviderEvent | str | BaseException | asyncio.Event
WEATHER = ToolDefinition(
    "get_weather",
    "The weather in a city.",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)


class ScriptedProvider:
    """A provider for tests: every call of ``stream`` plays the next turn, and the last one again and again.

    A turn is a sequence of steps: an event is yielded, a string is a TextDelta, an exception is raised, an
    ``asyncio.Event`` is waited for. A turn without a Finish or an exception gets ``Finish("stop")`` at its end.

    listed     what ``models`` lists, its own model by default; exceptions and Events among the names are as in a turn
    listings   how often it was asked for them
    requests   what was asked, in order
    open       streams that are being read now
    ended      streams that were played to their end;  closed  those that were closed, cancelled or failed before it
    """

    def __init__(
        self,
        *turns: Sequence[Step],
        model: str = "scripted-1",
        abilities: Abilities | None = None,
        name: str = "scripted",
        listed: Sequence[str | BaseException | asyncio.Event] | None = None,
    ) -> None:
        self._turns: list[Sequence[Step]] = list(turns) or [["ok"]]
        self.model = model
        self.abilities = abilities or Abilities()
        self.name = name
        self.listed = [model] if listed is None else listed
        self.listings = 0
        self.requests: list[ModelRequest] = []
        self.open = self.ended = self.closed = 0

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ProviderEvent, None]:
        turn = self._turns[min(len(self.requests), len(self._turns) - 1)]
        self.requests.append(request)
        self.open += 1
        complete = False
        try:
            for step in turn:
                if isinstance(step, asyncio.Event):
                    await step.wait()
                elif isinstance(step, BaseException):
                    raise step
                else:
                    yield TextDelta(step) if isinstance(step, str) else step
            if not any(isinstance(step, Finish) for step in turn):
                yield Finish("stop")
            complete = True
        finally:
            self.open -= 1
            self.ended += complete
            self.closed += not complete

    async def models(self) -> Sequence[str]:
        self.listings += 1
        names: list[str] = []
        for step in self.listed:
            if isinstance(step, asyncio.Event):
                await step.wait()
            elif isinstance(step, BaseException):
                raise step
            else:
                names.append(step)
        return names

    @hookimpl
    def backchat_providers(self) -> Sequence[ProviderBackend]:
        """So that a test can hand the double itself to ``Plugins``; the config selects it with ``use: <name>``."""
        return [Component(self.name, Schema(unknown=RAISE), self._opened)]

    @asynccontextmanager
    async def _opened(self, settings: object) -> AsyncIterator[ScriptedProvider]:
        yield self


def ask(text: str, *tools: ToolDefinition) -> ModelRequest:
    """A request of one user message."""
    return ModelRequest(messages=[PromptMessage("user", (Text(text),))], tools=tools)


async def collect(provider: LLMProvider, request: ModelRequest) -> list[ProviderEvent]:
    """The whole stream."""
    async with aclosing(provider.stream(request)) as events:
        return [event async for event in events]


def said(events: Sequence[ProviderEvent]) -> str:
    """The text of a stream."""
    return "".join([e.text for e in events if isinstance(e, TextDelta)])


class ProviderContract(ABC):
    """Subclass it, provide a ``provider`` fixture, and pytest runs what every provider must keep.

        class TestMine(ProviderContract):
            @pytest.fixture
            async def provider(self):
                async with open_mine(settings) as provider:
                    yield provider

    The provider must answer ``long_question`` in several pieces of text and, if it has the ability, call the tool
    ``get_weather`` when asked ``tool_question``. Override these to suit a model, and ``failing`` for what should fail.
    """

    long_question = "Tell me a story of the sea, \r\n in \u2028 several words \U0001f30a and accents: \u00e9\u00e8\x00."
    tool_question = "What is the weather in Paris?"
    secrets: Sequence[str] = ()

    @pytest.fixture
    @abstractmethod
    def provider(self) -> object:
        """The opened provider under test."""

    @pytest.fixture
    def failing(self) -> Sequence[LLMProvider]:
        """Providers whose every stream must fail, such as one with an address where nobody listens."""
        return ()

    def expected(self, request: ModelRequest) -> str | None:
        """The exact text that must come, if it is known."""
        return None

    async def test_says_what_it_is(self, provider: LLMProvider) -> None:
        assert isinstance(provider.model, str)
        assert provider.model
        assert isinstance(provider.abilities, Abilities)

    async def test_lists_names_of_models(self, provider: LLMProvider) -> None:
        names = await provider.models()
        assert names
        assert all(isinstance(name, str) and name for name in names)
        assert len(set(names)) == len(names)

    async def test_a_stream_ends_with_its_only_finish(self, provider: LLMProvider) -> None:
        events = await collect(provider, ask(self.long_question))
        assert [isinstance(e, Finish) for e in events] == [False] * (len(events) - 1) + [True]
        assert events[-1] in (Finish("stop"), Finish("length"))

    async def test_yields_events_of_the_port_only(self, provider: LLMProvider) -> None:
        for event in await collect(provider, ask(self.long_question)):
            assert isinstance(event, ProviderEvent)

    async def test_text_comes_in_pieces_that_are_not_empty(self, provider: LLMProvider) -> None:
        request = ask(self.long_question)
        events = await collect(provider, request)
        pieces = [e.text for e in events if isinstance(e, TextDelta | ReasoningDelta)]
        assert pieces
        assert all(pieces)
        expected = self.expected(request)
        assert expected is None or said(events) == expected

    async def test_usage_only_grows(self, provider: LLMProvider) -> None:
        events = await collect(provider, ask(self.long_question))
        reports = [e.usage for e in events if isinstance(e, UsageReport)]
        for usage in reports:
            assert 0 <= usage.cached_tokens <= usage.input_tokens
            assert 0 <= usage.reasoning_tokens <= usage.output_tokens
        for earlier, later in pairwise(map(_counts, reports)):
            assert all(a <= b for a, b in zip(earlier, later, strict=True))

    async def test_closing_early_is_clean(self, provider: LLMProvider) -> None:
        stream = provider.stream(ask(self.long_question))
        await anext(stream)
        await stream.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        assert isinstance((await collect(provider, ask(self.long_question)))[-1], Finish)

    async def test_closing_before_the_start_is_clean(self, provider: LLMProvider) -> None:
        await provider.stream(ask(self.long_question)).aclose()
        assert isinstance((await collect(provider, ask(self.long_question)))[-1], Finish)

    async def test_a_cancelled_reader_sees_the_cancellation(self, provider: LLMProvider) -> None:
        begun = asyncio.Event()

        async def read() -> None:
            async with aclosing(provider.stream(ask(self.long_question))) as events:
                async for _ in events:
                    begun.set()
                    await asyncio.Event().wait()

        reader = asyncio.create_task(read())
        await begun.wait()
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        assert isinstance((await collect(provider, ask(self.long_question)))[-1], Finish)

    async def test_streams_at_the_same_time_do_not_mix(self, provider: LLMProvider) -> None:
        requests = [ask(f"{self.long_question} number {n}") for n in range(8)]
        answers = await asyncio.gather(*(collect(provider, request) for request in requests))
        for request, events in zip(requests, answers, strict=True):
            assert isinstance(events[-1], Finish)
            expected = self.expected(request)
            assert expected is None or said(events) == expected

    async def test_a_tool_call_is_whole_and_its_result_is_answered(self, provider: LLMProvider) -> None:
        """Holds trivially for a provider whose abilities exclude tools."""
        if not provider.abilities.tools:
            return
        question = ask(self.tool_question, WEATHER)
        events = await collect(provider, question)
        calls = [e for e in events if isinstance(e, ToolCall)]
        assert calls
        assert events[-1] == Finish("tool_calls")
        assert len({call.id for call in calls}) == len(calls)
        for call in calls:
            assert call.id
            assert call.name == WEATHER.name
            assert isinstance(json.loads(call.arguments)["city"], str)
        answered = [
            *question.messages,
            PromptMessage("assistant", tuple(calls)),
            *(PromptMessage("tool", (ToolResult(call.id, "18 degrees and sunny"),)) for call in calls),
        ]
        events = await collect(provider, ModelRequest(messages=answered, tools=[WEATHER]))
        assert said(events)
        assert events[-1] == Finish("stop")

    async def test_a_request_survives_being_asked(self, provider: LLMProvider) -> None:
        request = ask(self.long_question)
        await collect(provider, request)
        assert request == ask(self.long_question)

    async def test_only_provider_errors_come_out_and_they_keep_secrets(self, failing: Sequence[LLMProvider]) -> None:
        """Holds trivially as long as ``failing`` is not overridden."""
        for broken in failing:
            with pytest.raises(ProviderError) as caught:
                await collect(broken, ask(self.long_question))
            for secret in self.secrets:
                assert secret not in f"{caught.value!r} {caught.value} {caught.value.__cause__!r} {broken!r}"

    async def test_a_list_of_models_fails_in_no_other_way(self, failing: Sequence[LLMProvider]) -> None:
        """Holds trivially as long as ``failing`` is not overridden. Such a one may know its models all the same."""
        for listed in await asyncio.gather(*(broken.models() for broken in failing), return_exceptions=True):
            if isinstance(listed, BaseException):
                assert isinstance(listed, ProviderError)
                for secret in self.secrets:
                    assert secret not in f"{listed!r} {listed} {listed.__cause__!r}"

    async def test_its_looks_keep_secrets(self, provider: LLMProvider) -> None:
        for secret in self.secrets:
            assert secret not in f"{provider!r} {provider}"


def _counts(usage: Usage) -> tuple[int, int, int, int]:
    return usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.reasoning_tokens
