"""The memory port: which of the past messages a prompt shows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from backchat.domain.message import Message
from backchat.ports.component import Component

Ask = Callable[[str, str], Awaitable[str]]
"""Ask the model that answers the conversation: instructions, text. Answers its words. Raises ``ProviderError``."""

DEFAULT = "default"
"""The name of the strategy of the section ``memory``; nobody else has it."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What was said up to a message, in short. ``covers`` is the id of the newest message that is in it."""

    text: str
    covers: str


@dataclass(frozen=True, slots=True)
class Shown:
    """What a model is shown of the past: messages, oldest first, and what was said before them in short.

    ``due``: it is time for a ``review`` once the reply is complete.
    """

    messages: Sequence[Message]
    summary: str = ""
    due: bool = False


class History(Protocol):
    """The narrow window through which a strategy sees the past: the active path of one conversation."""

    async def latest(self, limit: int) -> Sequence[Message]:
        """The newest ``limit`` messages, oldest first; the last one is what the user just said."""
        ...

    async def summary(self) -> Summary | None:
        """The summary that reaches furthest of those that this strategy made of messages on this path."""
        ...


class MemoryStrategy(Protocol):
    """Test one by subclassing ``backchat.testing.memory_contract.MemoryContract``."""

    async def select(self, history: History) -> Shown:
        """What to show the model. The last message must be the newest of the history. Asks nobody: a turn waits."""
        ...

    async def review(self, history: History, ask: Ask) -> Summary | None:
        """A new summary, if it is still time for one.

        Called in the background after a completed reply that was ``due``, whose end the history has; not if the model
        that answered does not do what it is told. What it returns is kept with the conversation, until a message that
        it covers is deleted or changed, or newer ones take its place. Raises ``ProviderError``; then the next
        ``select`` finds that it is due.
        """
        ...


OpenMemory = Callable[[Any], AbstractAsyncContextManager[MemoryStrategy]]
MemoryBackend = Component[OpenMemory]
