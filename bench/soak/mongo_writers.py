"""Writers that know what must be in a MongoDB, whatever is killed meanwhile."""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from backchat.errors import StaleWrite, Unavailable
from backchat.ports.storage import Change, Kind, Put, Query, Record, RecordStore
from backchat_mongo import drivers
from backchat_mongo.component import MONGO

WRITERS = 16
MOST = 4
"""Entries of a batch."""
ACCOUNT = Kind(name="account", fields=("owner",), partition="owner")
ENTRY = Kind(name="entry", fields=("owner",), partition="owner")
LONE = Kind(name="lone", fields=("owner",), partition="owner")
KINDS = (ACCOUNT, ENTRY, LONE)
DRIVERS = ("pymongo", "motor")


@contextmanager
def careless(weak: bool) -> Iterator[None]:
    """Let stores be content with what one server has in its memory: proof that a rig sees what is lost then."""
    from pymongo.write_concern import WriteConcern

    options, of_transactions = drivers._options, drivers._of_transactions
    if weak:
        drivers._options = lambda settings: {**options(settings), "w": 1, "journal": False}
        drivers._of_transactions = lambda: {**of_transactions(), "write_concern": WriteConcern(w=1, j=False)}
    try:
        yield
    finally:
        drivers._options, drivers._of_transactions = options, of_transactions


@asynccontextmanager
async def opened(url: str, driver: str, seconds: float) -> AsyncIterator[RecordStore]:
    settings = MONGO.schema.load({"url": url, "database": f"soak_{driver}", "driver": driver, "timeout": seconds})
    async with MONGO.open(settings, KINDS, lambda _: None) as store:
        yield store


@dataclass(slots=True)
class Writer:
    """Makes batches: the account's version and what it says are the number of the last one, and each has entries.

    ``number`` is the last batch that is known to be stored, ``lone`` the records that were batches of their own and
    were acknowledged. ``unknown`` counts batches of which it was not said whether they are stored.
    """

    name: str
    chance: random.Random
    number: int = 0
    batches: int = 0
    unknown: int = 0
    lone: set[str] = field(default_factory=set)
    waits: list[float] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    async def run(self, store: RecordStore, stop: asyncio.Event) -> None:
        while not stop.is_set():
            if self.chance.random() < 0.5:
                id = f"{self.name}.{self.chance.getrandbits(64):016x}"
                if await self._applied(store, [Put(LONE.name, id, {"owner": self.name}, 0)]):
                    self.lone.add(id)
            elif await self._applied(store, self._batch()):
                self.number += 1
            else:
                await self._look(store, stop)

    def _batch(self) -> list[Change]:
        number, size, attempt = self.number + 1, self.chance.randint(1, MOST), self.chance.getrandbits(32)
        doc = {"owner": self.name, "n": number, "size": size, "attempt": attempt}
        entries = [Put(ENTRY.name, f"{self.name}.{number:06}.{attempt:08x}.{i}", doc, 0) for i in range(size)]
        return [Put(ACCOUNT.name, self.name, doc, self.number), *entries]

    async def _applied(self, store: RecordStore, batch: Sequence[Change]) -> bool:
        began = time.monotonic()
        try:
            await store.apply(batch)
        except (Unavailable, StaleWrite):
            self.unknown += 1
            return False
        finally:
            self.waits.append(time.monotonic() - began)
        self.batches += 1
        return True

    async def _look(self, store: RecordStore, stop: asyncio.Event) -> None:
        """Find out what became of a batch that was not acknowledged."""
        while not stop.is_set():
            try:
                found = await store.get(ACCOUNT.name, self.name)
            except Unavailable:
                await asyncio.sleep(0.1)
                continue
            stored = found.version if found else 0
            if stored not in (self.number, self.number + 1):
                self.violations.append(f"{self.name}: batch {self.number} was stored, and then {stored} was the last")
            self.number = stored
            return

    async def check(self, store: RecordStore) -> list[str]:
        """What is wrong with what is stored, when nobody writes."""
        found = await store.get(ACCOUNT.name, self.name)
        last, doc = (found.version, found.doc) if found else (0, {"n": 0})
        wrong = [*self.violations]
        if last not in (self.number, self.number + 1):
            wrong.append(f"{self.name}: {self.number} batches were acknowledged, {last} are stored")
        if doc["n"] != last:
            wrong.append(f"{self.name}: the account was written {last} times, and says {doc['n']}")
        entries: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
        for entry in await everything(store, ENTRY, self.name):
            entries[entry.doc["n"]].append(entry.doc)
        for number in range(1, max(last, *entries, 0) + 1):
            held = entries[number]
            if number > last or not held or len(held) != held[0]["size"] or len({e["attempt"] for e in held}) != 1:
                wrong.append(f"{self.name}: batch {number} of {last} has {len(held)} entries")
        lost = self.lone - {record.id for record in await everything(store, LONE, self.name)}
        if lost:
            wrong.append(f"{self.name}: {len(lost)} of {len(self.lone)} records are lost")
        return wrong


async def everything(store: RecordStore, kind: Kind, owner: str) -> list[Record]:
    found: list[Record] = []
    while True:
        after = (found[-1].id,) if found else None
        page = await store.find(Query(kind=kind.name, where=(("owner", (owner,)),), after=after, limit=1000))
        found += page
        if len(page) < 1000:
            return found


@asynccontextmanager
async def at_work(store: RecordStore, writers: Sequence[Writer]) -> AsyncIterator[None]:
    """The writers write meanwhile, and end what they have begun."""
    stop = asyncio.Event()
    tasks = [asyncio.create_task(writer.run(store, stop)) for writer in writers]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*tasks)


async def check_all(store: RecordStore, writers: Sequence[Writer]) -> list[str]:
    return [line for writer in writers for line in await writer.check(store)]


def team(chance: random.Random) -> list[Writer]:
    return [Writer(f"w{n:02}", random.Random(chance.random())) for n in range(WRITERS)]
