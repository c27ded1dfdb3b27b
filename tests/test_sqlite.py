"""What is peculiar to the SQLite store: the file, several processes, a killed one, changes of the schema."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import stat
import sys
import threading
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from marshmallow import ValidationError

from backchat.errors import ConfigError, StaleWrite, Unavailable
from backchat.ports.storage import Delete, Kind, OnCommit, Purge, Put, Query, RecordStore
from backchat.testing.records import EVENT, KINDS, NOTE, event, ids, ignore, note
from backchat_sqlite.component import SQLITE
from backchat_sqlite.store import SqliteStore


def opened(
    path: Path, kinds: Sequence[Kind] = KINDS, on_commit: OnCommit = ignore, **settings: Any
) -> AbstractAsyncContextManager[RecordStore]:
    return SQLITE.open(SQLITE.schema.load({"path": str(path), **settings}), kinds, on_commit)


def rows(path: Path, sql: str, *values: object) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(sql, values).fetchall()


async def query(path: Path, sql: str, *values: object) -> list[tuple[Any, ...]]:
    return await asyncio.to_thread(rows, path, sql, *values)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "backchat.db"


@pytest.fixture
async def store(path: Path) -> AsyncGenerator[RecordStore, None]:
    async with opened(path) as store:
        yield store


class TestSettings:
    def test_defaults(self) -> None:
        loaded = SQLITE.schema.load({"path": "x.db"})
        assert loaded["synchronous"] == "FULL"

    @pytest.mark.parametrize(
        "section",
        [
            {},
            {"path": ""},
            {"path": ":memory:"},
            {"path": "x", "paht": 1},
            {"path": "x", "synchronous": "OFF"},
            {"path": "x", "readers": 0},
        ],
    )
    def test_refused(self, section: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            SQLITE.schema.load(section)

    def test_every_option_is_described(self) -> None:
        assert all(field.metadata["description"] for field in SQLITE.schema.fields.values())


class TestFile:
    async def test_only_the_owner_can_read_it(self, path: Path) -> None:
        async with opened(path) as store:
            await store.apply([note(1)])
            modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in path.parent.iterdir()}
            assert modes.keys() == {"backchat.db", "backchat.db-wal", "backchat.db-shm"}
            assert set(modes.values()) == {0o600}
        assert [p.name for p in path.parent.iterdir()] == ["backchat.db"]

    @pytest.mark.parametrize(("setting", "value"), [("FULL", 2), ("NORMAL", 1)])
    async def test_it_is_a_wal_database(self, path: Path, setting: str, value: int) -> None:
        async with opened(path, synchronous=setting) as store:
            assert isinstance(store, SqliteStore)
            pragmas = await store._writer.run(
                lambda db: [db.execute(f"PRAGMA {p}").fetchone()[0] for p in ("journal_mode", "synchronous")]
            )
            assert pragmas == ["wal", value]

    async def test_a_path_that_cannot_be(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="storage.path"):
            await opened(tmp_path / "missing" / "backchat.db").__aenter__()

    async def test_a_file_of_something_else(self, path: Path) -> None:
        path.write_text("no database at all " * 100)
        with pytest.raises(ConfigError, match="not a database"):
            await opened(path).__aenter__()
        path.unlink()
        await query(path, "CREATE TABLE theirs (a)")
        with pytest.raises(ConfigError, match="something else"):
            await opened(path).__aenter__()

    async def test_no_thread_outlives_the_store(self, path: Path) -> None:
        before = set(threading.enumerate())
        async with opened(path) as store:
            assert len(set(threading.enumerate()) - before) == 4
            await store.apply([note(1)])
        for thread in set(threading.enumerate()) - before:
            await asyncio.to_thread(thread.join, 5)
            assert thread.name.startswith("asyncio"), thread

    async def test_a_closed_store_says_so(self, path: Path) -> None:
        async with opened(path) as store:
            pass
        for call in (store.apply([note(1)]), store.get("note", "n001"), store.find(Query(kind="note"))):
            with pytest.raises(Unavailable):
                await call

    async def test_deleted_text_is_gone_after_optimize(self, path: Path) -> None:
        async with opened(path) as store:
            assert isinstance(store, SqliteStore)
            secret = ["xylophonist", "quuxbarian", "zanzibarese", "wombatlike"]
            await store.apply([note(n, title=f"{w} and more", body="filler " * n) for n, w in enumerate(secret)])
            await store.apply([note(n) for n in range(10, 100)])
            assert await ids(store, ("owner", ["ann"]), words="quux") == ["n001"]
            await store.apply([note(0, title="harmless", expect=1), Delete("note", "n001")])
            await store.apply([Purge("note", (("id", ("n002",)),))])
            await store.apply([Delete("note", "n003")])
            await store.optimize()
            files = {p: await asyncio.to_thread(p.read_bytes) for p in path.parent.iterdir()}
            for word in secret:
                for start in (word, word[1:]):  # FTS5 leaves out what a term shares with the one before
                    assert [p.name for p, content in files.items() if start.encode() in content] == []
            assert any(b"harmless" in content for content in files.values())
            assert await ids(store, ("owner", ["ann"]), words="harmless") == ["n000"]


class TestIndexes:
    @pytest.mark.parametrize(
        ("sql", "values"),
        [
            (
                'SELECT * FROM note AS r WHERE r."owner" = ? AND (r."day", r.id) < (?, ?)'
                ' ORDER BY r."day" DESC, r.id DESC',
                3,
            ),
            ('SELECT * FROM note AS r WHERE r."owner" = ? AND r."code" = ?', 2),
        ],
    )
    async def test_pages_come_from_an_index(self, store: RecordStore, path: Path, sql: str, values: int) -> None:
        plan = " ".join(row[3] for row in await query(path, f"EXPLAIN QUERY PLAN {sql}", *["x"] * values))
        assert "USING INDEX note(owner," in plan
        assert "TEMP B-TREE" not in plan
        assert "SCAN" not in plan

    async def test_words_wait_to_be_indexed_together(self, store: RecordStore, path: Path) -> None:
        waiting = "SELECT count(*) FROM _changed"
        await store.apply([note(n) for n in range(50)])
        assert await query(path, waiting) == [(50,)]
        assert len(await ids(store, ("owner", ["ann"]), words="note")) == 50
        assert await query(path, waiting) == [(0,)]
        await store.apply([note(1, day=7, expect=1)])
        assert await query(path, waiting) == [(0,)]  # its words have not changed

    async def test_many_waiting_words_are_indexed_when_nothing_else_is_to_do(
        self, store: RecordStore, path: Path
    ) -> None:
        await store.apply([note(n) for n in range(1_200)])
        assert isinstance(store, SqliteStore)
        await store._writer.run(lambda db: None)  # comes after what the writer does on its own
        assert (await query(path, "SELECT count(*) FROM _changed"))[0][0] < 1_000


class TestGroupCommit:
    async def test_what_waits_is_committed_together(self, path: Path) -> None:
        commits: list[int] = []
        async with opened(path, on_commit=commits.append) as store:
            await store.apply([note(0)])
            assert commits == [1]
            await asyncio.gather(*(store.apply([note(n), event("r", n)]) for n in range(1, 200)))
        assert sum(commits) == 200
        assert len(commits) < 30

    async def test_a_stale_batch_is_not_counted(self, path: Path) -> None:
        commits: list[int] = []
        async with opened(path, on_commit=commits.append) as store:
            await store.apply([event("r", 1)])
            for change in (event("r", 1), note(1, expect=3)):
                with pytest.raises(StaleWrite):
                    await store.apply([change])
            assert commits == [1]

    async def test_a_caller_that_gave_up_does_no_harm(self, store: RecordStore) -> None:
        calls = [asyncio.ensure_future(store.apply([note(n)])) for n in range(30)]
        await asyncio.sleep(0)
        for call in calls[::2]:
            call.cancel()
        done = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in done[::2])
        assert all(result is None for result in done[1::2])
        await store.apply([note(100)])
        assert {f"n{n:03}" for n in range(1, 30, 2)} <= set(await ids(store))

    async def test_a_number_sqlite_cannot_hold_fails_alone(self, store: RecordStore) -> None:
        done = await asyncio.gather(
            store.apply([note(1), note(2, day=2**63)]),
            store.apply([note(3)]),
            return_exceptions=True,
        )
        assert isinstance(done[0], OverflowError)
        assert done[1] is None
        assert await ids(store) == ["n003"]


class TestOtherProcesses:
    async def test_a_writer_that_does_not_let_go(self, path: Path) -> None:
        async with opened(path, busy_timeout=0.05) as store:
            await store.apply([note(1)])
            other = await asyncio.to_thread(sqlite3.connect, path, isolation_level=None, check_same_thread=False)
            await asyncio.to_thread(other.execute, "BEGIN IMMEDIATE")
            with pytest.raises(Unavailable, match="locked"):
                await store.apply([note(2)])
            assert await ids(store) == ["n001"]
            await asyncio.to_thread(other.execute, "ROLLBACK")
            await store.apply([note(2)])
            await asyncio.to_thread(other.close)

    async def test_two_processes_count_together(self, path: Path) -> None:
        rounds = 60
        children = [await child("count", path, rounds) for _ in range(2)]
        async with opened(path) as store:
            for n in range(rounds):
                await increment(store, f"here{n}")
            for process in children:
                assert await asyncio.wait_for(process.wait(), 60) == 0
            record = await store.get("event", "counter")
            assert record is not None
            assert record.doc["n"] == record.version == 3 * rounds
            assert await store.count(Query(kind="note", where=(("owner", ("ann",)),), words="counted")) == 3 * rounds
        assert await query(path, "PRAGMA integrity_check") == [("ok",)]

    async def test_a_killed_writer_loses_nothing_it_acknowledged(self, path: Path) -> None:
        process = await child("write", path, 1_000_000)
        assert process.stdout is not None
        acknowledged = []
        while len(acknowledged) < 300:
            acknowledged.append(int(await asyncio.wait_for(process.stdout.readline(), 60)))
        process.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in (await process.stdout.read()).split(b"\n")[:-1]]
        assert await process.wait() == -signal.SIGKILL
        assert await query(path, "PRAGMA integrity_check") == [("ok",)]
        async with opened(path) as store:
            for n in acknowledged:
                assert await store.get("event", f"e{n}") is not None
            notes = await store.count(Query(kind="note"))
            assert notes == await store.count(Query(kind="event")) >= len(acknowledged)
            assert await store.count(Query(kind="note", where=(("owner", ("ann",)),), words="counted")) == notes
        assert await query(path, "PRAGMA integrity_check") == [("ok",)]


async def child(*arguments: object) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, __file__, *map(str, arguments), stdout=asyncio.subprocess.PIPE
    )


async def increment(store: RecordStore, name: str) -> None:
    """Read, add one, write: right only if no one else's write between the two is lost."""
    while True:
        record = await store.get("event", "counter")
        n, version = (record.doc["n"], record.version) if record else (0, 0)
        counted = Put("note", name, {"owner": "ann", "title": f"counted {n}"}, 0)
        try:
            await store.apply([Put("event", "counter", {"run": "r", "n": n + 1}, version), counted])
        except StaleWrite:
            continue
        return


