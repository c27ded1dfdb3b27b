"""The store as it was at one moment: a session whose reads all see the same snapshot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

from backchat.ports.storage import Change, Query, Record, Scalar
from backchat_mongo.answering import Answering
from backchat_mongo.drivers import Connection
from backchat_mongo.failures import translated
from backchat_mongo.layout import Layout
from backchat_mongo.reading import Reading

T = TypeVar("T")


class FrozenStore(Answering):
    """A ``RecordStore``. A session does one thing at a time, so whoever reads side by side waits."""

    def __init__(self, layouts: Mapping[str, Layout], reading: Reading) -> None:
        super().__init__(layouts, reading)
        self._turn = asyncio.Lock()

    async def get(self, kind: str, id: str) -> Record | None:
        return await self._alone(partial(super().get, kind, id))

    async def find(self, query: Query) -> Sequence[Record]:
        return await self._alone(partial(super().find, query))

    async def count(self, query: Query) -> int:
        return await self._alone(partial(super().count, query))

    async def values(self, query: Query, field: str) -> Sequence[Scalar]:
        return await self._alone(partial(super().values, query, field))

    async def apply(self, changes: Sequence[Change]) -> None:
        raise ValueError("a frozen store takes no changes")

    async def compact(self) -> None:
        """There is nothing to do."""

    async def _alone(self, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Whoever is cancelled leaves at once; what they have asked for keeps its turn until it is through."""
        await self._turn.acquire()
        work = asyncio.create_task(ask())
        work.add_done_callback(lambda _: self._turn.release())
        return await asyncio.shield(work)


@asynccontextmanager
async def frozen(connection: Connection, layouts: Mapping[str, Layout]) -> AsyncGenerator[FrozenStore, None]:
    """See ``Frozen.frozen``. The server keeps a moment for ``minSnapshotHistoryWindowInSeconds``, 300 by default."""
    with translated():
        async with connection.session(snapshot=True) as session:
            reading = Reading(connection, session)
            # The moment is that of the first answer.
            await reading.get(next(iter(layouts.values())), "")
            try:
                yield FrozenStore(layouts, reading)
            finally:
                await reading.close()
