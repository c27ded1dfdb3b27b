"""Stores that are asked again when they cannot be reached: a copy takes hours, and an election some seconds.

Also what a killed process had under way may keep others from its records for a time, on MongoDB for a minute.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from backchat.errors import Unavailable
from backchat.ports.abilities import Journaled, Place
from backchat.ports.storage import Change, Query, Record, RecordStore, Scalar
from backchat.services.copying_changes import Source

PATIENCE = 120.0
"""Seconds from the first failure of a call, after which it fails for good."""
PAUSE = 1.0
Waits = Callable[[Unavailable], None]
"""Called with each failure that is not for good."""
T = TypeVar("T")


class Patient:
    """A store between its user and itself.

    What is applied may be applied twice, for a lost answer may have been a good one: whoever expects a record at a
    version must bear to find it stale.
    """

    def __init__(self, store: RecordStore, waits: Waits) -> None:
        self._store, self._waits = store, waits

    async def get(self, kind: str, id: str) -> Record | None:
        return await self._again(lambda: self._store.get(kind, id))

    async def find(self, query: Query) -> Sequence[Record]:
        return await self._again(lambda: self._store.find(query))

    async def count(self, query: Query) -> int:
        return await self._again(lambda: self._store.count(query))

    async def values(self, query: Query, field: str) -> Sequence[Scalar]:
        return await self._again(lambda: self._store.values(query, field))

    async def apply(self, changes: Sequence[Change]) -> None:
        await self._again(lambda: self._store.apply(changes))

    async def compact(self) -> None:
        await self._again(self._store.compact)

    async def _again(self, call: Callable[[], Awaitable[T]]) -> T:
        until: float | None = None
        while True:
            try:
                return await call()
            except Unavailable as error:
                now = time.monotonic()
                until = now + PATIENCE if until is None else until
                if now >= until:
                    raise
                self._waits(error)
            await asyncio.sleep(PAUSE)


class PatientSource(Patient):
    def __init__(self, store: Source, waits: Waits) -> None:
        super().__init__(store, waits)
        self._source = store

    async def begin_journal(self) -> str:
        return await self._again(self._source.begin_journal)

    async def journal(self, position: str, limit: int) -> tuple[Sequence[Place], str]:
        return await self._again(lambda: self._source.journal(position, limit))

    async def end_journal(self) -> None:
        await self._again(self._source.end_journal)


def patient(store: RecordStore, waits: Waits) -> RecordStore:
    """With the journal that the store has, or none."""
    return PatientSource(store, waits) if isinstance(store, Journaled) else Patient(store, waits)
