"""The vectors of memories, kept in memory between searches and brought up to date before each."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from backchat.domain.times import stamp
from backchat.ports.storage import Query, Range, Record, RecordStore
from backchat.services.memory_records import MEMORY_VECTOR, vector_of
from backchat.services.vectors import in_thread

if TYPE_CHECKING:
    import numpy as np

P = ParamSpec("P")
R = TypeVar("R")
PAGE_BYTES = 4 << 20
"""Vectors read from the store at once: parsing them holds the event loop up for a few milliseconds."""
OVERLAP = timedelta(minutes=1)
"""Processes differ in their clocks, and a write is seen later than its stamp: so much is read again."""


@dataclass(slots=True)
class _Shelf:
    """Vectors of one assistant and signature: row n of the matrix belongs to ``ids[n]``; rows past them are spare.

    ``read``: when they were last brought up to date.
    """

    matrix: np.ndarray[Any, Any] | None = None
    ids: list[str] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    read: datetime | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def size(self) -> int:
        return 0 if self.matrix is None else int(self.matrix.nbytes)

    def take(self, page: Sequence[Record], length: int) -> None:
        """Add vectors, or replace those that are there."""
        import numpy as np

        for record in page:
            data = vector_of(record)
            if len(data) != length:
                continue  # not what its signature says: found by its words
            row = self.rows.get(record.id)
            if row is None:
                row = self.rows[record.id] = len(self.ids)
                self.ids.append(record.id)
            if self.matrix is None or row >= len(self.matrix):
                grown = np.zeros((max(64, 2 * row), length // 4), "<f4")
                if self.matrix is not None:
                    grown[: len(self.matrix)] = self.matrix
                self.matrix = grown
            self.matrix[row] = np.frombuffer(data, "<f4")

    def drop(self, gone: Collection[str]) -> None:
        """Put the last row in the place of each that is gone."""
        for id in gone:
            row = self.rows.pop(id, None)
            if row is None or self.matrix is None:
                continue
            last = self.ids.pop()
            if last != id:
                self.ids[row], self.rows[last] = last, row
                self.matrix[row] = self.matrix[len(self.ids)]

    def nearest(self, vector: bytes, limit: int, also: Collection[str]) -> dict[str, float]:
        import numpy as np

        if self.matrix is None or not self.ids:
            return {}
        scores = self.matrix[: len(self.ids)] @ np.frombuffer(vector, "<f4")
        best = range(len(scores)) if limit >= len(scores) else np.argpartition(scores, -limit)[-limit:]
        rows = {int(row) for row in best} | {self.rows[id] for id in also if id in self.rows}
        return {self.ids[row]: float(scores[row]) for row in rows}


@dataclass(slots=True)
class MemoryVectors:
    """``most``: bytes of vectors to keep; the assistants that were not asked for longest give way."""

    store: RecordStore
    now: Callable[[], datetime]
    most: int = 256 << 20
    _shelves: OrderedDict[tuple[str, str], _Shelf] = field(default_factory=OrderedDict)

    async def nearest(
        self, owner: str, assistant: str, signature: str, vector: bytes, limit: int, also: Collection[str]
    ) -> dict[str, float]:
        """Cosines of the ``limit`` memories nearest to a vector, and of those among ``also`` that have a vector.

        There may be ids of deleted memories among them: see ``drop``.
        """
        key = (assistant, signature)
        shelf = self._shelves.setdefault(key, _Shelf())
        self._shelves.move_to_end(key)
        async with shelf.lock:
            await self._read(shelf, owner, assistant, signature, len(vector))
            found = await _to_the_end(shelf.nearest, vector, limit, also)
        total = sum(s.size for s in self._shelves.values())
        while total > self.most and len(self._shelves) > 1:
            total -= self._shelves.popitem(last=False)[1].size
        return found

    async def drop(self, assistant: str, signature: str, gone: Collection[str]) -> None:
        """Memories that were found not to be there any more."""
        if gone and (shelf := self._shelves.get((assistant, signature))):
            async with shelf.lock:
                shelf.drop(gone)

    def forget(self, assistant: str) -> None:
        """Everything of an assistant."""
        for key in [key for key in self._shelves if key[0] == assistant]:
            del self._shelves[key]

    async def _read(self, shelf: _Shelf, owner: str, assistant: str, signature: str, length: int) -> None:
        """What was written since the last time."""
        where = (("owner", (owner,)), ("assistant", (assistant,)), ("signature", (signature,)))
        now = self.now()
        low = None if shelf.read is None else stamp(shelf.read - OVERLAP)
        size = max(1, PAGE_BYTES // length)
        last: tuple[str, str] | None = None
        while True:
            # What comes after the last one is in the range, and a store that is told both may read all of it each time.
            ranges = () if low is None or last is not None else (Range("written", low=low),)
            query = Query(
                kind=MEMORY_VECTOR.name, where=where, ranges=ranges, order=("written",), after=last, limit=size
            )
            page = await self.store.find(query)
            if page:
                await _to_the_end(shelf.take, page, length)
                last = (page[-1].doc["written"], page[-1].id)
            if len(page) < size:
                shelf.read = now
                return


async def _to_the_end(call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """In a thread, which nothing can stop: whoever is cancelled here keeps the lock until it is through."""
    task = asyncio.ensure_future(in_thread(call, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        raise
