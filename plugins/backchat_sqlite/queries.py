"""From a Query to one SQL statement: its conditions, and what counts records or collects values.

Names come from declared kinds, everything else is a parameter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from backchat.ports.storage import Condition, Query, Range, Scalar
from backchat.ports.words import words
from backchat_sqlite.tables import Table, marks, part_of
from backchat_sqlite.terms import Lookup, lookup

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
    table: Table,
    where: Sequence[Condition],
    ranges: Sequence[Range],
    *,
    walked: bool = False,
    parts: Sequence[Scalar] | None = None,
    few: bool = False,
) -> tuple[list[str], list[Any]]:
    """The terms of a WHERE on the alias ``r``, and their values.

    Ids are looked up, and the rest is compared with what is found; but many ids are compared if the records are
    ``walked`` in the order of an index. SQLite, which does not know how many there are, would guess.

    ``parts`` are the partitions in which all of the records are, if ``where`` does not say so; ``few``: there are so
    few of them that their lists are looked up one by one.
    """
    kind = table.kind
    terms: list[str] = []
    values: list[Any] = []
    parts = dict(where).get(kind.partition or "", parts)
    ids = [len(wanted) for field, wanted in where if field == "id"]
    looked_up = bool(ids) and not (walked and min(ids) > MANY)
    for field, wanted in where:
        some = [v for v in wanted if v is not None]
        compared = "+" if ids and looked_up != (field == "id") else ""
        if field in kind.lists:
            held, given = _held(table, field, some, parts)
            # Without the plus SQLite would convert the other side, and not look it up.
            terms.append(f"EXISTS ({held} AND _row = +r._row)" if few else f"{compared}r._row IN ({held})")
            values += given
            continue
        column = f"{compared}{column_of(field)}"
        term, given = _one_of(column, some)
        if len(some) < len(wanted):
            term = f"({term} OR {column} IS NULL)" if some else f"{column} IS NULL"
        terms.append(term)
        values += given
    for r in ranges:
        column = column_of(r.field)
        if r.low is None and r.high is None:
            terms.append(f"{column} IS NOT NULL")
        if r.low is not None:
            terms.append(f"{column} >= ?")
            values.append(r.low)
        if r.high is not None:
            terms.append(f"{column} < ?")
            values.append(r.high)
    return terms, values


def count_statement(table: Table, query: Query) -> Statement | None:
    """Selects how many; None if nothing can match."""
    found = matching(table, query, counted=True)
    if found is None:
        return None
    if not found.indexed:
        return Statement(f"SELECT count(*) FROM {found.source}{where_of(found.terms)}", [*found.values])
    waiting = "EXISTS (SELECT 1 FROM _changed WHERE kind = ?)"
    sql = f"SELECT count(*), {waiting} FROM {found.source}{where_of(found.terms)}"
    return Statement(sql, [table.kind.name, *found.values], True)


def values_statement(table: Table, query: Query, field: str) -> Statement | None:
    """Selects the values of a field, each once; None if nothing can match."""
    column = column_of(field)
    asked = next((c for c in query.where if c[0] == field), None)
    if asked is not None and _is_indexed(table, field) and all(map(_is_same_in_json, asked[1])):
        rest = replace(query, where=tuple([c for c in query.where if c is not asked]))
        found = matching(table, rest)
        if found is not None and not found.indexed:
            # Of each value that is asked for, one record is enough.
            wanted = orjson.dumps([*dict.fromkeys(asked[1])]).decode()
            held = f"SELECT 1 FROM {found.source}{where_of([f'{column} = v.value', *found.terms])}"
            sql = f"SELECT v.value FROM json_each(?) AS v WHERE EXISTS ({held}) LIMIT ?"
            return Statement(sql, [wanted, *found.values, query.limit])
    found = matching(table, query)
    if found is None:
        return None
    sql = f"SELECT DISTINCT {column} FROM {found.source}{where_of([*found.terms, f'{column} IS NOT NULL'])} LIMIT ?"
    values = [*found.values, query.limit]
    if found.indexed:
        sql = f"SELECT * FROM ({sql}) UNION ALL SELECT * FROM (SELECT NULL FROM _changed WHERE kind = ? LIMIT 1)"
        values.append(table.kind.name)
    return Statement(sql, values, found.indexed)


def matching(
    table: Table, query: Query, *, walked: bool = False, dense: bool = False, counted: bool = False
) -> Matching | None:
    """What a query asks for; None if nothing can match. ``walked`` as in ``conditions``.

    ``dense``: look among the records for those that have the words, not the other way round.
    ``counted``: the columns of the records are not needed.
    """
    if matches_nothing(query):
        return None
    if not query.words and not query.any_word:
        listed = _listed(table, query) if counted else None
        if listed is not None:
            return listed
        return Matching(f"{table.name} AS r", *conditions(table, query.where, query.ranges, walked=walked))
    found = lookup(table.kind, query)
    if found is not None:
        return _indexed(table, query, found, dense=dense, counted=counted)
    # No scope: read the documents that the other conditions leave.
    terms, values = conditions(table, query.where, query.ranges, walked=walked)
    every, some = words(query.words), words(query.any_word)
    for wanted, least in ((every, len(every)), (some, 1)):
        if wanted:
            terms.append("words_hit(?, r.doc, ?) >= ?")
            values += [table.kind.name, " ".join(wanted), least]
    return Matching(f"{table.name} AS r", terms, values)


def matches_nothing(query: Query) -> bool:
    """Whether a condition has no values, or a text no words."""
    texts = [text for text in (query.words, query.any_word) if text]
    return not all(wanted for _, wanted in query.where) or not all(map(words, texts))


def _indexed(table: Table, query: Query, found: Lookup, *, dense: bool, counted: bool) -> Matching:
    """The index is not even opened while something waits for it: that may be most of the work."""
    kind = table.kind
    if dense:
        where = [c for c in query.where if c[0] not in kind.lists or c in found.rest]
        terms, values = conditions(table, where, query.ranges)
        ready = "(SELECT NOT EXISTS (SELECT 1 FROM _changed WHERE kind = ?))"
        hits = f"+r._row IN (SELECT rowid FROM {table.words} WHERE {table.words} MATCH ?)"
        return Matching(f"{table.name} AS r", [ready, *terms, hits], [kind.name, *values, found.expression], True)
    parts = dict(query.where).get(kind.partition or "")
    terms, values = conditions(table, found.rest, query.ranges, parts=parts)
    source = f"(SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM _changed WHERE kind = ?)) CROSS JOIN {table.words} AS w"
    if terms or not counted:
        source += f" CROSS JOIN {table.name} AS r ON r._row = w.rowid"
    return Matching(source, [f"{table.words} MATCH ?", *terms], [kind.name, found.expression, *values], True)


def _listed(table: Table, query: Query) -> Matching | None:
    """Rows of the list table, for a query about lists in one partition: it knows whose they are. None for all others.

    SQLite, which does not know how few rows hold a value, would go through all of the partition.
    """
    kind = table.kind
    mine = next((c for c in query.where if c[0] == kind.partition and len(c[1]) == 1), None)
    lists = [c for c in query.where if c[0] in kind.lists and len(c[1]) == 1 and c[1][0] is not None]
    if mine is None or mine[1][0] in (None, "") or not lists:  # of which the list table makes one
        return None
    sources = [_held(table, field, wanted, mine[1]) for field, wanted in lists]
    source, values = f"({sources[0][0]}) AS l", sources[0][1]
    terms = []
    for held, given in sources[1:]:
        terms.append(f"+l._row IN ({held})")
        values += given
    rest = [c for c in query.where if c is not mine and c not in lists]
    more, given = conditions(table, rest, query.ranges, parts=mine[1])
    if more:
        source += f" CROSS JOIN {table.name} AS r ON r._row = l._row"
    return Matching(source, [*terms, *more], [*values, *given])


def _held(table: Table, field: str, wanted: Sequence[Scalar], parts: Sequence[Scalar] | None) -> tuple[str, list[Any]]:
    """The statement that selects the rows whose list holds one of these values, in these partitions."""
    term, given = _one_of("value", wanted)
    held = f"SELECT _row FROM {table.lists} WHERE field = ? AND {term}"
    if parts is None:
        return held, [field, *given]
    within, owners = _one_of("part", [part_of(p) for p in parts])
    return f"{held} AND {within}", [field, *given, *owners]


def _is_indexed(table: Table, field: str) -> bool:
    return field == "id" or any(group[0] == field for group in (*table.kind.indexes, *table.kind.unique))


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


def column_of(field: str) -> str:
    return "r.id" if field == "id" else f'r."{field}"'


def where_of(terms: Sequence[str]) -> str:
    return f" WHERE {' AND '.join(terms)}" if terms else ""
