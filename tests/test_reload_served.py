"""Real servers that read their configuration again: keys change while answers stream."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from backchat.cli import main
from backchat.ports.storage import Put
from backchat.services.kinds import KINDS
from backchat.services.workers import Process
from served import PATIENCE, Server, Stream, serving, until
from sqlite_files import opened as opened_store

KEYS = ("key-of-last-year", "key-of-this-year")
CONFIG = """
storage: {use: sqlite, path: {$data: backchat.db}}
providers:
  model:
    use: openai
    model: m
    base_url: http://127.0.0.1:%d/v1
    api_key: {$file: key}
    limits: {retries: %s}
auth: [{use: apikey}]
dialects: [{use: chat}]
server: {drain: %d}
"""


class Upstream(ThreadingHTTPServer):
    """Says ``one`` and, once ``go`` is set, ``two``. ``keys``: who asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.go = threading.Event()
        self.keys: list[str] = []


class _Answer(BaseHTTPRequestHandler):
    server: Upstream

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.keys.append(self.headers["Authorization"].removeprefix("Bearer "))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self._say({"content": "one "})
        self.server.go.wait(PATIENCE)
        self._say({"content": "two"})
        self._say({}, "stop")
        self.wfile.write(b"data: [DONE]\n\n")

    def _say(self, delta: dict[str, str], finish: str | None = None) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        self.wfile.write(f"data: {json.dumps({'choices': [choice]})}\n\n".encode())

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.go.set()
        server.shutdown()
        thread.join()


class Installed:
    """A configuration in a directory, and the commands on it."""

    def __init__(self, directory: Path, upstream: Upstream) -> None:
        self.directory, self.file = directory, directory / "backchat.yml"
        self._port = upstream.server_address[1]
        self.key(KEYS[0])
        self.write()

    def key(self, key: str) -> None:
        (self.directory / "key").write_text(f"{key}\n")

    def write(self, retries: object = 2, drain: int = 10) -> None:
        self.file.write_text(CONFIG % (self._port, retries, drain))

    def reload(self, server: Server) -> Result:
        return CliRunner().invoke(main, ["reload", *server.place])


def begun(server: Server) -> Stream:
    """A stream of which the first piece has come."""
    stream = server.stream("hi")
    while (event := stream.next()) is not None and event[1]["type"] != "assistant":
        pass
    assert event is not None
    assert event[1]["delta"] == "one "
    return stream


def end(stream: Stream) -> dict[str, Any]:
    return stream.rest()[-1][1]


def events(server: Server, name: str) -> int:
    return server.log.count(f" {name} ")


def test_a_key_is_rotated_while_answers_stream(tmp_path: Path, upstream: Upstream) -> None:
    here = Installed(tmp_path, upstream)
    with serving(tmp_path, config=here.file) as server:
        old = begun(server)
        here.key(KEYS[1])
        done = here.reload(server)
        pid = server.process.pid
        assert (done.exit_code, done.stdout, done.stderr) == (0, f"process {pid}: providers.model: opened anew\n", "")

        new = begun(server)
        assert upstream.keys == [*KEYS]
        upstream.go.set()
        for stream in (old, new):
            assert (last := end(stream))["type"] == "done"
            assert last["reply"] == "one two"

        here.write(retries=-1)
        refused = here.reload(server)
        assert (refused.exit_code, refused.stdout) == (2, "")
        assert refused.stderr.startswith(f"process {pid}: providers.model.limits.retries: ")
        here.write(drain=3)
        needs = here.reload(server)
        assert (needs.exit_code, needs.stderr) == (0, "")
        assert needs.stdout.splitlines() == [
            f"process {pid}: providers: nothing has changed",
            f"process {pid}: server: has changed too, which needs a restart",
        ]
        assert end(server.stream("hi"))["reply"] == "one two"
        assert upstream.keys == [KEYS[0], KEYS[1], KEYS[1]]
        told = ["config.reloaded", "config.refused", "config.restart_needed"]
        assert [events(server, name) for name in told] == [2, 1, 1]

        for n in range(20):  # none of these signals is one too many
            here.key(f"key-number-{n}")
            server.signal(signal.SIGHUP)
        assert here.reload(server).exit_code == 0
        assert end(server.stream("hi"))["reply"] == "one two"
        assert upstream.keys[3:] == ["key-number-19"]
        assert not [key for key in upstream.keys if key in server.log]
        assert server.stop() == 0
        gone = here.reload(server)
        assert gone.exit_code == 1
        assert "no server of this installation runs on this host" in gone.stderr


def test_several_processes_are_all_asked(tmp_path: Path, upstream: Upstream) -> None:
    here = Installed(tmp_path, upstream)
    upstream.go.set()
    with serving(tmp_path, config=here.file, options=("--workers", "2")) as server:
        until(lambda: events(server, "worker.ready") == 2, "two workers")
        here.key(KEYS[1])
        server.signal(signal.SIGHUP)
        until(lambda: events(server, "config.reloaded") == 2, "the signal at both")
        here.key("another-key")
        done = here.reload(server)
        assert done.exit_code == 0
        lines = [f"process {pid}: providers.model: opened anew" for pid in server.workers()]
        assert sorted(done.stdout.splitlines()) == sorted(lines)
        assert end(server.stream("hi"))["reply"] == "one two"
        assert upstream.keys == ["another-key"]
        assert server.stop() == 0


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({}, "process {pid}: does not listen to this command: start it again instead\n"),
        ({"host": "elsewhere/boot/ns"}, "Error: no server of this installation runs on this host\n"),
    ],
)
def test_who_cannot_be_asked_is_left_alone(tmp_path: Path, record: dict[str, Any], told: str) -> None:
    """A signal would end it."""
    own = Process.own()
    alive = {"at": "", "host": own.host, "pid": own.pid, "started": own.started, **record}

    async def put() -> None:
        async with opened_store(tmp_path / "backchat.db", KINDS) as store:
            await store.apply([Put("worker", "w", alive)])

    asyncio.run(put())
    result = CliRunner().invoke(main, ["reload", "--data", str(tmp_path)])
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", told.format(pid=own.pid))
