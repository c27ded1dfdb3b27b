"""Requests as the bodies of HTTP requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Concatenate, ParamSpec, TypeVar

import orjson

from backchat.domain.message import Reasoning, Text, ToolCall
from backchat.errors import ProviderRejected
from backchat.ports.providers import FileData, ImageData, ModelRequest, PromptPart

P = ParamSpec("P")
T = TypeVar("T")
LARGE = 256 << 10
"""Bytes or characters of a prompt that take milliseconds to encode: a thread does it."""


async def made_of(
    request: ModelRequest,
    make: Callable[Concatenate[ModelRequest, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """``make(request, ...)``, off the event loop where that takes a while."""
    if _size(request) < LARGE:
        return make(request, *args, **kwargs)
    return await asyncio.to_thread(make, request, *args, **kwargs)


def dumped(body: Mapping[str, Any]) -> bytes:
    """The JSON. Raises ProviderRejected for a prompt that JSON cannot carry."""
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError:
        raise ProviderRejected("the prompt holds something that JSON cannot carry, such as half a character") from None


def _size(request: ModelRequest) -> int:
    return len(request.system) + sum([_length(part) for message in request.messages for part in message.parts])


def _length(part: PromptPart) -> int:
    if isinstance(part, ImageData | FileData):
        return len(part.data)
    if isinstance(part, Text):
        return len(part.text)
    if isinstance(part, Reasoning):
        return len(part.text) + (len(part.seal.data) if part.seal else 0)
    if isinstance(part, ToolCall):
        return len(part.arguments) + (len(part.seal.data) if part.seal else 0)
    return len(part.content)
