"""The storage that is measured: an SQLite file as a server has it, or a MongoDB server of our own on the same disk."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backchat.plugins import Plugins
from backchat.ports.storage import RecordStore
from backchat.services.kinds import KINDS
from bench.mongod import Mongod
from bench.processes import RIG_CORE, TARGET_CORE


@dataclass(frozen=True, slots=True)
class Storage:
    """``section`` is what the configuration says, ``directory`` holds the data, ``pid`` the database server's."""

    section: Mapping[str, Any]
    directory: Path
    pid: int | None = None

    def mib(self) -> float:
        """What the data takes on the disk."""
        files = [file for file in self.directory.rglob("*") if file.is_file() and file.suffix != ".log"]
        return sum(file.stat().st_size for file in files) / 2**20

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[RecordStore]:
        """The store, beside a server or without one. A file is written with less care than a server takes."""
        settings = dict(self.section)
        backend = Plugins(from_entry_points=True).storages.pick(settings.pop("use"))
        if backend.name == "sqlite":
            settings |= {"synchronous": "NORMAL", "cache_mib": 64}
        async with backend.open(backend.schema.load(settings), KINDS, lambda _: None) as store:
            yield store


def sqlite_file(directory: Path) -> Storage:
    """The file that ``{$data: backchat.db}`` is, where ``directory`` is the data directory."""
    directory.mkdir(parents=True, exist_ok=True)
    return Storage({"use": "sqlite", "path": str(directory / "backchat.db"), "synchronous": "FULL"}, directory)


@contextmanager
def storage(name: str, directory: Path) -> Iterator[Storage]:
    """A fresh storage below a directory: ``sqlite``, ``mongo`` or ``mongo-motor``."""
    if name == "sqlite":
        yield sqlite_file(directory / "data")
        return
    server = Mongod(directory / "mongod", cache_gb=1)
    try:
        server.start()
        os.sched_setaffinity(server.pid, {TARGET_CORE, RIG_CORE})
        server.initiate()
        driver = "motor" if name == "mongo-motor" else "pymongo"
        section = {"use": "mongo", "url": server.url, "database": "bench", "driver": driver}
        yield Storage(section, server.directory, server.pid)
    finally:
        server.stop()
