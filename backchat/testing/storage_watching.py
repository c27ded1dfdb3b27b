"""The contract of ``Watched``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack

import pytest

from backchat.errors import StaleWrite
from backchat.ports.abilities import Watched
from backchat.ports.storage import Delete, Record, RecordStore
from backchat.testing.able import PATIENCE, able
from backchat.testing.records import event, note


async def told(news: AsyncIterator[Sequence[Record]], last: str) -> list[Record]:
    """What a watch tells, until it has told of the record with this id."""
    found: list[Record] = []
    async with asyncio.timeout(PATIENCE):
        while last not in [r.id for r in found]:
            found += await anext(news)
    return found


class WatchContract:
    async def test_a_watch_tells_of_what_is_put_in_order_and_as_it_is(self, store: RecordStore) -> None:
        await store.apply([event("r", 0)])
        async with able(store, Watched).watch("event", {"r", "s"}) as news:
            for n in range(1, 20):
                await store.apply([event("r", n)])
            await store.apply([event("s", n) for n in range(500)])
            found = await told(news, "s/000499")
        mine = [r for r in found if r.doc["run"] == "r" and r.doc["n"]]
        assert [(r.kind, r.id, r.doc, r.version) for r in mine] == [
            ("event", f"r/{n:06}", {"run": "r", "n": n}, 1) for n in range(1, 20)
        ]
        assert [r.doc["n"] for r in found if r.doc["run"] == "s"] == list(range(500))

    async def test_a_watch_knows_one_kind_and_only_what_is_committed(self, store: RecordStore) -> None:
        await store.apply([event("r", 5)])
        async with able(store, Watched).watch("event", {"r", "ann"}) as news:
            with pytest.raises(StaleWrite):
                await store.apply([event("r", 7), event("r", 5)])
            await store.apply([note(1), event("r", 8), note(2)])
            found = await told(news, "r/000008")
        assert {r.id for r in found} <= {"r/000005", "r/000008"}

    async def test_what_is_deleted_at_once_is_told_of_all_the_same(self, store: RecordStore) -> None:
        async with able(store, Watched).watch("event", {"r"}) as news:
            await store.apply([event("r", 1)])
            await store.apply([Delete("event", "r/000001")])
            (found,) = await told(news, "r/000001")
        assert (found.doc["run"], found.version) in (("r", 0), ("r", 1))

    async def test_which_partitions_matter_may_change(self, store: RecordStore) -> None:
        partitions: set[str] = set()
        async with able(store, Watched).watch("event", partitions) as news:
            for n in range(5):
                partitions.add(f"r{n}")
                await store.apply([event(f"r{n}", 1), event(f"r{n}", 2)])
                assert [r.id for r in await told(news, f"r{n}/000002")][-2:] == [f"r{n}/000001", f"r{n}/000002"]

    async def test_watches_do_not_disturb_each_other(self, store: RecordStore) -> None:
        watched = able(store, Watched)
        async with AsyncExitStack() as stack:
            first = await stack.enter_async_context(watched.watch("event", {"r"}))
            notes = await stack.enter_async_context(watched.watch("note", {"ann"}))
            async with watched.watch("event", {"r"}) as second:
                await store.apply([event("r", 1), note(1)])
                await asyncio.gather(told(first, "r/000001"), told(second, "r/000001"), told(notes, "n001"))
            await store.apply([event("r", 2), note(2)])
            await asyncio.gather(told(first, "r/000002"), told(notes, "n002"))
            third = await stack.enter_async_context(watched.watch("event", {"r"}))
            await store.apply([event("r", 3)])
            assert "r/000003" in [r.id for r in await told(third, "r/000003")]

    async def test_many_write_while_somebody_watches(self, store: RecordStore) -> None:
        runs = [f"r{n}" for n in range(8)]

        async def write(run: str) -> None:
            for n in range(25):
                await store.apply([event(run, 2 * n), event(run, 2 * n + 1)])

        found: list[Record] = []
        async with able(store, Watched).watch("event", set(runs)) as news:
            writing = asyncio.gather(*[write(run) for run in runs])
            async with asyncio.timeout(PATIENCE):
                while len({r.id for r in found}) < 50 * len(runs):
                    found += await anext(news)
            await writing
        for run in runs:
            assert list(dict.fromkeys(r.doc["n"] for r in found if r.doc["run"] == run)) == list(range(50))
