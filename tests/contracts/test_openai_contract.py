"""The Responses API keeps the contract of the port too; chat completions are in ``test_providers.py``."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack

import pytest

from backchat.ports.providers import LLMProvider, ModelRequest
from backchat.testing.provider import ProviderContract
from backchat_openai.provider import OpenAIProvider, open_openai
from backchat_openai.settings import OPENAI, SettingsSchema
from openai_responses import Response
from openai_upstream import Cut, Upstream, serve

KEY = "sk-secret-0123456789abcdef"


class TestOpenAIResponses(ProviderContract):
    secrets = (KEY,)

    @pytest.fixture
    async def upstream(self) -> AsyncIterator[Upstream]:
        async with serve() as upstream:
            yield upstream
            assert upstream.problems == []

    @pytest.fixture
    async def provider(self, upstream: Upstream) -> AsyncIterator[OpenAIProvider]:
        section = {"model": "m-1", "api": "responses", "api_key": KEY, "base_url": upstream.base_url}
        async with open_openai(SettingsSchema(OPENAI).load(section)) as provider:
            yield provider

    @pytest.fixture
    async def failing(self, upstream: Upstream) -> AsyncIterator[Sequence[LLMProvider]]:
        leak = f'{{"error": {{"message": "Incorrect API key provided: {KEY}"}}}}'.encode()
        upstream.play(leak, status=401)
        upstream.play(leak, status=400)
        upstream.play(*Response().text("so far").events, Cut)
        async with AsyncExitStack() as stack:
            nobody = stack.enter_context(socket.socket())  # bound but not listening: whoever connects is refused
            nobody.bind(("127.0.0.1", 0))
            settings = SettingsSchema(OPENAI)
            section = {"model": "m-1", "api": "responses", "api_key": KEY}
            urls = (*[upstream.base_url] * 3, f"http://127.0.0.1:{nobody.getsockname()[1]}/v1")
            yield [
                await stack.enter_async_context(open_openai(settings.load({**section, "base_url": url})))
                for url in urls
            ]
        assert upstream.scripts == []

    def expected(self, request: ModelRequest) -> str:
        return request.messages[-1].parts[0].text  # type: ignore[union-attr]