async def count(path: Path, rounds: int) -> None:
    async with opened(path) as store:
        for n in range(rounds):
            await increment(store, f"{os.getpid()}.{n}")


async def write(path: Path, rounds: int) -> None:
    async with opened(path) as store:

        async def several(first: int) -> None:
            for n in range(first, rounds, 8):
                doc = {"owner": "ann", "title": f"counted {n}"}
                await store.apply([Put("note", f"n{n}", doc, 0), Put("event", f"e{n}", {"run": "r"}, 0)])
                print(n, flush=True)

        await asyncio.gather(*(several(n) for n in range(8)))


class TestSchema:
    async def test_the_same_kinds_change_nothing(self, path: Path) -> None:
        for _ in range(2):
            async with opened(path) as store:
                await store.apply([note(1, expect=None)])
        assert [p.name for p in path.parent.iterdir()] == ["backchat.db"]

    async def test_a_newer_schema_is_refused(self, path: Path) -> None:
        async with opened(path):
            pass
        await query(path, "SELECT 1")
        with closing(sqlite3.connect(path)) as db:
            db.execute("UPDATE _meta SET value = 2 WHERE key = 'schema'")
            db.commit()
        with pytest.raises(ConfigError, match="schema version 2"):
            await opened(path).__aenter__()

    async def test_a_new_field_is_filled_and_a_copy_is_made(self, path: Path) -> None:
        before = Kind(name="note", fields=("owner",), text=("title",), within=("owner",))
        async with opened(path, [before]) as store:
            await store.apply([note(n, code=f"c{n}") for n in range(20)])
            assert await ids(store, ("owner", ["ann"]), words="note 7") == ["n007"]
            await store.apply([Delete("note", "n003"), note(4, title="changed", expect=1)])
        async with opened(path) as store:
            assert await ids(store, ("day", [5, 6]), ("tags", ["odd"])) == ["n005"]
            assert await ids(store, ("owner", ["ann"]), words="note 7") == ["n007"]
            assert await ids(store, ("shelf", ["s1"]), words="note 7") == ["n007"]
            assert await ids(store, ("owner", ["ann"]), words="changed") == ["n004"]
            record = await store.get("note", "n004")
            assert record is not None
            assert record.version == 2
            with pytest.raises(StaleWrite):
                await store.apply([note(50, code="c5")])
        copies = [p for p in path.parent.iterdir() if p != path]
        assert [p.name.startswith("backchat.db.before-") for p in copies] == [True]
        assert stat.S_IMODE(copies[0].stat().st_mode) == 0o600
        async with opened(copies[0], [before]) as store:
            assert await store.count(Query(kind="note")) == 19

    async def test_an_empty_file_is_not_copied(self, path: Path) -> None:
        async with opened(path, [EVENT]):
            pass
        async with opened(path):
            pass
        assert [p.name for p in path.parent.iterdir()] == ["backchat.db"]

    async def test_kinds_come_and_go(self, path: Path) -> None:
        async with opened(path) as store:
            await store.apply([note(1), event("r", 1)])
        async with opened(path, [EVENT]) as store:
            assert await ids(store, kind="event") == ["r/000001"]
            with pytest.raises(ValueError):
                await store.get("note", "n001")
        async with opened(path) as store:
            assert await ids(store, ("owner", ["ann"]), words="note") == ["n001"]

    async def test_what_is_declared_no_more_goes(self, path: Path) -> None:
        async with opened(path) as store:
            await store.apply([note(n, code="x" if n == 1 else None) for n in range(5)])
        bare = Kind(name="note", fields=("day", "owner"), indexes=(("day",),))
        async with opened(path, [bare]) as store:
            assert await ids(store, ("day", [3])) == ["n003"]
            await store.apply([note(9, code="x")])
        found = await query(path, "SELECT name FROM sqlite_master WHERE name LIKE '%note%'")
        assert {name for (name,) in found} == {"note", "note(day)", "sqlite_autoindex_note_1"}
        with pytest.raises(ConfigError, match="share owner, code"):
            await opened(path).__aenter__()
        async with opened(path, [bare]) as store:  # and the attempt changed nothing
            assert await store.count(Query(kind="note")) == 6

    async def test_another_definition_of_a_word_makes_the_index_anew(self, path: Path) -> None:
        async with opened(path) as store:
            await store.apply([note(n) for n in range(700)])
            assert await store.count(Query(kind="note", where=(("owner", ("ann",)),), words="note")) == 700
        with closing(sqlite3.connect(path)) as db:
            db.execute("UPDATE _meta SET value = 'older' WHERE key = 'words'")
            db.execute("INSERT INTO _words_note (_words_note) VALUES ('delete-all')")
            db.commit()
        async with opened(path) as store:
            assert await store.count(Query(kind="note", where=(("owner", ("ann",)),), words="note")) == 700

    async def test_several_processes_open_a_new_file_at_once(self, path: Path) -> None:
        stores = [opened(path) for _ in range(6)]
        entered = await asyncio.gather(*(s.__aenter__() for s in stores))
        for n, store in enumerate(entered):
            await store.apply([note(n)])
        assert len(await ids(entered[0])) == 6
        await asyncio.gather(*(s.__aexit__(None, None, None) for s in stores))

    async def test_the_declared_kinds_are_in_the_file(self, store: RecordStore, path: Path) -> None:
        ((kinds,),) = await query(path, "SELECT value FROM _meta WHERE key = 'kinds'")
        assert orjson.loads(kinds)["note"]["lists"] == list(NOTE.lists)


if __name__ == "__main__":
    asyncio.run({"count": count, "write": write}[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3])))
