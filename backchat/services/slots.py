"""Whose turn it is, when more is to be done than can be at the same time."""

from __future__ import annotations

import asyncio
from bisect import insort
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

Waiting = tuple[int, int, asyncio.Future[None]]
"""Its weight, its number in the order of arrival, and its turn."""


class Slots:
    """How many pieces of work of a kind are done at the same time; ``most`` may be infinite.

    The next one is of the owner who has the fewest at work; among these, of the one who has not had a turn for the
    longest time: somebody with a thousand waiting holds nobody else up. Of theirs it is the lightest, then the oldest.
    """

    def __init__(self, most: float) -> None:
        self._most = most
        self._held = 0
        self._at_work: Counter[str] = Counter()
        self._waiting: dict[str, list[Waiting]] = {}
        self._turns: dict[str, int] = {}
        self._numbers = count(1)

    @property
    def all_taken(self) -> bool:
        """Whether whoever comes now has to wait."""
        return self._held >= self._most

    def resize(self, most: float) -> None:
        """From now on so many. Nothing that is at work is stopped."""
        self._most = most
        self._next()

    @asynccontextmanager
    async def one(self, owner: str, weight: int = 0) -> AsyncIterator[None]:
        """Wait for a slot and hold it."""
        turn = asyncio.get_running_loop().create_future()
        waiting = (weight, next(self._numbers), turn)
        insort(self._waiting.setdefault(owner, []), waiting)
        self._next()
        try:
            await turn
            yield
        finally:
            if turn.done() and not turn.cancelled():
                self._at_work[owner] -= 1
                self._held -= 1
            else:
                self._drop(owner, waiting)
            if not self._at_work[owner] and owner not in self._waiting:
                del self._at_work[owner]
                self._turns.pop(owner, None)
            self._next()

    def _drop(self, owner: str, waiting: Waiting) -> None:
        self._waiting[owner].remove(waiting)
        if not self._waiting[owner]:
            del self._waiting[owner]

    def _next(self) -> None:
        while self._waiting and not self.all_taken:
            owner = min(self._waiting, key=lambda who: (self._at_work[who], self._turns.get(who, 0)))
            chosen = self._waiting[owner][0]
            self._drop(owner, chosen)
            self._held += 1
            self._at_work[owner] += 1
            self._turns[owner] = next(self._numbers)
            chosen[2].set_result(None)
