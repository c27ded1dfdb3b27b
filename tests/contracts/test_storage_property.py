"""Any sequence of calls does on SQLite what it does on the reference store."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backchat.errors import StaleWrite
from backchat.ports.storage import Change, Delete, Kind, Purge, Put, Query, Range, RecordStore
from backchat.testing.memory_store import MemoryStore
from backchat.testing.records import ignore
from backchat_sqlite.component import SQLITE

THING = Kind(
    name="thing",
    fields=("owner", "rank", "code", "mark"),
    lists=("tags",),
    text=("said", "more"),
    within=("owner",),
    facets=("rank", "code", "tags"),
    indexes=(("owner", "rank"),),
    unique=(("owner", "code"), ("mark",)),
    partition="owner",
)
PLAIN = Kind(name="plain", fields=("rank",), text=("said",))
EVENT = Kind(name="event", fields=("rank",), unique=(("rank",),))
KINDS = (THING, PLAIN, EVENT)

names = st.sampled_from(["thing", "thing", "plain", "event"])
ids = st.sampled_from(["a", "b", "c", "d", "é", "\U0001f600"])
owners = st.sampled_from(["ann", "bob", "", None])
ranks = st.one_of(st.integers(-2, 3), st.sampled_from([0.5, True, -(2**40)]))
codes = st.sampled_from([None, None, "x", "y", 1, 1.0])
tags = st.one_of(st.none(), st.lists(st.sampled_from(["t", "u", "é", ""]), max_size=3))
fragments = st.sampled_from(["tea", "Teapot", "té", "東京", "a_b", "NOT", "x\x00y", '"', "*", "cup", "\u2028", "ﬁn"])
texts = st.one_of(st.none(), fragments, st.lists(fragments, max_size=4).map(" ".join))
searches = st.one_of(st.just(""), fragments, st.lists(fragments, min_size=1, max_size=2).map(" ".join))
expects = st.sampled_from([None, None, None, None, 0, 1, 2, 3])
things = st.fixed_dictionaries(
    {"rank": ranks},
    optional={"owner": owners, "code": codes, "mark": codes, "tags": tags, "said": texts, "more": texts},
)


def ranges_of(kind: str) -> st.SearchStrategy[Range]:
    bounds: st.SearchStrategy[Any] = st.one_of(st.none(), ranks)
    some = [st.builds(Range, st.just("rank"), bounds, bounds)]
    some.append(st.builds(Range, st.just("id"), st.one_of(st.none(), ids), st.one_of(st.none(), ids)))
    if kind == "thing":
        some.append(st.builds(Range, st.just("owner"), owners, owners))
    return st.one_of(some)


def conditions_of(kind: str) -> st.SearchStrategy[Any]:
    fields: dict[str, st.SearchStrategy[Any]] = {"id": ids, "rank": st.one_of(ranks, st.none())}
    if kind == "thing":
        fields |= {"owner": owners, "code": codes, "mark": codes, "tags": st.sampled_from(["t", "u", "é", "", "none"])}
    return st.one_of([st.tuples(st.just(f), st.lists(v, min_size=1, max_size=3)) for f, v in fields.items()])


rarely = st.sampled_from([False, False, True])


def few(what: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return rarely.flatmap(lambda some: st.lists(what, min_size=1, max_size=2) if some else st.just([]))


@st.composite
def changes(draw: st.DrawFn) -> Change:
    kind = draw(names)
    match draw(st.sampled_from(["put"] * 10 + ["delete", "purge"])):
        case "put":
            return Put(kind, draw(ids), draw(things), draw(expects))
        case "delete":
            return Delete(kind, draw(ids), draw(expects))
    where = draw(st.lists(conditions_of(kind), min_size=1, max_size=2))
    return Purge(kind, tuple(where), tuple(draw(st.lists(ranges_of(kind), max_size=1))))


@st.composite
def queries(draw: st.DrawFn) -> Query:
    kind = draw(names)
    order = draw(st.sampled_from([(), ("rank",), ("rank", "id")]))
    after = draw(st.tuples(*(ranks if f == "rank" else ids for f in order), ids)) if draw(rarely) else None
    searching = kind != "event"
    any_word = draw(searches) if searching and draw(rarely) else ""
    return Query(
        kind=kind,
        where=tuple(draw(few(conditions_of(kind)))),
        ranges=tuple(draw(few(ranges_of(kind)))),
        words=draw(searches) if searching and draw(rarely) else "",
        any_word=any_word,
        order=() if any_word else order,
        after=None if any_word else after,
        descending=draw(st.booleans()),
        limit=100 if any_word else draw(st.sampled_from([1, 2, 100])),
        offset=0 if any_word else draw(st.sampled_from([0, 0, 1])),
    )


batches = st.one_of(st.lists(changes(), min_size=1, max_size=1), st.lists(changes(), min_size=1, max_size=4))
first_puts = st.lists(st.builds(Put, names, ids, things).map(lambda put: [put]), min_size=10, max_size=10)
later_calls = st.lists(st.one_of(batches, queries()), min_size=10, max_size=20)
calls = st.builds(lambda first, later: [*first, *later], first_puts, later_calls)


async def outcome(store: RecordStore, call: Sequence[Change] | Query) -> Any:
    """What a call gives, in a form that stores may be compared by."""
    if isinstance(call, Query):
        found = list(await store.find(call))
        if call.any_word:  # how relevance is measured is up to the store
            found.sort(key=lambda r: r.id)
        return found, await store.count(call), await held(store, call, "rank" if call.descending else "id")
    try:
        await store.apply(call)
    except StaleWrite:
        return "stale"
    return "done"


async def held(store: RecordStore, query: Query, field: str) -> Any:
    """The values of a field; only how many, if there may be more of them than are wanted."""
    found = await store.values(query, field)
    assert len(set(found)) == len(found)
    return len(found) if len(found) == query.limit else set(found)


async def everything(store: RecordStore) -> Any:
    return [await store.find(Query(kind=kind.name)) for kind in KINDS]


async def compare(path: str, calls: Sequence[Any]) -> None:
    reference = MemoryStore(KINDS)
    opened = SQLITE.schema.load({"path": path, "readers": 1, "synchronous": "NORMAL"})
    async with SQLITE.open(opened, KINDS, ignore) as store:
        for call in calls:
            assert await outcome(store, call) == await outcome(reference, call), call
        assert await everything(store) == await everything(reference)
    async with SQLITE.open(opened, KINDS, ignore) as store:
        assert await everything(store) == await everything(reference)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(calls)
def test_every_call_does_what_the_reference_does(calls: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(compare(str(Path(folder) / "backchat.db"), calls))
