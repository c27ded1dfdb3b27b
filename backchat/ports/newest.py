"""For memory strategies: the newest messages of a history, within bounds that no service objects to."""

from __future__ import annotations

from collections.abc import Sequence

from backchat.domain.message import File, Foreign, Image, Message, ToolCall, ToolResult
from backchat.ports.memory import History


async def newest(history: History, size: int, characters: int | None = None) -> Sequence[Message]:
    """As many of the newest messages as fit in both bounds, oldest first. The last one is there whatever its length.

    Services refuse a tool's result without the call it answers. Results at the beginning whose call lies outside are
    left out; only if nothing else would be left does it reach back to the call, past the bounds.
    """
    latest = await history.latest(size)
    shown = latest[len(latest) - fitting(latest, characters) :]
    for index, message in enumerate(shown):
        if message.role != "tool":
            return shown[index:]
    return await _last_exchange(history, latest, size)


def fitting(messages: Sequence[Message], characters: int | None) -> int:
    """How many of the newest messages have so many characters together; at least one, if there is any."""
    if characters is None:
        return len(messages)
    count, left = 0, characters
    for message in reversed(messages):
        left -= length_of(message)
        if count and left < 0:
            break
        count += 1
    return count


async def _last_exchange(history: History, latest: Sequence[Message], limit: int) -> Sequence[Message]:
    """The results that end the history, with the message that called for them."""
    while True:
        for index in range(len(latest) - 1, -1, -1):
            if latest[index].role != "tool":
                return latest[index:]
        if len(latest) < limit:
            return latest[-1:]
        limit = max(1, 2 * limit)
        latest = await history.latest(limit)


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
