"""Telling of new records, whichever process has stored them.

As long as somebody watches a kind, every commit of any process that puts records of that kind leaves a note of them
(``watches.py``); without, commits cost nothing more. A thread of the watching process asks ``PRAGMA data_version``,
which reads no page, whether anybody has committed, and then for notes.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncGenerator, Container, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, suppress
from typing import Any
from uuid import uuid4

import orjson

from backchat.errors import Unavailable
from backchat.ports.mailbox import Mailbox
from backchat.ports.storage import Record
from backchat_sqlite.tables import Table, marks
from backchat_sqlite.watches import LEASE, begin_watch, end_watch, renew_watch
from backchat_sqlite.writer import Writer, shown

LOOK, RARELY = 0.02, 0.06
"""Seconds between two looks, while there are commits, and when there have been none for a while."""
MISSED = "more was stored than could be told of"


@asynccontextmanager
async def watching(
    settings: Mapping[str, Any], table: Table, partitions: Container[str], writer: Writer
) -> AsyncGenerator[Mailbox, None]:
    """See ``Watched.watch``."""
    box, stop, id = Mailbox(), threading.Event(), uuid4().hex
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def look(after: int) -> None:
        try:
            with closing(_opened(settings)) as db:
                for records in _told(db, table, partitions, after, stop):
                    loop.call_soon_threadsafe(box.put, records)
        except Exception as error:  # whoever watches is told, whatever it is
            loop.call_soon_threadsafe(box.fail, shown(error))
        loop.call_soon_threadsafe(ended.set_result, None)

    after = await writer.run(lambda db: begin_watch(db, id, table.kind.name))
    thread = threading.Thread(target=look, args=(after,), name="backchat-sqlite-watch", daemon=True)
    renewing = asyncio.create_task(_renewed(writer, id, box))
    thread.start()
    try:
        yield box
    finally:
        stop.set()
        renewing.cancel()
        await ended
        with suppress(Unavailable):  # then it runs out by itself
            await writer.run(lambda db: end_watch(db, id))


async def _renewed(writer: Writer, id: str, box: Mailbox) -> None:
    """Keep a watch fresh. If it has run out meanwhile, notes may be missing."""
    renewed = time.time()
    while True:
        await asyncio.sleep(LEASE / 3)
        try:
            fresh = await writer.run(lambda db: renew_watch(db, id))
        except Unavailable:
            fresh = time.time() < renewed + LEASE
        else:
            renewed = time.time()
        if not fresh:
            box.fail(Unavailable(MISSED))
            return


def _opened(settings: Mapping[str, Any]) -> sqlite3.Connection:
    db = sqlite3.connect(settings["path"], timeout=settings["busy_timeout"], isolation_level=None)
    db.execute("PRAGMA query_only = ON")
    return db


def _told(
    db: sqlite3.Connection, table: Table, partitions: Container[str], after: int, stop: threading.Event
) -> Iterator[Sequence[Record]]:
    """What notes after this one say, until it is to stop. Raises Unavailable if notes are gone already."""
    seen, pause = None, LOOK
    while not stop.wait(pause):
        (version,) = db.execute("PRAGMA data_version").fetchone()
        if version == seen:
            pause = min(1.1 * pause, RARELY)
            continue
        seen, pause = version, LOOK
        rows = db.execute("SELECT n, told FROM _news WHERE n > ? ORDER BY n", (after,)).fetchall()
        if rows and rows[0][0] != after + 1:
            raise Unavailable(MISSED)
        after = rows[-1][0] if rows else after
        notes = [orjson.loads(told) for _, told in rows]
        places = {
            id: part for kind, told in notes if kind == table.kind.name for part, id in told if part in partitions
        }
        if places:
            yield _records(db, table, places)


def _records(db: sqlite3.Connection, table: Table, places: Mapping[str, str]) -> list[Record]:
    """Those with these ids, of these partitions. Of what is deleted already no more is left."""
    ids = list(places)
    found: dict[str, Record] = {}
    for n in range(0, len(ids), 500):
        some = ids[n : n + 500]
        rows = db.execute(f"SELECT id, doc, version FROM {table.name} WHERE id IN ({marks(len(some))})", some)
        found |= {id: Record(table.kind.name, id, orjson.loads(doc), version) for id, doc, version in rows}
    return [
        found.get(id) or Record(table.kind.name, id, {str(table.kind.partition): part}, 0)
        for id, part in places.items()
    ]
