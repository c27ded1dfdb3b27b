"""The active path of a conversation."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from backchat.domain.message import Message, Role
from backchat.ports.memory import Summary
from backchat.ports.storage import Query, Range, Record, RecordStore
from backchat.services.stored import MESSAGE, message_of

PAGE = 200
"""Messages that are read at once; more than these are made of their records in a thread."""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Messages of a path, oldest first; ``around``: the same, and what is above each up to the message of a user.

    ``count`` is how many there are to choose from.
    """

    shown: Sequence[Message]
    around: Sequence[Message]
    count: int


class Path:
    """The active path of one conversation: what a memory strategy may see of the past.

    ``strategy`` is the name of the one that looks.
    """

    def __init__(self, store: RecordStore, conversation: str, leaf: str | None, strategy: str = "default") -> None:
        self._store, self._conversation, self._leaf, self._strategy = store, conversation, leaf, strategy

    async def summary(self) -> Summary | None:
        """The summary that reaches furthest of those that the strategy made of messages on the path."""
        return None

    async def latest(self, limit: int) -> Sequence[Message]:
        """The newest ``limit`` messages of the path, oldest first."""
        return await _messages([record async for record in self._down(limit)][::-1])

    async def excerpt(self, *, skip: int, limit: int, role: Role | None = None) -> Excerpt:
        """``limit`` messages of the path, of this role if one is given, after the ``skip`` oldest ones."""
        path = [record async for record in self._down(sys.maxsize)][::-1]
        places = [n for n, record in enumerate(path) if role in (None, record.doc["role"])]
        wanted = places[skip : skip + limit]
        around: set[int] = set()
        for place in wanted:
            while place >= 0 and place not in around:
                around.add(place)
                if path[place].doc["role"] == "user":
                    break
                place -= 1
        found = await _messages([path[n] for n in sorted(around)])
        shown = {path[n].id for n in wanted}
        return Excerpt([m for m in found if m.id in shown], found, len(places))

    async def one(self, id: str) -> Excerpt | None:
        """One message of the path, None if it is not on it. What is below it is read, but nothing else."""
        there = await self._store.get(MESSAGE.name, id) if id.isprintable() else None
        if there is None or there.doc["conversation"] != self._conversation:
            return None
        around: list[Record] = []
        async with aclosing(self._down(sys.maxsize)) as path:
            async for record in path:
                if around or record.id == id:
                    around.append(record)
                    if record.doc["role"] == "user":
                        break
                elif record.doc["seq"] < there.doc["seq"]:
                    return None
        found = await _messages(around[::-1])
        return Excerpt(found[-1:], found, 1) if found else None

    async def _down(self, limit: int) -> AsyncGenerator[Record]:
        """The newest ``limit`` records of the path, newest first.

        A parent always has a lower seq than its child, so one walk down the seqs meets the path in order. A parent that
        was deleted ends the path.
        """
        wanted, below, left = self._leaf, None, limit
        while wanted is not None and left > 0:
            size = min(PAGE, left)
            page = await self._store.find(
                Query(
                    kind=MESSAGE.name,
                    where=(("conversation", (self._conversation,)),),
                    ranges=(Range("seq", high=below),) if below is not None else (),
                    order=("seq",),
                    descending=True,
                    limit=size,
                )
            )
            for record in page:
                if record.id == wanted:
                    yield record
                    left -= 1
                    wanted = record.doc["parent"]
            if len(page) < size:
                break
            below = page[-1].doc["seq"]


async def _messages(records: Sequence[Record]) -> list[Message]:
    if len(records) > PAGE:
        return await asyncio.to_thread(lambda: [message_of(record) for record in records])
    return [message_of(record) for record in records]
