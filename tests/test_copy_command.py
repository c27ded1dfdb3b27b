"""``backchat copy`` on files of its own; as a process of its own where it is killed or interrupted."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from backchat.cli import copy as copy_command
from backchat.cli import main
from backchat.config import load_config
from backchat.plugins import Plugins
from backchat.ports.storage import Change, Delete, RecordStore
from backchat.services.copying_beginning import begin
from backchat.services.copying_records import copy_put
from backchat.services.copying_writing import transfer
from backchat.services.kinds import KINDS
from copying_made import copying_records, docs, fill, made, new_id, server
from served import COMMAND, until
from sqlite_files import opened, rows

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Copy from ``from.yml`` to ``to.yml`` unless told otherwise."""
    for name in ("from", "to", "other"):
        path = tmp_path / f"{name}.db"
        (tmp_path / f"{name}.yml").write_text(f"storage: {{use: sqlite, path: {path}}}\n", "utf-8")

    def ran(*args: str, source: str = "from.yml", target: str = "to.yml", **more: Any) -> Result:
        files = [str(tmp_path / source), str(tmp_path / target)]
        return CliRunner().invoke(main, ["copy", *files, "--data", str(tmp_path / "data"), *args], **more)

    return ran


@asynccontextmanager
async def store(tmp_path: Path, name: str) -> AsyncIterator[RecordStore]:
    async with opened(tmp_path / f"{name}.db", KINDS, readers=1) as found:
        yield found


def put(tmp_path: Path, name: str, changes: Sequence[Change] | None = None) -> None:
    """Apply changes; some of everything if none are given."""

    async def work() -> None:
        async with store(tmp_path, name) as found:
            await (fill(found) if changes is None else found.apply(changes))

    asyncio.run(work())


def equal(tmp_path: Path) -> bool:
    async def work() -> bool:
        async with store(tmp_path, "from") as source, store(tmp_path, "to") as target:
            return await docs(source) == await docs(target) and await copying_records(target) == []

    return asyncio.run(work())


def ended(result: Result, code: int, *words: str) -> None:
    assert result.exit_code == code, result.output
    for word in words:
        assert word in result.output


# ---- the words of the command ---------------------------------------------------------------------------------------


def test_a_copy(run: Run, tmp_path: Path) -> None:
    put(tmp_path, "from")
    result = run()
    assert result.exit_code == 0, result.output
    assert re.fullmatch(
        r"copied: \d+ records, 1\.\d MB, \d+\.\d s, [\d,]+ records/s, (\d+) compared\n", result.stdout
    ), result.stdout
    assert "records: 0 of " in result.stderr
    assert "lorem" not in result.output
    assert equal(tmp_path)
    assert not rows(tmp_path / "from.db", "SELECT 1 FROM sqlite_master WHERE name = '_journal'")
    assert "following" not in result.stderr
    ended(run(), 1, "Error: TO is not empty, and holds no unfinished copy of FROM")


def test_an_unfinished_copy_is_used_for_nothing_else(run: Run, tmp_path: Path) -> None:
    put(tmp_path, "from")

    async def begun() -> None:
        async with store(tmp_path, "from") as source, store(tmp_path, "to") as target:
            await begin(source, target, new_id)
            await target.apply([made("user", 1)])

    asyncio.run(begun())
    served = tmp_path / "served.yml"
    served.write_text((tmp_path / "to.yml").read_text("utf-8") + "providers: {echo: {use: echo}}\n", "utf-8")
    config = ("--config", str(served), "--data", str(tmp_path))
    for command, code in (("serve",), 2), (("users", "list"), 2), (("backup", str(tmp_path / "b.db")), 1):
        result = CliRunner().invoke(main, [*command, *config])
        ended(result, code, "the storage holds an unfinished copy: finish it with the same backchat copy, or fill it")
        assert len(result.stderr.splitlines()) == 1
    ended(run(source="to.yml", target="other.yml"), 1, "Error: FROM holds an unfinished copy")
    ended(run(), 0, "going on with the copy")
    assert equal(tmp_path)  # which is a copy of FROM, and not marked any more


def test_interrupted_before_it_had_begun(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "from")

    async def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(copy_command, "check_unserved", interrupted)
    result = run()
    assert (result.exit_code, result.stderr) == (130, "interrupted\n")


