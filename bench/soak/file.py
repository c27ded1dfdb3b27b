"""What is in the SQLite file of a server, read beside it: what has been committed, and nothing else."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import orjson

from bench.wire import HOST

PATIENCE = 30.0
T = TypeVar("T")
Row = dict[str, Any]


class InVain(Exception):
    """Something that had to come did not."""


async def until(holds: Callable[[], T | None], what: str, *, pause: float = 0.01) -> T:
    """Look again and again until there is something; returns it. Raises InVain."""
    deadline = time.monotonic() + PATIENCE
    while not (found := holds()):
        if time.monotonic() > deadline:
            raise InVain(what)
        await asyncio.sleep(pause)
    return found


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    return port


class File:
    def __init__(self, path: Path) -> None:
        self._path = path

    def rows(self, kind: str, where: str = "1", *values: object) -> list[Row]:
        """The records of a kind, by their ids: each its document, and ``id``."""
        with closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=PATIENCE)) as database:
            found = database.execute(f'SELECT id, doc FROM "{kind}" WHERE {where} ORDER BY id', values).fetchall()
        return [{"id": id, **orjson.loads(doc)} for id, doc in found]

    def is_free(self, seconds: float) -> bool:
        """Whether somebody could write now, or so many seconds from now at most."""
        with closing(sqlite3.connect(self._path, timeout=seconds, isolation_level=None)) as database:
            try:
                database.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False
            database.execute("ROLLBACK")
        return True

    def run(self, id: str) -> Row:
        found = self.rows("run", "id = ?", id)
        if not found:
            raise InVain(f"run {id}")
        return found[0]

    def running(self, conversation: str | None = None) -> list[Row]:
        """Runs without an end; of one conversation, or all."""
        if conversation is None:
            return self.rows("run", "status = 'running'")
        return self.rows("run", "status = 'running' AND conversation = ?", conversation)

    async def has_logged(self, run: str, text: str, calls: int) -> None:
        """Wait until the log of a run has this text, and so many calls that are over, with what tools answered to them.

        Raises InVain.
        """

        def logged() -> bool:
            events = self.rows("event", "run = ?", run)
            asked, answered, over = (sum(name in event for event in events) for name in ("call", "result", "called"))
            return text in "".join([e.get("t", "") for e in events]) and over == calls and asked == answered

        await until(logged, f"{text!r} and {calls} calls in the log of run {run}")

    async def at_rest(self) -> None:
        """Wait until no run is without an end. Raises InVain."""
        await until(lambda: not self.running(), "the end of all runs", pause=0.05)

    async def ended(self, run: str) -> str | None:
        """Wait for the end of a run; its status, None if it was deleted. Raises InVain."""

        def over() -> list[str | None]:
            found = self.rows("run", "id = ?", run)
            if not found:
                return [None]
            return [found[0]["status"]] if found[0]["status"] != "running" else []

        return (await until(over, f"the end of run {run}"))[0]

    def newest_run(self, conversation: str) -> Row:
        """The run of a conversation that began last. Raises InVain."""
        found = self.rows("run", "conversation = ?", conversation)
        if not found:
            raise InVain(f"a run of {conversation}")
        return max(found, key=lambda run: str(run["created"]))
