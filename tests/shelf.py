"""Documents on a store, for tests of retrieval."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from backchat.domain.assistant import Assistant
from backchat.domain.document import Document, Passage
from backchat.domain.limits import DocumentLimits
from backchat.ports.storage import Change, Delete, RecordStore
from backchat.services.document_records import (
    CHUNK,
    DOCUMENT,
    VECTORS,
    Piece,
    document_put,
    piece_put,
    scope_of,
    text_purges,
)
from backchat.services.embedders import Embedders
from backchat.services.retrieval import Retrieval
from backchat.testing.embedding import HashEmbedder
from backchat.testing.memory_store import open_memory
from backchat_sqlite.component import SqliteSettings, open_sqlite

BEGINNING = datetime(2024, 1, 1, tzinfo=UTC)
LIMITS = DocumentLimits()


KINDS = (DOCUMENT, CHUNK, VECTORS)


@asynccontextmanager
async def open_store(which: str, directory: Path) -> AsyncIterator[RecordStore]:
    """The store of that name, for documents: ``memory`` or ``sqlite``."""
    if which == "memory":
        async with open_memory(KINDS) as memory:
            yield memory
    else:
        file = SqliteSettings().load({"path": str(directory / "test.db")})
        async with open_sqlite(file, KINDS, lambda _: None) as sqlite:
            yield sqlite


class Shelf:
    """Documents as the ingest stores them, and questions about them."""

    def __init__(
        self, store: RecordStore, embedder: HashEmbedder | None = None, limits: DocumentLimits = LIMITS
    ) -> None:
        self.store = store
        self.retrieval = Retrieval(store, Embedders({} if embedder is None else {"first": embedder}), limits)
        self.made = 0

    async def put(
        self,
        *texts: str,
        owner: str = "ann",
        assistant: str | None = None,
        conversation: str | None = None,
        embedded: bool = True,
        status: Any = "indexed",
    ) -> Document:
        """A document of these passages, a second newer than the last one; of the assistant ``a1`` unless said."""
        if conversation is None and assistant is None:
            assistant = "a1"
        self.made += 1
        now = BEGINNING + timedelta(seconds=self.made)
        document = Document(
            id=f"d{self.made:03}",
            owner=owner,
            filename=f"{self.made}.txt",
            mime="text/plain",
            size=1,
            sha256="",
            created_at=now,
            updated_at=now,
            assistant=assistant,
            conversation=conversation,
            status=status,
            chunks=len(texts),
        )
        scope = scope_of(assistant=assistant, conversation=conversation)
        changes: list[Change] = [document_put(document)]
        for n, text in enumerate(texts):
            piece = Piece(
                document=document.id,
                owner=owner,
                scope=scope,
                n=n,
                text=text,
                filename=document.filename,
                start=10 * n,
                end=10 * n + 9,
                page=n + 1,
            )
            changes.append(piece_put(piece))
        if embedded:
            changes += await self.retrieval.index(document, texts, None)
        await self.store.apply(changes)
        return document

    async def remove(self, document: Document) -> None:
        await self.store.apply([Delete(DOCUMENT.name, document.id), *text_purges(document.owner, document.id)])

    async def ask(
        self, question: str, *, owner: str = "ann", assistant: str = "a1", conversation: str = "c1", top_k: int = 10
    ) -> Sequence[Passage]:
        whose = Assistant(id=assistant, owner=owner, name="A", created_at=BEGINNING, updated_at=BEGINNING, top_k=top_k)
        return await self.retrieval.search(owner, assistant=whose, conversation=conversation, question=question)

    async def found(self, question: str, **rest: Any) -> list[str]:
        return [p.text for p in await self.ask(question, **rest)]


async def first(shelf: Shelf, question: str, **rest: Any) -> str:
    return (await shelf.found(question, **rest))[0]
