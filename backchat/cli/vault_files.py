"""Entries of the vault as files: backchat's own format, which backchat import and backchat vault push read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from hashlib import sha256
from io import BytesIO
from typing import Any
from uuid import UUID

from backchat.cli.vault_bodies import MARK
from backchat.cli.vault_messages import TIMESTAMP, TOOL
from backchat.client.vault import Entry
from backchat.domain.conversation import Conversation
from backchat.domain.message import Message, Text
from backchat.domain.vault import UNTITLED, VaultMessage
from backchat.services.portable import PortableWriter
from backchat.services.vault_times import moment_of

CHANNEL = "vault"
_UNSAFE = re.compile(r"[^A-Za-z0-9]+")
_SHOWN = 40
"""Characters of a platform, and of a chat's id, that a file's name shows."""


def file_name(entry: Entry) -> str:
    """The same for the same chat, and for no other: it ends with an id made of the platform and the chat's own."""
    shown = [_UNSAFE.sub("-", text).strip("-")[:_SHOWN] for text in (entry.platform, entry.chat)]
    return "_".join([*filter(None, shown), f"{_id(entry.platform, entry.chat)}.json"])


def written(entry: Entry, messages: Sequence[VaultMessage]) -> bytes:
    """The file. What its format has no place for is in the metadata, and in ``extra`` of the messages."""
    said = _messages(entry, messages)
    conversation = Conversation(
        id=_id(entry.platform, entry.chat),
        owner="",
        title="" if entry.title == UNTITLED else entry.title,
        created_at=entry.created_at,
        updated_at=entry.updated_at,
        channel=CHANNEL,
        leaf=said[-1].id if said else None,
        tags=entry.tags,
        source=f"{entry.platform}:{entry.chat}",
        options=_given(endpoint=entry.platform, model=entry.model),
        metadata={MARK: _given(chatId=entry.chat, platform=entry.platform, category=entry.category, topic=entry.topic)},
    )
    sink = BytesIO()
    writer = PortableWriter(sink)
    writer.begin(conversation, None)
    writer.messages(said)
    writer.end()
    return sink.getvalue()


def body(entry: Entry, messages: Sequence[VaultMessage]) -> dict[str, Any]:
    """What pushes the same again: the body of ``POST /api/v1/push``."""
    title = None if entry.title == UNTITLED else entry.title
    details = {"title": title, "category": entry.category, "topic": entry.topic, "model": entry.model}
    return {
        **_given(chatId=entry.chat, platform=entry.platform, **details),
        "tags": list(entry.tags),
        "messages": [_given(role=m.role, content=m.content, timestamp=m.timestamp) for m in messages],
    }


def _messages(entry: Entry, messages: Sequence[VaultMessage]) -> list[Message]:
    """Their ids are made of all that was said up to them: a message that has changed is a branch of its own for an
    import, and those before it are the same as before.
    """
    conversation, parent, moment = _id(entry.platform, entry.chat), None, entry.created_at
    said: list[Message] = []
    for seq, m in enumerate(messages, 1):
        id = _id(parent or conversation, m.role, m.timestamp or "", m.content)
        moment = moment_of(m.timestamp) or moment + timedelta(milliseconds=1)
        by_tool = m.role == "tool"
        said.append(
            Message(
                id=id,
                conversation=conversation,
                owner="",
                seq=seq,
                # There is no call that it could be the answer to, and answers to none are refused.
                role="assistant" if by_tool else m.role,
                parts=(Text(m.content),),
                created_at=moment,
                parent=parent,
                model=entry.model if m.role == "assistant" else None,
                metadata=TOOL if by_tool else {},
                extra={TIMESTAMP: m.timestamp},
            )
        )
        parent = id
    return said


def _given(**values: str | None) -> Mapping[str, str]:
    return {name: value for name, value in values.items() if value is not None}


def _id(*names: str) -> str:
    """A UUID that is the same for the same names."""
    digest = sha256("".join([f"{len(name)}:{name}" for name in names]).encode("utf-8", "surrogatepass"))
    return str(UUID(bytes=digest.digest()[:16], version=5))
