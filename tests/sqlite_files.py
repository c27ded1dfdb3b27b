"""The SQLite store in a file of a test, and that file as SQLite sees it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path
from typing import Any

from backchat.ports.storage import Kind, OnCommit, RecordStore
from backchat.testing.records import KINDS, ignore
from backchat_sqlite.component import SQLITE


def opened(
    path: Path, kinds: Sequence[Kind] = KINDS, on_commit: OnCommit = ignore, **settings: Any
) -> AbstractAsyncContextManager[RecordStore]:
    return SQLITE.open(SQLITE.schema.load({"path": str(path), **settings}), kinds, on_commit)


def rows(path: Path, sql: str, *values: object) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(sql, values).fetchall()


async def query(path: Path, sql: str, *values: object) -> list[tuple[Any, ...]]:
    return await asyncio.to_thread(rows, path, sql, *values)
