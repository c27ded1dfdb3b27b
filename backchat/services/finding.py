"""Words in the messages of a user."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from backchat.domain.conversation import Conversation
from backchat.domain.message import Message
from backchat.ports.storage import Condition, Query, Record, RecordStore
from backchat.services.deadlines import living
from backchat.services.stored import CONVERSATION, MESSAGE, conversation_of, message_of

Place = tuple[str, str]
"""Of a hit among the others: when it was created, as it is stored, and its id."""

GROWTH = 4
MOST = 1000
"""When most hits are in conversations that no list shows, each look takes so many times more of them, up to so many."""


@dataclass(frozen=True, slots=True)
class Found:
    """A message that a search found, and where."""

    message: Message
    conversation: Conversation


async def found_words(
    store: RecordStore, owner: str, reach: Condition, words: str, now: datetime, limit: int, after: Place | None
) -> tuple[list[Found], Place | None]:
    """A page of the messages with all of these words, newest first, and the place that the next page begins after.

    Those of conversations that no list shows are left out; ``reach`` says which lie where the owner still is. The page
    is full if there are enough others.
    """
    hits: list[tuple[Found, Place]] = []
    size = limit + 1
    while words and len(hits) <= limit:
        query = Query(
            kind=MESSAGE.name,
            where=(("owner", (owner,)),),
            words=words,
            order=("created",),
            descending=True,
            after=after,
            limit=size,
        )
        page = await store.find(query)
        shown = await _shown(store, owner, reach, page, now)
        hits += [
            (Found(message_of(record), shown[conversation]), _place(record))
            for record in page
            if (conversation := record.doc["conversation"]) in shown
        ]
        if len(page) < query.limit:
            break
        after = _place(page[-1])
        size = max(size, min(GROWTH * size, MOST))
    more = len(hits) > limit
    hits = hits[:limit]
    return [found for found, _ in hits], hits[-1][1] if more and hits else None


def _place(record: Record) -> Place:
    return record.doc["created"], record.id


async def _shown(
    store: RecordStore, owner: str, reach: Condition, hits: Sequence[Record], now: datetime
) -> dict[str, Conversation]:
    """The conversations of these messages that lists show."""
    ids = tuple({record.doc["conversation"] for record in hits})
    if not ids:
        return {}
    where = (("id", ids), ("owner", (owner,)), ("temporary", (False,)), reach)
    query = Query(kind=CONVERSATION.name, where=where, ranges=(living(now),), limit=len(ids))
    return {record.id: conversation_of(record) for record in await store.find(query)}
