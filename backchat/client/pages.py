"""All entries of a list that comes in pages and changes while it is read: none is left out, and none comes twice.

A push moves an entry to the front of the list, and a deletion moves all behind it up. So each page begins with the last
entry of the one before; if it does not, something has moved up, and the walk steps back until it finds where it was.
What moved to the front meanwhile is read at the end.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime

from backchat.client.errors import VaultError
from backchat.client.shapes import Entry

SIZE_MIN, SIZE_FIRST, SIZE_MAX = 2, 20, 100
"""Entries on a page. Two are the fewest that lead on, since pages overlap."""
PAGE_BYTES = 8 * 2**20
"""About as much as is fetched at once."""
ROUNDS = 10
"""How often the front is looked at again, if it keeps changing."""


@dataclass(frozen=True, slots=True)
class Page:
    """``total`` is the length of the list, ``size`` that of the answer in bytes."""

    entries: Sequence[Entry]
    total: int
    size: int


Fetch = Callable[[int, int], Awaitable[Page]]
"""The page at an offset, of at most so many entries."""


async def walk(fetch: Fetch, limit: int | None = None) -> AsyncGenerator[Entry, None]:
    """Every entry that is there all the time, once; ``limit`` ends it early."""
    if limit is not None and limit < 1:
        return
    left = _Walk(fetch, SIZE_FIRST if limit is None else min(limit, SIZE_FIRST))
    until: datetime | None = None
    count = 0
    for _ in range(ROUNDS):
        async with aclosing(left.entries(until)) as entries:
            async for entry in entries:
                yield entry
                count += 1
                if count == limit:
                    return
        if left.newest is None or left.newest == until or left.requests == 1:
            return
        until = left.newest


class _Walk:
    """``newest`` is when the first entry of the list had changed, as the latest round began."""

    def __init__(self, fetch: Fetch, size: int) -> None:
        self._fetch = fetch
        self._size = size
        self._given: set[int] = set()
        self.newest: datetime | None = None
        self.requests = 0

    async def _page(self, start: int) -> Page:
        """One that is too large is asked for again, with as few entries as may be."""
        try:
            page = await self._fetch(start, self._size)
        except VaultError as error:
            if error.code != "too_large" or self._size <= SIZE_MIN:
                raise
            self._size = SIZE_MIN
            page = await self._fetch(start, self._size)
        self.requests += 1
        return page

    async def entries(self, until: datetime | None) -> AsyncGenerator[Entry, None]:
        """What has not been given yet, from the front on: to the end, or back to what changed before ``until``."""
        start = 0
        passed: set[int] = set()
        if until is not None:
            self._size = SIZE_MIN
        while True:
            page = await self._page(start)
            if start and (not page.entries or page.entries[0].id not in passed):
                start = max(0, start - self._size)
                continue
            if not passed:
                self.newest = page.entries[0].updated_at if page.entries else None
            for entry in page.entries:
                passed.add(entry.id)
                if entry.id not in self._given:
                    self._given.add(entry.id)
                    yield entry
            if not page.entries or start + self._size >= page.total:
                return
            if until is not None and page.entries[-1].updated_at < until:
                return
            start += max(1, len(page.entries) - 1)
            self._size = max(SIZE_MIN, min(SIZE_MAX, PAGE_BYTES * len(page.entries) // max(1, page.size)))
