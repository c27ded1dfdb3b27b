"""The verbs on documents."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol
from weakref import WeakValueDictionary

from backchat.domain.assistant import Assistant
from backchat.domain.conversation import Conversation
from backchat.domain.document import Document, Passage
from backchat.domain.identity import Identity
from backchat.domain.limits import DocumentLimits
from backchat.domain.rights import Action
from backchat.errors import DocumentsPending, InvalidInput, NotFound, TooLarge
from backchat.ports.extraction import Extractor
from backchat.ports.storage import Change, Delete, RecordStore, Require
from backchat.services import blobs
from backchat.services.access import owned
from backchat.services.assistant_records import assistant_put
from backchat.services.document_copies import copied_text
from backchat.services.document_records import DOCUMENT, document_of, document_put, scope_of, text_purges
from backchat.services.document_scopes import UNREAD, documents_in, line_of, removed, scope_in
from backchat.services.extraction import Extraction, size_in_words
from backchat.services.filenames import IMAGES, MEDIA, TEXTS, kept_name, kept_type, suffix_of
from backchat.services.jobs import Job, Jobs, job_put, jobs_purge
from backchat.services.reading import TOPIC, AssistantOf, Describe, Reading
from backchat.services.retrieval import Retrieval
from backchat.services.retrying import retrying
from backchat.services.stored import conversation_put

NAMED = 5
"""File names that a refusal lists."""


class ConversationOf(Protocol):
    """A conversation that somebody may do this with. Raises NotFound and Forbidden."""

    async def __call__(self, who: Identity, id: str, action: Action = "read", /) -> Conversation: ...


Required = Callable[[Identity, Conversation, Action], Sequence[Change]]
"""``Access.required``."""


class Documents:
    """``extractors`` by the ends of file names, as ``by_suffix`` gives them.

    ``describe`` gives what puts an image into words, None if no model sees that is configured by then.
    """

    def __init__(
        self,
        store: RecordStore,
        jobs: Jobs,
        retrieval: Retrieval,
        extractors: Mapping[str, Extractor],
        limits: DocumentLimits,
        *,
        assistant_of: AssistantOf,
        conversation_of: ConversationOf,
        required: Required,
        describe: Callable[[], Describe | None],
        now: Callable[[], datetime],
        new_id: Callable[[], str],
    ) -> None:
        self._store, self._jobs, self._retrieval, self._limits = store, jobs, retrieval, limits
        self._extractors = extractors
        self._assistant_of, self._conversation_of, self._required = assistant_of, conversation_of, required
        self._describe = describe
        self._now, self._new_id = now, new_id
        self._adding: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        reading = Reading(
            store=store,
            extraction=Extraction(self._extractors, limits),
            retrieval=retrieval,
            assistant_of=assistant_of,
            describe=describe,
            now=now,
        )
        jobs.handle(TOPIC, reading, at_once=limits.at_once, after=reading.warm)

    @property
    def limits(self) -> DocumentLimits:
        return self._limits

    async def add(
        self,
        who: Identity,
        *,
        filename: str,
        mime: str,
        data: bytes,
        assistant: str | None = None,
        conversation: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Document:
        """Keep a file for an assistant or for one conversation, and begin to read it.

        Raises NotFound, Forbidden, TooLarge, and InvalidInput for a file without a name, without content or of a type
        that nothing here reads.
        """
        owner, _ = await self._place(who, assistant, conversation)
        name = self._checked(filename, data)
        now = self._now()
        document = Document(
            id=self._new_id(),
            owner=owner,
            filename=name,
            mime=kept_type(mime, name),
            size=len(data),
            sha256=await blobs.digest(data),
            created_at=now,
            updated_at=now,
            assistant=assistant,
            conversation=conversation,
            metadata=metadata or {},
        )
        job: Job | None = None
        if self._holds_words(name):
            payload, line = {"document": document.id}, line_of(document.id)
            job = self._jobs.job(TOPIC, owner=owner, line=line, payload=payload, weight=document.size)
        else:
            document = replace(document, status="indexed", started_at=now, completed_at=now)

        async def attempt() -> None:
            # Put again as it is: to delete it with what ``removal`` found before would be to lose this one's bytes.
            _, parent = await self._place(who, assistant, conversation)
            begun = [job_put(job)] if job is not None else []
            kept = await blobs.kept(self._store, owner, document.sha256, data)
            await self._store.apply([*parent, document_put(document), *kept, *begun])

        # One after the other: those for one place would make each other stale.
        async with self._adding.setdefault(scope_in(document), asyncio.Lock()):
            await retrying(attempt)
        if job is not None:
            self._jobs.start(job)
        return replace(document, version=1)

    async def of(
        self, who: Identity, *, assistant: str | None = None, conversation: str | None = None
    ) -> Sequence[Document]:
        """The documents of an assistant or a conversation, oldest first. Raises NotFound and Forbidden."""
        owner, _ = await self._place(who, assistant, conversation)
        scope = scope_of(assistant=assistant, conversation=conversation)
        return await documents_in(self._store, [owner], [scope])

    async def open(self, who: Identity, id: str) -> Document:
        """Raises NotFound, or NotOwned for somebody else's."""
        record = await self._store.get(DOCUMENT.name, id)
        document = owned(who, document_of(record) if record else None, "document")
        if document.conversation is not None:
            try:
                await self._conversation_of(who, document.conversation, "attach")
            except NotFound:
                raise NotFound("document not found") from None
        return document

    async def content(self, who: Identity, id: str) -> bytes:
        """The file as it was added."""
        document = await self.open(who, id)
        return await blobs.read(self._store, document.owner, document.sha256)

    async def discard(self, who: Identity, id: str) -> Document:
        """Delete a document with its text, and its bytes unless another one has them; being read, it is dropped."""

        async def attempt() -> Document:
            document = await self.open(who, id)
            await self._store.apply(
                [
                    Delete(DOCUMENT.name, id, document.version),
                    *text_purges(document.owner, id),
                    jobs_purge(document.owner, [line_of(id)]),
                    *await blobs.released(self._store, document.owner, [document.sha256]),
                ]
            )
            self._jobs.drop(line_of(id))
            return document

        return await retrying(attempt)

    async def ready(self, who: Identity, *, assistant: str | None, conversation: str | None) -> None:
        """Wait for the documents of both that are being read, at most ``limits.wait`` seconds.

        Raises DocumentsPending if that is not enough; it names the files to nobody but their owner.
        """
        scopes: list[str] = []
        owners = [who.user] if conversation is None else None  # somebody's that is shared with the caller
        if assistant is not None:
            scopes.append(scope_of(assistant=assistant))
        if conversation is not None:
            scopes.append(scope_of(conversation=conversation))
        pending = await documents_in(self._store, owners, scopes, status=UNREAD)
        if not pending or await self._settled(pending):
            return
        left = await documents_in(self._store, [*{d.owner for d in pending}], scopes, status=UNREAD)
        if left:
            names = [d.filename for d in left if d.owner == who.user]
            named = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
            what = f"documents are still being read{': ' if named else ''}{named}"
            raise DocumentsPending(f"{what}; try again in a moment", retry_after=5)

    async def _settled(self, pending: Sequence[Document]) -> bool:
        """Wait until they have been read; False if that takes longer than ``limits.wait``."""
        owners = [*{d.owner for d in pending}]
        return await self._jobs.settled([line_of(d.id) for d in pending], self._limits.wait, owners=owners)

    async def removal(self, owner: str, assistant: str) -> list[Change]:
        """What deletes all documents of an owner's assistant. Stale when one of them changes meanwhile.

        Those that are being read are dropped at once.

        Apply it with the deletion of the assistant, at the version that it had before: a document that is added
        meanwhile raises that version.
        """
        for d in (documents := await documents_in(self._store, [owner], [scope_of(assistant=assistant)])):
            self._jobs.drop(line_of(d.id))
        return await removed(self._store, documents)

    async def drop(self, conversation: Conversation) -> None:
        """Stop reading documents of a conversation that is about to be deleted with them."""
        scope = scope_of(conversation=conversation.id)
        for d in await documents_in(self._store, [conversation.owner], [scope], status=UNREAD):
            self._jobs.drop(line_of(d.id))

    async def copy(self, source: Assistant, target: Assistant) -> int:
        """Give an assistant of the same owner copies of another's indexed documents; returns how many.

        Each is a batch of its own: what fails in the middle leaves those before it. One that is deleted meanwhile is
        left out. Raises NotFound when the target is deleted meanwhile.
        """
        copied = 0
        scope = scope_of(assistant=source.id)
        for document in await documents_in(self._store, [source.owner], [scope], status=("indexed",)):
            copied += await self._copied(document.id, target)
        return copied

    async def search(self, owner: str, *, assistant: Assistant, conversation: str, question: str) -> Sequence[Passage]:
        """The ``assistant.top_k`` best passages of the documents of both, best first."""
        return await self._retrieval.search(owner, assistant=assistant, conversation=conversation, question=question)

    async def _place(
        self, who: Identity, assistant: str | None, conversation: str | None
    ) -> tuple[str, Sequence[Change]]:
        """Whose documents they are in an assistant or a conversation, whoever adds them; and what puts it as it stands.

        Raises NotFound and Forbidden.
        """
        if assistant is not None and conversation is None:
            parent = await self._assistant_of(who, assistant)
            return parent.owner, [assistant_put(parent)]
        if conversation is not None and assistant is None:
            there = await self._conversation_of(who, conversation, "attach")
            return there.owner, [conversation_put(there), *self._required(who, there, "attach")]
        raise ValueError("documents belong to an assistant or to a conversation")

    def _checked(self, filename: str, data: bytes) -> str:
        name = kept_name(filename)
        suffix = suffix_of(name)
        if suffix not in self._extractors and suffix not in TEXTS and suffix not in MEDIA:
            what = f"{suffix} files are" if suffix else "files without an ending are"
            raise InvalidInput(f"{what} not read here: {_listed(self._extractors)}", field="body.file")
        if not data:
            raise InvalidInput("the file is empty", field="body.file")
        if len(data) > self._limits.max_size:
            most = size_in_words(self._limits.max_size)
            raise TooLarge(f"the file is larger than this server takes ({most})", field="body.file")
        return name

    def _holds_words(self, name: str) -> bool:
        """Whether there is something to read, or to have described."""
        suffix = suffix_of(name)
        return suffix in self._extractors or suffix not in MEDIA or (suffix in IMAGES and self._describe() is not None)

    async def _copied(self, id: str, target: Assistant) -> bool:
        """False when there is no such document any more."""
        who = Identity(user=target.owner)
        new = self._new_id()

        async def attempt() -> bool:
            _, parent = await self._place(who, target.id, None)
            record = await self._store.get(DOCUMENT.name, id)
            if record is None:
                return False
            document = document_of(record)
            copy = replace(document, id=new, assistant=target.id, conversation=None, version=0)
            kept = await blobs.shared(self._store, document.owner, [document.sha256])
            text = await copied_text(self._store, document, copy)
            there = Require(DOCUMENT.name, id)  # else what was read of its text may be half of it
            await self._store.apply([*parent, there, *kept, document_put(copy), *text])
            return True

        return await retrying(attempt)


def _listed(extractors: Mapping[str, Extractor]) -> str:
    return f"it takes {' '.join(sorted({*extractors, *MEDIA}))}"
