"""Whose turn it is, when more is to be done than can be at the same time."""

from __future__ import annotations

import asyncio
from bisect import insort
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count

Turn = asyncio.Future[None]
GiveWay = Callable[[], None]
Waiting = tuple[int, int, Turn, GiveWay | None]
"""Its weight, its number in the order of arrival, its turn, and how it is told to give way."""
Queue = dict[str, list[Waiting]]


class Slots:
    """How many pieces of work of a kind are done at the same time; ``most`` may be infinite.

    The next one is of the owner who has the fewest at work; among these, of the one who has not had a turn for the
    longest time: somebody with a thousand waiting holds nobody else up. Of theirs it is the lightest, then the oldest.

    Work that can give way comes behind all other: it begins when no other waits, and leaves one slot free, if there is
    more than one. If other work waits for such alone, the one of it that began last is told to give way.
    """

    def __init__(self, most: float) -> None:
        self._most = most
        self._held = 0
        self._at_work: Counter[str] = Counter()
        self._waiting: Queue = {}
        self._behind: Queue = {}
        self._yielding: dict[Turn, GiveWay] = {}
        self._turns: dict[str, int] = {}
        self._numbers = count(1)

    @property
    def all_taken(self) -> bool:
        """Whether whoever comes now has to wait."""
        return self._held >= self._most

    @property
    def none_to_spare(self) -> bool:
        """Whether work that can give way has to wait if it comes now."""
        return bool(self._waiting) or self._held >= max(1, self._most - 1)

    def resize(self, most: float) -> None:
        """From now on so many. Nothing that is at work is stopped."""
        self._most = most
        self._next()

    @asynccontextmanager
    async def one(self, owner: str, weight: int = 0, *, give_way: GiveWay | None = None) -> AsyncIterator[None]:
        """Wait for a slot and hold it. ``give_way`` is called, once, if it is to be given back as soon as possible."""
        turn = asyncio.get_running_loop().create_future()
        waiting = (weight, next(self._numbers), turn, give_way)
        queue = self._waiting if give_way is None else self._behind
        insort(queue.setdefault(owner, []), waiting)
        self._next()
        try:
            await turn
            yield
        finally:
            if turn.done() and not turn.cancelled():
                self._at_work[owner] -= 1
                self._held -= 1
                self._yielding.pop(turn, None)
            else:
                self._drop(queue, owner, waiting)
            if not self._at_work[owner] and owner not in self._waiting and owner not in self._behind:
                del self._at_work[owner]
                self._turns.pop(owner, None)
            self._next()

    def _drop(self, queue: Queue, owner: str, waiting: Waiting) -> None:
        if owner in queue and waiting in queue[owner]:
            queue[owner].remove(waiting)
            if not queue[owner]:
                del queue[owner]

    def _next(self) -> None:
        while self._waiting and not self.all_taken:
            self._begin(self._waiting)
        while self._behind and not self.none_to_spare:
            self._begin(self._behind)
        if self._waiting and 0 < self._held == len(self._yielding):  # and none of them has been told
            self._yielding.popitem()[1]()

    def _begin(self, queue: Queue) -> None:
        owner = min(queue, key=lambda who: (self._at_work[who], self._turns.get(who, 0)))
        chosen = queue[owner][0]
        self._drop(queue, owner, chosen)
        if chosen[2].cancelled():  # and whoever waited for it does not know it yet
            return
        self._held += 1
        self._at_work[owner] += 1
        self._turns[owner] = next(self._numbers)
        _, _, turn, give_way = chosen
        if give_way is not None:
            self._yielding[turn] = give_way
        turn.set_result(None)
