"""Messages as those of another conversation, with the images and documents that they show."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from backchat.domain.conversation import Conversation
from backchat.domain.identity import Identity
from backchat.domain.message import File, Image, Message, Part
from backchat.errors import DocumentsPending
from backchat.ports.storage import Change, Condition, Put, Query, RecordStore, Require
from backchat.services import blobs
from backchat.services.document_copies import copied_text
from backchat.services.document_records import DOCUMENT, document_put, scope_of
from backchat.services.document_scopes import UNREAD, documents_in
from backchat.services.extents import rooted
from backchat.services.files import FILE, FILE_CHUNK
from backchat.services.for_readers import message_for_readers

TICK = timedelta(milliseconds=1)
RESET = ("error", "unfinished")
"""Extras that say of a reply that it did not end well; a copy is an ended conversation (contract, 3.1)."""


@dataclass(frozen=True, slots=True)
class Renamed:
    """The ids of copies by those of the originals; of messages, images and documents."""

    messages: Mapping[str, str]
    images: Mapping[str, str]
    documents: Mapping[str, str] = field(default_factory=dict)


def copied_messages(who: Identity, conversation: str, messages: Sequence[Message], ids: Renamed) -> list[Message]:
    """The messages for a conversation of ``who``, of seqs from 1 in their order, each later than its parent.

    For another user than theirs, of what ``for_readers`` leaves of them, and that user is the author of all questions;
    in copies of the owner's, authors stay who they were.
    """
    created: dict[str, datetime] = {}
    copies: list[Message] = []
    for seq, m in enumerate(rooted(messages), 1):
        parent = m.parent
        created[m.id] = m.created_at if parent is None else max(m.created_at, created[parent] + TICK)
        own = who.user == m.owner
        m = m if own else message_for_readers(m)
        extra = {name: value for name, value in m.extra.items() if name not in RESET}
        copy = replace(
            m,
            id=ids.messages[m.id],
            conversation=conversation,
            owner=who.user,
            seq=seq,
            parent=ids.messages[parent] if parent is not None else None,
            parts=tuple([_part(p, ids) for p in m.parts]),
            created_at=created[m.id],
            status="complete",
            run=None,
            extra=extra,
            version=0,
        )
        if not own:
            copy = replace(copy, author=who.user if m.author is not None else None)
        copies.append(copy)
    return copies


def _part(part: Part, ids: Renamed) -> Part:
    if isinstance(part, Image):
        return Image(ids.images[part.file], part.mime)
    if isinstance(part, File):
        return File(ids.documents.get(part.document, part.document), part.name)
    return part


async def copied_images(
    store: RecordStore, source: str, copies: Sequence[Message], ids: Mapping[str, str]
) -> list[Put]:
    """What stores the images that copies of messages show; ``ids`` are the new ones by the old.

    Only images that were kept for the conversation ``source`` are stored: a message of it may name any file.
    """
    shown = {p.file: m for m in reversed(copies) for p in m.parts if isinstance(p, Image)}
    puts: list[Put] = []
    for old, new in ids.items():
        record = await store.get(FILE.name, old)
        if record is None or record.doc["conversation"] != source:
            continue
        message = shown[new]
        place = {"conversation": message.conversation, "seq": message.seq}
        puts.append(Put(FILE.name, new, {**record.doc, **place, "owner": message.owner}, 0))
        where: tuple[Condition, ...] = (("conversation", (source,)), ("file", (old,)))
        chunks = await store.find(Query(kind=FILE_CHUNK.name, where=where, limit=record.doc["chunks"]))
        puts += [
            Put(FILE_CHUNK.name, new + chunk.id.removeprefix(old), {**chunk.doc, **place, "file": new}, 0)
            for chunk in chunks
        ]
    return puts


async def copied_documents(
    store: RecordStore, source: Conversation, target: str, new_id: Callable[[], str]
) -> tuple[Mapping[str, str], list[Change]]:
    """The new ids of a conversation's documents by their old ones, and what stores them for another of its owner.

    Stale when one is deleted meanwhile. Raises DocumentsPending while one is being read.
    """
    ids: dict[str, str] = {}
    changes: list[Change] = []
    shas: list[str] = []
    for document in await documents_in(store, [source.owner], [scope_of(conversation=source.id)]):
        if document.status in UNREAD:
            what = f"a document is still being read: {document.filename}; try again in a moment"
            raise DocumentsPending(what, retry_after=5)
        copy = replace(document, id=new_id(), conversation=target, version=0)
        ids[document.id] = copy.id
        shas.append(document.sha256)
        changes += [Require(DOCUMENT.name, document.id), document_put(copy)]
        changes += await copied_text(store, document, copy)
    return ids, [*changes, *await blobs.shared(store, source.owner, shas)]
