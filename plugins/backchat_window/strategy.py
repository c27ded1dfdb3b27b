"""A window over the end of a conversation, bounded in messages and, if wanted, in characters."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from marshmallow import RAISE, Schema, post_load, validate

from backchat.domain.message import File, Foreign, Image, Message, ToolCall, ToolResult
from backchat.ports.memory import Ask, History, Shown, Summary
from backchat.web.fields import Whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    size: int = 20
    max_characters: int | None = None


class SettingsSchema(Schema):
    class Meta:
        unknown = RAISE

    size = Whole(
        load_default=20,
        validate=validate.Range(min=1, max=10_000),
        metadata={"description": "How many messages the model is shown at most, the one just said included."},
    )
    max_characters = Whole(
        load_default=None,
        allow_none=True,
        validate=validate.Range(min=1),
        metadata={"description": "How many characters of text they may have together; older messages give way."},
    )

    @post_load
    def freeze(self, data: Mapping[str, Any], **_: object) -> Settings:
        return Settings(**data)


class Window:
    """The newest messages within both bounds. The last one is shown whatever its length.

    Services refuse a tool's result without the call it answers. Results at the beginning whose call lies outside are
    left out; only if nothing else would be left does the window reach back to the call, past its bounds.
    """

    def __init__(self, settings: Settings) -> None:
        self._size = settings.size
        self._characters = settings.max_characters

    async def select(self, history: History) -> Shown:
        latest = await history.latest(self._size)
        shown = _from_first_other(latest[-self._fitting(latest) :] if latest else latest)
        return Shown(shown or await self._last_exchange(history, latest))

    async def review(self, history: History, ask: Ask) -> Summary | None:
        return None

    def _fitting(self, messages: Sequence[Message]) -> int:
        """How many of the newest messages fit in the allowed characters; at least one."""
        if self._characters is None:
            return len(messages)
        left = self._characters - length_of(messages[-1])
        count = 1
        for message in reversed(messages[:-1]):
            left -= length_of(message)
            if left < 0:
                break
            count += 1
        return count

    async def _last_exchange(self, history: History, latest: Sequence[Message]) -> Sequence[Message]:
        """The results that end the history, with the message that called for them."""
        limit = self._size
        while True:
            for index in range(len(latest) - 1, -1, -1):
                if latest[index].role != "tool":
                    return latest[index:]
            if len(latest) < limit:
                return latest[-1:]
            limit *= 2
            latest = await history.latest(limit)


def _from_first_other(messages: Sequence[Message]) -> Sequence[Message]:
    for index, message in enumerate(messages):
        if message.role != "tool":
            return messages[index:]
    return ()


@asynccontextmanager
async def open_window(settings: Settings) -> AsyncIterator[Window]:
    yield Window(settings)


def length_of(message: Message) -> int:
    """Characters of text that a model reads in a message: what was said, thought, called with and answered."""
    total = 0
    for part in message.parts:
        if isinstance(part, ToolCall):
            total += len(part.name) + len(part.arguments)
        elif isinstance(part, ToolResult):
            total += len(part.content)
        elif not isinstance(part, Image | File | Foreign):
            total += len(part.text)
    return total
