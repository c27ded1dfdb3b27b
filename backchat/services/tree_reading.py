"""The whole tree of a conversation, out of the store."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from backchat.domain.message import Message
from backchat.ports.storage import Query, RecordStore
from backchat.services.extents import rooted
from backchat.services.stored import MESSAGE, message_of

PAGE = 500


async def tree_of(store: RecordStore, conversation: str) -> list[Message]:
    """The messages of every branch, by seq. A parent comes before its children; one that was deleted is None."""
    found: list[Message] = []
    while True:
        query = Query(
            kind=MESSAGE.name,
            where=(("conversation", (conversation,)),),
            order=("seq",),
            after=(found[-1].seq, found[-1].id) if found else None,
            limit=PAGE,
        )
        page = await store.find(query)
        found += [message_of(record) for record in page]
        if len(page) < PAGE:
            return await asyncio.to_thread(rooted, found) if len(found) > PAGE else rooted(found)


async def placed(store: RecordStore, message: Message) -> Message:
    """One message as ``tree_of`` gives it."""
    if message.parent is None:
        return message
    parent = await store.get(MESSAGE.name, message.parent)
    there = parent is not None and parent.doc["conversation"] == message.conversation
    return message if parent and there and parent.doc["seq"] < message.seq else replace(message, parent=None)
