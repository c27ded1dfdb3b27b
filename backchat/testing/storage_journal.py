"""The contract of ``Journaled``."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress

import pytest

from backchat.errors import Conflict, StaleWrite
from backchat.ports.abilities import Journaled, Place
from backchat.ports.storage import Change, Delete, Purge, Put, Query, Range, Record, RecordStore
from backchat.testing.able import PATIENCE, able
from backchat.testing.records import ANN, KINDS, event, note


async def changed(store: RecordStore, position: str, limit: int = 100) -> tuple[list[Place], str]:
    """What a journal has after a position, and the position when there is nothing more."""
    journal = able(store, Journaled)
    places: list[Place] = []
    while True:
        some, position = await journal.journal(position, limit)
        if not some:
            return places, position
        assert len(some) <= 2 * limit
        places += some


class JournalContract:
    async def test_a_journal_names_what_was_put_and_deleted(self, store: RecordStore) -> None:
        journal = able(store, Journaled)
        await store.apply([*[note(n) for n in range(10)], *[event("r", n) for n in range(5)]])
        position = await journal.begin_journal()
        assert (await changed(store, position))[0] == []
        await store.apply([note(20)])
        await store.apply([note(1, title="changed", expect=1), Delete("note", "n002")])
        await store.apply([Purge("note", ranges=(Range("day", 5, 8),)), Purge("event", (("run", ("r",)),))])
        await store.apply([Put("label", "one", {"name": "x"}), Put("note", "n003", {"owner": "ann", "day": 3})])
        places, end = await changed(store, position, 3)
        notes = {("note", f"n{n:03}") for n in (1, 2, 3, 5, 6, 7, 20)}
        assert set(places) == notes | {("event", f"r/{n:06}") for n in range(5)} | {("label", "one")}
        assert places[0] == ("note", "n020")
        assert set(places[-2:]) == {("label", "one"), ("note", "n003")}
        assert (await changed(store, end))[0] == []
        again, _ = await changed(store, position)
        assert set(again) == set(places)

    async def test_a_journal_has_what_was_acknowledged(self, store: RecordStore) -> None:
        position = await able(store, Journaled).begin_journal()
        for n in range(30):
            await store.apply([note(n), event("r", n)] if n % 2 else [note(n)])
            places, position = await changed(store, position)
            assert ("note", f"n{n:03}") in places

    async def test_a_journal_goes_on_until_it_is_ended(self, store: RecordStore) -> None:
        journal = able(store, Journaled)
        await journal.end_journal()
        first = await journal.begin_journal()
        await store.apply([note(1)])
        second = await journal.begin_journal()
        await store.apply([note(2)])
        assert set((await changed(store, first))[0]) == {("note", "n001"), ("note", "n002")}
        assert (await changed(store, second))[0] == [("note", "n002")]
        await journal.end_journal()
        await journal.end_journal()

    @pytest.mark.parametrize("position", ["", "x", "1", ".", "82653a", "0.0", "{}", '{"_data": "82"}'])
    async def test_positions_that_are_none(self, store: RecordStore, position: str) -> None:
        journal = able(store, Journaled)
        for _ in range(2):
            with pytest.raises(Conflict):
                await journal.journal(position, 10)
            await journal.begin_journal()
        await journal.end_journal()

    async def test_a_copy_is_kept_up_while_many_write(self, store: RecordStore) -> None:
        """With the least that a copy may do: read what is named, put or delete it there."""
        position = await able(store, Journaled).begin_journal()
        copy: dict[Place, Record] = {}
        written = asyncio.Event()

        async def follow() -> None:
            nonlocal position
            while True:
                last = written.is_set()
                await asyncio.sleep(0)  # a store in memory does not give way
                places, position = await changed(store, position, 7)
                for kind, id in places:
                    record = await store.get(kind, id)
                    copy.pop((kind, id), None)
                    if record is not None:
                        copy[kind, id] = record
                if last:
                    return

        following = asyncio.create_task(follow())
        await asyncio.gather(*[write(store, random.Random(n)) for n in range(4)])
        written.set()
        await asyncio.wait_for(following, PATIENCE)
        await able(store, Journaled).end_journal()
        there = [r for kind in KINDS for r in await store.find(Query(kind=kind.name, limit=10_000))]
        assert copy == {(r.kind, r.id): r for r in there}
        assert len(copy) > 20


async def write(store: RecordStore, chance: random.Random) -> None:
    """Changes of all sorts at random, in small batches, some of which are stale."""
    for _ in range(30):
        n = chance.randrange(60)
        sorts: Sequence[Change] = (
            note(n, expect=None, title=f"note {chance.random()}", code=chance.choice([None, f"c{n}"])),
            note(n),
            event(f"r{n % 3}", n, expect=None),
            Delete("note", f"n{n:03}"),
            Delete("event", f"r{n % 3}/{n:06}"),
            Purge("note", (ANN,), (Range("day", n, n + 2),)),
        )
        with suppress(StaleWrite):
            await store.apply(chance.sample(sorts, chance.randrange(1, 4)))
        await asyncio.sleep(0)
