"""Storing records of one store in another, several batches at once, in a way that can be gone on with."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from backchat.errors import StaleWrite
from backchat.ports.abilities import Place
from backchat.ports.storage import Change, Delete, Purge, Put, Query, Range, Record, RecordStore
from backchat.services.copying_marks import marked
from backchat.services.copying_reading import Page, Reader
from backchat.services.copying_records import COPYING, STORED_QUERY, aside_put, copy_put, stored_of, stored_put
from backchat.services.kinds import COPIED
from backchat.services.runstate import WORKER

BATCH = 64
BATCH_BYTES = 1 << 20
LANES = 2
"""Batches under way at once. Larger ones, or more, gain little; and a MongoDB with a small cache holds all that is not
committed in it: thousands of entries of word indexes, until nothing goes on any more.
"""
EMPTIED = 2000
"""Records that are deleted in one batch."""

Stored = Callable[[int, int], None]
"""Called with the records and the bytes of each batch that is stored."""


@dataclass(slots=True)
class _Batch:
    """``done`` when it is stored."""

    records: list[Record]
    size: int
    done: bool = False

    @property
    def last(self) -> Place:
        return self.records[-1].kind, self.records[-1].id


class _Lanes:
    """The batches under way. ``low`` is the place up to which all records are stored."""

    def __init__(self, target: RecordStore, low: Place | None, stored: Stored, *, noted: bool) -> None:
        self._target, self._stored, self._noted = target, stored, noted
        self.low = low
        self._order: deque[_Batch] = deque()
        self._free = list(range(LANES))
        self._tasks: set[asyncio.Task[None]] = set()

    async def add(self, batch: _Batch) -> None:
        """Begin to store a batch, as soon as a lane is free. Raises what one of those before it has raised."""
        while not self._free:
            await self._some(asyncio.FIRST_COMPLETED)
        self._order.append(batch)
        self._tasks.add(asyncio.create_task(self._store(batch, self._free.pop())))

    async def finish(self) -> None:
        while self._tasks:
            await self._some(asyncio.ALL_COMPLETED)

    async def abandon(self) -> None:
        """Nothing is under way any more when this returns."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _some(self, when: str) -> None:
        ended, self._tasks = await asyncio.wait(self._tasks, return_when=when)
        failures = [error for task in ended if (error := task.exception()) is not None]
        if failures:
            raise failures[0]

    async def _store(self, batch: _Batch, lane: int) -> None:
        # What is noted was so when the batch began. Each lane has a record of its own: they would wait for one.
        note = [stored_put(lane, self.low)] if self._noted and self.low is not None else []
        await put_records(self._target, batch.records, note)
        batch.done = True
        while self._order and self._order[0].done:
            self.low = self._order.popleft().last
        self._free.append(lane)
        self._stored(len(batch.records), batch.size)


async def transfer(
    source: RecordStore, target: RecordStore, stored: Stored, *, after: Place | None = None, noted: bool = False
) -> None:
    """Store every record of the source beyond a place in the target, over those that are there already.

    With ``noted`` the target knows how far it is (``stored_up_to``), so that it can be gone on with after a kill: a few
    batches are stored again then. What does not fit beside other records, which it can only if the source changes
    meanwhile, is put aside (``copying_changes``). Raises what the stores raise.
    """
    lanes = _Lanes(target, after, stored, noted=noted)
    try:
        async with aclosing(Reader(source).everything(after)) as pages, aclosing(_batches(pages)) as batches:
            async for batch in batches:
                await lanes.add(batch)
        await lanes.finish()
    finally:
        await lanes.abandon()


async def stored_up_to(target: RecordStore) -> Place | None:
    """The place up to which a noted transfer has stored everything."""
    found = await target.find(STORED_QUERY)
    return max([stored_of(record) for record in found], default=None)


async def put_records(
    target: RecordStore, records: Sequence[Record], note: Sequence[Change], gone: Sequence[Delete] = ()
) -> None:
    """Store records, whatever is there, and what is to be noted with them; what does not fit is put aside.

    ``gone`` is deleted before, which makes room. If it is interrupted, all of it can be done again.
    """
    try:
        await target.apply([*gone, *[Put(r.kind, r.id, r.doc, 0) for r in records], *note])
    except StaleWrite:  # some are there already: only now, for stores are faster when they need not look
        await _settle(target, [*gone, *[Put(r.kind, r.id, r.doc) for r in records]], note)


async def _settle(target: RecordStore, changes: Sequence[Put | Delete], note: Sequence[Change]) -> None:
    try:
        await target.apply([*changes, *note])
    except StaleWrite:
        if len(changes) > 1:
            half = len(changes) // 2
            await _settle(target, changes[:half], ())
            await _settle(target, changes[half:], note)
        else:
            # Another record has its unique values still. Its own old ones must be in nobody's way.
            (put,) = changes
            await target.apply([Delete(put.kind, put.id), aside_put((put.kind, put.id)), *note])


async def empty(target: RecordStore, emptied: Callable[[int], None]) -> None:
    """Delete every record, and what is known of an unfinished copy first. Told of the records of each batch.

    The store is marked until it is empty.
    """
    await target.apply([_up_to(COPYING.name, None), _up_to(WORKER.name, None), copy_put(await marked("", "emptying"))])
    for kind in COPIED:
        while True:
            beyond = await target.find(Query(kind=kind, offset=EMPTIED, limit=1))
            await target.apply([_up_to(kind, beyond[0].id if beyond else None)])
            if not beyond:
                break
            emptied(EMPTIED)
    await target.apply([_up_to(COPYING.name, None)])
    await target.compact()


def _up_to(kind: str, id: str | None) -> Purge:
    return Purge(kind, ranges=(Range("id", "", id),))


async def _batches(pages: AsyncIterator[Page]) -> AsyncGenerator[_Batch, None]:
    """Pages put together, and none taken apart: what is in memory is bounded by them."""
    batch = _Batch([], 0)
    async for page in pages:
        batch.records += page.records
        batch.size += page.size
        if len(batch.records) >= BATCH or batch.size >= BATCH_BYTES:
            yield batch
            batch = _Batch([], 0)
    if batch.records:
        yield batch
