"""``ollama`` keeps the contract of providers."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack

import pytest

from backchat.ports.providers import LLMProvider, ModelRequest
from backchat.testing.provider import ProviderContract
from backchat_ollama.provider import OllamaProvider, open_ollama
from backchat_ollama.settings import SettingsSchema
from ollama_trials import KEY, settings
from ollama_upstream import Upstream, chunk, serve
from openai_upstream import Cut


class TestOllama(ProviderContract):
    secrets = (KEY,)

    @pytest.fixture
    async def upstream(self) -> AsyncIterator[Upstream]:
        async with serve() as upstream:
            yield upstream
            assert upstream.problems == []

    @pytest.fixture
    async def provider(self, upstream: Upstream) -> AsyncIterator[OllamaProvider]:
        async with open_ollama(settings(upstream)) as provider:
            yield provider

    @pytest.fixture
    def nobody(self) -> Iterator[str]:
        with socket.socket() as bound:  # bound but not listening: whoever connects is refused
            bound.bind(("127.0.0.1", 0))
            yield f"http://127.0.0.1:{bound.getsockname()[1]}"

    @pytest.fixture
    async def failing(self, upstream: Upstream, nobody: str) -> AsyncIterator[Sequence[LLMProvider]]:
        leak = f'{{"error": "Incorrect API key provided: {KEY}"}}'.encode()
        for status in (401, 400, 404):
            upstream.play(leak, status=status)
        upstream.play(chunk("so far"), Cut)
        async with AsyncExitStack() as stack:
            sections = [{"model": "m-1", "api_key": KEY, "base_url": url} for url in (*[upstream.base_url] * 4, nobody)]
            yield [await stack.enter_async_context(open_ollama(SettingsSchema().load(s))) for s in sections]
        assert upstream.scripts == []

    def expected(self, request: ModelRequest) -> str:
        return request.messages[-1].parts[0].text  # type: ignore[union-attr]


class TestThinking(TestOllama):
    """The model thinks before every answer, and is told to."""

    @pytest.fixture
    async def provider(self, upstream: Upstream) -> AsyncIterator[OllamaProvider]:
        async with open_ollama(settings(upstream, extra_body={"think": True})) as provider:
            yield provider
