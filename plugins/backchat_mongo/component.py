"""The settings of the MongoDB backend and how it is opened."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

from marshmallow import RAISE, Schema, fields, validate

from backchat.errors import ConfigError
from backchat.ports.component import Component
from backchat.ports.storage import Kind, OnCommit, StorageBackend

if TYPE_CHECKING:
    from backchat_mongo.store import MongoStore


class MongoSettings(Schema):
    class Meta:
        unknown = RAISE

    url = fields.String(
        required=True,
        validate=validate.Regexp(r"mongodb(\+srv)?://", error="Must begin with mongodb:// or mongodb+srv://."),
        metadata={
            "description": "The connection string of a replica set or a sharded cluster. It may hold a password: "
            "`{$env: MONGO_URL}` keeps it out of this file."
        },
    )
    database = fields.String(
        load_default="backchat",
        validate=validate.Regexp(r"[A-Za-z0-9_-]{1,63}\Z", error="Must have letters, digits, '_' and '-' only."),
        metadata={"description": "The database. Its collections are made at the first start."},
    )
    driver = fields.String(
        load_default="pymongo",
        validate=validate.OneOf(["pymongo", "motor"]),
        metadata={
            "description": "`pymongo`: PyMongo's own asyncio API. `motor`: the older driver, for those who have to; it "
            "needs `pip install 'backchat[motor]'`."
        },
    )
    timeout = fields.Float(
        load_default=30.0,
        validate=validate.Range(1, 600),
        metadata={
            "description": "Seconds until an operation is given up. An election of a new primary takes up to 12."
        },
    )


@asynccontextmanager
async def open_mongo(
    settings: Mapping[str, Any], kinds: Sequence[Kind], on_commit: OnCommit
) -> AsyncGenerator[MongoStore, None]:
    """Connect, make the collections and indexes that are missing, and disconnect in the end.

    Raises ConfigError when nothing answers, for a standalone server, for indexes that are not as they should be, and
    when Motor is wanted and not installed; ImportError when the driver is not installed.
    """
    try:
        module = await asyncio.to_thread(_loaded, settings["driver"])
    except ImportError as error:
        if settings["driver"] == "motor":
            raise ConfigError("the driver motor needs: pip install 'backchat[motor]'") from error
        raise
    store: MongoStore = await module.MongoStore.open(settings, kinds, on_commit)
    try:
        yield store
    finally:
        await store.close()


def _loaded(driver: str) -> ModuleType:
    """The module of the store, and with it the driver: too much to read while others wait for the loop."""
    if driver == "motor":
        importlib.import_module("motor.motor_asyncio")
    return importlib.import_module("backchat_mongo.store")


MONGO: StorageBackend = Component("mongo", MongoSettings(), open_mongo, extra="mongo")
"""The record store on MongoDB."""
