"""Whether two stores hold the same: digests of their records, compared in a stream."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import orjson

from backchat.ports.abilities import Place
from backchat.ports.storage import Query, Record, RecordStore
from backchat.services.copying_reading import Page, Reader
from backchat.services.kinds import COPIED

KEPT = 10_000
"""Places of differences that are remembered; there may be more."""
Digested = tuple[str, bytes]
"""An id and the digest of its record."""
Told = Callable[[int], None]
"""Called with a number of records that were looked at."""


def digest(record: Record) -> bytes:
    """SHA-256 of kind, id and document. The order of keys in a document plays no part, nor does the version."""
    seen = hashlib.sha256(orjson.dumps([record.kind, record.id]))
    seen.update(orjson.dumps(record.doc, option=orjson.OPT_SORT_KEYS))
    return seen.digest()


@dataclass(slots=True)
class Differences:
    """Records that are in one store only, or differ. ``places`` are the first of them."""

    count: int = 0
    places: list[Place] = field(default_factory=list)

    def add(self, kind: str, id: str) -> None:
        self.count += 1
        if len(self.places) < KEPT:
            self.places.append((kind, id))


@dataclass(frozen=True, slots=True)
class Summary:
    """How many records of each kind there are, without those of which there are none, and a digest of all, in hex."""

    counts: dict[str, int]
    digest: str


class Tally:
    """The summary of what is read, page by page in the order of ``Reader.everything``."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._seen = hashlib.sha256()

    async def add(self, page: Page) -> None:
        for _, one in await _digested(page):
            self._seen.update(one)
        self._counts[page.records[0].kind] += len(page.records)

    @property
    def summary(self) -> Summary:
        return Summary(dict(self._counts), self._seen.hexdigest())


async def summary(store: RecordStore, told: Told) -> Summary:
    """Read everything. Two stores that hold the same have equal summaries."""
    tally = Tally()
    async for page in Reader(store).everything():
        await tally.add(page)
        told(len(page.records))
    return tally.summary


async def compare(source: RecordStore, target: RecordStore, told: Told) -> Differences:
    """Read everything in both, side by side. Told of the records of the source."""
    found = Differences()
    for kind in COPIED:
        await _compare_kind(kind, source, target, found, told)
    return found


async def differing(source: RecordStore, target: RecordStore, places: Sequence[Place]) -> list[Place]:
    """Those of the records that are not the same in both, or are in one only."""
    found: list[Place] = []
    for kind in dict.fromkeys([kind for kind, _ in places]):
        ids = [id for each, id in places if each == kind]
        left, right = await asyncio.gather(*[_digests_of(store, kind, ids) for store in (source, target)])
        found += [(kind, id) for id in ids if left.get(id) != right.get(id)]
    return found


async def _digests_of(store: RecordStore, kind: str, ids: Sequence[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    async for _, page in Reader(store).these(kind, ids):
        found.update(await _digested(page))
    return found


async def _digested(page: Page) -> list[Digested]:
    return await asyncio.to_thread(lambda: [(record.id, digest(record)) for record in page.records])


class _Side:
    """What one store has of a kind. ``rows`` is empty at the end only, once it was filled."""

    def __init__(self, store: RecordStore, kind: str) -> None:
        self.rows: list[Digested] = []
        self._pages = Reader(store).pages(Query(kind=kind))

    async def fill(self) -> None:
        if not self.rows and (page := await anext(self._pages, None)):
            self.rows = await _digested(page)
            self.rows.reverse()  # taken from the end


async def _compare_kind(kind: str, source: RecordStore, target: RecordStore, found: Differences, told: Told) -> None:
    left, right = _Side(source, kind), _Side(target, kind)
    while True:
        await asyncio.gather(left.fill(), right.fill())
        if not left.rows or not right.rows:
            break
        before = len(left.rows)
        while left.rows and right.rows:
            here, there = left.rows[-1], right.rows[-1]
            if here != there:
                found.add(kind, min(here[0], there[0]))
            if here[0] <= there[0]:
                left.rows.pop()
            if here[0] >= there[0]:
                right.rows.pop()
        told(before - len(left.rows))
    for side in (left, right):
        while side.rows:
            for id, _ in reversed(side.rows):
                found.add(kind, id)
            if side is left:
                told(len(side.rows))
            side.rows = []
            await side.fill()
