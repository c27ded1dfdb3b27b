"""A conversation with all of its branches and images, written in backchat's own format as it is at one moment."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

from backchat.domain.conversation import Conversation
from backchat.domain.identity import Identity
from backchat.errors import StaleWrite
from backchat.ports.storage import Query, Record, RecordStore
from backchat.services.access import Access
from backchat.services.assistant_records import ASSISTANT
from backchat.services.files import file_bytes
from backchat.services.for_readers import conversation_for_readers, message_for_readers
from backchat.services.paging import pages
from backchat.services.portable import PortableWriter
from backchat.services.stored import MESSAGE, message_of

PAGE = 200


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was written. ``messages`` is how many there are, ``sha256`` of the bytes, in hex."""

    conversation: Conversation
    messages: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Snapshots:
    store: RecordStore
    access: Access

    async def write(self, who: Identity, id: str, sink: IO[bytes]) -> Snapshot:
        """Write one into an empty file, page by page in threads. Raises NotFound.

        Who does not own it gets what ``for_readers`` leaves of it.

        When something is written to the conversation meanwhile, it is read again in larger pages. Once one of these has
        held all messages, what was written counts no more: they are of one moment, and what is said of the conversation
        itself is of one shortly before. So it comes to an end, whoever goes on writing.
        """
        page = PAGE
        while True:
            try:
                return await self._attempt(who, id, sink, page)
            except StaleWrite:
                page *= 8
                await asyncio.to_thread(_emptied, sink)

    async def _attempt(self, who: Identity, id: str, sink: IO[bytes], size: int) -> Snapshot:
        conversation = await self.access.open(who, id)
        assistant = await self.store.get(ASSISTANT.name, conversation.assistant) if conversation.assistant else None
        writer = PortableWriter(sink)
        own = conversation.owner == who.user
        if own:
            await asyncio.to_thread(writer.begin, conversation, assistant.doc["name"] if assistant else None)
        else:
            await asyncio.to_thread(writer.begin, conversation_for_readers(conversation), None)
        query = Query(kind=MESSAGE.name, where=(("conversation", (id,)),), order=("seq",), limit=size)
        async for page in pages(self.store, query):
            await asyncio.to_thread(_write_page, writer, page, own)
        whole = size > PAGE and writer.count < size
        await self._check(who, conversation, whole)
        # The bytes of an image never change, so what is left is to find them all.
        for file, mime in writer.images.items():
            data = (await file_bytes(self.store, [file])).get(file)
            if data is None:
                await self._check(who, conversation, whole)
            else:
                await asyncio.to_thread(writer.file, file, mime, data)
        await asyncio.to_thread(writer.end)
        return Snapshot(conversation, writer.count, writer.sha256)

    async def _check(self, who: Identity, conversation: Conversation, whole: bool) -> None:
        """Raises NotFound if it is gone, and StaleWrite if it has changed, unless what was read was whole."""
        now = await self.access.open(who, conversation.id)
        if now.version != conversation.version and not whole:
            raise StaleWrite("the conversation has changed meanwhile")


def _write_page(writer: PortableWriter, page: Sequence[Record], own: bool) -> None:
    messages = [message_of(record) for record in page]
    writer.messages(messages if own else map(message_for_readers, messages))


def _emptied(sink: IO[bytes]) -> None:
    sink.seek(0)
    sink.truncate()
