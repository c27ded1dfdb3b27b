"""Trying the ``anthropic`` provider on the upstream of the tests."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import pytest

from anthropic_events import answer
from anthropic_upstream import Upstream
from backchat.domain.message import Text, ToolCall, ToolResult
from backchat.errors import ProviderError
from backchat.ports.providers import Finish, ModelRequest, PromptMessage, ProviderEvent, ToolDefinition
from backchat.testing.provider import ask, collect, said
from backchat_anthropic.provider import AnthropicProvider, open_anthropic
from backchat_anthropic.settings import Settings, SettingsSchema

KEY = "sk-ant-secret-0123456789abcdef"
CALL = ToolCall("toolu_1", "get_weather", "{}")
RESULT = PromptMessage("tool", (ToolResult("toolu_1", "sunny"),))


def settings(upstream: Upstream, **section: Any) -> Settings:
    given = {"model": "claude-sonnet-4-5", "base_url": upstream.base_url, "api_key": KEY, **section}
    loaded = SettingsSchema().load(given)
    assert isinstance(loaded, Settings)
    return loaded


async def asked(upstream: Upstream, request: ModelRequest, **section: Any) -> dict[str, Any]:
    """The body of a request that the service accepts."""
    async with open_anthropic(settings(upstream, **section)) as provider:
        await collect(provider, request)
    assert upstream.problems == []
    return upstream.bodies[-1]


async def read_into(events: list[ProviderEvent], provider: AnthropicProvider, request: ModelRequest) -> None:
    """Keep what is yielded before a failure."""
    async with aclosing(provider.stream(request)) as stream:
        async for event in stream:
            events.append(event)  # noqa: PERF401 - a comprehension would keep nothing


async def fail(provider: AnthropicProvider, *tools: ToolDefinition) -> tuple[str, ProviderError]:
    """What was said until it failed, and the failure."""
    events: list[ProviderEvent] = []
    with pytest.raises(ProviderError) as caught:
        await read_into(events, provider, ask("hi", *tools))
    assert not any(isinstance(e, Finish) for e in events)
    assert KEY not in f"{caught.value!r} {caught.value.__cause__!r}"
    return said(events), caught.value


async def healthy(provider: AnthropicProvider, upstream: Upstream) -> None:
    """It answers as if nothing had happened, and holds no connection afterwards."""
    upstream.play(*answer("fine"))
    assert said(await collect(provider, ask("hi"))) == "fine"
    connector = provider._session.connector
    assert connector is not None
    assert not connector._acquired


def question(*parts: Any) -> PromptMessage:
    return PromptMessage("user", parts or (Text("?"),))


def kinds(sent: dict[str, Any]) -> list[list[str]]:
    """The types of the blocks of each turn."""
    return [[block["type"] for block in turn["content"]] for turn in sent["messages"]]
