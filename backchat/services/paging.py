"""Queries for more than a store should answer at once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from backchat.ports.storage import Condition, Purge, Query, Range, Record, RecordStore

AT_ONCE = 100
"""Records that are purged in one batch: a database server has to keep all of them in memory until it is committed."""


async def pages(store: RecordStore, query: Query) -> AsyncIterator[Sequence[Record]]:
    """All that a query finds, ``query.limit`` records at a time, none of the pages empty.

    Each page is of the moment when it is asked for, and goes on after the last record of the one before: what is stored
    or moved meanwhile to a place that was passed is not met, and what is moved on may be met again.
    """
    while True:
        page = await store.find(query)
        if page:
            yield page
        if len(page) < query.limit:
            return
        query = replace(query, after=(*[page[-1].doc[field] for field in query.order], page[-1].id))


async def purge_all(
    store: RecordStore, kind: str, where: tuple[Condition, ...] = (), ranges: tuple[Range, ...] = ()
) -> None:
    """Purge what meets the conditions and is not needed any more, ``AT_ONCE`` records in a batch: all, in the end."""
    query = Query(kind=kind, where=where, ranges=ranges, limit=AT_ONCE)
    while ids := await store.values(query, "id"):
        await store.apply([Purge(kind, (*where, ("id", tuple(ids))), ranges)])


async def all_found(store: RecordStore, query: Query) -> list[Record]:
    """The same as one list."""
    return [record async for page in pages(store, query) for record in page]
