"""The active path of a conversation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from backchat.domain.message import Message, Role
from backchat.ports.memory import DEFAULT, Summary
from backchat.ports.storage import Query, Range, Record, RecordStore
from backchat.services.paging import pages
from backchat.services.stored import MESSAGE, message_of
from backchat.services.summary_records import SUMMARY, summary_of

PAGE = 200
"""Messages that are read at once; more than these are made of their records in a thread."""
SUMMARIES = 20
"""Summaries that are read at once."""


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

    def __init__(self, store: RecordStore, conversation: str, leaf: str | None, strategy: str = DEFAULT) -> None:
        self._store, self._conversation, self._leaf, self._strategy = store, conversation, leaf, strategy
        self._newest: list[Record] = []
        self._walk = _Walk(store, conversation, leaf)

    async def summary(self) -> Summary | None:
        """The summary that reaches furthest of those that the strategy made of messages on the path.

        Nothing that is older than what it covers is read for it.
        """
        async with aclosing(self.summaries()) as found:
            async for record in found:
                return summary_of(record)
        return None

    async def summaries(self) -> AsyncGenerator[Record]:
        """The summaries that the strategy made of messages on the path, those first that reach further."""
        where = (("conversation", (self._conversation,)), ("strategy", (self._strategy,)))
        query = Query(kind=SUMMARY.name, where=where, order=("seq",), descending=True, limit=SUMMARIES)
        async for page in pages(self._store, query):
            for record in page:
                if await self._is_on(record.doc["covers"], record.doc["seq"]):
                    yield record

    async def _is_on(self, id: str, seq: int) -> bool:
        while more := await self._walk.on(PAGE, down_to=seq):
            self._newest += more
        return any(record.id == id for record in reversed(self._newest))

    async def latest(self, limit: int) -> Sequence[Message]:
        """The newest ``limit`` messages of the path, oldest first. What this path has read is not read again."""
        while len(self._newest) < limit and (more := await self._walk.on(min(PAGE, limit - len(self._newest)))):
            self._newest += more
        return await _messages(self._newest[: max(limit, 0)][::-1])

    async def excerpt(self, *, skip: int, limit: int, role: Role | None = None) -> Excerpt:
        """``limit`` messages of the path, of this role if one is given, after the ``skip`` oldest ones."""
        path = [record async for record in self._down()][::-1]
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
        async with aclosing(self._down()) as path:
            async for record in path:
                if around or record.id == id:
                    around.append(record)
                    if record.doc["role"] == "user":
                        break
                elif record.doc["seq"] < there.doc["seq"]:
                    return None
        found = await _messages(around[::-1])
        return Excerpt(found[-1:], found, 1) if found else None

    async def _down(self) -> AsyncGenerator[Record]:
        """The records of the path, newest first, of which nothing is kept here."""
        walk = _Walk(self._store, self._conversation, self._leaf)
        while page := await walk.on(PAGE):
            for record in page:
                yield record


class _Walk:
    """Once down a path, newest first.

    A parent always has a lower seq than its child, so one walk down the seqs meets the path in order. A parent that was
    deleted ends the path.
    """

    def __init__(self, store: RecordStore, conversation: str, leaf: str | None) -> None:
        self._store, self._conversation = store, conversation
        self._wanted = leaf
        self._below: int | None = None

    async def on(self, size: int, down_to: int = 0) -> list[Record]:
        """The next records of the path, ``size`` at most; none if there are no more of seqs from ``down_to`` on."""
        found: list[Record] = []
        while not found and self._wanted is not None and (self._below is None or down_to < self._below):
            page = await self._store.find(
                Query(
                    kind=MESSAGE.name,
                    where=(("conversation", (self._conversation,)),),
                    ranges=(Range("seq", low=down_to, high=self._below),),
                    order=("seq",),
                    descending=True,
                    limit=size,
                )
            )
            for record in page:
                if record.id == self._wanted:
                    found.append(record)
                    self._wanted = record.doc["parent"]
            self._below = page[-1].doc["seq"] if len(page) == size else down_to
        return found


async def _messages(records: Sequence[Record]) -> list[Message]:
    if len(records) > PAGE:
        return await asyncio.to_thread(lambda: [message_of(record) for record in records])
    return [message_of(record) for record in records]