def test_without_comparison(run: Run, tmp_path: Path) -> None:
    put(tmp_path, "from")
    result = run("--no-verify")
    ended(result, 0, "not compared")
    assert "comparing" not in result.output
    assert equal(tmp_path)


def test_replacing(run: Run, tmp_path: Path) -> None:
    put(tmp_path, "from")
    put(tmp_path, "to", [made("user", 77), made("message", 77)])
    ended(run("--replace", input="n\n"), 1, "Delete the 2 records that TO holds?")
    ended(run("--replace"), 1, "Error: there is no terminal to answer the question on: --yes answers it")
    assert rows(tmp_path / "to.db", "SELECT id FROM user") == [("user-00077",)]
    ended(run("--replace", input="y\n"), 0, "copied: ")
    assert equal(tmp_path)
    put(tmp_path, "to", [made("user", 77)])
    ended(run("--replace", "--yes"), 0, "copied: ")
    assert equal(tmp_path)


def test_nothing_is_replaced_by_nothing(run: Run, tmp_path: Path) -> None:
    put(tmp_path, "to", [made("user", 77)])
    ended(run("--replace", "--yes"), 1, "Error: FROM holds nothing")
    assert len(rows(tmp_path / "to.db", "SELECT id FROM user")) == 1


def test_one_storage_by_two_names(run: Run, tmp_path: Path) -> None:
    put(tmp_path, "from")
    (tmp_path / "link.db").symlink_to(tmp_path / "from.db")
    (tmp_path / "link.yml").write_text(f"storage: {{use: sqlite, path: {tmp_path / 'link.db'}}}\n", "utf-8")
    for options in ((), ("--replace", "--yes")):
        ended(run(*options, target="link.yml"), 1, "Error: FROM and TO are the same storage")
    assert rows(tmp_path / "from.db", "SELECT count(*) FROM message") == [(3,)]


def test_only_the_storage_matters(run: Run, tmp_path: Path) -> None:
    put(tmp_path, "from")
    (tmp_path / "to.yml").write_text("providers: {a: {use: nobody}}\nstorge: {}\nserver: [1]\n", "utf-8")
    ended(run(), 0, "copied: ")  # to that of a configuration which says nothing of it
    assert (tmp_path / "data" / "backchat.db").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("storage: {use: sqlite, pth: x}", "TO: storage.pth: unknown key; did you mean path?"),
        ("storage: {use: nix}", "TO: storage.use: unknown storage 'nix'; installed: "),
        (
            "storage: {use: sqlite, path: {$env: NIX_NADA}}",
            "TO: storage.path: the environment variable NIX_NADA",
        ),
        ("storage: [", "TO: "),
        ("storage: {use: sqlite, path: /nowhere/x.db}", "TO: storage: the file cannot be made: No such file"),
    ],
)
def test_a_configuration_that_is_wrong(run: Run, tmp_path: Path, text: str, problem: str) -> None:
    put(tmp_path, "from")
    (tmp_path / "to.yml").write_text(text, "utf-8")
    result = run()
    ended(result, 2, problem)
    assert len(result.stderr.splitlines()) <= 2


def test_a_configuration_that_is_not_there(run: Run) -> None:
    ended(run(source="nix.yml"), 2, "FROM: ", "cannot be read: No such file")


def test_differences_are_named(run: Run, tmp_path: Path) -> None:
    put(tmp_path, "from", [made("message", n) for n in range(20)])

    async def unfinished() -> None:
        async with store(tmp_path, "from") as source, store(tmp_path, "to") as target:
            copy = await begin(source, target, new_id)
            await transfer(source, target, lambda records, size: None)
            damage: list[Change] = [Delete("message", made("message", n).id) for n in range(0, 14, 2)]
            await target.apply([*damage, made("user", 5, text="secret"), copy_put(replace(copy, phase="changes"))])

    asyncio.run(unfinished())
    result = run()
    ended(result, 1, "going on with the copy", "not the same in FROM and TO: message message-00000\n")
    assert result.stderr.count("not the same in FROM and TO: ") == 5
    assert "Error: 8 records are not the same in FROM and TO; begin anew with --replace" in result.stderr
    assert "copied" not in result.output
    assert "secret" not in result.output
    ended(run("--replace", "--yes"), 0, "copied: 20 records")
    assert equal(tmp_path)


