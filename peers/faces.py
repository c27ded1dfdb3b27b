"""The protocols through which the peers are asked, each with the provider of backchat's that speaks it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from marshmallow import Schema

from backchat.errors import ProviderError
from backchat.ports.providers import LLMProvider, ModelRequest, ProviderEvent
from backchat.testing.provider import ask, said
from backchat_anthropic.provider import open_anthropic
from backchat_anthropic.settings import SettingsSchema as AnthropicSchema
from backchat_google.provider import open_google
from backchat_google.settings import SettingsSchema as GoogleSchema
from backchat_openai.provider import open_openai
from backchat_openai.settings import OPENAI
from backchat_openai.settings import SettingsSchema as OpenAISchema

LITELLM = os.environ.get("BACKCHAT_PEER_LITELLM", "")
LLAMACPP = os.environ.get("BACKCHAT_PEER_LLAMACPP", "")
KEY = os.environ.get("BACKCHAT_PEER_KEY", "")


@dataclass(frozen=True, slots=True)
class Face:
    """path     what follows the peer's address in ``base_url``
    prefix   of the names that LiteLLM's models have for this face
    section  options that the face needs
    """

    schema: Schema
    open: Callable[[Any], AbstractAsyncContextManager[LLMProvider]]
    path: str = ""
    prefix: str = ""
    section: Mapping[str, Any] = field(default_factory=dict)

    @asynccontextmanager
    async def opened(self, peer: str, model: str, **section: Any) -> AsyncIterator[LLMProvider]:
        base = {"model": self.prefix + model, "base_url": peer + self.path, "api_key": KEY}
        async with self.open(self.schema.load({**base, **self.section, **section})) as provider:
            yield provider


CHAT = Face(OpenAISchema(OPENAI), open_openai, path="/v1")
RESPONSES = Face(OpenAISchema(OPENAI), open_openai, path="/v1", section={"api": "responses"})
MESSAGES = Face(AnthropicSchema(), open_anthropic)
GOOGLE = Face(GoogleSchema(), open_google, prefix="openai-")


async def failure(
    opened: AbstractAsyncContextManager[LLMProvider], request: ModelRequest | None = None
) -> tuple[str, ProviderError]:
    """What was said, and the error that ended it."""
    events: list[ProviderEvent] = []

    async def read() -> None:
        async with opened as provider, aclosing(provider.stream(request or ask("Tell me of the sea."))) as stream:
            async for event in stream:
                events.append(event)  # noqa: PERF401 - a comprehension would keep nothing

    with pytest.raises(ProviderError) as caught:
        await read()
    assert KEY not in f"{caught.value!r}"
    return said(events), caught.value
