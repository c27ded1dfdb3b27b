"""Seals that a service cannot open any more: the conversation goes on without them, at every service that has such."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from aiohttp import web

from backchat.domain.message import Reasoning, Text, ToolCall, ToolResult
from backchat.errors import ProviderRejected
from backchat.ports.providers import LLMProvider, ModelRequest, PromptMessage
from backchat.testing.provider import WEATHER, collect, said
from backchat.upstream.seals import signer
from backchat_anthropic import seals as anthropic_seals
from backchat_anthropic.provider import open_anthropic
from backchat_anthropic.settings import SettingsSchema as AnthropicSchema
from backchat_google import seals as google_seals
from backchat_google.provider import open_google
from backchat_google.settings import SettingsSchema as GoogleSchema
from backchat_openai import seals as openai_seals
from backchat_openai.openrouter import OpenRouterSchema
from backchat_openai.provider import open_openai
from backchat_openai.settings import OPENAI, SettingsSchema

Opened = AbstractAsyncContextManager[LLMProvider]
MODEL = "claude-sonnet-4-5"
SECRET = "c2VhbGVk"
"""What the service refuses, in whatever field it stands."""


@dataclass(slots=True)
class Service:
    """Refuses with ``refusal`` what has the secret in it, and answers everything else with ``frames``."""

    refusal: dict[str, Any]
    frames: list[Any]
    url: str = ""
    bodies: list[bytes] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.bodies.append(body)
        if SECRET.encode() in body:
            return web.json_response(self.refusal, status=400)
        text = "".join([f"data: {orjson.dumps(frame).decode()}\n\n" for frame in self.frames])
        return web.Response(text=text, content_type="text/event-stream")


def responses(url: str) -> tuple[Opened, Reasoning]:
    section = {"model": MODEL, "api": "responses", "base_url": f"{url}/v1"}
    item = {"id": "rs_1", "summary": [], "encrypted_content": SECRET}
    seal = openai_seals.sealed_items([item], signer(f"{url}/v1", MODEL))
    return open_openai(SettingsSchema(OPENAI).load(section)), Reasoning("", seal)


def openrouter(url: str) -> tuple[Opened, Reasoning]:
    detail = {"type": "reasoning.text", "text": "hm", "signature": SECRET, "format": "anthropic-claude-v1"}
    seal = openai_seals.sealed_details([detail], "openrouter", signer(f"{url}/v1", MODEL))
    return open_openai(OpenRouterSchema().load({"model": MODEL, "base_url": f"{url}/v1"})), Reasoning("hm", seal)


def anthropic(url: str) -> tuple[Opened, Reasoning]:
    seal = anthropic_seals.sealed(signer(url, MODEL), 0, signature=SECRET)
    return open_anthropic(AnthropicSchema().load({"model": MODEL, "base_url": url})), Reasoning("hm", seal)


def google(url: str) -> tuple[Opened, Reasoning]:
    seal = google_seals.sealed(f"models/{MODEL}", google_seals.Signature(SECRET, "thought", 0, 2))
    return open_google(GoogleSchema().load({"model": MODEL, "base_url": url})), Reasoning("hm", seal)


CHUNK = {"choices": [{"delta": {"content": "hi"}, "finish_reason": "stop"}]}
SERVICES: dict[str, tuple[Callable[[str], tuple[Opened, Reasoning]], dict[str, Any], list[Any]]] = {
    "responses": (
        responses,
        {"error": {"message": "could not be verified", "code": "invalid_encrypted_content"}},
        [
            {"type": "response.output_text.delta", "delta": "hi"},
            {"type": "response.completed", "response": {"status": "completed"}},
        ],
    ),
    "openrouter": (
        openrouter,
        {
            "error": {
                "code": 400,
                "message": "Provider returned error",
                "metadata": {"raw": "messages.1.content.0: Invalid `signature` in `thinking` block"},
            }
        },
        [CHUNK],
    ),
    "anthropic": (
        anthropic,
        {
            "type": "error",
            "error": {
                "type": "invalid_request_error",
                "message": "messages.1.content.0: Invalid `signature` in `thinking` block",
            },
        },
        [
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "hi"}},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
            {"type": "message_stop"},
        ],
    ),
    "google": (
        google,
        {"error": {"code": 400, "message": "Corrupted thought signature.", "status": "INVALID_ARGUMENT"}},
        [{"candidates": [{"content": {"parts": [{"text": "hi"}]}, "finishReason": "STOP"}]}],
    ),
}


@pytest.fixture(params=SERVICES)
async def opened(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Service, LLMProvider, Reasoning]]:
    make, refusal, frames = SERVICES[request.param]
    service = Service(refusal, frames)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", service.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    service.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    opening, thought = make(service.url)
    try:
        async with opening as provider:
            yield service, provider, thought
    finally:
        await runner.cleanup()


def going_on(thought: Reasoning) -> ModelRequest:
    """An answer that goes on after its call, which the model had thought about."""
    call = ToolCall("call_1", "get_weather", "{}", thought.seal if thought.text == "" else None)
    messages = [
        PromptMessage("user", (Text("weather?"),)),
        PromptMessage("assistant", (thought, Text("I look."), call)),
        PromptMessage("tool", (ToolResult("call_1", "sunny"),)),
    ]
    return ModelRequest(messages=messages, tools=[WEATHER], reasoning="low")


async def test_a_conversation_goes_on_without_seals_that_are_refused(
    opened: tuple[Service, LLMProvider, Reasoning],
) -> None:
    service, provider, thought = opened
    assert said(await collect(provider, going_on(thought))) == "hi"
    first, second = service.bodies
    assert SECRET.encode() in first
    assert SECRET.encode() not in second
    for kept in (b"weather?", b"I look.", b"get_weather", b"sunny"):
        assert kept in second, "nothing else is left out"


async def test_another_refusal_is_told_and_not_asked_about_again(
    opened: tuple[Service, LLMProvider, Reasoning],
) -> None:
    service, provider, thought = opened
    service.refusal = {"error": {"message": "the prompt is too long", "type": "invalid_request_error", "code": 400}}
    with pytest.raises(ProviderRejected, match="the prompt is too long"):
        await collect(provider, going_on(thought))
    assert len(service.bodies) == 1


async def test_it_is_asked_once_more_and_no_more(opened: tuple[Service, LLMProvider, Reasoning]) -> None:
    service, provider, thought = opened
    messages = [*going_on(thought).messages, PromptMessage("user", (Text(SECRET),))]
    with pytest.raises(ProviderRejected):
        await collect(provider, ModelRequest(messages=messages, tools=[WEATHER]))
    assert len(service.bodies) == 2