def test_abandoning(run: Run, tmp_path: Path) -> None:
    put(tmp_path, "from", [made("message", 1)])

    async def begun() -> None:
        async with store(tmp_path, "from") as source, store(tmp_path, "to") as target:
            await begin(source, target, new_id)

    asyncio.run(begun())
    assert rows(tmp_path / "from.db", "SELECT 1 FROM sqlite_master WHERE name = '_journal'")
    ended(run("--abandon"), 0, "FROM notes no changes any more")
    assert not rows(tmp_path / "from.db", "SELECT 1 FROM sqlite_master WHERE name = '_journal'")
    ended(run(), 1, "Error: TO holds an unfinished copy of another storage, or one that was given up; --replace")


# ---- killed and interrupted -----------------------------------------------------------------------------------------


class Process:
    """``backchat copy`` from one file to the other."""

    def __init__(self, tmp_path: Path) -> None:
        files = [str(tmp_path / "from.yml"), str(tmp_path / "to.yml")]
        self.log = tmp_path / "copy.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([COMMAND, "copy", *files, "--data", str(tmp_path)], stdout=log, stderr=log)

    def says(self, words: str) -> None:
        until(lambda: words in self.log.read_text() or self.process.poll() is not None, words)
        assert words in self.log.read_text(), self.log.read_text()

    def send(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)


@pytest.fixture
def start(run: Run, tmp_path: Path) -> Iterator[Callable[[], Process]]:
    started: list[Process] = []

    def begun() -> Process:
        started.append(Process(tmp_path))
        return started[-1]

    yield begun
    for each in started:
        if each.process.poll() is None:
            each.send(signal.SIGKILL)


def test_killed_twice_and_interrupted(start: Callable[[], Process], run: Run, tmp_path: Path) -> None:
    """While it copies records, and while it follows; a server runs on the source all the time."""
    runs, total = server(), 2500
    put(tmp_path, "from", [runs, *[made("message", n) for n in range(total)]])

    def stored() -> bool:
        try:
            return bool(rows(tmp_path / "to.db", "SELECT 1 FROM copying WHERE id LIKE 'stored.%'"))
        except sqlite3.Error:  # there is no file yet, or no table
            return False

    first = start()
    until(stored, "some records")
    assert first.send(signal.SIGKILL) == -signal.SIGKILL
    ((there,),) = rows(tmp_path / "to.db", "SELECT count(*) FROM message")
    assert 0 < there < total
    put(tmp_path, "from", [made("message", 5, changed=True), Delete("message", made("message", 6).id)])

    second = start()
    second.says("going on with the copy that was begun")
    second.says(f"TO is up to date. Stop what runs on FROM (process {os.getppid()}); then this ends.")
    for options in ((), ("--replace", "--yes")):
        ended(run(*options), 1, f"Error: another process copies into TO: {second.process.pid}")
    assert second.send(signal.SIGKILL) == -signal.SIGKILL
    put(tmp_path, "from", [made("message", 7, changed=True), Delete("message", made("message", 8).id)])

    third = start()
    third.says("TO is up to date")
    assert third.send(signal.SIGINT) == 130
    assert "interrupted: the same command goes on with it, and with --abandon it is given up" in third.log.read_text()
    put(tmp_path, "from", [made("user", 9), Delete("worker", runs.id)])

    last = run()
    ended(last, 0, f"{total - 1:,} compared")
    found = re.search(r"copied: (\d+) record", last.stdout)
    assert found is not None
    assert int(found[1]) < 10  # all others were there
    assert equal(tmp_path)


def test_once(run: Run, tmp_path: Path) -> None:
    put(tmp_path, "from", [server(), made("user", 1)])
    ended(run("--once"), 0, "copied: 1 record,", "1 compared")
    assert equal(tmp_path)


def test_the_configurations_in_the_manual_hold(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MONGO_URL", "mongodb://127.0.0.1/")
    page = (Path(__file__).parent.parent / "docs" / "moving.md").read_text("utf-8")
    examples = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    uses = []
    for example in examples:
        (tmp_path / "example.yml").write_text(example, "utf-8")
        config = load_config(tmp_path / "example.yml", Plugins(from_entry_points=True), data=tmp_path)
        uses.append(config.storage.name)
    assert uses[:2] == ["sqlite", "mongo"]
