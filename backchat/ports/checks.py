"""What every store refuses before it does anything: the faults of its caller, found in one place for all backends.

All of them are ValueErrors, for they are mistakes of a program and never of a user.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from backchat.errors import StaleWrite
from backchat.ports.storage import Change, Condition, Delete, Kind, Purge, Put, Query, Range, Record, Require

_SCALARS = frozenset((str, int, float, bool, type(None)))


def known_kind(kinds: Mapping[str, Kind], name: str) -> Kind:
    """The kind of that name, if the store was opened with it."""
    kind = kinds.get(name)
    if kind is None:
        raise ValueError(f"unknown kind {name!r}")
    return kind


def check_query(kind: Kind, query: Query) -> None:
    """Raise ValueError unless a store of this kind can answer the query."""
    _check_conditions(kind, query.where, query.ranges)
    _check_known(kind, query.order, kind.fields)
    if query.limit < 0 or query.offset < 0:
        raise ValueError(f"{kind.name}: limit and offset are not negative")
    if (query.words or query.any_word) and not kind.text:
        raise ValueError(f"{kind.name} has no text to search")
    if query.any_word and (query.order or query.after is not None):
        raise ValueError(f"{kind.name}: results of any_word come by relevance, without order and after")
    if query.after is not None and (len(query.after) != len(query.order) + 1 or None in query.after):
        raise ValueError(f"{kind.name}: after holds a value for each field of the order, then the id")


def check_field(kind: Kind, field: str) -> None:
    """Raise ValueError unless a store of this kind can give the values of the field."""
    _check_known(kind, (field,), kind.fields)


def check_change(kind: Kind, change: Change) -> None:
    """Raise ValueError unless a store of this kind can hold what the change says."""
    if type(change) is Purge:
        if not change.where and not change.ranges:
            raise ValueError(f"{kind.name}: a purge without a condition")
        _check_conditions(kind, change.where, change.ranges)
    elif type(change) is Put:
        get = change.doc.get
        for field in kind.fields:
            if type(get(field)) not in _SCALARS:
                raise ValueError(f"{kind.name}.{field} is not a scalar")
        for field in kind.text:
            if not isinstance(get(field), str | None):
                raise ValueError(f"{kind.name}.{field} is not a string")
        for field in kind.lists:
            values = get(field)
            if values is None:
                continue
            if not isinstance(values, list | tuple) or not all(isinstance(v, str) for v in values):
                raise ValueError(f"{kind.name}.{field} is not a list of strings")


def check_order(query: Query, page: Sequence[Record]) -> None:
    """Raise ValueError if a record of the page has no value for a field that the query orders by."""
    for field in query.order:
        if field != "id" and any(record.doc.get(field) is None for record in page):
            raise ValueError(f"{query.kind}: ordered by {field}, which a record lacks")


def missing(change: Require) -> StaleWrite:
    """The error for a record that is required and not there."""
    return StaleWrite(f"{change.kind} {change.id} is not there")


def stale(change: Put | Delete) -> StaleWrite:
    """The error for a record that does not stand where the change expects it."""
    return StaleWrite(f"{change.kind} {change.id} is not at version {change.expect}")


def taken(kind: str, group: Sequence[str]) -> StaleWrite:
    """The error for a unique group whose values another record has."""
    return StaleWrite(f"another {kind} has the same {', '.join(group)}")


def _check_conditions(kind: Kind, where: Sequence[Condition], ranges: Sequence[Range]) -> None:
    _check_known(kind, (field for field, _ in where), (*kind.fields, *kind.lists))
    _check_known(kind, (r.field for r in ranges), kind.fields)


def _check_known(kind: Kind, named: Iterable[str], known: Sequence[str]) -> None:
    for field in named:
        if field != "id" and field not in known:
            raise ValueError(f"{kind.name} declares no field {field!r} for this")
