"""Conversations of any shape, put into a store, written by the exports and compared with what is read back."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

from hypothesis import strategies as st

from backchat.domain.conversation import Conversation
from backchat.domain.identity import Identity
from backchat.domain.message import (
    File,
    Foreign,
    Image,
    Message,
    MessageStatus,
    Part,
    Reasoning,
    Role,
    Text,
    ToolCall,
    ToolResult,
    Usage,
)
from backchat.domain.settings import ModelSettings, Sampling
from backchat.ports.importing import SourceConversation, Unreadable
from backchat.ports.providers import ImageData
from backchat.ports.storage import Change, RecordStore
from backchat.services.access import Access, by_table
from backchat.services.bundles import ExportFormat
from backchat.services.conversations import Conversations
from backchat.services.exports import Exports
from backchat.services.files import file_puts
from backchat.services.stored import conversation_put, message_put
from backchat_importers.backchat import Backchat

ANN, BOB = Identity(user="ann"), Identity(user="bob")
BEGINNING = datetime(2024, 1, 1, tzinfo=UTC)
LATER = BEGINNING + timedelta(days=700)


def exports(store: RecordStore) -> Exports:
    async def nothing(_: Any) -> Any:
        return []

    def dropped(line: str) -> None: ...

    def now() -> datetime:
        return LATER

    return Exports(
        store=store,
        conversations=Conversations(store, Access(store, by_table, now), now, str, nothing, nothing, nothing, dropped),
        now=now,
    )


@dataclass(frozen=True)
class Kept:
    """A conversation as it is in a store, with the bytes of its images."""

    conversation: Conversation
    messages: Sequence[Message]
    files: dict[str, bytes]

    @property
    def changes(self) -> list[Change]:
        changes: list[Change] = [conversation_put(self.conversation), *map(message_put, self.messages)]
        for m in self.messages:
            at = replace(self.conversation, next_seq=m.seq)
            for p in m.parts:
                if isinstance(p, Image) and p.file in self.files:
                    changes += file_puts(p.file, at, ImageData(p.mime, self.files[p.file]), m.created_at)
        return changes


def talk(id: str, *texts: str, **more: Any) -> Kept:
    """A conversation of these texts, one after the other, by user and assistant in turn."""
    created = more.pop("created_at", BEGINNING)
    messages = [
        Message(
            id=f"{id}-{n}",
            conversation=id,
            owner="ann",
            seq=n,
            role="user" if n % 2 else "assistant",
            parts=(Text(text),),
            created_at=created + timedelta(seconds=n),
            parent=f"{id}-{n - 1}" if n > 1 else None,
        )
        for n, text in enumerate(texts, 1)
    ]
    conversation = Conversation(
        id=id,
        **{"owner": "ann", "title": f"Talk {id}", "created_at": created, "updated_at": created} | more,
        leaf=messages[-1].id if messages else None,
        next_seq=len(messages) + 1,
        messages=len(messages),
    )
    return Kept(conversation, messages, {})


texts = st.text(max_size=12)
names = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=6)
channels = st.text("abcXYZ019._-", min_size=1, max_size=6)
moments = st.integers(-(10**12), 10**13).map(lambda ms: BEGINNING + timedelta(milliseconds=ms))
data = st.dictionaries(
    texts,
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, width=64) | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=4,
    ).filter(lambda v: v not in (float("inf"), float("-inf")) and "Infinity" not in json.dumps(v)),
    max_size=3,
)
numbers = st.none() | st.integers(0, 2) | st.floats(0, 2)
samplings = st.builds(
    Sampling,
    temperature=numbers,
    max_tokens=st.none() | st.integers(1, 10**6),
    top_p=numbers,
    frequency_penalty=numbers,
    presence_penalty=numbers,
    parameters=data,
)
settings = st.builds(
    ModelSettings,
    provider=st.none() | names,
    model=st.none() | names,
    system=texts,
    sampling=samplings,
    agent=st.none() | names,
)
parts = st.one_of(
    st.builds(Text, texts),
    st.builds(Reasoning, texts),
    st.builds(ToolCall, texts, texts, texts),
    st.builds(ToolResult, texts, texts),
    st.builds(File, texts, texts),
    st.builds(Foreign, data),
)
usages = st.none() | st.builds(Usage, *[st.integers(0, 10**9)] * 4)
statuses = st.sampled_from([s for s in get_args(MessageStatus) if s not in ("running", "waiting")])


@st.composite
def trees(draw: Callable[..., Any]) -> Kept:
    """A conversation ``$`` with branches, several roots and messages whose parents were deleted."""
    messages: list[Message] = []
    files: dict[str, bytes] = {}
    seq = 0
    for n in range(draw(st.integers(0, 6))):
        seq += draw(st.integers(1, 3))
        own: tuple[Part, ...] = tuple(draw(st.lists(parts, max_size=3)))
        if draw(st.integers(0, 3)) == 0:
            files[f"$i{n}"] = draw(st.binary(max_size=30))
            own += (Image(f"$i{n}", draw(names)),)
        earlier = [m.id for m in messages]
        message = Message(
            id=f"$m{n}",
            conversation="$",
            owner="ann",
            seq=seq,
            role=draw(st.sampled_from(get_args(Role))),
            parts=own,
            created_at=draw(moments),
            parent=draw(st.sampled_from([None, "gone", *earlier])),
            status=draw(statuses),
            provider=draw(st.none() | names),
            model=draw(st.none() | names),
            usage=draw(usages),
            updated_at=draw(st.none() | moments),
            metadata=draw(data),
            extra=draw(data),
        )
        messages.append(message)
    conversation = Conversation(
        id="$",
        owner="ann",
        title=draw(texts),
        created_at=draw(moments),
        updated_at=draw(moments),
        channel=draw(channels),
        leaf=draw(st.sampled_from([m.id for m in messages])) if messages else None,
        next_seq=seq + 1,
        messages=len(messages),
        archived_at=draw(st.none() | moments),
        pinned=draw(st.booleans()),
        tags=tuple(draw(st.lists(names, max_size=3, unique=True))),
        completed=draw(st.booleans()),
        settings=draw(settings),
        options=draw(data),
        metadata=draw(data),
    )
    return Kept(conversation, messages, files)


def called(kept: Kept, id: str) -> Kept:
    """The same conversation by other ids."""

    def part(p: Part) -> Part:
        return replace(p, file=p.file.replace("$", id)) if isinstance(p, Image) else p

    messages = [
        replace(
            m,
            id=m.id.replace("$", id),
            conversation=id,
            parent=m.parent and m.parent.replace("$", id),
            parts=tuple([part(p) for p in m.parts]),
        )
        for m in kept.messages
    ]
    leaf = kept.conversation.leaf
    conversation = replace(kept.conversation, id=id, leaf=leaf and leaf.replace("$", id))
    return Kept(conversation, messages, {file.replace("$", id): b for file, b in kept.files.items()})


def check_same(read: SourceConversation | Unreadable, kept: Kept) -> None:
    """Every field of the port that a conversation of this server has."""
    assert isinstance(read, SourceConversation)
    assert read.exact
    c = kept.conversation
    for name in (
        "id",
        "title",
        "created_at",
        "updated_at",
        "leaf",
        "channel",
        "archived_at",
        "pinned",
        "tags",
        "completed",
        "settings",
    ):
        assert getattr(read, name) == getattr(c, name), name
    assert (read.options, read.metadata, read.files) == (c.options, c.metadata, kept.files)
    assert [m.id for m in read.messages] == [m.id for m in kept.messages]
    there = {m.id for m in kept.messages}
    for got, m in zip(read.messages, kept.messages, strict=True):
        assert got.parent == (m.parent if m.parent in there else None)
        for name in ("role", "parts", "created_at", "updated_at", "status", "provider", "model", "usage", "metadata"):
            assert getattr(got, name) == getattr(m, name), name
        assert got.extra == m.extra


async def gathered(store: RecordStore, format: ExportFormat, who: Any = ANN) -> bytes:
    return b"".join([piece async for piece in exports(store).everything(who, format)])


def read_back(file: bytes) -> list[SourceConversation | Unreadable]:
    """All entries of an export, as an import of it meets them: each file of a zip by itself, in its order."""
    if not zipfile.is_zipfile(io.BytesIO(file)):
        return list(Backchat().read(io.BytesIO(file)))
    with zipfile.ZipFile(io.BytesIO(file)) as archive:
        assert archive.testzip() is None
        members = [archive.read(info) for info in archive.infolist()]
    return [entry for member in members for entry in Backchat().read(io.BytesIO(member))]
