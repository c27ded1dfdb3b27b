"""What Groq and DeepSeek have beyond OpenAI's protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from backchat.domain.message import Reasoning, Seal, Text, ToolCall, ToolResult
from backchat.errors import ProviderError
from backchat.ports.providers import ModelRequest, PromptMessage
from backchat.testing.provider import ask, collect
from backchat_openai.groq import GroqSchema
from backchat_openai.provider import open_openai
from backchat_openai.settings import OPENAI, SettingsSchema
from openai_upstream import Upstream, chunk, serve


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with serve() as upstream:
        yield upstream
        assert upstream.problems == []


async def test_thinking_goes_back_to_who_requires_it(upstream: Upstream) -> None:
    upstream.service = "deepseek"
    section = {"model": "m-1", "base_url": upstream.base_url}
    call = ToolCall("c1", "f", "{}")
    history = [
        *ask("hi").messages,
        PromptMessage("assistant", (Reasoning("I "), Reasoning("think."), call)),
        PromptMessage("tool", (ToolResult("c1", "done"),)),
        PromptMessage("assistant", (Reasoning("sealed", Seal("anthropic", "x")), Text("So be it."))),
    ]
    for more in ({}, {"reasoning_back": True}):
        async with open_openai(SettingsSchema(OPENAI).load({**section, **more})) as provider:
            await collect(provider, ModelRequest(messages=history))
    plain, with_it = [[m.get("reasoning_content") for m in body["messages"]] for body in upstream.bodies]
    assert plain == [None] * 4
    assert with_it == [None, "I think.", None, ""]


async def test_groqs_options_go_with_every_request(upstream: Upstream) -> None:
    upstream.service = "groq"
    section = {"model": "m-1", "base_url": upstream.base_url, "extra_body": {"seed": 7}}
    chosen = {"reasoning_format": "parsed", "service_tier": "flex"}
    for more in ({}, chosen):
        async with open_openai(GroqSchema().load({**section, **more})) as provider:
            await collect(provider, ask("hi"))
    plain, with_options = upstream.bodies
    assert not chosen.keys() & plain.keys()
    assert with_options == {**plain, **chosen}


async def test_an_error_in_groqs_place_is_one(upstream: Upstream) -> None:
    upstream.play(chunk(content="so far"), {**chunk("stop"), "x_groq": {"id": "r", "error": "over capacity"}}, "[DONE]")
    async with open_openai(GroqSchema().load({"model": "m", "base_url": upstream.base_url})) as provider:
        with pytest.raises(ProviderError, match="over capacity"):
            await collect(provider, ask("hi"))
