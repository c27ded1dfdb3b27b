"""From a Query to one SQL statement. Names come from declared kinds, everything else is a parameter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from backchat.ports.storage import Condition, Query, Range, Scalar
from backchat.ports.words import words
from backchat_sqlite.tables import Table, marks, part_of
from backchat_sqlite.terms import match, scopes_of

MANY = 200
"""More values of one condition than these are one parameter: how many of those a statement may have is limited."""


@dataclass(frozen=True, slots=True)
class Statement:
    """``indexed``: it reads the word index, and its answer counts only while nothing of the kind waits for that.

    Then it finds nothing as long as something waits, at once; and the last row of its answer is the mark of that: all
    null in a find, a second column that is true in a count.
    """

    sql: str
    values: list[Any]
    indexed: bool = False


@dataclass(frozen=True, slots=True)
class Matching:
    """What stands after FROM, the terms of the WHERE, and the values of both in their order."""

    source: str
    terms: Sequence[str]
    values: Sequence[Any]
    indexed: bool = False


def conditions(
    table: Table, where: Sequence[Condition], ranges: Sequence[Range], *, walked: bool = False
) -> tuple[list[str], list[Any]]:
    """The terms of a WHERE on the alias ``r``, and their values.

    Ids are looked up, and the rest is compared with what is found; but many ids are compared if the records are
    ``walked`` in the order of an index. SQLite, which does not know how many there are, would guess.
    """
    kind = table.kind
    terms: list[str] = []
    values: list[Any] = []
    parts = dict(where).get(kind.partition) if kind.partition else None
    ids = [len(wanted) for field, wanted in where if field == "id"]
    looked_up = bool(ids) and not (walked and min(ids) > MANY)
    for field, wanted in where:
        some = [v for v in wanted if v is not None]
        compared = "+" if ids and looked_up != (field == "id") else ""
        if field in kind.lists:
            term, given = _one_of("value", some)
            held = f"SELECT _row FROM {table.lists} WHERE field = ? AND {term}"
            values += [field, *given]
            if parts is not None:
                term, given = _one_of("part", [part_of(p) for p in parts])
                held += f" AND {term}"
                values += given
            terms.append(f"{compared}r._row IN ({held})")
            continue
        column = f"{compared}{_column(field)}"
        term, given = _one_of(column, some)
        if len(some) < len(wanted):
            term = f"({term} OR {column} IS NULL)" if some else f"{column} IS NULL"
        terms.append(term)
        values += given
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
    found = _matching(table, query, walked=_is_ordered_by_index(table, query))
    if found is None:
        return None
    terms, values = [*found.terms], [*found.values]
    columns = [*map(_column, query.order), "r.id"]
    if query.after is not None:
        beyond = "<" if query.descending else ">"
        terms.append(f"({', '.join(columns)}) {beyond} ({marks(len(query.after))})")
        values += query.after
    direction = " DESC" if query.descending else ""
    order = ", ".join([column + direction for column in columns])
    if query.any_word:
        order = "w.rank, r.id" if found.indexed else "words_hit(?, r.doc, ?) DESC, r.id"
        if not found.indexed:
            values += [table.kind.name, " ".join(words(query.any_word))]
    sql = f"SELECT r.id, r.doc, r.version FROM {found.source}{_where(terms)} ORDER BY {order} LIMIT ?"
    values.append(query.limit)
    if query.offset:
        sql += " OFFSET ?"
        values.append(query.offset)
    if found.indexed:
        waiting = "SELECT NULL, NULL, NULL FROM _changed WHERE kind = ? LIMIT 1"
        sql = f"SELECT * FROM ({sql}) UNION ALL SELECT * FROM ({waiting})"
        values.append(table.kind.name)
    return Statement(sql, values, found.indexed)


def count_statement(table: Table, query: Query) -> Statement | None:
    """Selects how many; None if nothing can match."""
    found = _matching(table, query)
    if found is None:
        return None
    if not found.indexed:
        return Statement(f"SELECT count(*) FROM {found.source}{_where(found.terms)}", [*found.values])
    waiting = "EXISTS (SELECT 1 FROM _changed WHERE kind = ?)"
    sql = f"SELECT count(*), {waiting} FROM {found.source}{_where(found.terms)}"
    return Statement(sql, [table.kind.name, *found.values], True)


def values_statement(table: Table, query: Query, field: str) -> Statement | None:
    """Selects the values of a field, each once; None if nothing can match."""
    column = _column(field)
    asked = next((c for c in query.where if c[0] == field), None)
    if asked is not None and _is_indexed(table, field) and all(map(_is_same_in_json, asked[1])):
        rest = replace(query, where=tuple([c for c in query.where if c is not asked]))
        found = _matching(table, rest)
        if found is not None and not found.indexed:
            # Of each value that is asked for, one record is enough.
            wanted = orjson.dumps([*dict.fromkeys(asked[1])]).decode()
            held = f"SELECT 1 FROM {found.source}{_where([f'{column} = v.value', *found.terms])}"
            sql = f"SELECT v.value FROM json_each(?) AS v WHERE EXISTS ({held}) LIMIT ?"
            return Statement(sql, [wanted, *found.values, query.limit])
    found = _matching(table, query)
    if found is None:
        return None
    sql = f"SELECT DISTINCT {column} FROM {found.source}{_where([*found.terms, f'{column} IS NOT NULL'])} LIMIT ?"
    values = [*found.values, query.limit]
    if found.indexed:
        sql = f"SELECT * FROM ({sql}) UNION ALL SELECT * FROM (SELECT NULL FROM _changed WHERE kind = ? LIMIT 1)"
        values.append(table.kind.name)
    return Statement(sql, values, found.indexed)


def _matching(table: Table, query: Query, *, walked: bool = False) -> Matching | None:
    source = f"{table.name} AS r"
    terms, values = conditions(table, query.where, query.ranges, walked=walked)
    if not query.words and not query.any_word:
        return Matching(source, terms, values)
    every, some = words(query.words), words(query.any_word)
    scopes = scopes_of(table.kind, query)
    if (query.words and not every) or (query.any_word and not some) or scopes == []:
        return None
    if scopes is not None:
        # The index is not even opened while something waits for it: that may be most of the work.
        ready = "(SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM _changed WHERE kind = ?))"
        source = f"{ready} CROSS JOIN {table.words} AS w CROSS JOIN {source} ON r._row = w.rowid"
        return Matching(
            source, [f"{table.words} MATCH ?", *terms], [table.kind.name, match(query, scopes), *values], True
        )
    # No scope: read the documents that the other conditions leave.
    for wanted, least in ((every, len(every)), (some, 1)):
        if wanted:
            terms.append("words_hit(?, r.doc, ?) >= ?")
            values += [table.kind.name, " ".join(wanted), least]
    return Matching(source, terms, values)


def _is_indexed(table: Table, field: str) -> bool:
    return field == "id" or any(group[0] == field for group in (*table.kind.indexes, *table.kind.unique))


def _is_ordered_by_index(table: Table, query: Query) -> bool:
    """Whether an index holds what some of the conditions leave, in the order wanted but for ties."""
    fixed = {field for field, wanted in query.where if len(wanted) == 1}
    return any(
        group[n] in query.order[:1] and fixed.issuperset(group[:n])
        for group in table.kind.indexes
        for n in range(1, len(group))
    )


def _one_of(column: str, wanted: Sequence[Scalar]) -> tuple[str, list[Any]]:
    """The term that a column is one of these values, none of which is null."""
    if len(wanted) == 1:
        return f"{column} = ?", [*wanted]
    if len(wanted) <= MANY:
        return f"{column} IN ({marks(len(wanted))})", [*wanted]
    given = "SELECT value FROM json_each(?)"
    alike: list[Scalar] = []
    others: list[Scalar] = []
    for value in wanted:
        (alike if _is_same_in_json(value) else others).append(value)
    if others:
        given += " UNION ALL VALUES " + ", ".join(["(?)"] * len(others))
    return f"{column} IN ({given})", [orjson.dumps(alike).decode(), *others]


def _is_same_in_json(value: Scalar) -> bool:
    """Not so floats, which SQLite may read as their neighbours, integers beyond it, and text with a null in it."""
    if isinstance(value, str):
        return "\0" not in value
    return isinstance(value, int) and -(1 << 63) <= value < 1 << 63


def _column(field: str) -> str:
    return "r.id" if field == "id" else f'r."{field}"'


def _where(terms: Sequence[str]) -> str:
    return f" WHERE {' AND '.join(terms)}" if terms else ""
