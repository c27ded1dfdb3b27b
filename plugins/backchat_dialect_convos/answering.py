"""Answers: JSON, and the documents that take more than one read to show."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import orjson
from aiohttp import web

from backchat.domain.conversation import Conversation
from backchat.domain.message import Message
from backchat.web.dialect import Call
from backchat_dialect_convos import shapes

CHANNEL = "convos"
MANY = 200
"""Messages from which on showing them takes long enough to be done in a thread."""


def json_answer(data: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return _raw(orjson.dumps(data), status, headers)


def _raw(body: bytes, status: int, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json", headers=headers)


async def shown(make: Callable[[], object], size: int, status: int = 200) -> web.Response:
    """What ``make`` makes of so many messages."""

    def work() -> bytes:
        return orjson.dumps(make())

    return _raw(work() if size < MANY else await asyncio.to_thread(work), status)


async def document(
    call: Call, conversation: Conversation, status: int = 200, more: Mapping[str, None] | None = None
) -> web.Response:
    """A conversation's whole document; ``more`` are values that it lacks and that are told all the same."""
    messages = await call.services.trees.whole(call.who, conversation.id)
    return await shown(lambda: {**shapes.whole(conversation, messages), **(more or {})}, len(messages), status)


async def copied(copy: tuple[Conversation, Sequence[Message]], status: int) -> web.Response:
    """A new conversation and its messages, all of them whole documents."""
    conversation, messages = copy

    def make() -> object:
        return {
            "conversation": shapes.whole(conversation, messages),
            "messages": [shapes.stored(m) for m in messages],
        }

    return await shown(make, len(messages), status)
