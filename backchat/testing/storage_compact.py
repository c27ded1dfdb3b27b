"""The part of the storage contract about ``compact``."""

from __future__ import annotations

import asyncio

import pytest

from backchat.errors import StaleWrite
from backchat.ports.storage import Delete, Purge, Query, Range, RecordStore
from backchat.testing.records import event, ids, note, versions


class CompactContract:
    async def test_compact_changes_nothing_that_can_be_asked(self, store: RecordStore) -> None:
        await store.apply([note(n, code=f"c{n}") for n in range(60)])
        await store.apply([event("r", n) for n in range(20)])
        await store.apply([note(n, title="changed", expect=1) for n in range(20)])
        await store.apply([Delete("note", "n001"), Purge("note", ranges=(Range("day", 30, 50),))])
        await store.apply([Purge("event", ranges=(Range("id", "r/000000", "r/000010"),))])
        left = [f"n{n:03}" for n in range(60) if n != 1 and not 30 <= n < 50]
        for _ in range(2):
            await store.compact()
            assert await ids(store) == left
            assert await ids(store, kind="event") == [f"r/{n:06}" for n in range(10, 20)]
            assert await versions(store, "n000", "n001", "n002", "n020", "n035") == [2, 0, 2, 1, 0]
            assert await ids(store, ("tags", ["odd"])) == [id for id in left if int(id[1:]) % 2]
            assert await ids(store, ("owner", ["ann"]), words="changed") == [id for id in left if id < "n020"]
            assert await ids(store, ("owner", ["ann"]), words="note 4") == []
            assert set(await ids(store, any_word="55 35")) == {"n055"}
        await store.apply([note(1, code="c2x"), note(2, title="changed again", expect=2)])
        assert await ids(store, ("owner", ["ann"]), words="again") == ["n002"]
        with pytest.raises(StaleWrite):
            await store.apply([note(30, code="c55")])

    async def test_compact_while_others_write(self, store: RecordStore) -> None:
        await store.apply([note(n, body="old words") for n in range(100)])
        done = asyncio.Event()
        written = 100

        async def write() -> None:
            nonlocal written
            while not done.is_set() or written < 150:
                await store.apply([note(written, body="new words"), Delete("note", f"n{written - 100:03}")])
                assert await versions(store, f"n{written:03}", f"n{written - 100:03}") == [1, 0]
                written += 1
                await asyncio.sleep(0)

        writing = asyncio.ensure_future(write())
        try:
            for _ in range(3):
                await store.compact()
        finally:
            done.set()
            await writing
        left = [f"n{n:03}" for n in range(written - 100, written)]
        assert sorted(await ids(store, limit=1000)) == sorted(left)
        old = [id for id in left if len(id) == 4 and id < "n100"]
        assert sorted(await ids(store, ("owner", ["ann"]), words="old", limit=1000)) == old
        assert await store.count(Query(kind="note", words="words")) == 100
