"""Conversations of a file as those of a user here."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha1, sha256
from uuid import UUID

import orjson

from backchat.domain.conversation import Conversation, given_title
from backchat.domain.limits import Retention
from backchat.domain.message import Foreign, Image, Message, MessageStatus, Part
from backchat.ports.importing import SourceConversation
from backchat.ports.providers import ImageData
from backchat.ports.storage import Put
from backchat.services.files import file_puts
from backchat.services.import_trees import Node, ordered, sane
from backchat.services.storable import storable, whole
from backchat.services.stored import conversation_put, message_put, part_doc

_IDS = UUID("8f3c5f0e-6f0b-5d0a-9d55-1c1a6f3b7c21")
_OWN = re.compile(r"[0-9A-Za-z._-]{1,128}")
_ENDED: Mapping[MessageStatus, MessageStatus] = {"running": "interrupted", "waiting": "interrupted"}


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose a conversation becomes, and the name of the importer that read it."""

    owner: str
    importer: str


@dataclass(frozen=True, slots=True)
class Built:
    """A conversation as it is stored if there is nothing of it yet.

    exact   it has the ids of its source, which may be taken by others; ``otherwise`` is the id that it has else
    images  of each message that has some, by its id: their ids and bytes
    """

    conversation: Conversation
    messages: Sequence[Message]
    images: Mapping[str, Sequence[tuple[str, ImageData]]]
    exact: bool
    otherwise: str

    def changes(self) -> list[Put]:
        """What stores it anew. Takes as long as it is large."""
        return [_cleaned(conversation_put(self.conversation)), *self.message_puts(self.conversation, self.messages)]

    def message_puts(self, conversation: Conversation, messages: Sequence[Message]) -> list[Put]:
        """What stores some of its messages, with their images, in a conversation."""
        puts: list[Put] = []
        for message in messages:
            puts.append(_cleaned(message_put(message)))
            place = replace(conversation, next_seq=message.seq)
            for id, image in self.images.get(message.id, ()):
                puts += file_puts(id, place, image, message.created_at)
        return puts


def _cleaned(put: Put) -> Put:
    doc = storable(put.doc)
    return put if doc is put.doc else replace(put, doc=doc)


def built(
    source: SourceConversation,
    origin: Origin,
    retention: Retention,
    now: datetime,
    *,
    exact: bool,
    taken: Collection[str] = (),
) -> Built:
    """What a source is here: the same ids every time, so that it is found again.

    With ``exact`` they are its own, if it has ids that can be; else they come from the owner, the importer, and what
    the source is called there, or what is in it if it has no name.
    """
    exact = exact and source.exact and _OWN.fullmatch(source.id or "") is not None
    nodes = ordered(source, now)
    name = _name(source, nodes) if source.id is None else source.id
    own = f"{origin.importer}:{name}"
    otherwise = derived(origin.owner, own)
    id = name if exact else otherwise

    def is_own(what: str) -> bool:
        return exact and what not in taken and _OWN.fullmatch(what) is not None

    def id_of(what: str) -> str:
        return what if is_own(what) else derived(origin.owner, own, what)

    seqs = {node.message.id: seq for seq, node in enumerate(nodes, 1)}
    ids = {name: id_of(name) for name in seqs}
    images: dict[str, list[tuple[str, ImageData]]] = {}
    messages: list[Message] = []
    held: set[str] = set()
    for node in nodes:
        m = node.message
        parts: list[Part] = []
        for part in m.parts:
            if isinstance(part, Image):
                data = source.files.get(part.file)
                if data is None:
                    parts.append(Foreign({"type": "image", "file": part.file, "mime": part.mime}))
                    continue
                file = part.file if is_own(part.file) else derived(origin.owner, own, "file", part.file)
                if file not in held:
                    held.add(file)
                    images.setdefault(ids[m.id], []).append((file, ImageData(part.mime, data)))
                part = Image(file, part.mime)
            parts.append(part)
        messages.append(
            Message(
                id=ids[m.id],
                conversation=id,
                owner=origin.owner,
                seq=seqs[m.id],
                role=m.role,
                parts=tuple(parts),
                created_at=node.created_at,
                parent=ids[node.parent.message.id] if node.parent is not None else None,
                status=_ENDED.get(m.status, m.status),
                author=origin.owner if m.role == "user" else None,
                provider=m.provider,
                model=m.model,
                usage=m.usage,
                updated_at=sane(m.updated_at),
                metadata=m.metadata,
                extra=m.extra,
            )
        )
    conversation = _conversation(source, origin, id, own, messages, seqs, retention, now)
    return Built(conversation, messages, images, exact, otherwise)


def _conversation(
    source: SourceConversation,
    origin: Origin,
    id: str,
    own: str,
    messages: Sequence[Message],
    seqs: Mapping[str, int],
    retention: Retention,
    now: datetime,
) -> Conversation:
    created = sane(source.created_at) or (messages[0].created_at if messages else now)
    updated = sane(source.updated_at) or (messages[-1].created_at if messages else created)
    title = whole(source.title or "")
    leaf = seqs.get(source.leaf, len(messages)) if source.leaf is not None else len(messages)
    return Conversation(
        id=id,
        owner=origin.owner,
        title=(title if source.exact else given_title(title)) or source.untitled,
        created_at=created,
        updated_at=updated if source.exact else max(created, updated),
        channel=source.channel,
        leaf=messages[leaf - 1].id if messages else None,
        next_seq=len(messages) + 1,
        messages=len(messages),
        characters=sum([len(m.text) for m in messages]),
        archived_at=sane(source.archived_at),
        pinned=source.pinned,
        expires_at=retention.deadline(False, now),
        tags=tuple(dict.fromkeys([whole(tag) for tag in source.tags])),
        source=own if len(own) <= 1000 else None,
        options=source.options,
        metadata=source.metadata,
    )


def derived(*names: str) -> str:
    """A UUID of version 5: the same for the same names."""
    digest = sha1(_IDS.bytes + "\0".join(names).encode("utf-8", "surrogatepass"), usedforsecurity=False)
    return str(UUID(bytes=digest.digest()[:16], version=5))


def _name(source: SourceConversation, nodes: Sequence[Node]) -> str:
    """A name made of what is in it."""
    digest = sha256(orjson.dumps(storable([source.title, source.created_at and source.created_at.isoformat()])))
    for node in nodes:
        m = node.message
        parent = node.parent.message.id if node.parent is not None else None
        said = m.created_at and m.created_at.isoformat()
        digest.update(orjson.dumps(storable([m.id, parent, m.role, said, [part_doc(p) for p in m.parts]])))
    return f"sha256-{digest.hexdigest()}"
