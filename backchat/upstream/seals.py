"""Seals: who can open them, and a prompt without them."""

from __future__ import annotations

from dataclasses import replace

from yarl import URL

from backchat.domain.message import Reasoning, ToolCall
from backchat.ports.providers import ModelRequest, PromptMessage


def signer(base_url: str, model: str) -> str:
    """Who has sealed something: one model at one address. Others refuse it, or take it for somebody's thinking."""
    url = URL(base_url)
    return f"{url.authority.lower()}{url.path.rstrip('/')} {model}"


def has_seals(request: ModelRequest, maker: str) -> bool:
    """Whether there is a seal of this maker in the prompt."""
    return any(
        isinstance(part, Reasoning | ToolCall) and part.seal is not None and part.seal.maker == maker
        for message in request.messages
        for part in message.parts
    )


def without_seals(request: ModelRequest) -> ModelRequest:
    """The same prompt, with nothing in it of what was sealed but the calls themselves.

    For a service that cannot open its own seals any more: the conversation goes on without them.
    """
    return replace(request, messages=[_without(message) for message in request.messages])


def _without(message: PromptMessage) -> PromptMessage:
    kept = [p for p in message.parts if not (isinstance(p, Reasoning) and p.seal is not None)]
    parts = tuple([replace(p, seal=None) if isinstance(p, ToolCall) and p.seal is not None else p for p in kept])
    return replace(message, parts=parts)
