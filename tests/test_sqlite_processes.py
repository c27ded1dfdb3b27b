"""Several processes on one SQLite file, and one that is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from backchat.errors import StaleWrite, Unavailable
from backchat.ports.storage import Put, Query, RecordStore
from backchat.testing.records import ids, note
from backchat_sqlite.store import SqliteStore
from sqlite_files import opened, query


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "backchat.db"


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

    @pytest.mark.parametrize("work", ["update", "index"])
    async def test_nobody_writes_between_what_a_transaction_reads_and_what_it_writes(
        self, path: Path, work: str
    ) -> None:
        refused: list[str] = []

        def intrude(statement: str) -> None:
            """Called in the writer's thread, as each of its statements begins."""
            if statement.startswith(("UPDATE", "INSERT")) and not refused:
                with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as other:
                    try:
                        other.execute("INSERT INTO _meta VALUES ('intruder', 1)")
                    except sqlite3.OperationalError as error:
                        refused.append(str(error))

        async with opened(path) as store:
            assert isinstance(store, SqliteStore)
            await store.apply([note(1)])
            await store._writer.run(lambda db: db.set_trace_callback(intrude))
            if work == "update":
                await store.apply([note(1, title="changed", expect=1)])
            else:
                assert await ids(store, ("owner", ["ann"]), words="note") == ["n001"]
        assert refused == ["database is locked"]

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
        acknowledged: list[int] = []
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


if __name__ == "__main__":
    asyncio.run({"count": count, "write": write}[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3])))
