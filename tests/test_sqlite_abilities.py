"""The journal, watches and backups of SQLite: what they leave in the file, and other processes on it."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

import backchat_sqlite.watching as watching
from backchat.errors import Unavailable
from backchat.ports.storage import Delete, Kind, OnCommit, Put, Query, Record, RecordStore
from backchat.testing.records import EVENT, KINDS, LABEL, NOTE, OpenKinds, event, ignore, note
from backchat.testing.storage_writes import WriteContract
from backchat_sqlite.store import SqliteStore
from sqlite_files import opened, query

MADE = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "backchat.db"


@asynccontextmanager
async def stored(path: Path, kinds: Sequence[Kind] = KINDS) -> AsyncIterator[SqliteStore]:
    async with opened(path, kinds) as store:
        assert isinstance(store, SqliteStore)
        yield store


class TestWritesThatAreNoted(WriteContract):
    """All that is asked of writes, while there are a journal and a watch."""

    @pytest.fixture
    def open_store(self, path: Path) -> OpenKinds:
        @asynccontextmanager
        async def opening(kinds: Sequence[Kind], on_commit: OnCommit = ignore) -> AsyncGenerator[RecordStore, None]:
            async with opened(path, kinds, on_commit) as store:
                assert isinstance(store, SqliteStore)
                await store.begin_journal()
                async with store.watch("event", ()), store.watch("note", ()):
                    yield store

        return opening

    @pytest_asyncio.fixture
    async def store(self, open_store: OpenKinds) -> AsyncGenerator[RecordStore, None]:
        async with open_store(KINDS) as store:
            yield store


class TestJournal:
    async def test_it_leaves_nothing_behind(self, path: Path) -> None:
        async with stored(path) as store:
            await store.apply([note(1), event("r", 1)])
            before = await query(path, MADE)
            await store.begin_journal()
            await store.apply([note(1, expect=1), Delete("event", "r/000001"), Put("label", "l", {"name": "x"})])
            assert await query(path, MADE) != before
            await store.end_journal()
            assert await query(path, MADE) == before
            assert await query(path, "SELECT key FROM _meta ORDER BY key") == [("kinds",), ("schema",), ("words",)]

    async def test_it_goes_on_when_the_kinds_change(self, path: Path) -> None:
        """Tables are made anew for that, and what was changed in them before must not count as changed."""
        async with stored(path, (NOTE, EVENT)) as store:
            await store.apply([note(n) for n in range(5)])
            position = await store.begin_journal()
        newer = replace(NOTE, fields=(*NOTE.fields, "colour"), text=("title",), lists=("tags",))
        later = replace(EVENT, fields=("run", "n"), indexes=(("run", "n"),))
        async with stored(path, (newer, later, LABEL)) as store:
            assert (await store.journal(position, 100))[0] == []
            await store.apply([note(2, expect=1), event("r", 1), Put("label", "l", {"name": "x"})])
            await store.apply([Delete("note", "n003")])
            places, _ = await store.journal(position, 100)
        assert places == [("note", "n002"), ("event", "r/000001"), ("label", "l"), ("note", "n003")]

    async def test_a_process_that_writes_all_the_time_notes_from_the_beginning_on(self, path: Path) -> None:
        async with stored(path) as store, writer(path) as acknowledged:
            await several(acknowledged, 20)
            position = await store.begin_journal()
            there = await store.count(Query(kind="event"))
            later = (await several(acknowledged, there + 200))[-1]
            noted = [int(id[2:]) for _, id in (await store.journal(position, 100_000))[0]]
            assert 19 < noted[0] <= there
            assert noted[: later - noted[0] + 1] == list(range(noted[0], later + 1))
            await store.end_journal()
            assert len(await several(acknowledged, 20)) == 20


class TestWatch:
    async def test_everything_of_a_process_that_is_killed_is_told_of(self, path: Path) -> None:
        async with stored(path) as store, store.watch("event", {"w"}) as news:
            async with writer(path) as acknowledged:
                there = await several(acknowledged, 200)
            found: list[Record] = []
            async with asyncio.timeout(20):
                while len(found) <= there[-1]:
                    found += await anext(news)
        assert [r.id for r in found] == [f"w/{n:06}" for n in range(len(found))]

    async def test_nothing_is_noted_for_nobody(self, path: Path) -> None:
        async with stored(path) as store:
            await store.apply([event("r", 1)])
            async with store.watch("event", {"r"}) as news:
                await store.apply([note(1)])
                assert await query(path, "SELECT count(*) FROM _news") == [(0,)]
                await store.apply([event("r", 2), event("s", 3)])
                assert [r.id for r in await anext(news)] == ["r/000002"]
                assert await query(path, "SELECT count(*) FROM _news") == [(1,)]
            assert await query(path, "SELECT * FROM _watches") == await query(path, "SELECT * FROM _news") == []
            await store.apply([event("r", 4)])
            assert await query(path, "SELECT count(*) FROM _news") == [(0,)]

    async def test_what_a_dead_process_watched_costs_nothing_for_long(self, path: Path) -> None:
        async with stored(path) as store:
            await query_and_commit(path, "INSERT INTO _watches VALUES ('of the dead', 'event', unixepoch() - 1)")
            await store.apply([event("r", 1)])
            assert await query(path, "SELECT count(*) FROM _news") == [(0,)]
            async with store.watch("event", ()):
                assert await query(path, "SELECT count(*) FROM _watches") == [(1,)]

    async def test_a_watch_that_ran_out_says_so(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(watching, "LEASE", 0.1)
        async with stored(path) as store, store.watch("event", {"r"}) as news:
            await query_and_commit(path, "UPDATE _watches SET until = 1")  # as after a long sleep of the machine
            with pytest.raises(Unavailable, match="more was stored"):
                async with asyncio.timeout(20):
                    await anext(news)

    async def test_a_watch_that_is_too_far_behind_says_so(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(watching, "LOOK", 0.3)
        async with stored(path) as store, store.watch("event", {"r"}) as news:
            for n in range(3):
                await store.apply([event("r", n)])
            await query_and_commit(path, "DELETE FROM _news WHERE n = (SELECT min(n) FROM _news)")
            with pytest.raises(Unavailable, match="more was stored"):
                async with asyncio.timeout(20):
                    await anext(news)

    async def test_old_notes_are_removed(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("backchat_sqlite.watches.KEPT", 20)
        async with stored(path) as store, store.watch("event", {"r"}) as news:
            for n in range(60):
                await store.apply([event("r", n)])
                assert [r.doc["n"] for r in await anext(news)] == [n]
            ((left,),) = await query(path, "SELECT count(*) FROM _news")
        assert 20 <= left <= 22


async def test_a_backup_is_one_whole_file(path: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    async with stored(path) as store:
        await store.apply([note(n, body="word " * 100) for n in range(500)])
        async with writer(path) as acknowledged:
            await several(acknowledged, 20)
            await store.save(str(backup), lambda done, of: None)
    assert await query(backup, "PRAGMA integrity_check") == [("ok",)]
    assert await query(backup, "PRAGMA journal_mode") == [("delete",)]
    ((events,),) = await query(backup, "SELECT count(*) FROM event")
    assert events >= 19
    assert await query(backup, "SELECT count(*) FROM event WHERE id < ?", f"w/{events:06}") == [(events,)]


async def query_and_commit(path: Path, sql: str) -> None:
    def work() -> None:
        with sqlite3.connect(path, isolation_level=None) as db:
            db.execute(sql)
        db.close()

    await asyncio.to_thread(work)


@asynccontextmanager
async def writer(path: Path) -> AsyncIterator[asyncio.StreamReader]:
    """Another process that puts one event after the other and says which are acknowledged; it is killed in the end."""
    process = await asyncio.create_subprocess_exec(sys.executable, __file__, str(path), stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()


async def several(acknowledged: asyncio.StreamReader, count: int) -> list[int]:
    async with asyncio.timeout(60):
        return [int(await acknowledged.readline()) for _ in range(count)]


async def write(path: Path) -> None:
    async with opened(path) as store:
        for n in range(1_000_000):
            await store.apply([event("w", n)])
            print(n, flush=True)


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1])))
