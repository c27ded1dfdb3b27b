"""Conversations as files: Markdown to read, and backchat's own format, which an import reads back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from typing import Any

import orjson

from backchat.domain.identity import Identity
from backchat.ports.storage import RecordStore
from backchat.services.bundles import Bundles, ExportFormat
from backchat.services.conversations import Conversations
from backchat.services.for_readers import conversation_for_readers, message_for_readers
from backchat.services.markdown import rendered
from backchat.services.paths import Path
from backchat.services.snapshots import Snapshots

__all__ = ["ExportFormat", "Exports"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exports:
    store: RecordStore
    conversations: Conversations
    now: Callable[[], datetime]

    async def portable(self, who: Identity, id: str) -> dict[str, Any]:
        """One conversation in backchat's own format, a JSON object; docs/formats.md describes it."""
        sink = BytesIO()
        await Snapshots(self.store, self.conversations.access).write(who, id, sink)
        value: dict[str, Any] = await asyncio.to_thread(orjson.loads, sink.getvalue())
        return value

    async def markdown(self, who: Identity, id: str) -> str:
        """The active path of one conversation, to read."""
        conversation = await self.conversations.open(who, id)
        path = await Path(self.store, id, conversation.leaf).latest(conversation.next_seq)
        if conversation.owner != who.user:
            conversation = conversation_for_readers(conversation)
            path = await asyncio.to_thread(lambda: [message_for_readers(m) for m in path])
        return await asyncio.to_thread(rendered, conversation, path)

    def everything(
        self, who: Identity, format: ExportFormat, *, done: Callable[[int], None] = lambda n: None
    ) -> AsyncIterator[bytes]:
        """All conversations of the caller but temporary ones, oldest first, and a manifest with a SHA-256 of each.

        ``done`` is told how many have been written.
        """
        return Bundles(self.store, self.conversations.access, self.now).write(who, format, done)
