"""A real server in a process of its own, and plain HTTP to it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import psutil

from backchat.cli.events import EventParser

COMMAND = str(Path(sys.executable).with_name("backchat"))
PATIENCE = 20.0
INSPECT = {"BACKCHAT_INSPECT": "1"}
"""The environment of a server that other processes of the same user may look into."""
ECHO = """
storage: {use: sqlite, path: {$data: backchat.db}}
providers: {echo: {use: echo, delay_ms: %d}}
memory: {use: window}
auth: [{use: apikey}]
dialects: [{use: chat}]
server: {drain: 10}
replies: {lease: 1}
"""


def until(holds: Callable[[], bool], what: str) -> None:
    """Wait for it; AssertionError if it does not come."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.02)


class Stream:
    """The events of an open answer, one at a time."""

    def __init__(self, response: HTTPResponse) -> None:
        self._response, self._parser = response, EventParser()
        self._ready: list[tuple[str, dict[str, Any]]] = []

    def next(self) -> tuple[str, dict[str, Any]] | None:
        """Its id and its data; None at the end of the answer."""
        while not self._ready:
            chunk = self._response.read1()
            if not chunk:
                return None
            self._ready = [(e.id, json.loads(e.data)) for e in self._parser.feed(chunk)]
        return self._ready.pop(0)

    def rest(self) -> list[tuple[str, dict[str, Any]]]:
        return list(iter(self.next, None))


class Server:
    """One installation in a directory. ``echo_ms`` slows the echo down; else ``config`` runs, or the packaged one.

    ``env`` is added to the environment; ``cwd`` is where it runs.
    """

    def __init__(
        self,
        directory: Path,
        *,
        echo_ms: int | None = None,
        config: Path | None = None,
        options: tuple[str, ...] = (),
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self._env, self._cwd = {**os.environ, **(env or {})}, cwd
        self.place = ["--data", str(directory / "data")]
        if config is not None:
            self.place += ["--config", str(config)]
        if echo_ms is not None:
            file = directory / "backchat.yml"
            file.write_text(ECHO % echo_ms)
            self.place += ["--config", str(file)]
        self._options = options
        self._out, self._err = directory / "stdout", directory / "stderr"
        self.key = ""
        self.port = 0
        self._connections: list[HTTPConnection] = []

    def start(self) -> None:
        """Until it is ready. The first start takes a free port and learns the key."""
        args = [COMMAND, "serve", "--port", str(self.port), *self.place, *self._options]
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen(
                args, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=self._env, cwd=self._cwd
            )
        until(lambda: self._ended() or "http://" in self.said, "an address")
        if not self.port:
            self.port = int(re.findall(r"http://127\.0\.0\.1:(\d+)", self.said)[0])
        self.key = (*re.findall(r"bsk_\w+", self.said), self.key)[0]
        until(lambda: self._ended() or self.ready() == 200, "readiness")

    def _ended(self) -> bool:
        assert self.process.poll() is None, self.log
        return False

    @property
    def said(self) -> str:
        return self._out.read_text()

    @property
    def log(self) -> str:
        return self._err.read_text()

    def ready(self) -> int:
        """The status of /readyz; 0 if nobody listens."""
        try:
            return self.ask("GET", "/readyz")[0]
        except OSError:
            return 0

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        return self.process.wait(PATIENCE)

    def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return self.wait()

    def close(self) -> None:
        """Leave nothing behind, whatever the test did."""
        for connection in self._connections:
            connection.close()
        workers = psutil.Process(self.process.pid).children() if self.process.poll() is None else []
        self.process.kill()
        self.process.wait()
        for worker in workers:
            worker.kill()
        psutil.wait_procs(workers, PATIENCE)

    # ---- HTTP -------------------------------------------------------------------------------------------------------

    def _connection(self) -> HTTPConnection:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        self._connections.append(connection)
        return connection

    def send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        key: str | None = None,
        over: HTTPConnection | None = None,
        **headers: str,
    ) -> HTTPResponse:
        connection = over or self._connection()
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        payload = None if body is None else json.dumps(body)
        given["Authorization"] = f"Bearer {self.key if key is None else key}"
        connection.request(method, path, payload, given)
        return connection.getresponse()

    def ask(self, method: str, path: str, body: object = None, **more: Any) -> tuple[int, Any]:
        """Status and JSON of the answer."""
        with self.send(method, path, body, **more) as response:
            return response.status, json.loads(response.read())

    def stream(self, text: str, **more: Any) -> Stream:
        return Stream(self.send("POST", "/api/chat/stream", {"text": text}, **more))

    def resume(self, run: str, last: str, **more: Any) -> Stream:
        return Stream(self.send("GET", f"/api/chat/stream/{run}", Last_Event_ID=last, **more))

    def messages(self, conversation: str) -> list[dict[str, Any]]:
        status, answer = self.ask("GET", f"/api/chat/messages?conversation_id={conversation}")
        assert status == 200
        found: list[dict[str, Any]] = answer["messages"]
        return found

    # ---- workers ----------------------------------------------------------------------------------------------------

    def workers(self) -> set[int]:
        return {child.pid for child in psutil.Process(self.process.pid).children()}

    def connect(self, *, avoid: int = 0) -> tuple[HTTPConnection, int]:
        """A kept-alive connection, and which worker has its other end: not the one to avoid.

        The server runs with ``INSPECT``, so that it can be seen.
        """
        for _ in range(200):
            connection = self._connection()
            self.ask("GET", "/healthz", over=connection)
            port = connection.sock.getsockname()[1]
            owner = next(p for p in self.workers() if port in _peers(p))
            if owner != avoid:
                return connection, owner
        raise AssertionError("always the same worker")


def _peers(pid: int) -> set[int]:
    return {c.raddr.port for c in psutil.Process(pid).net_connections("tcp") if c.raddr}


@contextmanager
def serving(
    directory: Path,
    *,
    echo_ms: int | None = None,
    config: Path | None = None,
    options: tuple[str, ...] = (),
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Iterator[Server]:
    server = Server(directory, echo_ms=echo_ms, config=config, options=options, env=env, cwd=cwd)
    server.start()
    try:
        yield server
    finally:
        server.close()


def backchat(*args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run([COMMAND, *args], input=stdin, capture_output=True, text=True, timeout=PATIENCE, check=False)


class Chat:
    """A ``backchat chat`` on pipes; ``heard`` is what it has printed so far."""

    def __init__(self, port: int, key: str) -> None:
        args = [COMMAND, "chat", "--url", f"http://127.0.0.1:{port}"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            args, stdin=pipe, stdout=pipe, stderr=pipe, env={**os.environ, "BACKCHAT_KEY": key}
        )
        self.heard = ""

    def __enter__(self) -> Chat:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def send(self, lines: str) -> None:
        """All there is to say."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{lines}\n".encode())
        self._process.stdin.close()
        self._process.stdin = None

    def hear(self, words: str | None) -> None:
        """Read on until these words have come; None for everything."""
        assert self._process.stdout is not None
        while words is None or words not in self.heard:
            chunk = os.read(self._process.stdout.fileno(), 65536)
            if not chunk:
                assert words is None, self.heard
                return
            self.heard += chunk.decode()

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def ended(self) -> int:
        self.hear(None)
        return self._process.wait(PATIENCE)

    def errors(self) -> str:
        assert self._process.stderr is not None
        return self._process.stderr.read().decode()
