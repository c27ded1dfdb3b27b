"""The real SDK, pointed at a server in the test's own process."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson

from backchat.ports.providers import Abilities
from backchat.testing.provider import ScriptedProvider
from backchat.testing.server import Box

with warnings.catch_warnings():  # its models are declared in a way that pydantic calls deprecated
    warnings.simplefilter("ignore", DeprecationWarning)
    from backboard import BackboardClient, exceptions, models  # type: ignore[import-untyped]

__all__ = ["BackboardClient", "exceptions", "models"]

THREADS: Mapping[str, Any] = {"dialects": ["chat", "threads"]}
WEATHER: Mapping[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_current_weather",
        "description": "Get current weather for a location",
        "parameters": {
            "type": "object",
            "properties": {"location": {"type": "string", "description": "City name"}},
            "required": ["location"],
        },
    },
}


def scripted(provider: ScriptedProvider, **more: Any) -> tuple[dict[str, Any], list[object]]:
    """Config and plugins of a server whose threads ask this provider."""
    return {**THREADS, "providers": {provider.name: {"use": provider.name}}, **more}, [provider]


def literal(*turns: Any) -> ScriptedProvider:
    """A scripted provider that nobody asks to extract facts: what is learned follows from the user's words alone."""
    return ScriptedProvider(*turns, abilities=Abilities(instructions=False))


def address(box: Box) -> str:
    return str(box.client.make_url("/api"))


@asynccontextmanager
async def sdk(box: Box, user: str = "ann", seconds: float = 30, key: str | None = None) -> AsyncIterator[Any]:
    """A ``BackboardClient`` of that user."""
    if key is None:
        key = (await box.key(user))["Authorization"].removeprefix("Bearer ")
    async with BackboardClient(api_key=key, base_url=address(box), timeout=seconds) as client:
        yield client


async def drain(stream: Any) -> list[dict[str, Any]]:
    """Every event of an answer that the SDK streams."""
    return [event async for event in await stream]


def types(events: Sequence[Mapping[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


def text(events: Sequence[Mapping[str, Any]]) -> str:
    return "".join([e["content"] for e in events if e["type"] == "content_streaming"])


async def ask(box: Box, method: str, path: str, who: Mapping[str, str], **more: Any) -> tuple[int, Any]:
    """Status and JSON of an answer, without the SDK in between."""
    answer = await box.client.request(method, f"/api{path}", headers=who, **more)
    return answer.status, orjson.loads(await answer.read())
