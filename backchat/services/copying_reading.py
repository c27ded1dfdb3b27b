"""Reading all of a store in pages of bounded size, whatever its records weigh."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

import orjson

from backchat.ports.abilities import Place
from backchat.ports.storage import Query, Record, RecordStore
from backchat.services.kinds import COPIED, LARGE

PAGE = 64
PAGE_OF_LARGE = 8
PAGE_BYTES = 1 << 20
FORGOTTEN = 0.9
"""A large record makes the next pages small: this is what is left of it after each page."""
GROWTH = 2
"""How many times as many records as the last page had the next one may have: the first has one."""


@dataclass(frozen=True, slots=True)
class Page:
    """Records of one kind in the order of their ids, and the bytes of their documents as JSON."""

    records: Sequence[Record]
    size: int


class Reader:
    """Pages of a store. No query can ask for bytes, so the weight of the last records says how many come next."""

    def __init__(self, store: RecordStore) -> None:
        self.store = store
        self._largest: defaultdict[str, float] = defaultdict(float)
        self._grown: defaultdict[str, int] = defaultdict(lambda: 1)

    async def pages(self, query: Query) -> AsyncGenerator[Page, None]:
        """All that a query finds, by id; ``query.limit`` is not asked about. None of the pages is empty."""
        while True:
            limit = self._limit(query.kind)
            records = await self.store.find(replace(query, limit=limit))
            if not records:
                return
            yield await self._weighed(records)
            if len(records) < limit:
                return
            query = replace(query, after=(records[-1].id,))

    async def everything(self, after: Place | None = None) -> AsyncGenerator[Page, None]:
        """Every record of what is copied, kind by kind, from beyond a place on."""
        for kind in COPIED:
            if after is None or kind > after[0]:
                query = Query(kind=kind)
            elif kind == after[0]:
                query = Query(kind=kind, after=(after[1],))
            else:
                continue
            async with aclosing(self.pages(query)) as pages:
                async for page in pages:
                    yield page

    async def these(self, kind: str, ids: Sequence[str]) -> AsyncGenerator[tuple[Sequence[str], Page], None]:
        """As many of the ids at a time as a page may have, and those of the records that there are."""
        while ids:
            limit = self._limit(kind)
            now, ids = tuple(ids[:limit]), ids[limit:]
            records = await self.store.find(Query(kind=kind, where=(("id", now),), limit=limit))
            yield now, await self._weighed(records)

    def _limit(self, kind: str) -> int:
        most = min(self._grown[kind], PAGE_OF_LARGE if kind in LARGE else PAGE)
        self._grown[kind] = most * GROWTH
        largest = self._largest[kind]
        return min(most, max(1, int(PAGE_BYTES / largest))) if largest else most

    async def _weighed(self, records: Sequence[Record]) -> Page:
        sizes = await asyncio.to_thread(lambda: [len(orjson.dumps(record.doc)) for record in records])
        if records:
            kind = records[0].kind
            self._largest[kind] = max(*sizes, self._largest[kind] * FORGOTTEN)
        return Page(records, sum(sizes))


async def is_empty(store: RecordStore) -> bool:
    """Whether there is no record of anything that is copied."""
    for kind in COPIED:
        if await store.find(Query(kind=kind, limit=1)):
            return False
    return True


async def held(store: RecordStore) -> int:
    """How many records there are of what is copied."""
    return sum([await store.count(Query(kind=kind)) for kind in COPIED])
