"""Turns at records: of the transactions of this process that write to one record, one is under way at a time.

The server lets the first of two such transactions go on and makes the other begin anew, again and again until the first
is through. Between processes that is settled by pauses; within one it would be work for nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

Place = tuple[str, str]
"""Kind and id of a record."""


@dataclass(slots=True)
class Turn:
    """``users``: who has it and who waits for it."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class Turns:
    def __init__(self) -> None:
        self._turns: dict[Place, Turn] = {}

    @asynccontextmanager
    async def at(self, places: Iterable[Place]) -> AsyncGenerator[None, None]:
        """Hold the turns at these records. All take them in the same order, so nobody waits for one who waits."""
        async with AsyncExitStack() as held:
            for place in sorted(set(places)):
                await held.enter_async_context(self._one(place))
            yield

    @asynccontextmanager
    async def _one(self, place: Place) -> AsyncGenerator[None, None]:
        turn = self._turns.setdefault(place, Turn())
        turn.users += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[place]
