"""Trying the ``ollama`` provider on an upstream that fails."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import pytest

from backchat.errors import ProviderError
from backchat.ports.providers import Finish, ModelRequest, ProviderEvent, ToolDefinition
from backchat.testing.provider import ask, collect, said
from backchat_ollama.provider import OllamaProvider, open_ollama
from backchat_ollama.settings import Settings, SettingsSchema
from ollama_upstream import Upstream, text

KEY = "sk-secret-0123456789abcdef"


def settings(upstream: Upstream, **section: Any) -> Settings:
    loaded = SettingsSchema().load({"model": "m-1", "base_url": upstream.base_url, "api_key": KEY, **section})
    assert isinstance(loaded, Settings)
    return loaded


async def answer(upstream: Upstream, request: ModelRequest, **section: Any) -> list[ProviderEvent]:
    async with open_ollama(settings(upstream, **section)) as provider:
        return await collect(provider, request)


async def read_into(events: list[ProviderEvent], provider: OllamaProvider, request: ModelRequest) -> None:
    """Keep what is yielded before a failure."""
    async with aclosing(provider.stream(request)) as stream:
        async for event in stream:
            events.append(event)  # noqa: PERF401 - a comprehension would keep nothing


async def fail(provider: OllamaProvider, *tools: ToolDefinition) -> tuple[list[ProviderEvent], ProviderError]:
    """What came until it failed, and the failure."""
    events: list[ProviderEvent] = []
    with pytest.raises(ProviderError) as caught:
        await read_into(events, provider, ask("hi", *tools))
    assert not any(isinstance(e, Finish) for e in events)
    assert KEY not in f"{caught.value!r} {caught.value.__cause__!r}"
    return events, caught.value


async def healthy(provider: OllamaProvider, upstream: Upstream) -> None:
    """It answers as if nothing had happened, and holds no connection afterwards."""
    upstream.play(*text("fine"))
    assert said(await collect(provider, ask("hi"))) == "fine"
    connector = provider._session.connector
    assert connector is not None
    assert not connector._acquired
