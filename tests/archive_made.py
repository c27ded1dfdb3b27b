"""Conversations as records, and the archive over them, for tests of lists, searches and tags."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from backchat.domain.conversation import Conversation
from backchat.domain.identity import Identity
from backchat.domain.message import Message, Text
from backchat.ports.storage import Change, RecordStore
from backchat.services.access import Access, by_table
from backchat.services.archive import Archive, Page, Wanted
from backchat.services.conversations import Conversations
from backchat.services.kinds import KINDS
from backchat.services.stored import conversation_put, message_put
from backchat.services.tags import Tags
from backchat.testing.memory_store import MemoryStore
from sqlite_files import opened

ANN, BOB = Identity(user="ann"), Identity(user="bob")
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return BEGINNING + timedelta(minutes=minutes)


class Shelf:
    """A store, and the services over it; ``time`` is what they take for now."""

    def __init__(self, store: RecordStore) -> None:
        self.store, self.time = store, at(1000)
        numbers = count(1)
        self.conversations = Conversations(
            store,
            Access(store, by_table, self.now),
            self.now,
            lambda: f"new{next(numbers):06}",
            idle=_nothing,
            stop=_nothing,
            unread=_nothing_unread,
            drop=_nothing_dropped,
        )
        self.archive = Archive(store=store, conversations=self.conversations, now=self.now)
        self.tags = Tags(
            store=store, conversations=self.conversations, now=self.now, new_id=lambda: f"tag{next(numbers):06}"
        )

    def now(self) -> datetime:
        return self.time

    async def add(self, id: str, *texts: str, **more: Any) -> Conversation:
        """Store a conversation of ann's, with these messages one after the other."""
        changes, conversation = made(id, *texts, **more)
        await self.store.apply(changes)
        return conversation

    async def find(self, who: Identity = ANN, **wanted: Any) -> list[str]:
        """The ids of one page."""
        return [c.id for c in (await self.archive.find(who, Wanted(**wanted))).conversations]

    async def pages(self, **wanted: Any) -> AsyncIterator[Page]:
        """All pages, one after the other."""
        after = None
        while True:
            page = await self.archive.find(ANN, Wanted(**wanted, after=after))
            yield page
            after = page.after
            if after is None:
                return

    async def all(self, **wanted: Any) -> list[str]:
        return [c.id async for page in self.pages(**wanted) for c in page.conversations]


async def _nothing(conversation: Conversation) -> None: ...


async def _nothing_unread(conversation: Conversation) -> None: ...


def _nothing_dropped(line: str) -> None: ...


def made(id: str, *texts: str, **more: Any) -> tuple[Sequence[Change], Conversation]:
    """What stores a new conversation of ann's, with these messages one after the other."""
    given: dict[str, Any] = {"owner": "ann", "title": "", "created_at": BEGINNING, "updated_at": BEGINNING}
    conversation = Conversation(
        id=id,
        **{**given, **more},
        leaf=f"{id}-{len(texts)}" if texts else None,
        next_seq=len(texts) + 1,
        messages=len(texts),
        characters=sum(map(len, texts)),
    )
    messages = [
        Message(
            id=f"{id}-{seq}",
            conversation=id,
            owner=conversation.owner,
            seq=seq,
            role="user",
            parts=(Text(text),),
            created_at=conversation.created_at,
            parent=f"{id}-{seq - 1}" if seq > 1 else None,
        )
        for seq, text in enumerate(texts, 1)
    ]
    return [conversation_put(conversation), *map(message_put, messages)], conversation


@asynccontextmanager
async def shelf(folder: Path | None) -> AsyncIterator[Shelf]:
    """In memory, or in an SQLite file in the folder."""
    if folder is None:
        yield Shelf(MemoryStore(KINDS))
        return
    async with opened(folder / "backchat.db", KINDS, readers=2, synchronous="NORMAL") as store:
        yield Shelf(store)
