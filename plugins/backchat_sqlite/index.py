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

CHUNK = 500
"""Rows in one transaction: so long, a few tens of milliseconds, a batch may have to wait for it."""


def fold_some(db: sqlite3.Connection, tables: Mapping[str, Table], limit: int = CHUNK) -> int:
    """Index up to ``limit`` changed rows, in one transaction; returns how many there were."""
    db.execute("BEGIN IMMEDIATE")
    try:
        folded = _fold(db, tables, limit)
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    return folded


def fold_all(db: sqlite3.Connection, tables: Mapping[str, Table]) -> None:
    """Index every changed row."""
    while fold_some(db, tables) == CHUNK:
        pass


def _fold(db: sqlite3.Connection, tables: Mapping[str, Table], limit: int) -> int:
    # Kinds that are not declared now keep their marks for when they are again.
    names = orjson.dumps([name for name, table in tables.items() if table.kind.text]).decode()
    mine = "kind IN (SELECT value FROM json_each(?))"
    changed = db.execute(f"SELECT kind, _row, terms FROM _changed WHERE {mine} LIMIT ?", (names, limit)).fetchall()
    for name in {name for name, _, _ in changed}:
        table = tables[name]
        rows = [(row, terms) for kind, row, terms in changed if kind == name]
        db.executemany(table.unindex, [(row, terms) for row, terms in rows if terms is not None])
        added = []
        for row, _ in rows:
            found = db.execute(f"SELECT doc FROM {table.name} WHERE _row = ?", (row,)).fetchone()
            if found:
                added.append((row, terms_of(table.kind, orjson.loads(found[0]))))
        db.executemany(table.index, added)
    db.executemany("DELETE FROM _changed WHERE kind = ? AND _row = ?", [(kind, row) for kind, row, _ in changed])
    return len(changed)
