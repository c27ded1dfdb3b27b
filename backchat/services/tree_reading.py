"""The whole tree of a conversation, out of the store."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from backchat.domain.message import Message
from backchat.ports.storage import Query, Range, RecordStore
from backchat.services.extents import rooted
from backchat.services.paging import pages
from backchat.services.stored import MESSAGE, message_of

PAGE = 500


async def tree_of(store: RecordStore, conversation: str, below: int | None = None) -> list[Message]:
    """The messages of every branch, by seq; of seqs under ``below`` only, if that is given.

    A parent comes before its children; one that was deleted is None.
    """
    ranges = (Range("seq", high=below),) if below is not None else ()
    query = Query(
        kind=MESSAGE.name, where=(("conversation", (conversation,)),), ranges=ranges, order=("seq",), limit=PAGE
    )
    found = [message_of(record) async for page in pages(store, query) for record in page]
    return await asyncio.to_thread(rooted, found) if len(found) > PAGE else rooted(found)


async def placed(store: RecordStore, message: Message) -> Message:
    """One message as ``tree_of`` gives it, by the rule of ``rooted``: all that is read for it is the parent."""
    if message.parent is None:
        return message
    parent = await store.get(MESSAGE.name, message.parent)
    there = parent is not None and parent.doc["conversation"] == message.conversation
    return message if parent and there and parent.doc["seq"] < message.seq else replace(message, parent=None)
