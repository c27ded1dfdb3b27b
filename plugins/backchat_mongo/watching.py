"""Telling of new records, whichever process has stored them: a change stream of the collection.

After a network error or an election the driver opens the stream anew where it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Container, Sequence
from contextlib import asynccontextmanager

from backchat.errors import Unavailable
from backchat.ports.storage import Record
from backchat_mongo.documents import RECORD, record_of
from backchat_mongo.drivers import Connection, Pipeline, Stored, Stream
from backchat_mongo.failures import translated
from backchat_mongo.layout import Layout

AWAIT = 1_000
"""Milliseconds for which the server waits for something to tell before it says that there is nothing, at most."""


@asynccontextmanager
async def watching(
    connection: Connection, layout: Layout, partitions: Container[str]
) -> AsyncGenerator[AsyncIterator[Sequence[Record]], None]:
    """See ``Watched.watch``."""
    told = {f"fullDocument.{name}": 1 for name in ("_id", *RECORD, layout.kind.partition)}
    pipeline: Pipeline = [{"$match": {"operationType": {"$in": ["insert", "invalidate"]}}}, {"$project": told}]
    with translated():
        async with connection.changes(
            connection.collection(layout.collection), pipeline, max_await_time_ms=patience(connection.timeout)
        ) as stream:
            yield _told(stream, layout, partitions)


def patience(timeout: float) -> int:
    """Milliseconds to wait for something to tell: well below the seconds in which the server has to answer."""
    return max(1, min(AWAIT, int(1_000 * timeout / 3)))


async def look(stream: Stream) -> Stored | None:
    """``try_next``, and the end for whoever was cancelled meanwhile: PyMongo may overhear that."""
    change = await stream.try_next()
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
    return change


async def _told(stream: Stream, layout: Layout, partitions: Container[str]) -> AsyncIterator[Sequence[Record]]:
    while True:
        with translated():
            change = await look(stream)
        if change is None:
            continue
        put = change.get("fullDocument")
        if put is None:
            raise Unavailable("the collection was dropped or renamed")
        if put[layout.kind.partition] in partitions:
            yield [record_of(layout.kind.name, put)]
