"""Backups: one moment of a store that is written to, in a file that can be proven and put back."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sqlite3
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from backchat.cli import backup as backup_command
from backchat.cli import main
from backchat.cli.backup_files import making, open_file
from backchat.errors import Conflict
from backchat.ports.abilities import Frozen, Saved
from backchat.ports.storage import Change, Put, Query, RecordStore
from backchat.services import backing_up
from backchat.services.backing_up import Note, back_up, examined, restore, served
from backchat.services.copying_marks import marked, unfinished_business
from backchat.services.copying_records import copy_put
from backchat.services.copying_writing import empty
from backchat.services.kinds import KINDS
from backchat.services.workers import Process
from backchat.testing.memory_store import MemoryStore
from backchat.testing.records import ignore
from copying_made import Between
from kept import talk
from mongo_place import opening, settings_of
from sqlite_files import opened

Run = Callable[..., Result]
Opening = Callable[[], AbstractAsyncContextManager[RecordStore]]
NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


def told(stage: str, done: int, total: int | None) -> None:
    assert total is None or done <= total, stage


async def made(store: RecordStore, path: Path) -> Note:
    return await back_up(store, str(path), open_file, now=NOW, version="1", told=told)


# ---- one moment -----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", "mongo", "mongo-motor"])
def opening_store(request: pytest.FixtureRequest, tmp_path: Path) -> Opening:
    """Opens a store that can be backed up; it is empty the first time."""
    if request.param == "sqlite":
        return lambda: opened(tmp_path / "live.db", KINDS)
    driver = "motor" if request.param == "mongo-motor" else "pymongo"
    url = request.getfixturevalue("mongo_url")
    opens = opening(settings_of(url, f"backups_{driver}", driver))
    return lambda: opens(KINDS, ignore)


FIRST, LAST = ("api_key", "counter"), ("workspace", "counter")
"""Two records that are always changed together. A reader of everything comes to one early and to the other late."""


def counted(n: int) -> list[Put]:
    return [Put(kind, id, {"user": "ann", "owner": "ann", "created": "", "n": n}) for kind, id in (FIRST, LAST)]


@asynccontextmanager
async def counting(store: RecordStore) -> AsyncGenerator[Callable[[], int], None]:
    """Change them all the time; gives how often that was done."""
    n, ended = 0, False

    async def write() -> None:
        nonlocal n
        while not ended:
            await store.apply(counted(n + 1))
            n += 1
            await asyncio.sleep(0.002)  # many times in a backup, and no more than that

    task = asyncio.create_task(write())
    try:
        yield lambda: n
    finally:
        ended = True
        await task


async def test_a_backup_is_of_one_moment(opening_store: Opening, tmp_path: Path) -> None:
    async with opening_store() as store:
        await store.apply([*counted(0), *[change for c in range(12) for change in talk(f"c{c}", "Hi", "Ho").changes]])
        async with counting(store) as count:
            for n in range(3):
                before = count()
                await made(store, tmp_path / f"{n}.db")
                async with open_file(str(tmp_path / f"{n}.db")) as backup:
                    values = [record.doc["n"] for place in (FIRST, LAST) if (record := await backup.get(*place))]
                    assert len(values) == 2
                    assert values[0] == values[1]
                    assert before <= values[0] <= count()
                assert count() > before  # else nobody wrote meanwhile


async def test_a_backup_holds_what_the_store_held_and_goes_back(opening_store: Opening, tmp_path: Path) -> None:
    path = tmp_path / "backup.db"
    async with opening_store() as store:
        changes = [change for c in range(3) for change in talk(f"c{c}", "Hi", "Ho \N{GRINNING FACE}").changes]
        large = Put("file_chunk", "f.000000", {"file": "f", "conversation": "c0", "seq": 1, "data": "x" * 3_000_000})
        await store.apply([*changes, large, Put("user", "u", {"name": "Ada", "name_folded": "ada", "created": ""})])
        await store.apply([Put("worker", "w", {"host": "here", "pid": 1, "started": 0.0})])
        before = await everything(store)
        note = await made(store, path)
    async with open_file(str(path)) as backup:
        assert await everything(backup) == before
        found = await examined(backup, told)
        assert (found.problems, found.note) == ([], note)
        assert await backup.count(Query(kind="worker")) == 0  # nobody who serves it waits for that one
        assert sum(found.held.counts.values()) == len(before)
        async with opened(tmp_path / "other.db", KINDS) as other:
            await restore(backup, found.held, other, told)
            assert await everything(other) == before
            assert await other.get("copying", "backup") is None


async def everything(store: RecordStore) -> dict[tuple[str, str], Any]:
    """All documents but for what says something of processes and files."""
    kinds = [kind.name for kind in KINDS if kind.name not in ("copying", "worker")]
    pages = [await store.find(Query(kind=kind, limit=10_000)) for kind in kinds]
    return {(record.kind, record.id): record.doc for page in pages for record in page}


class Plain:
    """The six methods of a store, and nothing else."""

    def __init__(self, store: RecordStore) -> None:
        self.get, self.find, self.count = store.get, store.find, store.count
        self.values, self.apply, self.compact = store.values, store.apply, store.compact


async def test_a_store_that_cannot_hold_still_is_refused(tmp_path: Path) -> None:
    store = Plain(MemoryStore(KINDS))
    assert not isinstance(store, Saved | Frozen)
    with pytest.raises(Conflict, match="can neither save itself nor be read as it was at one moment"):
        await made(store, tmp_path / "backup.db")
    assert not (tmp_path / "backup.db").exists()


async def test_what_was_not_written_as_it_was_read_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore(KINDS)
    await store.apply([*counted(1)])

    @asynccontextmanager
    async def forgetful(path: str) -> AsyncGenerator[RecordStore, None]:
        async with open_file(path) as target:
            apply = target.apply

            async def lossy(changes: Sequence[Any]) -> None:
                await apply([c for c in changes if not (isinstance(c, Put) and c.kind == "workspace")])

            target.apply = lossy  # type: ignore[method-assign]
            yield target

    with pytest.raises(Conflict, match="does not hold what was read"):
        await back_up(store, str(tmp_path / "b.db"), forgetful, now=NOW, version="1", told=told)


# ---- the commands ---------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a command on the installation in ``data``, where ``ada`` has three conversations, or on another one."""

    def ran(*args: str, data: str = "data", **more: Any) -> Result:
        return CliRunner().invoke(main, [*args, "--data", str(tmp_path / data)], **more)

    ada = ran("users", "create", "ada").stdout.strip()
    put(tmp_path / "data", [change for n in range(3) for change in talk(f"c{n}", "Hello", "Hi", owner=ada).changes])
    return ran


