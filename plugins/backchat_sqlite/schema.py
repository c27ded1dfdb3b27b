"""Making the file what the declared kinds ask for: on first use, and whenever the declarations have changed."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import orjson

from backchat.errors import ConfigError
from backchat.ports.storage import Kind
from backchat_sqlite.journal import note_kinds
from backchat_sqlite.tables import Table
from backchat_sqlite.terms import definition
from backchat_sqlite.transactions import transaction
from backchat_sqlite.watches import WATCH_TABLES

SCHEMA_VERSION = 1
"""Of the layout in ``tables.py``. A file of a higher one is refused."""

_OURS = (
    "CREATE TABLE IF NOT EXISTS _meta (key PRIMARY KEY, value) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS _changed (kind, _row, terms, PRIMARY KEY (kind, _row)) WITHOUT ROWID",
    *WATCH_TABLES,
)

Shape = dict[str, Any]
_BEFORE: Shape = {"facets": []}
"""What the shapes of older files do not say."""


def make_private(path: str) -> None:
    """Make an empty file that its owner alone can read, if there is none. SQLite's other files get its mode."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise ConfigError(f"the file cannot be made: {error.strerror}") from error


def prepare(db: sqlite3.Connection, path: str, tables: Mapping[str, Table]) -> None:
    """Bring the file up to the declared kinds, in one transaction, after a copy of it if it held anything.

    The copy lies next to the file: ``<path>.before-<UTC time>``. Kinds that are not declared now are left alone.
    Raises ConfigError for a file that is not ours, has a newer schema, or holds records against a new unique group.
    """
    with transaction(db):
        _reconcile(db, path, tables)


def _reconcile(db: sqlite3.Connection, path: str, tables: Mapping[str, Table]) -> None:
    names = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if names and "_meta" not in names:
        raise ConfigError("the file is an SQLite database of something else than backchat")
    for statement in _OURS:
        db.execute(statement)
    meta = dict(db.execute("SELECT key, value FROM _meta").fetchall())
    version = meta.get("schema", SCHEMA_VERSION)
    if version > SCHEMA_VERSION:
        raise ConfigError(
            f"the file has schema version {version}, this version of backchat knows {SCHEMA_VERSION}; use a newer one"
        )
    had = {name: {**_BEFORE, **shape} for name, shape in orjson.loads(meta.get("kinds", "{}")).items()}
    wanted = {name: _shape(table.kind) for name, table in tables.items()}
    words = definition()
    changed = {name: table for name, table in tables.items() if had.get(name) != wanted[name]}
    if changed or meta.get("words") != words:
        if any(db.execute(f'SELECT 1 FROM "{name}" LIMIT 1').fetchone() for name in had):
            _copy(path)
        for name, table in changed.items():
            _rebuild(db, table, had.get(name))
        if meta.get("words", words) != words:
            _forget_words(db, {**had, **wanted}, tables)
    note_kinds(db, tables)
    _set(db, "schema", SCHEMA_VERSION)
    _set(db, "kinds", orjson.dumps({**had, **wanted}).decode())
    _set(db, "words", words)


def _shape(kind: Kind) -> Shape:
    shape: Shape = orjson.loads(orjson.dumps(asdict(kind)))
    return shape


def _set(db: sqlite3.Connection, key: str, value: str | int) -> None:
    db.execute("INSERT OR REPLACE INTO _meta (key, value) VALUES (?, ?)", (key, value))


def _copy(path: str) -> None:
    """What is committed, as it was before: this connection's transaction has begun, so nobody else writes."""
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    target = f"{path}.before-{now}"
    make_private(target)
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy)


