"""``any_word``: the records that have one of the words, the most relevant first.

The records of each word come from the index, and the rarer a word is among them the more it weighs; nothing is read of
a record that is not on the page. MongoDB's own ``$text`` knows neither our words nor their beginnings.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from math import log
from typing import Any

from backchat.ports.storage import Query, Record
from backchat.ports.words import words
from backchat_mongo.documents import RECORD, record_of
from backchat_mongo.drivers import Connection
from backchat_mongo.filters import begun, joined, required
from backchat_mongo.layout import WORDS, Layout

Stages = list[dict[str, Any]]
MOST_PARTS = 100
"""Pipelines that are put together in one; more are put together in several steps. The server allows 1000 stages."""


async def ranked(connection: Connection, layout: Layout, query: Query, session: Any = None) -> list[Record]:
    """The page. The three looks that it takes are at the same moment: of ``session`` or, without one, of its own."""
    terms = required(layout, query)
    wanted = list(dict.fromkeys(words(query.any_word)))
    if terms is None or not wanted:
        return []
    having = {word: joined(layout, [*terms, {WORDS: begun(word)}]) for word in wanted}
    async with AsyncExitStack() as opened:
        if session is None:
            session = await opened.enter_async_context(connection.session(snapshot=True))
        collection = connection.collection(layout.collection)

        async def answer(stages: Stages) -> list[dict[str, Any]]:
            return await connection.aggregate(collection, stages, session=session, allowDiskUse=True)

        counted: list[Stages] = [
            [{"$match": chosen}, {"$count": "n"}, {"$set": {"word": {"$literal": word}}}]
            for word, chosen in having.items()
        ]
        frequency = {row["word"]: row["n"] for row in await answer(_together(layout, counted))}
        if not frequency:
            return []
        weighed: list[Stages] = [
            [{"$match": having[word]}, {"$project": {"weight": {"$literal": _weight(frequency, word)}}}]
            for word in frequency
        ]
        best: Stages = [
            {"$group": {"_id": "$_id", "weight": {"$sum": "$weight"}}},
            {"$sort": {"weight": -1, "_id": 1}},
            *([{"$skip": query.offset}] if query.offset else []),
            {"$limit": query.limit},
        ]
        ids = [row["_id"] for row in await answer([*_together(layout, weighed), *best])]
        cursor = collection.find({"_id": {"$in": ids}}, RECORD, session=session, batch_size=len(ids) + 1)
        found = {row["_id"]: row for row in await cursor.to_list(None)}
    return [record_of(query.kind, found[id]) for id in ids]


def _weight(frequency: dict[str, int], word: str) -> float:
    """Of a word that as many records have: more than twice as much for one that hardly any has as for the commonest."""
    return log(1 + max(frequency.values()) / frequency[word])


def _together(layout: Layout, parts: Sequence[Stages]) -> Stages:
    """One pipeline that gives what all parts give."""
    while len(parts) > MOST_PARTS:
        parts = [_united(layout, parts[n : n + MOST_PARTS]) for n in range(0, len(parts), MOST_PARTS)]
    return _united(layout, parts)


def _united(layout: Layout, parts: Sequence[Stages]) -> Stages:
    first, *others = parts
    return [*first, *({"$unionWith": {"coll": layout.collection, "pipeline": part}} for part in others)]
