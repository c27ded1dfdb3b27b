"""Whose turn it is, when more is to be done than can be at the same time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Slots:
    """How many jobs of a topic are worked on at the same time.

    The next one is of whoever has the fewest at work, and of theirs the lightest: somebody may be waiting for it.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._at_work: Counter[str] = Counter()
        self._waiting: list[tuple[str, int, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def one(self, owner: str, weight: int) -> AsyncIterator[None]:
        """Wait for a slot and hold it."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((owner, weight, turn))
        self._next()
        try:
            await turn
            yield
        finally:
            if turn.done() and not turn.cancelled():
                self._at_work[owner] -= 1
                self._free += 1
            else:
                self._waiting.remove((owner, weight, turn))
            self._next()

    def _next(self) -> None:
        while self._free and self._waiting:
            chosen = min(self._waiting, key=lambda waits: (self._at_work[waits[0]], waits[1]))
            self._waiting.remove(chosen)
            owner, _, turn = chosen
            self._free -= 1
            self._at_work[owner] += 1
            turn.set_result(None)
