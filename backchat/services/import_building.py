"""Conversations of a file as those of a user here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha1, sha256
from types import MappingProxyType
from uuid import UUID

import orjson
import uuid_utils

from backchat.domain.conversation import Conversation, given_title
from backchat.domain.limits import Retention
from backchat.domain.message import Foreign, Image, Message, MessageStatus, Part
from backchat.ports.importing import SourceConversation
from backchat.ports.providers import ImageData
from backchat.ports.storage import Put
from backchat.services.files import FILE, file_puts
from backchat.services.import_trees import Node, ordered, sane
from backchat.services.storable import storable, whole
from backchat.services.stored import MESSAGE, conversation_put, message_put, part_doc
from backchat.services.tag_records import fitting

_IDS = UUID("8f3c5f0e-6f0b-5d0a-9d55-1c1a6f3b7c21")
_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_OWN = re.compile(r"[0-9A-Za-z._-]{1,128}")
"""What may be the id of a message, and the name of a channel."""
MOST = 3
"""Ids that are derived for a thing while others have them."""
Choice = Mapping[tuple[str, str], str]
"""Ids by the kinds and ids in whose place they are."""
_ENDED: Mapping[MessageStatus, MessageStatus] = {"running": "interrupted", "waiting": "interrupted"}


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose a conversation becomes, and the name of the importer that read it."""

    owner: str
    importer: str


@dataclass(frozen=True, slots=True)
class Built:
    """A conversation as it is stored if there is nothing of it yet.

    images  of each message that has some, by its id: their ids and bytes
    homes   the ids under which it may be stored already, the likeliest first; ``names`` those that it may get, the best
            first. Others may have any of them.
    """

    conversation: Conversation
    messages: Sequence[Message]
    images: Mapping[str, Sequence[tuple[str, ImageData]]]
    homes: Sequence[str]
    names: Sequence[str]

    def changes(self) -> list[Put]:
        """What stores it anew. Takes as long as it is large."""
        return [_cleaned(conversation_put(self.conversation)), *self.message_puts(self.conversation, self.messages)]

    def message_puts(self, conversation: Conversation, messages: Sequence[Message]) -> list[Put]:
        """What stores some of its messages, with their images, in a conversation."""
        puts: list[Put] = []
        for message in messages:
            puts.append(_cleaned(message_put(message)))
            if images := self.images.get(message.id):
                place = replace(conversation, next_seq=message.seq)
                for id, image in images:
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
    id: str | None = None,
    choice: Choice = MappingProxyType({}),
) -> Built:
    """What a source is here: the same ids every time, so that it is found again.

    They come from the owner, the importer, and what the source is called there, or what is in it if it has no name. An
    ``exact`` one has its own, if that is a UUID. ``id`` is another one for the conversation; its messages and images
    have their own ids where the conversation has, and others where ``choice`` says so.
    """
    nodes = ordered(source, now)
    name = _name(source, nodes) if source.id is None else source.id
    own = f"{origin.importer}:{name}"
    names = [derived(origin.owner, own), *[derived(origin.owner, own, "", str(n)) for n in range(2, MOST + 1)]]
    homes = names
    if source.id is not None and _OWN.fullmatch(source.id) is not None:
        homes = [names[0], source.id, *names[1:]]
        if source.exact and _UUID.fullmatch(source.id) is not None:
            names = [source.id, *names]
    id = id or names[0]
    is_own = id == source.id

    def id_of(kind: str, what: str, *names: str) -> str:
        fits = is_own and _OWN.fullmatch(what) is not None
        wished = what if fits else derived(origin.owner, own, *names)
        return choice.get((kind, wished), wished)

    seqs = {node.name: seq for seq, node in enumerate(nodes, 1)}
    ids = {name: id_of(MESSAGE.name, name, name) for name in seqs}
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
                file = id_of(FILE.name, part.file, "file", part.file)
                if file not in held:
                    held.add(file)
                    images.setdefault(ids[node.name], []).append((file, ImageData(part.mime, data)))
                part = Image(file, part.mime)
            parts.append(part)
        messages.append(
            Message(
                id=ids[node.name],
                conversation=id,
                owner=origin.owner,
                seq=seqs[node.name],
                role=m.role,
                parts=tuple(parts),
                created_at=node.created_at,
                parent=ids[node.parent.name] if node.parent is not None else None,
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
    return Built(conversation, messages, images, homes, names)


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
        channel=source.channel if _OWN.fullmatch(source.channel) else "import",
        leaf=messages[leaf - 1].id if messages else None,
        next_seq=len(messages) + 1,
        messages=len(messages),
        characters=sum([len(m.text) for m in messages]),
        archived_at=sane(source.archived_at),
        pinned=source.pinned,
        expires_at=retention.deadline(False, now),
        tags=fitting([whole(tag) for tag in source.tags]),
        source=own if len(own) <= 1000 else None,
        completed=source.completed,
        settings=source.settings,
        options=source.options,
        metadata=source.metadata,
    )


def another(id: str, conversation: str, n: int) -> str:
    """The n-th id, from 2, of what has this one in a conversation if nothing else has it."""
    return derived(conversation, id, str(n))


def derived(*names: str) -> str:
    """A UUID of version 5: the same for the same names."""
    digest = sha1(_IDS.bytes + "\0".join(names).encode("utf-8", "surrogatepass"), usedforsecurity=False)
    return str(uuid_utils.UUID(bytes=digest.digest()[:16], version=5))


def _name(source: SourceConversation, nodes: Sequence[Node]) -> str:
    """A name made of what is in it."""
    digest = sha256(orjson.dumps(storable([source.title, source.created_at and source.created_at.isoformat()])))
    for node in nodes:
        m = node.message
        parent = node.parent.message.id if node.parent is not None else None
        said = m.created_at and m.created_at.isoformat()
        digest.update(orjson.dumps(storable([m.id, parent, m.role, said, [part_doc(p) for p in m.parts]])))
    return f"sha256-{digest.hexdigest()}"
