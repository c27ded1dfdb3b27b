"""What a store must do that can save itself: the contract of ``Saved``."""

from __future__ import annotations

import asyncio
import random
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from backchat.errors import Conflict, Unavailable
from backchat.plugins import Plugins
from backchat.ports.abilities import Journaled, Saved, Watched
from backchat.ports.storage import Put, Query, RecordStore
from backchat.testing.able import able
from backchat.testing.records import ANN, KINDS, event, ids, ignore, note


@asynccontextmanager
async def backup(path: Path) -> AsyncIterator[RecordStore]:
    """The store in a backup."""
    sqlite = (await asyncio.to_thread(Plugins, from_entry_points=True)).storages.pick("sqlite")
    async with sqlite.open(sqlite.schema.load({"path": str(path)}), KINDS, ignore) as store:
        yield store


def files(directory: Path) -> dict[str, int]:
    """The names of all files of backups, and their modes."""
    return {p.name: stat.S_IMODE(p.stat().st_mode) for p in directory.iterdir() if p.name.startswith("backup")}


class SavedContract:
    async def test_a_backup_is_a_store_with_the_same_records(self, store: RecordStore, tmp_path: Path) -> None:
        saved, path, told = able(store, Saved), tmp_path / "backup.db", list[tuple[int, int]]()
        loop = asyncio.get_running_loop()

        def progress(done: int, of: int) -> None:
            assert asyncio.get_running_loop() is loop
            told.append((done, of))

        await store.apply([*[note(n) for n in range(100)], *[event("r", n) for n in range(200)]])
        await store.apply([note(7, title="changed", expect=1), Put("label", "x", {"name": "x", "said": "a word"})])
        await saved.save(str(path), progress)
        assert await asyncio.to_thread(files, tmp_path) == {"backup.db": 0o600}
        assert told
        assert all(0 <= done <= of for done, of in told)
        assert told[-1][0] == told[-1][1] > 0
        async with backup(path) as then:
            for kind in KINDS:
                everything = Query(kind=kind.name, limit=1000)
                assert await then.find(everything) == await store.find(everything)
            assert await ids(then, ANN, words="changed") == ["n007"]
            await then.apply([note(500), note(7, expect=2)])
        assert await store.get("note", "n500") is None

    async def test_a_backup_is_of_one_moment(self, store: RecordStore, tmp_path: Path) -> None:
        """Two records are always changed together, by whoever writes as fast as they can."""
        saved = able(store, Saved)
        await store.apply([note(n, twin=0, body="word " * 500) for n in range(60)])

        async def write() -> None:
            for round in range(1, 100_000):
                pair = chance.sample(range(60), 2)
                await store.apply([note(n, twin=round, body=f"round {round} " * 200, expect=None) for n in pair])

        chance = random.Random(1)
        writing = asyncio.create_task(write())
        try:
            for n in range(4):
                async with asyncio.timeout(20):
                    await saved.save(str(tmp_path / f"backup{n}.db"), lambda done, of: None)
                async with backup(tmp_path / f"backup{n}.db") as then:
                    twins = [r.doc["twin"] for r in await then.find(Query(kind="note"))]
                assert len(twins) == 60
                assert max(twins) == 0 or twins.count(max(twins)) == 2
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)

    async def test_what_is_under_way_is_not_in_a_backup(self, store: RecordStore, tmp_path: Path) -> None:
        """Whoever watches the store, or copies it, does not watch or copy the backup."""
        saved, path = able(store, Saved), tmp_path / "backup.db"
        journal, watched = able(store, Journaled), able(store, Watched)
        await store.apply([note(1)])
        position = await journal.begin_journal()
        async with watched.watch("event", {"r"}):
            await store.apply([event("r", 1)])
            await saved.save(str(path), lambda done, of: None)
        async with backup(path) as then:
            with pytest.raises(Conflict):
                await able(then, Journaled).journal(position, 10)
            await then.apply([event("r", 2)])
        assert (await journal.journal(position, 10))[0] == [("event", "r/000001")]
        await journal.end_journal()

    async def test_a_file_that_is_there_stays_as_it_is(self, store: RecordStore, tmp_path: Path) -> None:
        saved, path = able(store, Saved), tmp_path / "backup.db"
        await asyncio.to_thread(path.write_bytes, b"something dear")
        with pytest.raises(Conflict):
            await saved.save(str(path), lambda done, of: None)
        assert await asyncio.to_thread(path.read_bytes) == b"something dear"

    async def test_where_no_file_can_be(self, store: RecordStore, tmp_path: Path) -> None:
        with pytest.raises(Unavailable):
            await able(store, Saved).save(str(tmp_path / "nowhere" / "backup.db"), lambda done, of: None)
        assert not await asyncio.to_thread((tmp_path / "nowhere").exists)

    @pytest.mark.parametrize("when", ["early", "late"])
    async def test_a_backup_that_is_given_up_leaves_nothing(
        self, store: RecordStore, tmp_path: Path, when: str
    ) -> None:
        saved, path = able(store, Saved), tmp_path / "backup.db"
        await store.apply([note(n, body="word " * 20_000) for n in range(200)])
        now = asyncio.Event()

        def progress(done: int, of: int) -> None:
            if when == "early" or done == of:
                now.set()

        task = asyncio.create_task(saved.save(str(path), progress))
        async with asyncio.timeout(20):
            await now.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(files, tmp_path) == {}
        await saved.save(str(path), progress)
        async with backup(path) as then:
            assert await then.count(Query(kind="note")) == 200
