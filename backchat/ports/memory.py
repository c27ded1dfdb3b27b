"""The memory port: which of the past messages a prompt shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from backchat.domain.message import Message
from backchat.ports.component import Component


class History(Protocol):
    """The narrow window through which a strategy sees the past: the active path of one conversation."""

    async def latest(self, limit: int) -> Sequence[Message]:
        """The newest ``limit`` messages, oldest first; the last one is what the user just said."""
        ...


class MemoryStrategy(Protocol):
    """Test one by subclassing ``backchat.testing.memory_contract.MemoryContract``."""

    async def select(self, history: History) -> Sequence[Message]:
        """The messages to show the model, oldest first. The last one must be the newest of the history."""
        ...


OpenMemory = Callable[[Any], AbstractAsyncContextManager[MemoryStrategy]]
MemoryBackend = Component[OpenMemory]
