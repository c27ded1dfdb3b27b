"""Conversations and messages as records: the only place that knows their stored form.

It may change with the code, together with the records that there are. What leaves the server has a form of its own
(``backchat.services.portable``), which may not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any
from uuid import uuid4

from backchat.domain.conversation import Conversation
from backchat.domain.message import (
    File,
    Foreign,
    Image,
    Message,
    Part,
    Reasoning,
    Seal,
    Text,
    ToolCall,
    ToolResult,
    Usage,
)
from backchat.domain.rights import Permission
from backchat.domain.settings import ModelSettings, Sampling
from backchat.domain.times import moment, stamp
from backchat.domain.workspace import Grant
from backchat.ports.storage import Kind, Put, Record

_PLAIN = ModelSettings()
_SAMPLING = tuple([f.name for f in fields(Sampling)])
_OWN = tuple([f.name for f in fields(ModelSettings) if f.name != "sampling"])

NEVER = "~"
"""Where a time stands for the end of something that does not end: after every stamp. The empty text is before all."""
CONVERSATION = Kind(
    name="conversation",
    fields=(
        "owner",
        "updated",
        "created",
        "title",
        "channel",
        "messages",
        "assistant",
        "archived",
        "archived_at",
        "pinned",
        "temporary",
        "expires",
        "workspace",
        "completed",
    ),
    lists=("tags", "readers"),
    text=("title",),
    within=("owner",),
    indexes=(
        ("owner", "updated"),
        ("owner", "archived", "updated"),
        ("owner", "archived", "created", "updated"),
        ("owner", "archived", "title", "updated"),
        ("owner", "archived", "archived_at", "created"),
        ("owner", "created"),
        ("assistant", "updated"),
        ("workspace", "owner", "updated"),
        ("expires",),
    ),
    partition="owner",
)
MESSAGE = Kind(
    name="message",
    fields=("conversation", "owner", "seq", "created"),
    text=("text",),
    within=("owner",),
    unique=(("conversation", "seq"),),
    partition="conversation",
)


def conversation_put(c: Conversation) -> Put:
    """Store a conversation as the successor of the version it carries; version 0 is a new one."""
    doc: dict[str, Any] = {
        "owner": c.owner,
        "title": c.title,
        "created": stamp(c.created_at),
        "updated": stamp(c.updated_at),
        "channel": c.channel,
        "leaf": c.leaf,
        "next_seq": c.next_seq,
        "messages": c.messages,
        "characters": c.characters,
        "active_run": c.active_run,
        "assistant": c.assistant,
        "archived": c.archived_at is not None,
        "archived_at": stamp(c.archived_at) if c.archived_at else "",
        "pinned": c.pinned,
        "temporary": c.temporary,
        "expires": stamp(c.expires_at) if c.expires_at else NEVER,
        "metadata": c.metadata,
        "workspace": c.home,
        "completed": c.completed,
        "link": c.link,
    }
    if c.grants:
        doc["grants"] = [[g.id, g.user, g.permission, g.shared_by, stamp(g.created_at)] for g in c.grants]
        doc["readers"] = [g.user for g in c.grants]
    if c.public:
        doc["public"] = True
    if c.settings != _PLAIN:
        doc["settings"] = settings_doc(c.settings)
    if c.tags:
        doc["tags"] = list(c.tags)
    if c.source is not None:
        doc["source"] = c.source
    if c.removed:
        doc["removed"] = list(c.removed)
    if c.options:
        doc["options"] = c.options
    return Put("conversation", c.id, doc, c.version)


def conversation_of(record: Record) -> Conversation:
    d = record.doc
    archived_at, expires = d["archived_at"], d["expires"]
    return Conversation(
        id=record.id,
        owner=d["owner"],
        title=d["title"],
        created_at=moment(d["created"]),
        updated_at=moment(d["updated"]),
        channel=d["channel"],
        leaf=d["leaf"],
        next_seq=d["next_seq"],
        messages=d["messages"],
        characters=d["characters"],
        active_run=d["active_run"],
        assistant=d["assistant"],
        archived_at=moment(archived_at) if archived_at else None,
        pinned=d["pinned"],
        temporary=d["temporary"],
        expires_at=moment(expires) if expires != NEVER else None,
        tags=tuple(d.get("tags", ())),
        source=d.get("source"),
        removed=tuple(d.get("removed", ())),
        options=d.get("options") or {},
        metadata=d["metadata"],
        settings=settings_of(d["settings"]) if "settings" in d else _PLAIN,
        workspace=d.get("workspace"),
        completed=d.get("completed", False),
        grants=tuple([_grant(*row) for row in d.get("grants", ())]),
        public=d.get("public", False),
        link=d["link"] if "link" in d else str(uuid4()),  # of one stored before there were links; kept by the next put
        version=record.version,
    )


def _grant(id: str, user: str, permission: Permission, shared_by: str, created: str) -> Grant:
    return Grant(id=id, user=user, permission=permission, shared_by=shared_by, created_at=moment(created))


def settings_doc(settings: ModelSettings) -> dict[str, Any]:
    """What differs from plain settings."""
    doc = {name: value for name in _OWN if (value := getattr(settings, name)) != getattr(_PLAIN, name)}
    return doc | sampling_doc(settings.sampling)


def sampling_doc(sampling: Sampling) -> dict[str, Any]:
    """What is set."""
    return {name: value for name in _SAMPLING if (value := getattr(sampling, name)) != getattr(_PLAIN.sampling, name)}


def settings_of(doc: Mapping[str, Any]) -> ModelSettings:
    own = {name: doc[name] for name in _OWN if name in doc}
    sampling = {name: doc[name] for name in _SAMPLING if name in doc}
    return ModelSettings(**own, sampling=Sampling(**sampling) if sampling else _PLAIN.sampling)


def message_put(m: Message) -> Put:
    """Store a message as the successor of the version it carries. A plain text message keeps its text only once."""
    doc: dict[str, Any] = {
        "conversation": m.conversation,
        "owner": m.owner,
        "seq": m.seq,
        "role": m.role,
        "text": m.text,
        "created": stamp(m.created_at),
        "parent": m.parent,
        "status": m.status,
    }
    if not (len(m.parts) == 1 and type(m.parts[0]) is Text):
        doc["parts"] = [part_doc(p) for p in m.parts]
    for name in ("author", "run", "provider", "model"):
        if (value := getattr(m, name)) is not None:
            doc[name] = value
    if m.usage is not None:
        doc["usage"] = usage_doc(m.usage)
    if m.updated_at is not None:
        doc["updated"] = stamp(m.updated_at)
    if m.metadata:
        doc["metadata"] = m.metadata
    if m.extra:
        doc["extra"] = m.extra
    return Put("message", m.id, doc, m.version)


def message_of(record: Record) -> Message:
    d = record.doc
    get = d.get
    parts = get("parts")
    usage = get("usage")
    updated = get("updated")
    return Message(
        id=record.id,
        conversation=d["conversation"],
        owner=d["owner"],
        seq=d["seq"],
        role=d["role"],
        parts=(Text(d["text"]),) if parts is None else tuple([part_of(p) for p in parts]),
        created_at=moment(d["created"]),
        parent=d["parent"],
        status=d["status"],
        author=get("author"),
        run=get("run"),
        provider=get("provider"),
        model=get("model"),
        usage=None if usage is None else usage_of(usage),
        updated_at=None if updated is None else moment(updated),
        metadata=get("metadata") or {},
        extra=get("extra") or {},
        version=record.version,
    )


def usage_doc(u: Usage) -> dict[str, int]:
    doc = {
        "input": u.input_tokens,
        "output": u.output_tokens,
        "cached": u.cached_tokens,
        "reasoning": u.reasoning_tokens,
    }
    return doc | {"written": u.cache_write_tokens} if u.cache_write_tokens else doc


def usage_of(d: Mapping[str, int]) -> Usage:
    return Usage(d["input"], d["output"], d["cached"], d["reasoning"], d.get("written", 0))


def part_doc(part: Part) -> dict[str, Any]:
    match part:
        case Text(text):
            return {"type": "text", "text": text}
        case Image(file, mime):
            return {"type": "image", "file": file, "mime": mime}
        case File(document, name):
            return {"type": "file", "document": document, "name": name}
        case ToolCall(id, name, arguments, seal):
            return {"type": "tool_call", "id": id, "name": name, "arguments": arguments} | _seal_doc(seal)
        case ToolResult(call, content):
            return {"type": "tool_result", "call": call, "content": content}
        case Reasoning(text, seal):
            return {"type": "reasoning", "text": text} | _seal_doc(seal)
        case Foreign(data):
            return {"type": "foreign", "data": data}


def _seal_doc(seal: Seal | None) -> dict[str, Any]:
    return {"seal": [seal.maker, seal.data]} if seal is not None else {}


def _seal_of(d: Mapping[str, Any]) -> Seal | None:
    return Seal(*d["seal"]) if "seal" in d else None


def part_of(d: Mapping[str, Any]) -> Part:
    """Raises ValueError for a type that there is not."""
    match d["type"]:
        case "text":
            return Text(d["text"])
        case "image":
            return Image(d["file"], d["mime"])
        case "file":
            return File(d["document"], d["name"])
        case "tool_call":
            return ToolCall(d["id"], d["name"], d["arguments"], _seal_of(d))
        case "tool_result":
            return ToolResult(d["call"], d["content"])
        case "reasoning":
            return Reasoning(d["text"], _seal_of(d))
        case "foreign":
            return Foreign(d["data"])
    raise ValueError(f"unknown part type {d['type']!r}")
