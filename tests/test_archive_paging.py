"""Paging loses and repeats nothing that did not move: under any order, direction and filter, among changes."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archive_made import ANN, Shelf, at, made, shelf
from backchat.domain.conversation import Conversation
from backchat.ports.storage import Change, Delete
from backchat.services.archive import Wanted
from backchat.services.stored import conversation_of, conversation_put

TITLES = ["", "a", "b", "B", "tea", "tea b", "\U0001f600", "é"]
moments = st.integers(0, 3).map(at)
shapes = st.fixed_dictionaries(
    {
        "title": st.sampled_from(TITLES),
        "created_at": moments,
        "updated_at": moments,
        "archived_at": st.one_of(st.none(), moments),
        "pinned": st.booleans(),
        "temporary": st.sampled_from([False] * 5 + [True]),
        "tags": st.lists(st.sampled_from("xyz"), unique=True, max_size=2).map(tuple),
        "expires_at": st.sampled_from([None, None, at(999), at(1000), at(2000)]),
    }
)
texts = st.lists(st.sampled_from(["tea", "cup of tea", "b", "Bread"]), max_size=2)
stocks = st.lists(st.tuples(shapes, texts), min_size=8, max_size=14)
wishes = st.fixed_dictionaries(
    {
        "order": st.sampled_from(["updated", "created", "title", "archived"]),
        "descending": st.booleans(),
        "archived": st.booleans(),
        "pinned": st.sampled_from([False, False, True]),
        "tags": st.sampled_from([(), (), ("x",), ("y", "z")]),
        "words": st.sampled_from([None, None, "tea", "b", "tea cup"]),
        "limit": st.integers(1, 4),
    }
)
verbs = st.sampled_from(["rename", "touch", "delete", "put away", "pin", "retag"])
deeds = st.one_of(
    st.tuples(verbs, st.integers(0, 13), shapes), st.tuples(st.just("add"), st.integers(100, 120), shapes)
)
between = st.lists(st.lists(deeds, max_size=2), max_size=6)


def fits(wish: dict[str, Any], c: Conversation, said: list[str]) -> bool:
    """What the list is to show, told without the code that is tried."""
    found = wish["words"] is None or any(
        all(any(held.startswith(w) for held in text.lower().split()) for w in wish["words"].split())
        for text in [c.title, *said]
    )
    return (
        found
        and not c.temporary
        and (c.expires_at is None or c.expires_at >= at(1000))
        and (c.archived_at is not None) == wish["archived"]
        and (c.pinned or not wish["pinned"])
        and (not wish["tags"] or bool({*c.tags} & {*wish["tags"]}))
    )


def rank(wish: dict[str, Any]) -> Callable[[Conversation], Any]:
    orders: dict[str, Callable[[Conversation], Any]] = {
        "updated": lambda c: (c.updated_at, c.id),
        "created": lambda c: (c.created_at, c.updated_at, c.id),
        "title": lambda c: (c.title, c.updated_at, c.id),
        "archived": lambda c: (c.archived_at or at(-1), c.created_at, c.id),
    }
    return orders[wish["order"]]


async def do(it: Shelf, verb: str, id: str, shape: dict[str, Any]) -> bool:
    """Change something; whether the conversation was there, and is another one now."""
    record = await it.store.get("conversation", id)
    if verb == "add":
        if record is None:
            await it.store.apply(made(id, "tea", **shape)[0])
        return True
    if record is None:
        return False
    there = conversation_of(record)
    changed: list[Change] = [Delete("conversation", id)]
    if verb != "delete":
        fields = {"rename": "title", "touch": "updated_at", "put away": "archived_at", "pin": "pinned", "retag": "tags"}
        new = replace(there, **{fields[verb]: shape[fields[verb]]})
        if new == there:
            return False
        changed = [conversation_put(new)]
    await it.store.apply(changed)
    return True


async def walk(folder: Path | None, stock: list[Any], wish: dict[str, Any], deeds: list[list[Any]]) -> None:
    async with shelf(folder) as it:
        put: list[Change] = []
        there: dict[str, tuple[Conversation, list[str]]] = {}
        for n, (shape, said) in enumerate(stock):
            changes, conversation = made(f"c{n:02}", *said, **shape)
            put += changes
            there[conversation.id] = conversation, said
        await it.store.apply(put)
        moved: set[str] = set()
        seen: list[str] = []
        after = None
        for number in range(100):
            page = await it.archive.find(ANN, Wanted(**wish, after=after))
            assert len(page.conversations) <= wish["limit"]
            seen += [c.id for c in page.conversations]
            after = page.after
            if after is None:
                break
            assert len(page.conversations) == wish["limit"]
            for verb, n, shape in deeds[number] if number < len(deeds) else ():
                if await do(it, verb, f"c{n:02}", shape):
                    moved.add(f"c{n:02}")
        else:
            raise AssertionError("the list does not end")
        still = [c for id, (c, said) in there.items() if id not in moved and fits(wish, c, said)]
        expected = [c.id for c in sorted(still, key=rank(wish), reverse=wish["descending"])]
        assert [id for id in seen if id not in moved] == expected


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stocks, wishes, between)
def test_in_memory(stock: list[Any], wish: dict[str, Any], deeds: list[list[Any]]) -> None:
    asyncio.run(walk(None, stock, wish, deeds))


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stocks, wishes, between)
def test_in_sqlite(stock: list[Any], wish: dict[str, Any], deeds: list[list[Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(walk(Path(folder), stock, wish, deeds))
