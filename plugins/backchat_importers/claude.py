"""Claude's export: an array of conversations with their ``chat_messages``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

from backchat.domain.content_items import FIELDS, numbered
from backchat.domain.message import Part, Reasoning, Text, ToolCall, ToolResult
from backchat.ports.importing import Shape, SourceConversation, SourceMessage, Unreadable
from backchat_importers.content import written
from backchat_importers.reading import conversations
from backchat_importers.values import (
    Unfit,
    array_of,
    flag_of,
    foreign,
    id_of,
    json_of,
    moment_of,
    object_of,
    text_of,
    without,
)
from backchat_importers.walking import Walk

UNTITLED = "Imported Claude Chat"
ROOTS = ("00000000-0000-4000-8000-000000000000", "00000000-0000-0000-0000-000000000000")
"""Where a message would name its parent and has none."""
_CONVERSATION = ("uuid", "name", "created_at", "updated_at", "account", "chat_messages", "is_starred")
# fmt: off
_MESSAGE = (
    "uuid", "text", "content", "sender", "created_at", "updated_at", "attachments", "files", "parent_message_uuid",
    "model",
)
_TIMES = ("start_timestamp", "stop_timestamp")
# fmt: on


@dataclass(frozen=True, slots=True)
class Claude:
    """``conversations.json``, or one conversation alone. The export does not say which model answered."""

    name: str = "claude"

    def recognises(self, shape: Shape) -> bool:
        return "chat_messages" in shape.keys

    def read(self, file: BinaryIO) -> Iterator[SourceConversation | Unreadable]:
        return conversations(file, _conversation)


def _conversation(entry: Mapping[str, Any]) -> SourceConversation:
    found = entry.get("chat_messages")
    if type(found) is not list:
        raise Unfit("it has no array `chat_messages`")
    said = [m for m in found if type(m) is dict]
    ids = [id_of(m.get("uuid")) or f"#{n}" for n, m in enumerate(said)]
    model = text_of(entry.get("model")) or None
    messages = [_message(*each, model) for each in zip(ids, _parents(said, ids), said, strict=True)]
    # Those that say nothing are left out: what follows them follows what they do.
    empty = {m.id for m in messages if not m.parts and not m.extra.get("files")}
    walk = Walk({m.id: m.parent for m in reversed(messages)}, empty.__contains__)
    return SourceConversation(
        id=id_of(entry.get("uuid")),
        messages=[replace(m, parent=walk.nearest(m.parent)) for m in messages if m.id not in empty],
        title=text_of(entry.get("name")) or None,
        untitled=UNTITLED,
        created_at=moment_of(entry.get("created_at")),
        updated_at=moment_of(entry.get("updated_at")),
        pinned=flag_of(entry.get("is_starred")),
        options={"endpoint": "anthropic"} | {k: v for k, v in without(entry, *_CONVERSATION).items() if v != ""},
    )


def _parents(said: Sequence[Mapping[str, Any]], ids: Sequence[str]) -> Iterator[str | None]:
    """Each message's: what it says itself if there is such a message, else the one before it in the file."""
    known = set(ids)
    before: str | None = None
    for id, message in zip(ids, said, strict=True):
        parent = id_of(message.get("parent_message_uuid"))
        if parent in ROOTS and parent not in known:
            yield None
        else:
            yield parent if parent in known and parent != id else before
        before = id


def _message(id: str, parent: str | None, raw: Mapping[str, Any], model: str | None) -> SourceMessage:
    by_user = raw.get("sender") in ("human", "user")
    parts, fields = _parts(array_of(raw.get("content")))
    if not any(type(p) is Text for p in parts) and (text := text_of(raw.get("text"))):
        parts.append(Text(text))
    attachments = [a for a in array_of(raw.get("attachments")) if type(a) is dict]
    parts += [Text(_quoted(a, bool(parts) or n > 0)) for n, a in enumerate(attachments) if a.get("extracted_content")]
    extra: dict[str, Any] = {"sender": "user" if by_user else "Claude", "endpoint": "anthropic"}
    files = [_file(f) for f in (*attachments, *array_of(raw.get("files"))) if type(f) is dict]
    if files:
        extra["files"] = files
    if fields:
        extra[FIELDS] = fields
    return SourceMessage(
        id=id,
        role="user" if by_user else "assistant",
        parts=tuple(parts),
        parent=parent,
        created_at=moment_of(raw.get("created_at")),
        updated_at=moment_of(raw.get("updated_at")),
        model=None if by_user else text_of(raw.get("model")) or model,
        extra=extra | without(raw, *_MESSAGE),
    )


def _parts(content: Sequence[Any]) -> tuple[list[Part], dict[str, Any]]:
    parts: list[Part] = []
    fields: dict[int, dict[str, Any]] = {}
    waiting: dict[str, None] = {}  # calls without an answer, in their order
    for n, item in enumerate(content):
        if item is None:
            continue
        part, names = _part(object_of(item), f"call_{n}", next(iter(waiting), None))
        if type(part) is ToolCall:
            waiting[part.id] = None
        elif type(part) is ToolResult:
            waiting.pop(part.call, None)
        if part is None:
            parts.append(Text(item) if type(item) is str else foreign(item))
            continue
        if part in (Text(""), Reasoning("")):
            continue
        parts.append(part)
        rest = {k: v for k, v in without(object_of(item), "type", *names, *_TIMES).items() if v not in ([], "", False)}
        if rest:
            fields[len(parts) - 1] = rest
    return parts, numbered(parts, fields)


def _part(item: Mapping[str, Any], id: str, call: str | None) -> tuple[Part | None, tuple[str, ...]]:
    """The part, and the fields that say it. ``call`` is the one that an answer is to, if it does not say so."""
    kind = item.get("type")
    if kind == "text" and type(item.get("text")) is str:
        return Text(item["text"]), ("text",)
    if kind == "thinking" and type(item.get("thinking")) is str:
        return Reasoning(item["thinking"]), ("thinking",)
    if kind == "tool_use" and (name := text_of(item.get("name"))):
        return ToolCall(id_of(item.get("id")) or id, name, written(item.get("input"), "{}")), ("id", "name", "input")
    if kind == "tool_result":
        answered = id_of(item.get("tool_use_id")) or call or id
        return ToolResult(answered, _result(item.get("content"))), ("tool_use_id", "content")
    return None, ()


def _result(content: Any) -> str:
    """The texts of what a tool answered, and as JSON what is more than a text."""
    if type(content) is not list:
        return written(content, "")
    texts = [object_of(c).get("text") for c in content]
    return "\n".join(text if type(text) is str else json_of(c) for c, text in zip(content, texts, strict=True))


def _quoted(attachment: Mapping[str, Any], after: bool) -> str:
    """What a file said that was read to Claude, under its name."""
    name = text_of(attachment.get("file_name"))
    return ("\n\n" if after else "") + (f"{name}:\n" if name else "") + written(attachment["extracted_content"], "")


def _file(file: Mapping[str, Any]) -> dict[str, Any]:
    """A file under LibreChat's names."""
    named = {"file_name": "filename", "file_uuid": "file_id", "file_type": "type", "file_size": "bytes"}
    return {named.get(k, k): v for k, v in without(file, "extracted_content").items() if v != ""}
