"""The record store on one SQLite file."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Container, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from time import monotonic, sleep
from typing import Any

import orjson

from backchat.errors import ConfigError, Unavailable
from backchat.ports.abilities import Place
from backchat.ports.checks import check_field, check_order, check_query, known_kind
from backchat.ports.storage import Change, Kind, OnCommit, Query, Record, Scalar
from backchat_sqlite import journal
from backchat_sqlite.changes import steps_of
from backchat_sqlite.examining import examined
from backchat_sqlite.index import fold_all, fold_some
from backchat_sqlite.pages import find_statement, glance_statement, is_dense
from backchat_sqlite.queries import Statement, count_statement, values_statement
from backchat_sqlite.readers import Readers
from backchat_sqlite.saving import saved
from backchat_sqlite.schema import make_private, prepare
from backchat_sqlite.tables import Table
from backchat_sqlite.watching import watching
from backchat_sqlite.writer import Writer

Rows = Sequence[Sequence[Any]]
MANY = 200
"""Changes whose documents are not made on the event loop: it would be held up for milliseconds."""


class SqliteStore:
    """A ``RecordStore``. Several processes may have the same file open; readers never see a part of a batch."""

    def __init__(
        self, settings: Mapping[str, Any], tables: Mapping[str, Table], writer: Writer, readers: Readers
    ) -> None:
        self._settings = settings
        self._kinds = {name: table.kind for name, table in tables.items()}
        self._tables = tables
        self._writer = writer
        self._readers = readers

    @classmethod
    async def open(cls, settings: Mapping[str, Any], kinds: Sequence[Kind], on_commit: OnCommit) -> SqliteStore:
        """Open with the settings that ``SqliteSettings`` loads. Raises ConfigError."""
        tables = {kind.name: Table(kind) for kind in kinds}
        writer = Writer(lambda: _open_writer(settings, tables), tables, on_commit)
        async with AsyncExitStack() as opened:
            opened.push_async_callback(writer.close)
            await writer.start()
            readers = await Readers.open(settings, tables)
            opened.pop_all()
        return cls(settings, tables, writer, readers)

    async def close(self) -> None:
        """Write what is queued, then let go of the file."""
        try:
            await self._readers.close()
        finally:
            await self._writer.close()

    async def get(self, kind: str, id: str) -> Record | None:
        table = self._table(kind)
        for doc, version in await self._readers.fetch(table.get, (id,)):
            return Record(kind, id, orjson.loads(doc), version)
        return None

    async def find(self, query: Query) -> Sequence[Record]:
        table = self._table(query.kind)
        check_query(table.kind, query)
        rows = await self._page(table, query)
        page = [Record(query.kind, id, orjson.loads(doc), version) for id, doc, version in rows]
        check_order(query, page)
        return page

    async def count(self, query: Query) -> int:
        table = self._table(query.kind)
        check_query(table.kind, query)
        statement = count_statement(table, query)
        if statement is None:
            return 0
        rows = await self._rows(statement)
        found: int = rows[0][0]
        return found

    async def values(self, query: Query, field: str) -> Sequence[Scalar]:
        table = self._table(query.kind)
        check_query(table.kind, query)
        check_field(table.kind, field)
        statement = values_statement(table, query, field)
        return [] if statement is None else [value for (value,) in await self._rows(statement)]

    async def apply(self, changes: Sequence[Change]) -> None:
        if len(changes) > MANY:
            steps = await asyncio.to_thread(steps_of, self._kinds, self._tables, tuple(changes))
        else:
            steps = steps_of(self._kinds, self._tables, changes)
        await self._writer.apply(steps)

    async def compact(self) -> None:
        """Leave nothing of deleted text in the file: merge the word indexes, write the file anew, empty the log.

        Deleted records are overwritten at once, but their words stay in the index until its parts are merged, old pages
        in the write-ahead log until it is emptied, and of records that once moved to another page a copy may stay in
        the gaps of the old one: ``secure_delete`` does not reach those. Takes about a second for 50 MB, and as much
        room on the disk as the file, twice; writes wait meanwhile. Raises Unavailable when something else reads for
        longer than ``busy_timeout``. Copies made before a change of the schema (``<path>.before-...``) are not touched.
        """

        def work(db: sqlite3.Connection) -> None:
            for table in self._tables.values():
                if table.kind.text:
                    db.execute(f"INSERT INTO {table.words} ({table.words}) VALUES ('optimize')")
            db.execute("VACUUM")
            (busy, *_) = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if busy:
                raise Unavailable("the write-ahead log cannot be emptied: something reads the database for too long")

        await self._index_all()
        await self._writer.run(work)

    def watch(
        self, kind: str, partitions: Container[str]
    ) -> AbstractAsyncContextManager[AsyncIterator[Sequence[Record]]]:
        """See ``Watched``. It costs a thread that looks up to fifty times a second whether anybody has committed."""
        return watching(self._settings, self._table(kind), partitions, self._writer)

    async def begin_journal(self) -> str:
        return await self._writer.run(lambda db: journal.begin(db, self._tables))

    async def journal(self, position: str, limit: int) -> tuple[Sequence[Place], str]:
        return await self._writer.run(lambda db: journal.read(db, position, limit, tuple(self._tables)))

    async def end_journal(self) -> None:
        await self._writer.run(journal.end)

    async def save(self, path: str, progress: Callable[[int, int], None]) -> None:
        await saved(self._settings["path"], path, progress)

    async def examine(self) -> Sequence[str]:
        return await examined(self._settings["path"], self._tables)

    async def _page(self, table: Table, query: Query) -> Rows:
        first = glance_statement(table, query)
        seen = await self._readers.fetch(first.sql, first.values) if first is not None else None
        if seen is not None and len(seen) == query.offset + query.limit:
            return seen[query.offset :]
        statement = find_statement(table, query, dense=is_dense(query, None if seen is None else len(seen)))
        return await self._rows(statement) if statement is not None else []

    async def _rows(self, statement: Statement) -> Rows:
        """The answer; from the word index only when that has everything that was written before.

        What is written between bringing the index up to date and reading it makes the answer useless. The second time
        both are done at once, on the writer's connection.
        """
        rows = await self._readers.fetch(statement.sql, statement.values)
        if not _incomplete(statement, rows):
            return rows
        await self._index_all()
        rows = await self._readers.fetch(statement.sql, statement.values)
        if not _incomplete(statement, rows):
            return rows

        def work(db: sqlite3.Connection) -> Rows:
            fold_all(db, self._tables)
            return db.execute(statement.sql, statement.values).fetchall()

        return await self._writer.run(work)

    async def _index_all(self) -> None:
        """Bring the word index up to date, in steps between which others can write."""
        while await self._writer.run(lambda db: fold_some(db, self._tables)):
            pass

    def _table(self, name: str) -> Table:
        known_kind(self._kinds, name)
        return self._tables[name]


def _incomplete(statement: Statement, rows: Rows) -> bool:
    return statement.indexed and bool(rows) and (rows[-1][0] is None or (len(rows[-1]) == 2 and bool(rows[-1][1])))


def _open_writer(settings: Mapping[str, Any], tables: Mapping[str, Table]) -> sqlite3.Connection:
    path = settings["path"]
    make_private(path)
    try:
        db = sqlite3.connect(
            path,
            timeout=settings["busy_timeout"],
            isolation_level=None,
            cached_statements=512,
            check_same_thread=False,
        )
    except sqlite3.Error as error:
        raise ConfigError(f"the file cannot be used: {error}") from error
    try:
        _write_ahead(db, settings["busy_timeout"])
        db.execute(f"PRAGMA synchronous = {settings['synchronous']}")
        db.execute(f"PRAGMA cache_size = {-1024 * settings['cache_mib']}")
        db.execute(f"PRAGMA journal_size_limit = {64 << 20}").fetchall()
        db.execute("PRAGMA secure_delete = ON").fetchall()
        prepare(db, path, tables)
    except sqlite3.Error as error:
        db.close()
        raise ConfigError(f"the file cannot be used: {error}") from error
    except BaseException:
        db.close()
        raise
    return db


def _write_ahead(db: sqlite3.Connection, patience: float) -> None:
    """Switch to WAL. Of several processes that do so with a new file at once SQLite refuses some without waiting,
    whatever the timeout: who holds the lock that it needs may be waiting for the same.
    """
    until = monotonic() + patience
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL").fetchall()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or monotonic() > until:
                raise
            sleep(0.01)
        else:
            return
