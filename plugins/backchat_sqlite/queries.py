"""From a Query to one SQL statement. Names come from declared kinds, everything else is a parameter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backchat.ports.storage import Condition, Query, Range
from backchat.ports.words import words
from backchat_sqlite.tables import Table, marks, part_of
from backchat_sqlite.terms import match, scopes_of


@dataclass(frozen=True, slots=True)
class Statement:
    """``indexed``: it reads the word index, and its answer counts only while nothing of the kind waits for that.

    Its last row is then the mark of something waiting: all null in a find, a second column that is true in a count.
    """

    sql: str
    values: list[Any]
    indexed: bool = False


def conditions(table: Table, where: Sequence[Condition], ranges: Sequence[Range]) -> tuple[list[str], list[Any]]:
    """The terms of a WHERE on the alias ``r``, and their values."""
    kind = table.kind
    terms: list[str] = []
    values: list[Any] = []
    parts = dict(where).get(kind.partition) if kind.partition else None
    for field, wanted in where:
        some = [v for v in wanted if v is not None]
        if field in kind.lists:
            held = f"SELECT _row FROM {table.lists} WHERE field = ? AND value IN ({marks(len(some))})"
            values += [field, *some]
            if parts is not None:
                held += f" AND part IN ({marks(len(parts))})"
                values += [part_of(p) for p in parts]
            terms.append(f"r._row IN ({held})")
            continue
        column = _column(field)
        term = f"{column} = ?" if len(some) == 1 else f"{column} IN ({marks(len(some))})"
        if len(some) < len(wanted):
            term = f"({term} OR {column} IS NULL)" if some else f"{column} IS NULL"
        terms.append(term)
        values += some
    for r in ranges:
        column = _column(r.field)
        if r.low is None and r.high is None:
            terms.append(f"{column} IS NOT NULL")
        if r.low is not None:
            terms.append(f"{column} >= ?")
            values.append(r.low)
        if r.high is not None:
            terms.append(f"{column} < ?")
            values.append(r.high)
    return terms, values


def find_statement(table: Table, query: Query) -> Statement | None:
    """Selects id, doc, version of the page; None if nothing can match."""
    found = _matching(table, query)
    if found is None:
        return None
    source, terms, values, indexed = found
    columns = [*map(_column, query.order), "r.id"]
    if query.after is not None:
        beyond = "<" if query.descending else ">"
        terms.append(f"({', '.join(columns)}) {beyond} ({marks(len(query.after))})")
        values += query.after
    direction = " DESC" if query.descending else ""
    order = ", ".join([column + direction for column in columns])
    if query.any_word:
        order = "w.rank, r.id" if indexed else "words_hit(?, r.doc, ?) DESC, r.id"
        if not indexed:
            values += [table.kind.name, " ".join(words(query.any_word))]
    sql = f"SELECT r.id, r.doc, r.version FROM {source}{_where(terms)} ORDER BY {order} LIMIT ?"
    values.append(query.limit)
    if query.offset:
        sql += " OFFSET ?"
        values.append(query.offset)
    if indexed:
        waiting = "SELECT NULL, NULL, NULL FROM _changed WHERE kind = ? LIMIT 1"
        sql = f"SELECT * FROM ({sql}) UNION ALL SELECT * FROM ({waiting})"
        values.append(table.kind.name)
    return Statement(sql, values, indexed)


def count_statement(table: Table, query: Query) -> Statement | None:
    """Selects how many; None if nothing can match."""
    found = _matching(table, query)
    if found is None:
        return None
    source, terms, values, indexed = found
    if not indexed:
        return Statement(f"SELECT count(*) FROM {source}{_where(terms)}", values)
    waiting = "EXISTS (SELECT 1 FROM _changed WHERE kind = ?)"
    sql = f"SELECT count(*), {waiting} FROM {source}{_where(terms)}"
    return Statement(sql, [table.kind.name, *values], True)


def _matching(table: Table, query: Query) -> tuple[str, list[str], list[Any], bool] | None:
    """What stands after FROM, the terms of the WHERE and their values, and whether the word index is read."""
    source = f"{table.name} AS r"
    terms, values = conditions(table, query.where, query.ranges)
    if not query.words and not query.any_word:
        return source, terms, values, False
    every, some = words(query.words), words(query.any_word)
    scopes = scopes_of(table.kind, query)
    if (query.words and not every) or (query.any_word and not some) or scopes == []:
        return None
    if scopes is not None:
        source = f"{table.words} AS w CROSS JOIN {source} ON r._row = w.rowid"
        return source, [f"{table.words} MATCH ?", *terms], [match(query, scopes), *values], True
    # No scope: read the documents that the other conditions leave.
    for wanted, least in ((every, len(every)), (some, 1)):
        if wanted:
            terms.append("words_hit(?, r.doc, ?) >= ?")
            values += [table.kind.name, " ".join(wanted), least]
    return source, terms, values, False


def _column(field: str) -> str:
    return "r.id" if field == "id" else f'r."{field}"'


def _where(terms: list[str]) -> str:
    return f" WHERE {' AND '.join(terms)}" if terms else ""
