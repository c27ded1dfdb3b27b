"""Changes carried out on the writer's connection, inside its transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from backchat.ports.checks import check_change, known_kind, missing, stale, taken
from backchat.ports.storage import Change, Delete, Kind, Purge, Put, Require
from backchat_sqlite.queries import conditions
from backchat_sqlite.tables import MARK_ALL_CHANGED, MARK_CHANGED, Doc, Table
from backchat_sqlite.terms import said, terms_of

Step = tuple[Table, Change, list[Any]]
"""A change with its table and, for a Put, the values of its columns."""


def steps_of(kinds: Mapping[str, Kind], tables: Mapping[str, Table], changes: Sequence[Change]) -> list[Step]:
    """Check the changes and take their documents as they are now. Raises ValueError or TypeError, before any write."""
    steps: list[Step] = []
    for change in changes:
        check_change(known_kind(kinds, change.kind), change)
        table = tables[change.kind]
        values = [*table.values(change.doc), orjson.dumps(change.doc)] if type(change) is Put else []
        steps.append((table, change, values))
    return steps


def is_single_statement(steps: Sequence[Step]) -> bool:
    """Whether the batch is one statement, which SQLite itself does wholly or not at all."""
    if len(steps) != 1:
        return False
    table, change, _ = steps[0]
    return not table.tracked and (type(change) is not Put or not table.holders)


class Changes:
    """``waiting`` is about how many rows wait for the word index: those that this process has changed since."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        self.waiting = 0

    def carry_out(self, steps: Sequence[Step]) -> None:
        """Do a batch. Raises StaleWrite with some of it done: to undo that is up to the caller."""
        checked = False
        for table, change, values in steps:
            if type(change) is Put:
                self._put(table, change, values)
                checked = checked or bool(table.holders)
            elif type(change) is Delete:
                self._delete(table, change)
            elif type(change) is Purge:
                self._purge(table, change)
            elif type(change) is Require and not self.db.execute(table.version, (change.id,)).fetchone():
                raise missing(change)
        if checked:
            self._check_unique(steps)

    def _put(self, table: Table, put: Put, values: list[Any]) -> None:
        execute = self.db.execute
        expect = put.expect
        if table.tracked and expect != 0:
            old = execute(table.old, (put.id,)).fetchone()
            version = old[0] if old else 0
            if expect is not None and version != expect:
                raise stale(put)
            if old:
                execute(table.update, (*values, put.id, version))
                self._replace(table, old[1], orjson.loads(old[2]), put.doc)
                return
        if expect is None and not table.tracked:
            execute(table.upsert, (put.id, *values))
            return
        if expect:
            if execute(table.update, (*values, put.id, expect)).rowcount == 0:
                raise stale(put)
            return
        added = execute(table.insert, (put.id, *values))
        if added.rowcount == 0:
            raise stale(put)
        if table.tracked:
            self._track(table, added.lastrowid or 0, put.doc)

    def _delete(self, table: Table, delete: Delete) -> None:
        execute = self.db.execute
        if delete.expect is not None or table.tracked:
            old = execute(table.old if table.tracked else table.version, (delete.id,)).fetchone()
            version = old[0] if old else 0
            if delete.expect is not None and version != delete.expect:
                raise stale(delete)
            if not old:
                return
            if table.tracked:
                self._untrack(table, old[1], orjson.loads(old[2]))
        execute(table.delete, (delete.id,))

    def _purge(self, table: Table, purge: Purge) -> None:
        terms, values = conditions(table, purge.where, purge.ranges)
        where = f"FROM {table.name} AS r WHERE {' AND '.join(terms)}"
        listed = self.db.execute(f"SELECT r._row, r.doc {where}", values).fetchall() if table.kind.lists else []
        if table.kind.text:
            # The documents as they are: to find their words takes several times as long as all the rest.
            marked = self.db.execute(f"{MARK_ALL_CHANGED} SELECT ?, r._row, r.doc {where}", (table.kind.name, *values))
            self.waiting += marked.rowcount
        self.db.execute(f"DELETE {where}", values)
        if listed:
            self._drop_values(table, [(row, orjson.loads(doc)) for row, doc in listed])

    def _check_unique(self, steps: Sequence[Step]) -> None:
        """When the batch is through: values may move from record to record, or change places, within it."""
        for table, change, _ in steps:
            if type(change) is not Put:
                continue
            for group, holders in table.holders:
                held = [change.doc.get(f) for f in group]
                if None not in held and len(self.db.execute(holders, held).fetchall()) > 1:
                    raise taken(table.kind.name, group)

    def _track(self, table: Table, row: int, doc: Doc) -> None:
        if table.kind.lists:
            self.db.executemany(table.add_value, table.listed(doc, row))
        if table.kind.text:
            self._mark_changed(table, [(row, None)])

    def _replace(self, table: Table, row: int, old: Doc, new: Doc) -> None:
        if table.kind.lists:
            before, after = table.listed(old, row), table.listed(new, row)
            self.db.executemany(table.drop_value, before - after)
            self.db.executemany(table.add_value, after - before)
        if table.kind.text and said(table.kind, old) != said(table.kind, new):
            self._mark_changed(table, [(row, terms_of(table.kind, old))])

    def _untrack(self, table: Table, row: int, doc: Doc) -> None:
        if table.kind.lists:
            self._drop_values(table, [(row, doc)])
        if table.kind.text:
            self._mark_changed(table, [(row, terms_of(table.kind, doc))])

    def _drop_values(self, table: Table, rows: Sequence[tuple[int, Doc]]) -> None:
        self.db.executemany(table.drop_value, [value for row, doc in rows for value in table.listed(doc, row)])

    def _mark_changed(self, table: Table, rows: Sequence[tuple[int, str | None]]) -> None:
        # What was marked before stays: those are the terms that are in the index, however often a row changes since.
        self.db.executemany(MARK_CHANGED, [(table.kind.name, row, terms) for row, terms in rows])
        self.waiting += len(rows)
