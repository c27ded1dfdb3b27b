"""Any sequence of calls does on the store what it does on the reference store. Needs the package hypothesis."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any

import pytest

pytest.importorskip("hypothesis", reason="without the package hypothesis, no random calls are tried")
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backchat.errors import StaleWrite
from backchat.ports.storage import Change, Delete, Kind, Purge, Put, Query, Range, RecordStore
from backchat.testing.memory_store import MemoryStore
from backchat.testing.storages import Storage

THING = Kind(
    name="thing",
    fields=("owner", "rank", "code", "mark"),
    lists=("tags",),
    text=("said", "more"),
    within=("owner",),
    facets=("rank", "code", "tags"),
    indexes=(("owner", "rank"),),
    unique=(("owner", "code"), ("owner", "mark")),
    partition="owner",
)
PLAIN = Kind(name="plain", fields=("rank",), text=("said",))
MARK = Kind(name="mark", fields=("rank",), unique=(("rank",),))
KINDS = (THING, PLAIN, MARK)

EXAMPLES = 1000 if os.environ.get("BACKCHAT_SOAK") else 25

names = st.sampled_from(["thing", "thing", "plain", "mark"])
OWNER = {"a": "ann", "b": "ann", "c": "ann", "d": "bob", "é": "bob", "\U0001f600": ""}
"""Of each record: the partition never changes."""
ids = st.sampled_from([*OWNER])
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
    optional={"code": codes, "mark": codes, "tags": tags, "said": texts, "more": texts},
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
def puts(draw: st.DrawFn, kind: str | None = None) -> Put:
    id = draw(ids)
    return Put(kind or draw(names), id, {**draw(things), "owner": OWNER[id]}, draw(expects) if kind else None)


@st.composite
def changes(draw: st.DrawFn) -> Change:
    kind = draw(names)
    match draw(st.sampled_from(["put"] * 10 + ["delete", "purge"])):
        case "put":
            return draw(puts(kind))
        case "delete":
            return Delete(kind, draw(ids), draw(expects))
    where = draw(st.lists(conditions_of(kind), min_size=1, max_size=2))
    return Purge(kind, tuple(where), tuple(draw(st.lists(ranges_of(kind), max_size=1))))


@st.composite
def queries(draw: st.DrawFn) -> Query:
    kind = draw(names)
    order = draw(st.sampled_from([(), ("rank",), ("rank", "id")]))
    after = draw(st.tuples(*(ranks if f == "rank" else ids for f in order), ids)) if draw(rarely) else None
    searching = kind != "mark"
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
first_puts = st.lists(puts().map(lambda put: [put]), min_size=10, max_size=10)
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


async def compare(store: RecordStore, calls: Sequence[Any]) -> None:
    """Make the calls on the store, which is emptied before, and on a new reference store."""
    reference = MemoryStore(KINDS)
    for kind in KINDS:
        await store.apply([Purge(kind.name, ranges=(Range("id", low=""),))])
    for call in calls:
        assert await outcome(store, call) == await outcome(reference, call), call
    assert await everything(store) == await everything(reference)


def test_every_call_does_what_the_reference_does(storage: Storage) -> None:
    """One store for all examples. What is in it when it is closed is there when it is opened again."""
    with asyncio.Runner() as runner:
        context = storage.open(KINDS)
        store = runner.run(context.__aenter__())

        @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(calls)
        def same(calls: list[Any]) -> None:
            runner.run(compare(store, calls))

        try:
            same()
            left = runner.run(everything(store))
        finally:
            runner.run(context.__aexit__(None, None, None))
        assert runner.run(opened_again(storage)) == left


async def opened_again(storage: Storage) -> Any:
    async with storage.open(KINDS) as store:
        return await everything(store)
