"""What the port asks of a store that is only read. Every answer is one round trip, unless it is ranked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from pymongo.errors import OperationFailure

from backchat.errors import Unavailable
from backchat.ports.storage import Kind, Query, Record, Scalar
from backchat_mongo.closing import let_end
from backchat_mongo.documents import RECORD, record_of
from backchat_mongo.drivers import Connection
from backchat_mongo.failures import SNAPSHOT_UNAVAILABLE, codes, translated
from backchat_mongo.filters import Filter, beyond, joined, matching, required
from backchat_mongo.layout import Layout, stored_name
from backchat_mongo.ranking import ranked

T = TypeVar("T")
PAUSE = 0.005


class Reading:
    """Raises Unavailable when the database does not answer within its timeout.

    ``session``: what is read is as of the moment of this session, which is one for snapshots. Without it, each answer
    is as of a moment of its own, after everything that was acknowledged.
    """

    def __init__(self, connection: Connection, session: Any = None) -> None:
        self._connection = connection
        self._tasks: set[asyncio.Task[Any]] = set()
        self._session = session

    async def get(self, layout: Layout, id: str) -> Record | None:
        collection = self._connection.collection(layout.collection)
        found = await self._answer(lambda: collection.find_one({"_id": id}, RECORD, session=self._session))
        return record_of(layout.kind.name, found) if found else None

    async def find(self, layout: Layout, query: Query) -> list[Record]:
        if query.limit == 0:
            return []
        if query.any_word:
            return await self._answer(lambda: ranked(self._connection, layout, query, self._session))
        terms = required(layout, query)
        if terms is None:
            return []
        chosen = joined(layout, [*terms, *beyond(query)])
        return await self._answer(lambda: self._page(layout, query, chosen))

    async def count(self, layout: Layout, query: Query) -> int:
        chosen = matching(layout, query)
        if chosen is None:
            return 0
        collection = self._collection(layout)
        found: int = await self._answer(lambda: collection.count_documents(chosen, session=self._session))
        return found

    async def values(self, layout: Layout, query: Query, field: str) -> list[Scalar]:
        """The lowest of them, in their order."""
        chosen = matching(layout, query)
        if chosen is None or query.limit == 0:
            return []
        name = stored_name(field)
        pipeline: list[Filter] = [
            {"$match": {"$and": [chosen, {name: {"$ne": None}}]}},
            {"$group": {"_id": f"${name}"}},
            {"$sort": {"_id": 1}},
            {"$limit": query.limit},
        ]
        rows = await self._answer(
            lambda: self._connection.aggregate(
                self._collection(layout), pipeline, session=self._session, batchSize=query.limit + 1, allowDiskUse=True
            )
        )
        return [row["_id"] for row in rows]

    async def _page(self, layout: Layout, query: Query, chosen: Filter) -> list[Record]:
        # One batch for the whole page, and one more than that, so that no cursor stays open.
        options = {"skip": query.offset, "limit": query.limit, "batch_size": query.limit + 1, "allow_disk_use": True}
        cursor = self._collection(layout).find(
            chosen, RECORD, sort=sort_of(layout.kind, query), session=self._session, **options
        )
        return [record_of(query.kind, row) for row in await cursor.to_list(None)]

    def _collection(self, layout: Layout) -> Any:
        if self._session is not None:
            return self._connection.collection(layout.collection)
        return self._connection.moment(layout.collection)

    async def close(self) -> None:
        """Wait for what was asked by those who have been cancelled since, but not long for a server that is silent."""
        await let_end(self._tasks)

    async def _answer(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask in a task of its own, which goes on when the caller is cancelled.

        A command that is cut off in its middle costs a connection. And PyMongo may not hear of it: the caller would go
        on as if nobody had cancelled it.
        """
        work = asyncio.create_task(self._asked(ask))
        self._tasks.add(work)
        work.add_done_callback(self._ended)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            if work.cancelled():
                raise Unavailable("the database is closed") from None
            raise

    def _ended(self, work: asyncio.Task[Any]) -> None:
        self._tasks.discard(work)
        if not work.cancelled():
            work.exception()  # there may be nobody to be told

    async def _asked(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask, and once more while the server cannot read as of this moment: an index was made in it."""
        deadline = time.monotonic() + self._connection.timeout
        while True:
            with translated():
                try:
                    return await ask()
                except OperationFailure as error:
                    if SNAPSHOT_UNAVAILABLE not in codes(error) or time.monotonic() > deadline:
                        raise
            await asyncio.sleep(PAUSE)


def sort_of(kind: Kind, query: Query) -> list[tuple[str, int]]:
    """The fields to sort by, with 1 or -1. Without the id where no two records can be equal without it.

    Then the unique index has the order, which does not end with the id.
    """
    direction = -1 if query.descending else 1
    fixed = {field for field, wanted in query.where if len(wanted) == 1 and wanted[0] is not None}
    ordered = dict.fromkeys(map(stored_name, query.order))
    if not any(fixed.union(query.order).issuperset(group) for group in kind.unique if set(group) & set(query.order)):
        ordered["_id"] = None
    return [(name, direction) for name in ordered]
