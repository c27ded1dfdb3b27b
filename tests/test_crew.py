"""Several workers on one port: how they are started, replaced and ended."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import click
import pytest
from structlog.testing import capture_logs

from backchat.cli import crew
from backchat.cli.crew import Crew, reserve
from served import until


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def test_a_reserved_port_is_shared_with_workers_and_nobody_else(free_port: int) -> None:
    with reserve("127.0.0.1", free_port) as port, socket.create_server(("127.0.0.1", port), reuse_port=True):
        assert port == free_port
        with pytest.raises(click.ClickException, match="Address already in use"), reserve("127.0.0.1", port):
            pass
    with reserve("127.0.0.1", 0) as found:
        assert found > 0


def crew_of(count: int, script: str, directory: Path) -> Crew:
    return Crew([sys.executable, "-c", script], count, str(directory))


async def test_workers_that_never_come_up_end_the_crew(tmp_path: Path) -> None:
    assert await crew_of(2, "raise SystemExit(7)", tmp_path).work() == 7


async def test_dying_workers_are_replaced_ever_more_slowly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(crew, "LONGEST_PAUSE", 0.005)
    script = f"""
import os, pathlib, signal
starts = len(os.listdir({str(tmp_path)!r}))
pathlib.Path({str(tmp_path)!r}, str(os.getpid())).touch()
print("ready", flush=True)
if starts == 4: os.kill(os.getppid(), signal.SIGTERM)
"""
    with capture_logs() as lines:
        assert await crew_of(1, script, tmp_path).work() == 0
    assert [line["restart_in"] for line in lines if line["event"] == "worker.died"] == [0.002, 0.004, 0.005, 0.005]


async def test_signals_are_handed_on_once_each(tmp_path: Path) -> None:
    script = f"""
import os, pathlib, signal, sys
def note(*_):
    n = sum(f.startswith(str(os.getpid())) for f in os.listdir({str(tmp_path)!r}))
    pathlib.Path({str(tmp_path)!r}, f"{{os.getpid()}}.{{n}}").touch()
    if n: os._exit(0)
signal.signal(signal.SIGTERM, note)
print("ready", flush=True)
sys.stdin.read()
"""

    def files() -> int:
        return len(list(tmp_path.iterdir()))

    with capture_logs() as lines:
        work = asyncio.create_task(crew_of(2, script, tmp_path).work())
        await asyncio.to_thread(until, lambda: len(lines) == 2, "two workers")
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.to_thread(until, lambda: files() == 2, "the first signal at both")
    assert not work.done()
    os.kill(os.getpid(), signal.SIGTERM)
    assert await work == 0
    assert files() == 4


async def test_a_hangup_is_handed_on_and_ends_nobody_who_is_not_ready_for_it(tmp_path: Path) -> None:
    script = f"""
import pathlib, signal, sys, time
here = pathlib.Path({str(tmp_path)!r})
(here / "started").touch()
while not (here / "go").exists(): time.sleep(0.01)
signal.signal(signal.SIGHUP, lambda *_: (here / f"heard{{len(list(here.glob('heard*')))}}").touch())
print("ready", flush=True)
sys.stdin.read()
"""

    async def there(name: str) -> None:
        await asyncio.to_thread(until, (tmp_path / name).exists, name)

    with capture_logs() as lines:
        work = asyncio.create_task(crew_of(1, script, tmp_path).work())
        await there("started")
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.to_thread((tmp_path / "go").touch)
        await there("heard0")
        os.kill(os.getpid(), signal.SIGHUP)
        await there("heard1")
        os.kill(os.getpid(), signal.SIGTERM)
        assert await work == 0
    assert [line["event"] for line in lines] == ["worker.ready"]
