"""Bringing the word index up to date.

An index entry made with each message makes an append twenty times as dear, so a Put only marks its row as changed.
Marked rows are indexed in bulk: before a search answers, and when many have gathered and nothing else is to be done.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

import orjson

from backchat_sqlite.tables import Table
from backchat_sqlite.terms import terms_of
from backchat_sqlite.transactions import transaction

CHUNK = 500
VOLUME = 200 << 10
"""Rows, and bytes of documents, in one transaction: a batch may have to wait for it, a few tens of milliseconds."""


def fold_some(db: sqlite3.Connection, tables: Mapping[str, Table], limit: int = CHUNK) -> int:
    """Index up to ``limit`` changed rows, in one transaction; returns how many, 0 when none is left."""
    with transaction(db):
        return _fold(db, tables, limit)


def fold_all(db: sqlite3.Connection, tables: Mapping[str, Table]) -> None:
    """Index every changed row."""
    while fold_some(db, tables):
        pass


def _fold(db: sqlite3.Connection, tables: Mapping[str, Table], limit: int) -> int:
    # Kinds that are not declared now keep their marks for when they are again.
    names = orjson.dumps([name for name, table in tables.items() if table.kind.text]).decode()
    mine = "kind IN (SELECT value FROM json_each(?))"
    changed: list[tuple[str, int, str | bytes | None, bytes | None]] = []
    volume = 0
    for name, row, terms in db.execute(f"SELECT kind, _row, terms FROM _changed WHERE {mine} LIMIT ?", (names, limit)):
        found = db.execute(f"SELECT doc FROM {tables[name].name} WHERE _row = ?", (row,)).fetchone()
        changed.append((name, row, terms, found[0] if found else None))
        volume += len(terms or "") + (len(found[0]) if found else 0)
        if volume >= VOLUME:
            break
    for name in {name for name, *_ in changed}:
        table = tables[name]
        rows = [(row, kept, doc) for kind, row, kept, doc in changed if kind == name]
        db.executemany(table.unindex, [(row, _terms(table, kept)) for row, kept, _ in rows if kept is not None])
        added = [(row, terms_of(table.kind, orjson.loads(doc))) for row, _, doc in rows if doc is not None]
        db.executemany(table.index, added)
    db.executemany("DELETE FROM _changed WHERE kind = ? AND _row = ?", [(kind, row) for kind, row, *_ in changed])
    return len(changed)


def _terms(table: Table, kept: str | bytes) -> str:
    return kept if isinstance(kept, str) else terms_of(table.kind, orjson.loads(kept))
