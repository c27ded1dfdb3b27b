"""Which shape the records of a kind have, and giving them another one when the kind or the definition of words changes.

The collection ``_backchat`` holds ``{_id: "_layout", version}`` and a record for each kind:

    {_id: <kind>, made: <shape>, making: <shape> or absent, at: <id>}

``made`` is the shape that all records have. While they get another one, ``making`` is that, and those with ids up to
``at`` have it: whoever opens the database next goes on from there.
"""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import structlog
from pymongo import InsertOne, UpdateOne
from pymongo.errors import BulkWriteError

from backchat.errors import ConfigError
from backchat.ports.words import words
from backchat_mongo.documents import RECORD, found_by
from backchat_mongo.drivers import Connection, Stored
from backchat_mongo.failures import TAKEN, codes
from backchat_mongo.layout import DOC, VERSION, Layout, names_of

log = structlog.get_logger(source=__name__)
COLLECTION = "_backchat"
LAYOUT_VERSION = 1
"""Of what ``layout.py`` says. A database of a higher one is refused."""
PAGE = 500
_SAMPLE = "Straße, İSTANBUL! naïve_ﬁne 9½ 東京タワー Ὀδυσσεύς नमस्ते สวัสดี 𝒳 e\u0301"


def definition() -> str:
    """Changes when ``words`` makes other words of the same text."""
    return f"{unicodedata.unidata_version} {' '.join(words(_SAMPLE))}"


class Shapes:
    """``held``: what the database says of each kind, by its name."""

    def __init__(self, connection: Connection, layouts: Mapping[str, Layout], held: Mapping[str, Stored]) -> None:
        self._connection = connection
        self._layouts = layouts
        self._held = held
        self._book = connection.collection(COLLECTION)

    @classmethod
    async def read(cls, connection: Connection, layouts: Mapping[str, Layout]) -> Shapes:
        """Raises ConfigError for a database of a newer layout."""
        rows = await connection.collection(COLLECTION).find({"_id": {"$gte": ""}}, batch_size=1000).to_list(None)
        held = {row["_id"]: row for row in rows}
        version = held.pop("_layout", {}).get("version", LAYOUT_VERSION)
        if version > LAYOUT_VERSION:
            raise ConfigError(
                f"the database has layout {version}, this version of backchat knows {LAYOUT_VERSION}; use a newer one"
            )
        return cls(connection, layouts, held)

    async def renew(self) -> None:
        """Give all records of the declared kinds the shape that they should have.

        Processes that were started with other kinds must not write meanwhile: their records would keep the old shape.
        """
        await self._note_new()
        for name, layout in self._layouts.items():
            held = self._held.get(name)
            if held is not None and (held["made"] != shape_of(layout) or "making" in held):
                await self._remake(layout, held)

    async def _note_new(self) -> None:
        """Kinds of which nothing is known have no records yet, or get all of theirs anew."""
        new = [name for name in self._layouts if name not in self._held]
        if not new:
            return
        rows: list[Stored] = []
        for name in new:
            shape = shape_of(self._layouts[name])
            empty = await self._connection.collection(name).find_one({"_id": {"$gte": ""}}, {"_id": 1}) is None
            rows.append({"_id": name, "made": shape} if empty else {"_id": name, "made": "", "making": shape, "at": ""})
        try:
            await self._book.bulk_write(
                [InsertOne(row) for row in [{"_id": "_layout", "version": LAYOUT_VERSION}, *rows]], ordered=False
            )
        except BulkWriteError as error:
            if codes(error) != {TAKEN}:  # another process was faster
                raise
        self._held = {**self._held, **{row["_id"]: row for row in rows}}

    async def _remake(self, layout: Layout, held: Stored) -> None:
        collection = self._connection.collection(layout.collection)
        shape = shape_of(layout)
        at = held["at"] if held.get("making") == shape else ""
        await self._note(layout, {"$set": {"making": shape, "at": at}})
        gone = _names(held["made"]) | _names(held.get("making", ""))
        gone -= layout.names
        done = 0
        log.info("storage.remaking", kind=layout.kind.name, after=at)
        while page := await collection.find({"_id": {"$gt": at}}, RECORD, sort=[("_id", 1)], limit=PAGE).to_list(None):
            updates = await asyncio.to_thread(_updates, layout, page, gone)
            await collection.bulk_write(updates, ordered=False)
            at = page[-1]["_id"]
            done += len(page)
            await self._note(layout, {"$set": {"at": at}})
        await self._note(layout, {"$set": {"made": shape}, "$unset": {"making": "", "at": ""}})
        log.info("storage.remade", kind=layout.kind.name, records=done)

    async def _note(self, layout: Layout, update: Mapping[str, Any]) -> None:
        await self._book.update_one({"_id": layout.kind.name}, update, upsert=True)


def shape_of(layout: Layout) -> str:
    """All that decides how the records of a kind look, as JSON."""
    shape = {"words": definition(), **layout.shape} if layout.kind.text else layout.shape
    return orjson.dumps(shape, option=orjson.OPT_SORT_KEYS).decode()


def _names(shape: str) -> frozenset[str]:
    return names_of(orjson.loads(shape)) if shape else frozenset()


def _updates(layout: Layout, page: Sequence[Stored], gone: frozenset[str]) -> list[UpdateOne]:
    """A record that has been written meanwhile has the new shape already."""
    away = {"$unset": dict.fromkeys(sorted(gone), "")} if gone else {}
    return [
        UpdateOne(
            {"_id": row["_id"], VERSION: row[VERSION]},
            {"$set": found_by(layout, row["_id"], orjson.loads(row[DOC])), **away},
        )
        for row in page
    ]
