"""A conversation with all of its branches and images, written in backchat's own format as it is at one moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import IO

from backchat.domain.conversation import Conversation
from backchat.domain.identity import Identity
from backchat.errors import StaleWrite
from backchat.ports.storage import Query, Record, RecordStore
from backchat.services.access import owned
from backchat.services.assistant_records import ASSISTANT
from backchat.services.conversations import over
from backchat.services.files import file_bytes
from backchat.services.portable import PortableWriter
from backchat.services.stored import CONVERSATION, MESSAGE, conversation_of, message_of

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
    now: Callable[[], datetime]

    async def write(self, who: Identity, id: str, sink: IO[bytes]) -> Snapshot:
        """Write one into an empty file, page by page in threads. Raises NotFound.

        When something is written to the conversation meanwhile, it is read again in larger pages: in the end it is one
        query, which sees one moment whatever else happens.
        """
        page = PAGE
        while True:
            try:
                return await self._attempt(who, id, sink, page)
            except StaleWrite:
                page *= 8
                await asyncio.to_thread(_emptied, sink)

    async def _attempt(self, who: Identity, id: str, sink: IO[bytes], size: int) -> Snapshot:
        conversation = await self._open(who, id)
        assistant = await self.store.get(ASSISTANT.name, conversation.assistant) if conversation.assistant else None
        writer = PortableWriter(sink)
        await asyncio.to_thread(writer.begin, conversation, assistant.doc["name"] if assistant else None)
        last: tuple[int, str] | None = None
        while True:
            page = await self.store.find(
                Query(kind=MESSAGE.name, where=(("conversation", (id,)),), order=("seq",), after=last, limit=size)
            )
            await asyncio.to_thread(_write_page, writer, page)
            if len(page) < size:
                break
            last = (page[-1].doc["seq"], page[-1].id)
        await self._unchanged(who, conversation)
        # The bytes of an image never change, so what is left is to find them all.
        for file, mime in writer.images.items():
            data = (await file_bytes(self.store, [file])).get(file)
            if data is None:
                await self._unchanged(who, conversation)
            else:
                await asyncio.to_thread(writer.file, file, mime, data)
        await asyncio.to_thread(writer.end)
        return Snapshot(conversation, writer.count, writer.sha256)

    async def _unchanged(self, who: Identity, conversation: Conversation) -> None:
        if (await self._open(who, conversation.id)).version != conversation.version:
            raise StaleWrite("the conversation has changed meanwhile")

    async def _open(self, who: Identity, id: str) -> Conversation:
        record = await self.store.get(CONVERSATION.name, id)
        if record is not None and over(record, self.now()):
            record = None
        return owned(who, conversation_of(record) if record else None, "conversation")


def _write_page(writer: PortableWriter, page: Sequence[Record]) -> None:
    writer.messages([message_of(record) for record in page])


def _emptied(sink: IO[bytes]) -> None:
    sink.seek(0)
    sink.truncate()
