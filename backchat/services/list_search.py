"""The conversations of a list that have words in their title, or in one of their messages.

Two ways lead to them. With words that are in few messages: find those messages, and take their conversations in the
order of the list. With words that are in very many, as soon as a user has written a lot, that is slow, but then the
list itself has them near its beginning: look through it until the page is full. Which of both it is shows at the
beginning of the list, and if that has few, in how many there are of them in all. Both find the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from backchat.ports.storage import Query, Range, Record, RecordStore, Scalar
from backchat.ports.words import words
from backchat.services.stored import CONVERSATION, MESSAGE

LOOK = 50
"""Messages at the beginning of a conversation that are looked through."""
FAR = 6
"""Conversations that are looked through at most, as a multiple of what is wanted; and of how many one must be found."""
DEEP = 8
"""The same multiple, when few are found at first although there are many."""
SOME = 2500
"""Conversations: so many that have the words are many."""
LEAST = 20
"""Conversations that are looked through at a time, if that is more than what is wanted."""
VOLUME = 1_000_000
"""Characters in the messages that are looked through."""
ALL = 1 << 40


async def searched(store: RecordStore, query: Query, sought: str) -> Sequence[Record]:
    """What ``store.find(query)`` gives, but only conversations with all of the words. It must say whose they are."""
    found = await _looked_through(store, query, sought, FAR, sparse=FAR)
    if found is not None:
        return found
    owner = dict(query.where)["owner"]
    hits = await _hits(store, owner, sought, SOME)
    if hits is None:
        found = await _looked_through(store, query, sought, DEEP, sparse=None)
        if found is not None:
            return found
        hits = await _hits(store, owner, sought, ALL) or []
    return await store.find(replace(query, where=(*query.where, ("id", hits)))) if hits else []


async def _hits(store: RecordStore, owner: Sequence[Scalar], sought: str, limit: int) -> Sequence[Scalar] | None:
    """The ids of all the conversations of the owner that have the words; None if there may be more than the limit."""
    where = (("owner", owner),)
    of_messages, of_titles = await asyncio.gather(
        store.values(Query(kind=MESSAGE.name, where=where, words=sought, limit=limit), "conversation"),
        store.values(Query(kind=CONVERSATION.name, where=where, words=sought, limit=limit), "id"),
    )
    return None if limit in (len(of_messages), len(of_titles)) else [*{*of_messages, *of_titles}]


async def _looked_through(
    store: RecordStore, query: Query, sought: str, far: int, *, sparse: int | None
) -> list[Record] | None:
    """The same by looking at the conversations one after the other; None if that does not end soon.

    It is given up after ``far`` times the conversations wanted, and when fewer than one in ``sparse`` is found.
    """
    found: list[Record] = []
    volume, seen = VOLUME, 0
    size = max(LEAST, query.limit)
    after = query.after
    while True:
        page = await store.find(replace(query, after=after, limit=size))
        looked, volume = _affordable(page, volume)
        hits, decided = await _with_words(store, looked, sought)
        found += hits
        seen += len(looked)
        if len(found) >= query.limit:
            return found[: query.limit]
        if decided < len(page):
            return None
        if len(page) < size:
            return found
        if seen >= far * query.limit or (sparse is not None and len(found) * sparse < seen):
            return None
        after = (*[page[-1].doc[field] for field in query.order], page[-1].id)


def _affordable(page: Sequence[Record], volume: int) -> tuple[Sequence[Record], int]:
    """The first conversations of the page that can be looked through within the volume, and what is left of that."""
    for n, record in enumerate(page):
        messages = max(record.doc["messages"], 1)
        volume -= record.doc["characters"] * min(messages, LOOK) // messages
        if volume < 0:
            return page[:n], 0
    return page, volume


async def _with_words(store: RecordStore, looked: Sequence[Record], sought: str) -> tuple[list[Record], int]:
    """Those of the conversations that have the words, up to one of which its beginning does not tell.

    Also how many these are, with and without the words.
    """
    wanted = words(sought)
    have = {record.id for record in looked if _begin_words_of(record.doc["title"], wanted)}
    # Without the owner, so that what is written in them is read: a store has no index to look words up in.
    rest = tuple([record.id for record in looked if record.id not in have])
    told = Query(
        kind=MESSAGE.name, where=(("conversation", rest),), ranges=(Range("seq", high=LOOK),), words=sought, limit=ALL
    )
    have.update(map(str, await store.values(told, "conversation")))
    hits: list[Record] = []
    for n, record in enumerate(looked):
        if record.id in have:
            hits.append(record)
        elif record.doc["next_seq"] > LOOK:
            return hits, n
    return hits, len(looked)


def _begin_words_of(text: str, wanted: Sequence[str]) -> bool:
    held = words(text)
    return bool(wanted) and all(any(h.startswith(w) for h in held) for w in wanted)
