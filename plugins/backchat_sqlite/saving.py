"""A backup: another file of the same records, as they were at one moment."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing, suppress

from backchat.errors import Conflict, Unavailable
from backchat_sqlite import journal
from backchat_sqlite.writer import shown

PAGES = 1_000
"""In one step of the copy, of 4 KiB each: some milliseconds until the next word on how far it is."""


class Given(Exception):
    """The one who wanted the backup does not want it any more."""


async def saved(source: str, path: str, progress: Callable[[int, int], None]) -> None:
    """See ``Saved.save``; ``progress`` gets numbers of pages. Until it is done, the write-ahead log is not emptied."""
    loop = asyncio.get_running_loop()
    enough = threading.Event()

    def tell(status: int, remaining: int, total: int) -> None:
        if enough.is_set():
            raise Given
        loop.call_soon_threadsafe(progress, total - remaining, total)

    work = asyncio.ensure_future(asyncio.to_thread(_save, source, path, tell))
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        enough.set()
        with suppress(Given, Conflict, Unavailable):
            await work
            await asyncio.to_thread(os.unlink, path)  # it was complete already
        raise


def _save(source: str, path: str, tell: Callable[[int, int, int], None]) -> None:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        raise Conflict("the file of the backup is there already") from None
    except OSError as error:
        raise Unavailable(f"the file of the backup cannot be made: {error.strerror}") from error
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as copy:
            with closing(sqlite3.connect(source, isolation_level=None)) as db:
                # One transaction for all steps: of a database that others write to, SQLite would begin the copy again
                # and again.
                db.execute("BEGIN")
                db.execute("SELECT 1 FROM sqlite_master").fetchone()
                db.backup(copy, pages=PAGES, progress=tell)
            copy.execute("PRAGMA journal_mode = DELETE").fetchall()  # a backup is one file
            journal.end(copy)
            copy.execute("DELETE FROM _watches")
            copy.execute("DELETE FROM _news")
    except BaseException as error:
        for name in (path, f"{path}-journal", f"{path}-wal", f"{path}-shm"):
            with suppress(FileNotFoundError):
                os.unlink(name)
        raise (shown(error) if isinstance(error, sqlite3.Error) else error) from None
