"""Every provider keeps the contract of the port."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack

import pytest

from backchat.domain.message import ToolCall, Usage
from backchat.domain.run import ReasoningDelta
from backchat.errors import ProviderError
from backchat.ports.providers import Finish, LLMProvider, ModelRequest, UsageReport
from backchat.testing.provider import ProviderContract, ScriptedProvider
from backchat_echo.provider import EchoProvider, open_echo
from backchat_echo.provider import SettingsSchema as EchoSettings
from backchat_openai.provider import OpenAIProvider, open_openai
from backchat_openai.settings import GROQ, OPENAI, OPENROUTER, Preset
from backchat_openai.settings import SettingsSchema as OpenAISettings
from openai_upstream import Cut, Upstream, chunk, serve

KEY = "sk-secret-0123456789abcdef"


class TestEcho(ProviderContract):
    @pytest.fixture
    async def provider(self) -> AsyncIterator[EchoProvider]:
        async with open_echo(EchoSettings().load({})) as provider:
            yield provider

    def expected(self, request: ModelRequest) -> str:
        part = request.messages[-1].parts[0]
        assert not isinstance(part, ToolCall)
        return part.text  # type: ignore[union-attr]


class TestOpenAI(ProviderContract):
    preset: Preset = OPENAI
    secrets = (KEY,)

    @pytest.fixture
    async def upstream(self) -> AsyncIterator[Upstream]:
        async with serve() as upstream:
            yield upstream
            assert upstream.problems == []

    @pytest.fixture
    async def provider(self, upstream: Upstream) -> AsyncIterator[OpenAIProvider]:
        section = {"model": "m-1", "api_key": KEY, "base_url": upstream.base_url}
        async with open_openai(OpenAISettings(self.preset).load(section)) as provider:
            yield provider

    @pytest.fixture
    def nobody(self) -> Iterator[str]:
        with socket.socket() as bound:  # bound but not listening: whoever connects is refused
            bound.bind(("127.0.0.1", 0))
            yield f"http://127.0.0.1:{bound.getsockname()[1]}/v1"

    @pytest.fixture
    async def failing(self, upstream: Upstream, nobody: str) -> AsyncIterator[Sequence[LLMProvider]]:
        leak = f'{{"error": {{"message": "Incorrect API key provided: {KEY}"}}}}'.encode()
        upstream.play(leak, status=401)
        upstream.play(leak, status=400)
        upstream.play(chunk(content="so far"), Cut)
        async with AsyncExitStack() as stack:
            settings = OpenAISettings(self.preset)
            yield [
                await stack.enter_async_context(
                    open_openai(settings.load({"model": "m-1", "api_key": KEY, "base_url": url}))
                )
                for url in (*[upstream.base_url] * 3, nobody)
            ]
        assert upstream.scripts == []

    def expected(self, request: ModelRequest) -> str:
        return request.messages[-1].parts[0].text  # type: ignore[union-attr]


class TestGroq(TestOpenAI):
    preset = GROQ


class TestOpenRouter(TestOpenAI):
    preset = OPENROUTER


class TestScripted(ProviderContract):
    long_question = "?"
    answer = (ReasoningDelta("hm"), "one ", "two", UsageReport(Usage(1, 2)), UsageReport(Usage(1, 3)), Finish("stop"))

    @pytest.fixture
    def provider(self, request: pytest.FixtureRequest) -> ScriptedProvider:
        if "tool_call" in request.node.name:
            return ScriptedProvider(
                [ToolCall("c1", "get_weather", '{"city": "Paris"}'), Finish("tool_calls")], self.answer
            )
        return ScriptedProvider(self.answer)

    @pytest.fixture
    def failing(self) -> Sequence[LLMProvider]:
        return [ScriptedProvider(["so far", ProviderError("broken")])]

    def expected(self, request: ModelRequest) -> str:
        return "one two"
