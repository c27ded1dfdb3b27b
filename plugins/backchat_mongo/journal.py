"""What was changed, from the server's own log of changes, the oplog, which holds it for as long as it has room.

A position is a resume token of a change stream of the database, in base64. Nothing has to be written for that. Only who
finds nothing more leaves a mark in the collection ``_journal``, and reads on until it comes to that: an empty answer of
the server alone does not say that it has looked at everything that was acknowledged.
"""

from __future__ import annotations

import re
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

from bson import BSON, decode
from bson.errors import BSONError
from pymongo.errors import OperationFailure

from backchat.errors import Conflict, Unavailable
from backchat.ports.abilities import Place
from backchat_mongo.drivers import Connection, Pipeline, Stored, Stream
from backchat_mongo.failures import codes, translated
from backchat_mongo.layout import Layout
from backchat_mongo.watching import look

COLLECTION = "_journal"
_MARK = {"_id": "mark"}
# Always the same pipeline, whatever the kinds are: the server resumes only after what a stream would have told.
_PIPELINE: Pipeline = [
    {"$match": {"operationType": {"$in": ["insert", "update", "replace", "delete"]}}},
    {"$project": {"ns.coll": 1, "documentKey._id": 1, "fullDocument.mark": 1}},
]
_TOKEN = re.compile("82[0-9A-F]{16,}")
"""Which begins with a time."""
_NOT_KNOWN = frozenset((9, 260, 280, 286))
"""The server's codes: no token, none of this server, and one of something that the oplog does not hold any more."""
_AWAIT = 10
"""Milliseconds for which the server waits for more."""


async def begin(connection: Connection) -> str:
    """The position after everything that was acknowledged before."""
    with translated():
        async with connection.changes(connection.database, _PIPELINE, max_await_time_ms=_AWAIT) as stream:
            while stream.resume_token is None:  # something was changed at this very moment
                await look(stream)
            return _position(stream)


async def read(
    connection: Connection, layouts: Mapping[str, Layout], position: str, limit: int
) -> tuple[Sequence[Place], str]:
    """What was changed after a position, each record once, and the position after it. Raises Conflict."""
    mark = uuid4().hex
    kinds = {layout.collection: name for name, layout in layouts.items()}
    places: dict[Place, None] = {}

    def is_mark(change: Stored) -> bool:
        collection = change["ns"]["coll"]
        if collection in kinds:
            places[kinds[collection], change["documentKey"]["_id"]] = None
        return bool(collection == COLLECTION and change.get("fullDocument", {}).get("mark") == mark)

    async with _resumed(connection, position) as stream:
        while len(places) < limit and (change := await look(stream)) is not None:
            is_mark(change)
        if not places:
            await connection.collection(COLLECTION).replace_one(_MARK, {"mark": mark}, upsert=True)
            until = time.monotonic() + connection.timeout
            while (change := await look(stream)) is None or not is_mark(change):
                if time.monotonic() > until:
                    raise Unavailable("the database does not tell of what it was just given")
        return list(places), _position(stream)


async def end(connection: Connection) -> None:
    """Remove the mark. What the oplog holds, it holds."""
    with translated():
        await connection.collection(COLLECTION).delete_one(_MARK)


@asynccontextmanager
async def _resumed(connection: Connection, position: str) -> AsyncGenerator[Stream, None]:
    conflict = Conflict("the changes after this position are not in the oplog of this database, or not any more")
    try:
        token = decode(urlsafe_b64decode(position.encode("ascii")))
    except (ValueError, BSONError):
        raise conflict from None
    if not _TOKEN.fullmatch(str(token.get("_data"))):
        raise conflict
    with translated():
        try:
            async with connection.changes(
                connection.database, _PIPELINE, resume_after=token, max_await_time_ms=_AWAIT
            ) as stream:
                yield stream
        except OperationFailure as error:
            if codes(error) & _NOT_KNOWN:
                raise conflict from None
            raise


def _position(stream: Stream) -> str:
    return urlsafe_b64encode(BSON.encode(dict(stream.resume_token or {}))).decode("ascii")
