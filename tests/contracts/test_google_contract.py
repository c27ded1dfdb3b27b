"""The ``google`` provider keeps the contract of the port."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack

import orjson
import pytest

from backchat.ports.providers import LLMProvider, ModelRequest
from backchat.testing.provider import ProviderContract
from backchat_google.provider import GoogleProvider, open_google
from backchat_google.settings import SettingsSchema
from google_trials import KEY, settings
from google_upstream import Cut, Upstream, chunk, serve


class TestGoogle(ProviderContract):
    model = "gemini-3.8-flash"
    secrets = (KEY,)

    @pytest.fixture
    async def upstream(self) -> AsyncIterator[Upstream]:
        async with serve() as upstream:
            yield upstream
            assert upstream.problems == []

    @pytest.fixture
    async def provider(self, upstream: Upstream) -> AsyncIterator[GoogleProvider]:
        async with open_google(settings(upstream, model=self.model)) as provider:
            yield provider

    @pytest.fixture
    def nobody(self) -> Iterator[str]:
        with socket.socket() as bound:  # bound but not listening: whoever connects is refused
            bound.bind(("127.0.0.1", 0))
            yield f"http://127.0.0.1:{bound.getsockname()[1]}"

    @pytest.fixture
    async def failing(self, upstream: Upstream, nobody: str) -> AsyncIterator[Sequence[LLMProvider]]:
        leak = orjson.dumps([{"error": {"code": 400, "message": f"the key {KEY} is not valid"}}])
        upstream.play(leak, status=401)
        upstream.play(leak, status=400)
        upstream.play(chunk("so far"), Cut)
        async with AsyncExitStack() as stack:
            section = {"model": self.model, "api_key": KEY}
            yield [
                await stack.enter_async_context(open_google(SettingsSchema().load({**section, "base_url": url})))
                for url in (*[upstream.base_url] * 3, nobody)
            ]
        assert upstream.scripts == []

    def expected(self, request: ModelRequest) -> str:
        return request.messages[-1].parts[0].text  # type: ignore[union-attr]


class TestGeminiTwo(TestGoogle):
    model = "models/gemini-2.5-pro"
