"""The settings of the SQLite backend and how it is opened."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from marshmallow import RAISE, Schema, fields, validate

from backchat.ports.component import Component
from backchat.ports.storage import Kind, OnCommit, StorageBackend
from backchat.web.fields import Whole

if TYPE_CHECKING:
    from backchat_sqlite.store import SqliteStore


class SqliteSettings(Schema):
    class Meta:
        unknown = RAISE

    path = fields.String(
        required=True,
        validate=[validate.Length(min=1), validate.NoneOf([":memory:"], error="Must be a file.")],
        metadata={"description": "The database file. It is made if it is missing, readable by its owner only."},
    )
    synchronous = fields.String(
        load_default="FULL",
        validate=validate.OneOf(["FULL", "NORMAL"]),
        metadata={
            "description": "FULL: what is acknowledged survives a power cut. NORMAL: a power cut may lose the last "
            "moments, a killed server still loses nothing."
        },
    )
    readers = Whole(
        load_default=3,
        validate=validate.Range(1, 32),
        metadata={"description": "Connections that read. As many long queries can run before short ones wait."},
    )
    cache_mib = Whole(
        load_default=16,
        validate=validate.Range(1, 65536),
        metadata={"description": "Page cache of each connection, in MiB."},
    )
    busy_timeout = fields.Float(
        load_default=10.0,
        validate=validate.Range(0, 600),
        metadata={"description": "Seconds to wait for another process that writes the same file."},
    )


@asynccontextmanager
async def open_sqlite(
    settings: Mapping[str, Any], kinds: Sequence[Kind], on_commit: OnCommit
) -> AsyncGenerator[SqliteStore, None]:
    """Open the file, bring it up to the declared kinds, and close it again after everything queued is written.

    Raises ConfigError when the file cannot be used: not a database, not ours, or of a newer schema.
    """
    from backchat_sqlite.store import SqliteStore

    store = await SqliteStore.open(settings, kinds, on_commit)
    try:
        yield store
    finally:
        await store.close()


SQLITE: StorageBackend = Component("sqlite", SqliteSettings(), open_sqlite)