def _rebuild(db: sqlite3.Connection, table: Table, had: Shape | None) -> None:
    """Make what a kind needs; records keep their row, so that an index of words that is still right stays."""
    kind = table.kind
    shape = _shape(kind)

    def same(*parts: str) -> bool:
        return had is not None and all(had[p] == shape[p] for p in parts)

    if had is None:
        db.execute(table.create_rows(table.name))
    else:
        for (name,) in _indexes(db, kind.name):
            db.execute(f'DROP INDEX "{name}"')
        if not same("fields") or table.tracked != _tracked(had):
            _rebuild_rows(db, table, had)
        if not same("lists", "partition") and had["lists"]:
            db.execute(f"DROP TABLE {table.lists}")
        if not same("text", "within", "facets") and had["text"]:
            db.execute(f"DROP TABLE {table.words}")
    for statement in table.indexes().values():
        db.execute(statement)
    for group in kind.unique:
        _check_unique(db, table, group)
    if not same("lists", "partition") and kind.lists:
        db.execute(table.create_lists())
        for row, doc in _documents(db, table):
            db.executemany(table.add_value, table.listed(doc, row))
    if not same("text", "within", "facets"):
        db.execute("DELETE FROM _changed WHERE kind = ?", (kind.name,))
        if kind.text:
            db.execute(table.create_words())
            _mark_all(db, table)


def _indexes(db: sqlite3.Connection, kind: str) -> Sequence[tuple[str]]:
    """Those we made; the one behind UNIQUE is SQLite's own."""
    return db.execute(
        "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL", (kind,)
    ).fetchall()


def _documents(db: sqlite3.Connection, table: Table) -> Any:
    for row, doc in db.execute(f"SELECT _row, doc FROM {table.name}"):
        yield row, orjson.loads(doc)


def _rebuild_rows(db: sqlite3.Connection, table: Table, had: Shape) -> None:
    fresh = '"_fresh"'
    db.execute(table.create_rows(fresh))
    row = "_row, " if table.tracked and _tracked(had) else ""
    fields = "".join([f'"{f}", ' for f in table.kind.fields])
    slots = ", ".join("?" * (len(table.kind.fields) + 3 + bool(row)))
    rows = db.execute(f"SELECT doc, {row}id, version FROM {table.name}")
    db.executemany(
        f"INSERT INTO {fresh} ({row}id, version, {fields}doc) VALUES ({slots})",
        ((*key, *table.values(orjson.loads(doc)), doc) for doc, *key in rows),
    )
    db.execute(f"DROP TABLE {table.name}")
    db.execute(f"ALTER TABLE {fresh} RENAME TO {table.name}")


def _tracked(shape: Shape) -> bool:
    return bool(shape["text"] or shape["lists"])


def _check_unique(db: sqlite3.Connection, table: Table, group: Sequence[str]) -> None:
    columns = ", ".join([f'"{f}"' for f in group])
    present = " AND ".join([f'"{f}" IS NOT NULL' for f in group])
    twice = f"SELECT 1 FROM {table.name} WHERE {present} GROUP BY {columns} HAVING count(*) > 1 LIMIT 1"
    if db.execute(twice).fetchone():
        raise ConfigError(f"records of {table.kind.name} share {', '.join(group)}, which is now unique")


def _mark_all(db: sqlite3.Connection, table: Table) -> None:
    db.execute(f"INSERT INTO _changed SELECT ?, _row, NULL FROM {table.name}", (table.kind.name,))


def _forget_words(db: sqlite3.Connection, shapes: Mapping[str, Shape], tables: Mapping[str, Table]) -> None:
    """Index everything anew: the entries there are were made by another definition of a word."""
    for name, shape in shapes.items():
        if shape["text"]:
            table = tables.get(name) or Table(_kind(shape))
            db.execute(f"DROP TABLE {table.words}")
            db.execute("DELETE FROM _changed WHERE kind = ?", (name,))
            db.execute(table.create_words())
            _mark_all(db, table)


def _kind(shape: Shape) -> Kind:
    """Of a kind that is not declared now, as far as its words need it."""
    fields, lists, text, within, facets = (tuple(shape[p]) for p in ("fields", "lists", "text", "within", "facets"))
    return Kind(
        name=shape["name"],
        fields=fields,
        lists=lists,
        text=text,
        within=within,
        facets=facets,
        partition=shape["partition"],
    )