def put(data: Path, changes: Sequence[Any]) -> None:
    async def work() -> None:
        async with opened(data / "backchat.db", KINDS) as store:
            await store.apply(changes)

    asyncio.run(work())


def verify(file: Path) -> Result:
    return CliRunner().invoke(main, ["verify", str(file)])


def digest(said: str) -> str:
    return said.rpartition("digest ")[2].split()[0]


def test_backup_verify_and_restore(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "out" / "backup.db"
    target.parent.mkdir()
    done = run("backup", str(target))
    assert (done.exit_code, done.stdout[:23]) == (0, "backed up: 10 records, "), done.output
    assert target.stat().st_mode & 0o777 == 0o600
    assert os.listdir(target.parent) == ["backup.db"]
    before = hashlib.sha256(target.read_bytes()).digest()

    proven = verify(target)
    assert proven.exit_code == 0, proven.output
    assert digest(proven.stdout) == digest(done.stdout)
    assert [line.split() for line in proven.stdout.splitlines() if "message" in line] == [["message", "6"]]
    assert "as it was made at" in proven.stdout

    back = run("restore", str(target), data="other")
    assert back.exit_code == 0, back.output
    assert digest(back.stdout) == digest(done.stdout)
    assert "ada" in run("users", "list", data="other").stdout
    assert os.listdir(target.parent) == ["backup.db"]
    assert hashlib.sha256(target.read_bytes()).digest() == before  # whatever was done with it
    assert digest(run("backup", str(tmp_path / "again.db"), data="other").stdout) == digest(done.stdout)


def test_a_file_that_is_there_stays_unless_told(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "backup.db"
    target.write_text("precious")
    refused = run("backup", str(target))
    assert refused.exit_code == 1
    assert refused.stderr.endswith(f"Error: {target} is there already; --force replaces it\n")
    assert target.read_text() == "precious"
    assert run("backup", str(target), "--force").exit_code == 0
    assert verify(target).exit_code == 0


def test_a_backup_that_fails_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "out" / "backup.db"
    target.parent.mkdir()
    target.write_text("the one before")

    def interrupted() -> None:
        with making(target, force=True) as path:
            Path(path).write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert os.listdir(target.parent) == ["backup.db"]
    assert target.read_text() == "the one before"


def test_an_empty_storage_is_most_likely_the_wrong_one(run: Run, tmp_path: Path) -> None:
    refused = run("backup", str(tmp_path / "backup.db"), data="elsewhere")
    assert refused.exit_code == 1
    assert "the storage holds nothing: is it the right one?" in refused.stderr
    assert not (tmp_path / "backup.db").exists()


def test_only_the_section_storage_matters(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "backchat.yml"
    config.write_text("storage: {use: sqlite, path: {$data: backchat.db}}\nproviders: {x: {key: {$env: NOT_SET}}}\n")
    assert run("backup", str(tmp_path / "b.db"), "--config", str(config)).exit_code == 0


DAMAGES: dict[str, tuple[str, str]] = {
    "UPDATE message SET doc = replace(doc, 'Hello', 'Jello')": ("records have been changed since it was made", ""),
    "DELETE FROM message WHERE id = (SELECT min(id) FROM message)": ("message: 6 records when it was made, 5 now", ""),
    "UPDATE message SET doc = substr(doc, 3)": ("cannot be read", ""),
    "DROP INDEX IF EXISTS _": ("", "no damage"),
}


@pytest.fixture
def backup(run: Run, tmp_path: Path) -> Path:
    target = tmp_path / "backup.db"
    assert run("backup", str(target)).exit_code == 0
    return target


@pytest.mark.parametrize("sql", DAMAGES)
def test_a_backup_that_was_changed_is_not_restored(sql: str, run: Run, backup: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(backup)) as db:
        db.execute(sql)
        db.commit()
    said, fine = DAMAGES[sql]
    proven = verify(backup)
    tried = run("restore", str(backup), data="other")
    assert proven.exit_code == tried.exit_code == (0 if fine else 1), proven.output
    if not fine:
        assert said in proven.stderr
        assert said in tried.stderr
        assert "nothing was" not in proven.stderr
        assert "; nothing was restored" in tried.stderr
        assert not (tmp_path / "other" / "backchat.db").exists()
        assert "Hello" not in proven.output + tried.output
        assert "ada" not in run("users", "list", data="other").stdout


def test_a_file_with_torn_pages(run: Run, backup: Path) -> None:
    whole = backup.read_bytes()
    backup.write_bytes(whole[: len(whole) // 2])
    assert verify(backup).exit_code == 1
    pages = bytearray(whole)
    pages[len(pages) // 2 : len(pages) // 2 + 40_960] = bytes(40_960)
    backup.write_bytes(pages)
    proven = verify(backup)
    assert proven.exit_code == 1
    assert "Traceback" not in proven.output
    assert run("restore", str(backup), data="other").exit_code == 1
    backup.write_text("something else")
    proven = verify(backup)
    assert (proven.exit_code, proven.stderr) == (
        1,
        f"Error: {backup}: the file cannot be used: file is not a database\n",
    )


def test_a_file_that_was_copied_by_other_means(run: Run, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    copy.write_bytes((tmp_path / "data" / "backchat.db").read_bytes())
    proven = verify(copy)
    assert proven.exit_code == 0
    assert "it was not made by backchat backup" in proven.stdout
    assert run("restore", str(copy), data="other").exit_code == 0
    assert "ada" in run("users", "list", data="other").stdout


def test_what_is_there_is_replaced_only_if_told_and_asked(run: Run, backup: Path) -> None:
    run("users", "create", "bob", data="other")
    refused = run("restore", str(backup), data="other")
    assert refused.exit_code == 1
    assert "the storage is not empty; --replace deletes what it holds" in refused.stderr
    declined = run("restore", str(backup), "--replace", data="other", input="n\n")
    assert declined.exit_code == 1
    assert "Delete the 1 records that the storage holds?" in declined.stdout
    assert "--yes answers it" in run("restore", str(backup), "--replace", data="other").stderr
    assert "bob" in run("users", "list", data="other").stdout
    assert run("restore", str(backup), "--replace", data="other", input="y\n").exit_code == 0
    listed = run("users", "list", data="other").stdout
    assert "ada" in listed
    assert "bob" not in listed


async def test_an_unfinished_restore_is_marked(tmp_path: Path) -> None:
    backup, target, marks = MemoryStore(KINDS), MemoryStore(KINDS), []
    await backup.apply(counted(1))

    async def look(changes: Sequence[Change]) -> None:
        marks.append(await unfinished_business(target))

    holds = (await examined(backup, told)).held
    await restore(backup, holds, Between(target, before_apply=look), told)
    assert marks[0] is None
    assert all(mark is not None and "an unfinished restore" in mark for mark in marks[1:])
    assert len(marks) >= 3
    assert await unfinished_business(target) is None
    marks.clear()
    await empty(Between(target, before_apply=look), lambda records: None)
    assert marks[0] is None
    assert all(mark is not None and "a replacement that was cut off" in mark for mark in marks[1:])
    assert await unfinished_business(target) is None


def test_an_unfinished_restore_is_used_for_nothing_else(run: Run, backup: Path, tmp_path: Path) -> None:
    asyncio.run(marking(tmp_path / "other.db"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other.db").rename(tmp_path / "other" / "backchat.db")
    listed = run("users", "list", data="other")
    assert (listed.exit_code, listed.stderr) == (
        2,
        "storage: the storage holds an unfinished restore: begin it anew with backchat restore --replace\n",
    )
    assert run("backup", str(tmp_path / "b.db"), data="other").exit_code == 1
    assert not (tmp_path / "b.db").exists()
    assert "it holds an unfinished restore" in verify(tmp_path / "other" / "backchat.db").stderr
    assert "--replace deletes" in run("restore", str(backup), data="other").stderr
    assert run("restore", str(backup), "--replace", "--yes", data="other").exit_code == 0
    assert "ada" in run("users", "list", data="other").stdout


async def marking(path: Path) -> None:
    async with opened(path, KINDS) as store:
        await store.apply([copy_put(await marked("", "restoring")), *counted(1)])


def test_a_backup_that_is_interrupted(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(backup_command, "back_up", interrupted)
    (tmp_path / "out").mkdir()
    result = run("backup", str(tmp_path / "out" / "b.db"))
    assert (result.exit_code, result.stderr) == (130, "interrupted\n")
    assert os.listdir(tmp_path / "out") == []


def test_nothing_is_restored_under_a_running_server(run: Run, backup: Path, tmp_path: Path) -> None:
    run("users", "create", "bob", data="other")
    own = Process.own()
    alive = {"at": "", "host": own.host, "pid": own.pid, "started": own.started}
    put(tmp_path / "other", [Put("worker", "w", alive)])
    refused = run("restore", str(backup), "--replace", "--yes", data="other")
    assert refused.exit_code == 1
    assert f"a server runs on the storage: stop it first (process {own.pid})" in refused.stderr
    assert "bob" in run("users", "list", data="other").stdout


async def test_a_server_elsewhere_is_known_by_its_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backing_up, "LOOK", 0.02)
    store, waited = MemoryStore(KINDS), []
    assert await served(store, 60, lambda: waited.append(1)) == []
    assert waited == []
    sign = Put("worker", "w", {"at": "", "host": "elsewhere/boot/ns", "pid": 7, "started": 0.0})
    await store.apply([sign])
    assert await served(store, 0.1, lambda: waited.append(1)) == []
    assert waited == [1]

    async def beat() -> None:
        await asyncio.sleep(0.05)
        await store.apply([sign])

    task = asyncio.create_task(beat())
    assert [str(server) for server in await served(store, 60, lambda: None)] == ["process 7 on elsewhere"]
    await task


@pytest.mark.parametrize("driver", ["pymongo", "motor"])
def test_to_mongodb_and_back(driver: str, run: Run, backup: Path, tmp_path: Path, mongo_url: str) -> None:
    settings = settings_of(mongo_url, f"restored_{driver}", driver)
    config = tmp_path / "mongo.yml"
    config.write_text(
        f"storage: {{use: mongo, url: {mongo_url!r}, database: {settings['database']}, driver: {driver}}}\n"
    )

    async def empty() -> None:
        async with opening(settings)(KINDS, ignore):
            pass

    asyncio.run(empty())
    there = run("restore", str(backup), "--config", str(config))
    assert there.exit_code == 0, there.output
    again = run("backup", str(tmp_path / "again.db"), "--config", str(config))
    assert again.exit_code == 0, again.output
    assert digest(again.stdout) == digest(there.stdout) == digest(verify(backup).stdout)
