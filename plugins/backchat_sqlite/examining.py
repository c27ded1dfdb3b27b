"""Whether a file is whole, as SQLite sees it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing

from backchat_sqlite.tables import Table
from backchat_sqlite.writer import shown

MOST = 20
"""Faults that SQLite lists; where there are more, the rest is no better."""


async def examined(path: str, tables: Mapping[str, Table]) -> Sequence[str]:
    """See ``Examined.examine``: the pages, the tables with their indexes, and the word indexes."""
    return await asyncio.to_thread(_examine, path, tables)


def _examine(path: str, tables: Mapping[str, Table]) -> Sequence[str]:
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            found = [str(row[0]) for row in db.execute(f"PRAGMA integrity_check({MOST})")]
            if found != ["ok"]:
                return found
            return [problem for table in tables.values() if table.kind.text for problem in _words(db, table)]
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise shown(error) from None
        return [str(error)]


def _words(db: sqlite3.Connection, table: Table) -> Sequence[str]:
    try:
        db.execute(f"INSERT INTO {table.words} ({table.words}) VALUES ('integrity-check')")
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise
        return [f"the word index of {table.kind.name}: {error}"]
    return []
