"""Trying the ``google`` provider on an upstream that fails."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import pytest

from backchat.errors import ProviderError
from backchat.ports.providers import Finish, ModelRequest, ProviderEvent, ToolDefinition
from backchat.testing.provider import ask, collect, said
from backchat_google.provider import GoogleProvider
from backchat_google.settings import Settings, SettingsSchema
from google_upstream import Upstream, text

KEY = "unlike.any.0123456789abcdef"  # not to be known by its looks
MODEL = "gemini-3.8-flash"


def settings(upstream: Upstream, **section: Any) -> Settings:
    loaded = SettingsSchema().load({"model": MODEL, "base_url": upstream.base_url, "api_key": KEY, **section})
    assert isinstance(loaded, Settings)
    return loaded


async def read_into(events: list[ProviderEvent], provider: GoogleProvider, request: ModelRequest) -> None:
    """Keep what is yielded before a failure."""
    async with aclosing(provider.stream(request)) as stream:
        async for event in stream:
            events.append(event)  # noqa: PERF401 - a comprehension would keep nothing


async def failed(provider: GoogleProvider, *tools: ToolDefinition) -> tuple[list[ProviderEvent], ProviderError]:
    """What came until it failed, and the failure."""
    events: list[ProviderEvent] = []
    with pytest.raises(ProviderError) as caught:
        await read_into(events, provider, ask("hi", *tools))
    assert not any(isinstance(e, Finish) for e in events)
    assert KEY not in f"{caught.value!r} {caught.value.__cause__!r}"
    assert caught.value.__context__ is None or caught.value.__suppress_context__, "the client's errors hold headers"
    return events, caught.value


async def fail(provider: GoogleProvider, *tools: ToolDefinition) -> tuple[str, ProviderError]:
    """What was said until it failed, and the failure."""
    events, error = await failed(provider, *tools)
    return said(events), error


async def healthy(provider: GoogleProvider, upstream: Upstream) -> None:
    """It answers as if nothing had happened, and holds no connection afterwards."""
    upstream.play(*text("fine"))
    assert said(await collect(provider, ask("hi"))) == "fine"
    connector = provider._session.connector
    assert connector is not None
    assert not connector._acquired
