"""``backchat export`` on an installation of its own."""

from __future__ import annotations

import asyncio
import io
import os
import pty
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from backchat.cli import main
from backchat.ports.importing import SourceConversation
from backchat.services.kinds import KINDS
from kept import Kept, read_back, talk
from sqlite_files import opened

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a command on an installation where ``ada`` has three conversations."""
    place = ["--data", str(tmp_path / "data")]

    def ran(*args: str) -> Result:
        return CliRunner().invoke(main, [*args, *place])

    ada = ran("users", "create", "ada").stdout.strip()
    stored(tmp_path, *[talk(f"c{n}", "Hello", "Hi", owner=ada) for n in range(3)])
    return ran


def stored(tmp_path: Path, *kept: Kept) -> None:
    async def put() -> None:
        async with opened(tmp_path / "data" / "backchat.db", KINDS) as store:
            for conversation in kept:
                await store.apply(conversation.changes)

    asyncio.run(put())


def ids(file: bytes) -> list[str | None]:
    return [entry.id for entry in read_back(file) if isinstance(entry, SourceConversation)]


@pytest.mark.parametrize(
    ("name", "options", "is_zip"),
    [
        ("all.zip", [], True),
        ("all.jsonl", [], False),
        ("all", [], True),
        ("all.zip", ["--format", "jsonl"], False),
    ],
)
def test_export(run: Run, tmp_path: Path, name: str, options: list[str], is_zip: bool) -> None:
    target = tmp_path / "out" / name
    target.parent.mkdir()
    result = run("export", str(target), "--user", "ADA", *options)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"exported 3 conversations of ADA to {target}, {size(target)}\n"
    assert ids(target.read_bytes()) == ["c0", "c1", "c2"]
    assert zipfile.is_zipfile(target) == is_zip
    assert target.stat().st_mode & 0o777 == 0o600
    assert list(target.parent.iterdir()) == [target]


def size(file: Path) -> str:
    n = file.stat().st_size
    return f"{n / 1000:.1f} kB" if n >= 1000 else f"{n} bytes"


def test_standard_output(run: Run) -> None:
    result = run("export", "-", "--user", "ada", "--format", "jsonl")
    assert ids(result.stdout_bytes) == ["c0", "c1", "c2"]
    assert result.stderr.startswith("exported 3 conversations of ada to standard output, ")
    result = run("export", "-", "--user", "ada")
    assert zipfile.ZipFile(io.BytesIO(result.stdout_bytes)).testzip() is None


def test_one_and_none(run: Run, tmp_path: Path) -> None:
    bob = run("users", "create", "bob").stdout.strip()
    assert "exported 0 conversations of bob" in run("export", str(tmp_path / "0.zip"), "--user", "bob").stderr
    stored(tmp_path, talk("b", "x", owner=bob))
    assert "exported 1 conversation of bob" in run("export", str(tmp_path / "1.zip"), "--user", "bob").stderr
    assert ids((tmp_path / "1.zip").read_bytes()) == ["b"]


def test_nothing_is_replaced_unasked(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "all.zip"
    target.write_text("mine")
    target.chmod(0o644)
    refused = run("export", str(target), "--user", "ada")
    assert (refused.exit_code, refused.stderr) == (1, f"Error: {target} is there already; --force replaces it\n")
    assert target.read_text() == "mine"
    assert run("export", str(target), "--user", "ada", "--force").exit_code == 0
    assert ids(target.read_bytes()) == ["c0", "c1", "c2"]
    assert target.stat().st_mode & 0o777 == 0o600


def test_who_is_not_there_is_named_and_no_file_is_left(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "all.zip"
    target.write_text("mine")
    before = sorted(tmp_path.iterdir())
    refused = run("export", str(target), "--user", "eve", "--force")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr == "Error: there is no user called 'eve'\n"
    assert sorted(tmp_path.iterdir()) == before
    assert target.read_text() == "mine"


def test_a_name_as_long_as_names_can_be(run: Run, tmp_path: Path) -> None:
    target = tmp_path / f"{'🙂' * 62}.zip"
    assert run("export", str(target), "--user", "ada").exit_code == 0
    assert ids(target.read_bytes()) == ["c0", "c1", "c2"]


def test_where_nothing_can_be_written(run: Run, tmp_path: Path) -> None:
    nowhere = tmp_path / "none" / "all.zip"
    refused = run("export", str(nowhere), "--user", "ada")
    assert (refused.exit_code, refused.stderr) == (
        1,
        f"Error: {nowhere} cannot be written: No such file or directory\n",
    )
    refused = run("export", str(tmp_path), "--user", "ada", "--force")
    assert (refused.exit_code, refused.stderr) == (1, f"Error: {tmp_path} is no regular file\n")


def test_a_full_disk(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(tmp_path.iterdir())

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    refused = run("export", str(tmp_path / "all.zip"), "--user", "ada")
    assert (refused.exit_code, refused.stderr.startswith("Error: ")) == (1, True)
    assert refused.stderr.endswith("all.zip cannot be written: No space left on device\n")
    assert sorted(tmp_path.iterdir()) == before


def test_a_zip_is_not_written_to_a_terminal_which_sees_the_bar(run: Run, tmp_path: Path) -> None:
    """In a process of its own, on a pseudo-terminal."""
    command = [sys.executable, "-m", "backchat", "export", "--user", "ada", "--data", str(tmp_path / "data")]
    terminal, end = pty.openpty()
    refused = subprocess.run([*command, "-"], stdout=end, stderr=subprocess.PIPE, check=False)
    assert refused.returncode == 2
    assert b"standard output is a terminal: name a file, or send it on" in refused.stderr
    target = tmp_path / "all.zip"
    done = subprocess.run([*command, str(target)], stderr=end, stdout=subprocess.PIPE, check=False)
    os.close(end)
    shown = b""
    with suppress(OSError):
        while piece := os.read(terminal, 4096):
            shown += piece
    os.close(terminal)
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"3/3" in shown
    assert ids(target.read_bytes()) == ["c0", "c1", "c2"]
