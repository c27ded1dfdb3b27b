"""From a Query to the statements that find its records, page by page."""

from __future__ import annotations

from typing import Any

from backchat.ports.storage import Kind, Query
from backchat.ports.words import words
from backchat_sqlite.queries import Statement, column_of, conditions, matches_nothing, matching, where_of
from backchat_sqlite.tables import Table, marks

GLANCE = 5
"""So many records are looked at for each that is wanted, for words that are perhaps in many."""
GLANCED = 1_000
"""At most."""
DENSE = 50
"""If one in so many of them has the words, it is worth while to go along all the others in their order."""


def glance_statement(table: Table, query: Query) -> Statement | None:
    """Selects what the first records of the order hold of the page, and of those before it. They are few, and read.

    That finds words which many records have in no time; the word index would have to collect all of those. What it
    finds is the answer if it fills the page. None if the query has no words, or is far down, or no index has its order.
    """
    walked = _walked(table, query)
    wanted = query.offset + query.limit
    if not query.words or not walked or not 0 < GLANCE * wanted <= GLANCED or matches_nothing(query):
        return None
    fixed, values = conditions(table, [c for c in query.where if c[0] in walked], ())
    columns, beyond, after = _ordering(table, query)
    first = (
        f"SELECT r.{table.key} AS key FROM {table.name} AS r{where_of([*fixed, *beyond])} ORDER BY {columns} LIMIT ?"
    )
    terms, more = conditions(table, query.where, query.ranges, few=True)
    terms.append("words_hit(?, r.doc, ?) >= ?")
    every = words(query.words)
    source = f"({first}) AS p CROSS JOIN {table.name} AS r ON r.{table.key} = p.key"
    sql = f"SELECT r.id, r.doc, r.version FROM {source}{where_of(terms)} ORDER BY {columns} LIMIT ?"
    looked_at = [*values, *after, GLANCE * wanted]
    return Statement(sql, [*looked_at, *more, table.kind.name, " ".join(every), len(every), wanted])


def is_dense(query: Query, seen: int | None) -> bool:
    """What ``find_statement`` wants to know. ``seen``: how many a glance has found, if there was one."""
    if seen is None:  # the page is so far down that there are many, or nothing
        return query.offset > 0
    return seen * DENSE >= GLANCE * (query.offset + query.limit)


def find_statement(table: Table, query: Query, *, dense: bool = False) -> Statement | None:
    """Selects id, doc, version of the page; None if nothing can match.

    ``dense``: many records of the order have the words, so that walking along it soon finds enough of them.
    """
    walked = bool(_walked(table, query))
    found = matching(table, query, walked=walked, dense=dense and walked)
    if found is None:
        return None
    columns, beyond, after = _ordering(table, query)
    terms, values = [*found.terms, *beyond], [*found.values, *after]
    order = columns
    if query.any_word:
        order = "w.rank, r.id" if found.indexed else "words_hit(?, r.doc, ?) DESC, r.id"
        if not found.indexed:
            values += [table.kind.name, " ".join(words(query.any_word))]
    # Rows that are put in order carry no documents, of which most would be thrown away.
    sorts = found.indexed and not query.any_word
    selected = f"r.{table.key} AS key" if sorts else "r.id, r.doc, r.version"
    sql = f"SELECT {selected} FROM {found.source}{where_of(terms)} ORDER BY {order} LIMIT ?"
    values.append(query.limit)
    if query.offset:
        sql += " OFFSET ?"
        values.append(query.offset)
    if sorts:
        source = f"({sql}) AS p CROSS JOIN {table.name} AS r ON r.{table.key} = p.key"
        sql = f"SELECT r.id, r.doc, r.version FROM {source} ORDER BY {columns}"
    if found.indexed:
        waiting = "SELECT NULL, NULL, NULL FROM _changed WHERE kind = ? LIMIT 1"
        sql = f"SELECT * FROM ({sql}) UNION ALL SELECT * FROM ({waiting})"
        values.append(table.kind.name)
    return Statement(sql, values, found.indexed)


def _ordering(table: Table, query: Query) -> tuple[str, list[str], list[Any]]:
    """What stands after ORDER BY, the term that says where it begins, if there is one, and the values of that."""
    fields = [*map(column_of, query.order), "r.id"]
    columns = fields[:-1] if _is_without_ties(table.kind, query) else fields
    direction = " DESC" if query.descending else ""
    order = ", ".join([column + direction for column in columns])
    if query.after is None:
        return order, [], []
    beyond = "<" if query.descending else ">"
    return order, [f"({', '.join(fields)}) {beyond} ({marks(len(query.after))})"], [*query.after]


def _is_without_ties(kind: Kind, query: Query) -> bool:
    """Whether no two of the records that are found are equal in all fields of the order."""
    fixed = {field for field, wanted in query.where if len(wanted) == 1 and wanted[0] is not None}
    return any(fixed.union(query.order).issuperset(group) for group in kind.unique if set(group) & set(query.order))


def _walked(table: Table, query: Query) -> tuple[str, ...]:
    """The fields whose values lead to what an index holds in the order wanted, but for ties; none if no index does."""
    fixed = {field for field, wanted in query.where if len(wanted) == 1}
    groups = [
        group[:n]
        for group in (*table.kind.indexes, *table.kind.unique)
        for n in range(1, len(group))
        if group[n] in query.order[:1] and fixed.issuperset(group[:n])
    ]
    return max(groups, key=len, default=())
