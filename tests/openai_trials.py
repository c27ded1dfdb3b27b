"""Trying the ``openai`` provider on an upstream that fails."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import pytest

from backchat.errors import ProviderError
from backchat.ports.providers import Finish, ModelRequest, ProviderEvent, ToolDefinition
from backchat.testing.provider import ask, collect, said
from backchat_openai.provider import OpenAIProvider
from backchat_openai.settings import OPENAI, Settings, SettingsSchema
from openai_upstream import Upstream

KEY = "sk-secret-0123456789abcdef"


def settings(upstream: Upstream, **section: Any) -> Settings:
    loaded = SettingsSchema(OPENAI).load({"model": "m-1", "base_url": upstream.base_url, "api_key": KEY, **section})
    assert isinstance(loaded, Settings)
    return loaded


async def read_into(events: list[ProviderEvent], provider: OpenAIProvider, request: ModelRequest) -> None:
    """Keep what is yielded before a failure."""
    async with aclosing(provider.stream(request)) as stream:
        async for event in stream:
            events.append(event)  # noqa: PERF401 - a comprehension would keep nothing


async def fail(provider: OpenAIProvider, *tools: ToolDefinition) -> tuple[str, ProviderError]:
    """What was said until it failed, and the failure."""
    events: list[ProviderEvent] = []
    with pytest.raises(ProviderError) as caught:
        await read_into(events, provider, ask("hi", *tools))
    assert not any(isinstance(e, Finish) for e in events)
    assert KEY not in f"{caught.value!r} {caught.value.__cause__!r}"
    return said(events), caught.value


async def healthy(provider: OpenAIProvider, upstream: Upstream) -> None:
    """It answers as if nothing had happened, and holds no connection afterwards."""
    assert said(await collect(provider, ask("fine"))) == "fine"
    connector = provider._session.connector
    assert connector is not None
    assert not connector._acquired
