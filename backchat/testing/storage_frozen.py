"""The contract of ``Frozen``."""

from __future__ import annotations

import asyncio
import random
from typing import Any, cast

import pytest

from backchat.ports.abilities import Frozen
from backchat.ports.storage import Delete, Purge, Put, Query, RecordStore
from backchat.testing.able import able
from backchat.testing.records import ANN, KINDS, event, ids, note


class FrozenContract:
    async def test_what_comes_later_is_not_in_it(self, store: RecordStore) -> None:
        await store.apply([*[note(n) for n in range(40)], *[event("r", n) for n in range(10)]])
        before = await everything(store)
        async with able(store, Frozen).frozen() as then:
            await store.apply([note(1, title="another", expect=1), Delete("note", "n002"), note(50)])
            await store.apply([Purge("event", (("run", ("r",)),)), Put("label", "late", {"name": "late"})])
            assert await everything(then) == before
            assert (await store.get("note", "n002"), await store.get("note", "n050") is None) == (None, False)
            assert await then.get("note", "n050") is None
        async with able(store, Frozen).frozen() as now:
            assert await everything(now) == await everything(store) != before

    async def test_it_takes_no_changes(self, store: RecordStore) -> None:
        async with able(store, Frozen).frozen() as then:
            with pytest.raises(ValueError, match="frozen"):
                await then.apply([note(1)])
        assert await ids(store) == []

    async def test_pages_of_one_moment_while_others_write(self, store: RecordStore) -> None:
        """Two records are always changed together: whoever finds them different has seen half a batch."""
        await store.apply([note(n, twin=0) for n in range(60)])
        frozen = able(store, Frozen)

        async def write() -> None:
            for round in range(1, 1000):
                pair = chance.sample(range(60), 2)
                await store.apply([note(n, twin=round, expect=None) for n in pair])
                await asyncio.sleep(0)  # a store in memory does not give way

        chance = random.Random(1)
        writing = asyncio.create_task(write())
        try:
            for _ in range(5):
                async with frozen.frozen() as then:
                    last: tuple[str] | None = None
                    twins: list[Any] = []
                    while page := await then.find(Query(kind="note", after=last, limit=13)):
                        await asyncio.sleep(0)
                        twins += [r.doc["twin"] for r in page]
                        last = (page[-1].id,)
                    assert len(twins) == 60
                    newest = max(twins)
                    assert newest == 0 or twins.count(newest) == 2
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)


async def everything(store: RecordStore) -> Any:
    """What each method that reads says."""
    of_ann = Query(kind="note", where=(ANN,), words="note", order=("day",))
    return (
        [r for kind in KINDS for r in await store.find(Query(kind=kind.name, limit=1000))],
        [await store.get("note", f"n{n:03}") for n in range(5)],
        await store.find(of_ann),
        [r.id for r in await store.find(Query(kind="note", where=(ANN,), any_word="another 7"))],
        await store.count(of_ann),
        await store.count(Query(kind="event")),
        sorted(cast(list[str], await store.values(Query(kind="note", where=(("tags", ("odd",)),)), "id"))),
    )
