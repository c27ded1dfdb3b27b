"""From conditions, ranges and places to the filter of a find. Names come from declared kinds, the rest is values.

MongoDB compares a number with numbers only, and a string with strings. Where the order goes on beyond the type (text
comes after all numbers), the condition is the complement of its opposite: ``{$not: {$lt: 5}}``. An index serves that as
well as a plain comparison.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from backchat.ports.storage import Condition, Kind, Query, Range, Scalar
from backchat.ports.words import words
from backchat_mongo.documents import plain
from backchat_mongo.layout import WORDS, Layout, stored_name

Filter = dict[str, Any]
EVERY: Filter = {"_id": {"$gte": ""}}
"""All records, in a way that walks along an index: servers can be told to refuse what uses none."""
LONGEST_PATTERN = 1000
"""Characters of a word. The server refuses a regular expression of 32,764 bytes."""
_OPPOSITE = {"$gt": "$lte", "$gte": "$lt", "$lt": "$gte", "$lte": "$gt"}


def selection(layout: Layout, where: Sequence[Condition], ranges: Sequence[Range] = ()) -> Filter | None:
    """The filter for conditions and ranges; None if nothing can match."""
    terms = terms_of(layout.kind, where, ranges)
    return None if terms is None else joined(layout, terms)


def matching(layout: Layout, query: Query) -> Filter | None:
    """The filter for all conditions of a query, but for ``after``; None if nothing can match."""
    terms = required(layout, query)
    if terms is None:
        return None
    if query.any_word:
        some = list(dict.fromkeys(words(query.any_word)))
        if not some:
            return None
        terms.append({"$or": [{WORDS: begun(word)} for word in some]})
    return joined(layout, terms)


def required(layout: Layout, query: Query) -> list[Filter] | None:
    """The terms for all conditions of a query, but for ``any_word`` and ``after``; None if nothing can match."""
    terms = terms_of(layout.kind, query.where, query.ranges)
    if terms is None or not query.words:
        return terms
    every = needed(words(query.words))
    # For several words the records have to be read, and there a comparison is faster than an expression.
    having = begun if len(every) == 1 else compared_with
    return [*terms, *({WORDS: having(word)} for word in every)] if every else None


def terms_of(kind: Kind, where: Sequence[Condition], ranges: Sequence[Range]) -> list[Filter] | None:
    """Filters that all have to match; None if nothing can."""
    terms: list[Filter] = []
    for field, wanted in where:
        values = [*dict.fromkeys(map(plain, wanted))]
        if field in kind.lists:
            values = [v for v in values if v is not None]
        if not values:
            return None
        terms.append({stored_name(field): {"$eq": values[0]} if len(values) == 1 else {"$in": values}})
    for r in ranges:
        name = stored_name(r.field)
        if r.low is None and r.high is None:
            terms.append({name: {"$ne": None}})
        if r.low is not None:
            terms += compared(name, "$gte", r.low)
        if r.high is not None:
            terms += compared(name, "$lt", r.high)
    return terms


def joined(layout: Layout, terms: Sequence[Filter]) -> Filter:
    """All of the terms, and one more if no index could serve them."""
    first = {"_id", *(index.keys[0] for index in layout.indexes)}
    served = any(name in first for term in terms for name in term)
    every = [*terms] if served else [*terms, EVERY]
    return every[0] if len(every) == 1 else {"$and": every}


def compared(name: str, operator: str, value: Scalar) -> list[Filter]:
    """Beyond a value that is not null, in the order numbers, text; what is null is not."""
    value = plain(value)
    upwards = operator in ("$gt", "$gte")
    if isinstance(value, str) == upwards:  # nothing of the other type lies on this side
        return [{name: {operator: value}}]
    return [{name: {"$not": {_OPPOSITE[operator]: value}}}, {name: {"$ne": None}}]


def beyond(query: Query) -> list[Filter]:
    """The terms for what lies after the place ``query.after``, if there is one.

    A bound on the first field, by which an index is entered, and the exact condition.
    """
    if query.after is None:
        return []
    strict, loose = ("$lt", "$lte") if query.descending else ("$gt", "$gte")
    fields = (*map(stored_name, query.order), "_id")
    places = [(name, plain(value)) for name, value in zip(fields, query.after, strict=True)]
    if len(places) == 1:
        return compared(places[0][0], strict, places[0][1])
    exact = [
        {
            "$and": [
                *({name: {"$eq": value}} for name, value in places[:n]),
                *compared(places[n][0], strict, places[n][1]),
            ]
        }
        for n in range(len(places))
    ]
    return [*compared(places[0][0], loose, places[0][1]), {"$or": exact}]


def begun(word: str) -> Mapping[str, Any]:
    """Holds a word that begins with this one.

    A prefix as a regular expression is answered by the index alone, without a look at the records, in a third of the
    time of a comparison. Words are letters and digits, of which none means anything in an expression.
    """
    return {"$regex": f"^{word}"} if len(word) <= LONGEST_PATTERN else compared_with(word)


def compared_with(word: str) -> Mapping[str, Any]:
    """The same as a comparison. Nothing comes after the last code point."""
    return {"$elemMatch": {"$gte": word, "$lt": word + "\U0010ffff"}}


def needed(wanted: Sequence[str]) -> list[str]:
    """Those that are not the beginning of another one of them, the longest first: they are found in fewer records."""
    found = sorted(set(wanted))  # which brings a word right before those that it begins
    bare = [w for n, w in enumerate(found) if n + 1 == len(found) or not found[n + 1].startswith(w)]
    return sorted(bare, key=lambda w: (-len(w), w))
