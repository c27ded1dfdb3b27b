"""The provider ``anthropic`` keeps the contract of the port."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack

import pytest

from anthropic_events import delta, failure, start
from anthropic_trials import KEY, settings
from anthropic_upstream import Cut, Upstream, frame, serve
from backchat.ports.providers import LLMProvider, ModelRequest
from backchat.testing.provider import ProviderContract
from backchat_anthropic.provider import AnthropicProvider, open_anthropic


class TestAnthropic(ProviderContract):
    secrets = (KEY,)

    @pytest.fixture
    async def upstream(self) -> AsyncIterator[Upstream]:
        async with serve() as upstream:
            yield upstream
            assert upstream.problems == []

    @pytest.fixture
    async def provider(self, upstream: Upstream) -> AsyncIterator[AnthropicProvider]:
        async with open_anthropic(settings(upstream)) as provider:
            yield provider

    @pytest.fixture
    def nobody(self) -> Iterator[str]:
        with socket.socket() as bound:  # bound but not listening: whoever connects is refused
            bound.bind(("127.0.0.1", 0))
            yield f"http://127.0.0.1:{bound.getsockname()[1]}"

    @pytest.fixture
    async def failing(self, upstream: Upstream, nobody: str) -> AsyncIterator[Sequence[LLMProvider]]:
        leak = frame(failure("authentication_error", f"invalid x-api-key {KEY}")).partition(b"data: ")[2]
        upstream.play(leak, status=401)
        upstream.play(leak, status=400)
        upstream.play(start(), delta("so far"), Cut)
        async with AsyncExitStack() as stack:
            yield [
                await stack.enter_async_context(open_anthropic(settings(upstream, base_url=url)))
                for url in (*[upstream.base_url] * 3, nobody)
            ]
        assert upstream.scripts == []

    def expected(self, request: ModelRequest) -> str:
        return request.messages[-1].parts[0].text  # type: ignore[union-attr]
