"""Taking over what changes in a store while it is copied, by its journal."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Protocol

from backchat.errors import StaleWrite
from backchat.ports.abilities import Journaled, Place
from backchat.ports.storage import Change, Delete, Put, Record, RecordStore
from backchat.services.copying_reading import Page, Reader
from backchat.services.copying_records import ASIDE_QUERY, Copy, aside_delete, copy_put
from backchat.services.copying_writing import BATCH, BATCH_BYTES, Stored, put_records
from backchat.services.kinds import COPIED

CHUNK = 2000
NOTED_EVERY = 10.0
"""Seconds after which the position is noted though nothing was changed: a store may forget old ones."""


class Source(RecordStore, Journaled, Protocol):
    """A store whose changes can be followed."""


class Changes:
    """``copy`` says up to where they are taken over; it is stored in the target with them."""

    def __init__(self, source: Source, target: RecordStore, copy: Copy, stored: Stored) -> None:
        self.copy = copy
        self._source, self._target, self._stored = source, target, stored
        self._reader = Reader(source)
        self._noted = time.monotonic()

    async def take(self) -> Sequence[Place]:
        """Take over what was changed next, and return what that was: nothing, if all is taken over.

        Raises Conflict when the source does not know the position any more.
        """
        assert self.copy.position is not None
        places, position = await self._source.journal(self.copy.position, CHUNK)
        wanted = [place for place in dict.fromkeys(places) if place[0] in COPIED]
        self.copy = replace(self.copy, position=position)
        if wanted:
            await self._take_over(wanted)
        elif time.monotonic() - self._noted > NOTED_EVERY:
            await self._target.apply([copy_put(self.copy)])
            self._noted = time.monotonic()
        return wanted

    async def take_aside(self) -> tuple[int, int]:
        """Store what did not fit before; returns how much of it did now, and how much did not."""
        done = left = 0
        async with aclosing(Reader(self._target).pages(ASIDE_QUERY)) as pages:
            async for page in pages:
                for record in page.records:
                    fits = await self._fits((record.doc["kind"], record.doc["id"]))
                    done, left = done + fits, left + (not fits)
        return done, left

    async def _fits(self, place: Place) -> bool:
        record = await self._source.get(*place)
        now: Change = Delete(*place) if record is None else Put(*place, record.doc)
        try:
            await self._target.apply([now, aside_delete(place)])
        except StaleWrite:
            return False
        return True

    async def _take_over(self, places: Sequence[Place]) -> None:
        """Make the records in the target what they are in the source now."""
        ids: defaultdict[str, list[str]] = defaultdict(list)
        for kind, id in places:
            ids[kind].append(id)
        batch = _Batch()
        for kind in ids:
            async with aclosing(self._reader.these(kind, ids[kind])) as slices:
                async for asked, page in slices:
                    if batch.full:
                        await self._store(batch, ())
                        batch = _Batch()
                    batch.add(kind, asked, page)
        await self._store(batch, [copy_put(self.copy)])
        self._noted = time.monotonic()

    async def _store(self, batch: _Batch, note: Sequence[Change]) -> None:
        await put_records(self._target, batch.records, note, batch.gone)
        self._stored(len(batch.records) + len(batch.gone), batch.size)


@dataclass(slots=True)
class _Batch:
    records: list[Record] = field(default_factory=list)
    gone: list[Delete] = field(default_factory=list)
    size: int = 0

    @property
    def full(self) -> bool:
        return len(self.records) + len(self.gone) >= BATCH or self.size >= BATCH_BYTES

    def add(self, kind: str, asked: Sequence[str], page: Page) -> None:
        there = {record.id for record in page.records}
        self.records += page.records
        self.gone += [Delete(kind, id) for id in asked if id not in there]
        self.size += page.size
