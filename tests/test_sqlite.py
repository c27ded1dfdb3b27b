"""What is peculiar to the SQLite store: the file, several processes, a killed one, changes of the schema."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import stat
import threading
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import pytest
from marshmallow import ValidationError

from backchat.errors import ConfigError, StaleWrite, Unavailable
from backchat.ports.storage import Change, Delete, Purge, Put, Query, RecordStore
from backchat.testing.records import event, ids, note
from backchat_sqlite import changes as changing
from backchat_sqlite import index, writer
from backchat_sqlite import store as sqlite_store
from backchat_sqlite.component import SQLITE
from backchat_sqlite.store import SqliteStore
from backchat_sqlite.tables import Table
from sqlite_files import opened, query


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
        with pytest.raises(ConfigError, match="cannot be made"):
            await opened(tmp_path / "missing" / "backchat.db").__aenter__()

    async def test_a_file_of_something_else(self, path: Path) -> None:
        other = path.with_name("other")
        await asyncio.to_thread(other.write_text, "no database at all " * 100)
        with pytest.raises(ConfigError, match="not a database"):
            await opened(other).__aenter__()
        await query(path, "CREATE TABLE theirs (a)")
        with pytest.raises(ConfigError, match="something else"):
            await opened(path).__aenter__()

    async def test_no_thread_outlives_the_store(self, path: Path) -> None:
        before = set(threading.enumerate())
        async with opened(path) as store:
            assert len(set(threading.enumerate()) - before) == 4
            await store.apply([note(1)])
        for thread in set(threading.enumerate()) - before:
            if not thread.name.startswith("asyncio"):  # the loop's own executor
                await asyncio.to_thread(thread.join, 5)
                assert not thread.is_alive(), thread

    async def test_a_closed_store_says_so(self, path: Path) -> None:
        async with opened(path) as store:
            pass
        for call in (store.apply([note(1)]), store.get("note", "n001"), store.find(Query(kind="note"))):
            with pytest.raises(Unavailable):
                await call

    async def test_deleted_text_is_gone_after_compact(self, path: Path) -> None:
        async with opened(path) as store:
            assert isinstance(store, SqliteStore)
            secret = ["xylophonist", "quuxbarian", "zanzibarese", "wombatlike"]
            await store.apply([note(n, title=f"{w} and more", body="filler " * n) for n, w in enumerate(secret)])
            await store.apply([note(n) for n in range(10, 100)])
            assert await ids(store, ("owner", ["ann"]), words="quux") == ["n001"]
            await store.apply([note(0, title="harmless", expect=1), Delete("note", "n001")])
            await store.apply([Purge("note", (("id", ("n002",)),))])
            await store.apply([Delete("note", "n003")])
            await store.compact()
            files = {p: await asyncio.to_thread(p.read_bytes) for p in path.parent.iterdir()}
            for word in secret:
                for start in (word, word[1:]):  # FTS5 leaves out what a term shares with the one before
                    assert [p.name for p, content in files.items() if start.encode() in content] == []
            assert any(b"harmless" in content for content in files.values())
            assert await ids(store, ("owner", ["ann"]), words="harmless") == ["n000"]

    async def test_no_copy_of_deleted_text_stays_where_it_once_lay(self, path: Path) -> None:
        """Records that move from page to page leave copies behind, which deleting them does not reach."""
        rng = random.Random(7)
        async with opened(path, synchronous="NORMAL") as store:
            for n in range(150):
                changes: list[Change] = []
                for owner in ("bob", "wombatlike"):
                    for _ in range(3):
                        words = f"{owner}{rng.randrange(10**6)} " * rng.choice([1, 5, 20, 60, 200])
                        changes.append(Put("event", f"{rng.randrange(10**9)}", {"run": owner, "said": words}))
                        changes.append(note(rng.randrange(10**9), owner=owner, title=words, expect=None))
                await store.apply(changes)
                if n % 50 == 0:
                    await ids(store, ("owner", ["bob"]), words="bob", limit=1)
            for kind, field in (("event", "run"), ("note", "owner")):
                await store.apply([Purge(kind, ((field, ("wombatlike",)),))])
            await store.compact()
            files = [await asyncio.to_thread(p.read_bytes) for p in path.parent.iterdir()]
            assert sum(content.count(b"ombatlike") for content in files) == 0
            assert await store.count(Query(kind="event")) == 450

    async def test_compact_says_when_it_could_not(self, path: Path) -> None:
        async with opened(path, busy_timeout=0.05) as store:
            await store.apply([note(1)])
            reader = await asyncio.to_thread(sqlite3.connect, path, isolation_level=None, check_same_thread=False)
            try:
                await asyncio.to_thread(lambda: reader.execute("BEGIN").execute("SELECT * FROM note").fetchall())
                with pytest.raises(Unavailable, match="reads the database for too long"):
                    await store.compact()
                await asyncio.to_thread(reader.execute, "COMMIT")
                await store.compact()
                assert await ids(store) == ["n001"]
            finally:
                await asyncio.to_thread(reader.close)


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

    async def test_what_a_purge_leaves_in_the_index_waits_too(
        self, store: RecordStore, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await store.apply([note(n, title="falcon") for n in range(50)])
        assert len(await ids(store, ("owner", ["ann"]), words="falcon")) == 50
        with monkeypatch.context() as here:
            here.setattr(changing, "terms_of", None)  # finding the words is what takes long
            await store.apply([Purge("note", (("owner", ("ann",)),)), note(3, title="owl")])
        assert await ids(store, ("owner", ["ann"]), words="falcon") == []  # though it has the row of another one
        assert await ids(store, ("owner", ["ann"]), words="owl") == ["n003"]
        assert await query(path, "SELECT count(*) FROM _changed") == [(0,)]

    async def test_long_texts_are_indexed_a_few_at_a_time(
        self, store: RecordStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        steps: list[int] = []
        fold_some = index.fold_some

        def counted(db: sqlite3.Connection, tables: Mapping[str, Table]) -> int:
            steps.append(fold_some(db, tables))
            return steps[-1]

        monkeypatch.setattr(sqlite_store, "fold_some", counted)
        await store.apply([note(n, body="tea " * 5_000) for n in range(100)])
        assert len(await ids(store, ("owner", ["ann"]), words="tea")) == 100
        assert steps == [*[11] * 9, 1, 0]

    async def test_many_waiting_words_are_indexed_when_nothing_else_is_to_do(
        self, store: RecordStore, path: Path
    ) -> None:
        await store.apply([note(n) for n in range(1_200)])
        async with asyncio.timeout(30):
            while (await query(path, "SELECT count(*) FROM _changed"))[0][0] >= 1_000:
                pass


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

    async def test_a_broken_connection_is_told_to_every_caller(self, store: RecordStore) -> None:
        assert isinstance(store, SqliteStore)
        await store._writer.run(lambda db: db.close())
        done = await asyncio.gather(*(store.apply([note(n)]) for n in range(5)), return_exceptions=True)
        assert all(isinstance(result, Unavailable) for result in done)


class TestFaults:
    async def test_a_broken_index_of_words_keeps_nobody_from_writing(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(writer, "FOLD_IDLE", 1)
        async with opened(path) as store:
            assert isinstance(store, SqliteStore)
            await store._writer.run(lambda db: db.execute("DELETE FROM _words_note_data"))
            for n in range(5):
                await store.apply([note(n)])
            assert await ids(store) == [f"n{n:03}" for n in range(5)]
            assert await query(path, "SELECT count(*) FROM _changed") == [(5,)]
            with pytest.raises(Unavailable, match="cannot be used"):
                await ids(store, ("owner", ["ann"]), words="note")

    async def test_a_writer_that_has_ended_is_told_to_everyone_who_comes(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fault, told = RuntimeError("a fault in the thread"), asyncio.Event()

        def fail(*_: object) -> int:
            raise fault

        heard: list[dict[str, Any]] = []

        def hear(_: object, context: dict[str, Any]) -> None:
            heard.append(context)
            told.set()

        asyncio.get_running_loop().set_exception_handler(hear)
        monkeypatch.setattr(writer, "FOLD_IDLE", 1)
        monkeypatch.setattr(writer, "fold_some", fail)
        opening = opened(path)
        store = await opening.__aenter__()
        try:
            async with asyncio.timeout(10):
                waiting = [asyncio.ensure_future(store.apply([note(n)])) for n in range(1_000)]
                done = await asyncio.gather(*waiting, return_exceptions=True)
                assert {type(result) for result in done} <= {type(None), Unavailable}
                await told.wait()
                for _ in range(3):
                    with pytest.raises(Unavailable, match="writer has failed"):
                        await store.apply([note(2_000)])
                assert await store.count(Query(kind="note")) == done.count(None) > 0
        finally:
            with pytest.raises(Unavailable, match="writer has failed"):  # the end of the store says so too
                await opening.__aexit__(None, None, None)
        assert [context["exception"] for context in heard] == [fault]
