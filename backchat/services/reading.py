"""Reading a document: the job that turns its bytes into pieces of text, and those into vectors."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from backchat.domain.assistant import Assistant
from backchat.domain.conversation import Conversation
from backchat.domain.document import Document, DocumentStatus
from backchat.domain.identity import Identity
from backchat.domain.usage import Payer
from backchat.domain.workspace import personal_workspace
from backchat.errors import BackchatError, NotFound
from backchat.ports.extraction import Unreadable
from backchat.ports.providers import ImageData
from backchat.ports.storage import Change, Put, RecordStore
from backchat.services import blobs
from backchat.services.document_records import DOCUMENT, Piece, document_of, document_put, piece_put, scope_of
from backchat.services.extraction import Extracted, Extraction
from backchat.services.filenames import IMAGES, image_type, suffix_of
from backchat.services.jobs import Job
from backchat.services.stored import CONVERSATION, conversation_of

TOPIC = "document"
CHARACTERS_PER_TOKEN = 4
"""Of English prose, over the tokenizers of the models in use: an estimate, for no two of them count alike."""
AT_A_TIME = 256
"""Pieces that are made before others may go on."""

AssistantOf = Callable[[Identity, str], Awaitable[Assistant]]
Describe = Callable[[ImageData, Payer], Awaitable[str]]
"""An image in words, and who pays for that."""


class Indexes(Protocol):
    """Makes the vectors, and has words indexed: ``backchat.services.retrieval.Retrieval``."""

    async def index(self, document: Document, texts: Sequence[str], embedder: str | None) -> list[Put]: ...
    async def warm(self, document: Document) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The handler of the jobs with the topic ``document``; their payload names the document."""

    store: RecordStore
    extraction: Extraction
    retrieval: Indexes
    assistant_of: AssistantOf
    describe: Callable[[], Describe | None]
    now: Callable[[], datetime]

    async def work(self, job: Job) -> Sequence[Change]:
        document = await self._unread(job)
        if document is None:
            return []
        if document.status == "pending":
            now = self.now()
            document = replace(document, status="processing", started_at=now, updated_at=now)
            await self.store.apply([document_put(document)])
            document = replace(document, version=document.version + 1)
        data = await blobs.read(self.store, document.owner, document.sha256)
        try:
            extracted = await self._extracted(document, data)
        except Unreadable as error:
            return [document_put(self._ended(document, problem=str(error)))]
        del data
        if extracted is None:
            return [document_put(self._ended(document))]
        vectors = await self.retrieval.index(
            document, [cut.text for cut in extracted.cuts], await self._embedder(document)
        )
        read = replace(
            self._ended(document),
            summary=extracted.summary or None,
            chunks=len(extracted.cuts),
            tokens=-(-extracted.characters // CHARACTERS_PER_TOKEN),
            pages=extracted.pages,
        )
        return [document_put(read), *await self._pieces(document, extracted), *vectors]

    async def failed(self, job: Job, error: BackchatError) -> Sequence[Change]:
        document = await self._unread(job)
        if document is None:
            return []
        return [document_put(self._ended(document, problem=f"it could not be indexed: {error}"))]

    async def warm(self, job: Job) -> None:
        """So that the first question does not pay for what the store has put off."""
        record = await self.store.get(DOCUMENT.name, job.payload["document"])
        if record is not None:
            await self.retrieval.warm(document_of(record))

    async def _unread(self, job: Job) -> Document | None:
        """The document, unless it was deleted or is done with."""
        record = await self.store.get(DOCUMENT.name, job.payload["document"])
        document = document_of(record) if record is not None else None
        return document if document is not None and document.status in ("pending", "processing") else None

    def _ended(self, document: Document, *, problem: str | None = None) -> Document:
        now = self.now()
        status: DocumentStatus = "indexed" if problem is None else "failed"
        return replace(document, status=status, problem=problem, completed_at=now, updated_at=now)

    async def _extracted(self, document: Document, data: bytes) -> Extracted | None:
        """None for what holds no text and shows none that could be asked for."""
        suffix = suffix_of(document.filename)
        if suffix not in IMAGES or suffix in self.extraction.extractors:
            return await self.extraction.read(document.filename, data)
        mime = image_type(data)
        describe = self.describe()
        if describe is None or mime is None:
            return None
        words = await describe(ImageData(mime, data), await self._payer(document))
        return await self.extraction.cut(document.filename, words) if words.strip() else None

    async def _payer(self, document: Document) -> Payer:
        """Its owner, in the workspace of the conversation that it is in, else in their own. Raises NotFound."""
        if document.conversation is None:
            return Payer(user=document.owner, workspace=personal_workspace(document.owner))
        conversation = await self._conversation(document.conversation)
        return Payer(user=document.owner, workspace=conversation.home, conversation=conversation.id)

    async def _embedder(self, document: Document) -> str | None:
        """The choice of the assistant that answers from the document."""
        who = Identity(user=document.owner)
        try:
            assistant = document.assistant
            if document.conversation is not None:
                assistant = (await self._conversation(document.conversation)).assistant
            return (await self.assistant_of(who, assistant)).embedder if assistant is not None else None
        except NotFound:
            return None  # deleted meanwhile, and the document with it

    async def _conversation(self, id: str) -> Conversation:
        """Whatever its owner may do there now: what was added is read. Raises NotFound."""
        record = await self.store.get(CONVERSATION.name, id)
        if record is None:
            raise NotFound("conversation not found")
        return conversation_of(record)

    async def _pieces(self, document: Document, extracted: Extracted) -> list[Put]:
        scope = scope_of(assistant=document.assistant, conversation=document.conversation)
        puts: list[Put] = []
        for n, cut in enumerate(extracted.cuts):
            piece = Piece(
                document=document.id,
                owner=document.owner,
                scope=scope,
                n=n,
                text=cut.text,
                filename=document.filename,
                start=cut.start,
                end=cut.end,
                page=cut.page,
            )
            puts.append(piece_put(piece))
            if n % AT_A_TIME == 0:
                await asyncio.sleep(0)
        return puts
