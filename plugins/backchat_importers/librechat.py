"""LibreChat's export of a conversation: a list of messages that name their parents, or a tree of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from backchat.domain.content_items import FIELDS
from backchat.domain.message import MessageStatus, Role, Text
from backchat.ports.importing import Shape, SourceConversation, SourceMessage, Unreadable
from backchat_importers.content import content_parts
from backchat_importers.reading import conversations
from backchat_importers.values import (
    Unfit,
    archived,
    array_of,
    flag_of,
    id_of,
    moment_of,
    object_of,
    text_of,
    without,
)

ROOT = "00000000-0000-0000-0000-000000000000"
"""Where a message would name its parent and has none."""
# fmt: off
_MAPPED = (
    "messageId", "parentMessageId", "isCreatedByUser", "text", "content", "model", "createdAt", "updatedAt",
    "children", "conversationId", "isTemporary", "expiredAt",
)
# Of LibreChat's database and of its page: they mean nothing elsewhere.
_ITS_OWN = ("_id", "__v", "user", "tenantId", "depth", "siblingIndex", "searchResult")
_CONVERSATION = (
    "conversationId", "title", "exportAt", "branches", "recursive", "options", "messages", "messagesTree", "tags",
    "isArchived", "archivedAt", "pinned", "isTemporary", "expiredAt", "isShared", "createdAt", "updatedAt",
)
# fmt: on


@dataclass(frozen=True, slots=True)
class LibreChat:
    """One conversation in a file, as it writes them, or an array of them, or one after the other."""

    name: str = "librechat"

    def recognises(self, shape: Shape) -> bool:
        return "conversationId" in shape.keys and bool(shape.keys & {"messages", "messagesTree"})

    def read(self, file: BinaryIO) -> Iterator[SourceConversation | Unreadable]:
        return conversations(file, _conversation)


def _conversation(entry: Mapping[str, Any]) -> SourceConversation:
    options = object_of(entry.get("options"))
    roots = entry.get("messagesTree")
    if type(roots) is not list:
        roots = entry.get("messages")
    if type(roots) is not list:
        raise Unfit("it has no array `messages` or `messagesTree`")
    nested = flag_of(entry.get("recursive")) or type(entry.get("messagesTree")) is list
    messages = [_message(n, node, parent) for n, (node, parent) in enumerate(_flat(roots, nested))]
    both = {**options, **{k: v for k, v in entry.items() if v is not None}}
    updated = moment_of(both.get("updatedAt"))
    dates = [m.created_at for m in messages if m.created_at is not None]
    return SourceConversation(
        id=id_of(entry.get("conversationId")),
        messages=messages,
        title=text_of(both.get("title")) or None,
        created_at=moment_of(both.get("createdAt")),
        updated_at=updated,
        archived_at=archived(
            both.get("isArchived"),
            moment_of(both.get("archivedAt")),
            updated,
            max(dates, default=None),
            moment_of(both.get("exportAt")),
        ),
        pinned=flag_of(both.get("pinned")),
        tags=tuple(dict.fromkeys(tag for tag in array_of(both.get("tags")) if type(tag) is str and tag.strip())),
        options=without(both, *_CONVERSATION, *_ITS_OWN),
    )


def _flat(roots: list[Any], nested: bool) -> Iterator[tuple[Mapping[str, Any], str | None]]:
    """Each message with its parent's id. In a tree that is the message around it, whatever it says itself.

    Parents come before their children and siblings in their order; not by recursion, for chains are long.
    """
    count = 0
    waiting: list[tuple[Any, str | None, bool]] = [(node, None, nested) for node in reversed(roots)]
    while waiting:
        node, around, placed = waiting.pop()
        if type(node) is not dict:
            continue
        id = id_of(node.get("messageId")) or f"#{count}"
        count += 1
        yield node, around if placed else _parent(node)
        waiting += [(child, id, True) for child in reversed(array_of(node.get("children")))]


def _parent(node: Mapping[str, Any]) -> str | None:
    parent = id_of(node.get("parentMessageId"))
    return None if parent == ROOT else parent


def _message(n: int, node: Mapping[str, Any], parent: str | None) -> SourceMessage:
    content = node.get("content") or []
    parts, fields = content_parts(content if type(content) is list else [content])
    if not any(type(p) is Text and p.text for p in parts):
        said, _ = content_parts([node.get("text") or None])
        parts += said
    extra = without(node, *_MAPPED, *_ITS_OWN)
    for name in ("error", "unfinished"):
        if type(extra.get(name)) is bool:
            del extra[name]
    if fields:
        extra[FIELDS] = fields
    return SourceMessage(
        id=id_of(node.get("messageId")) or f"#{n}",
        role=_role(node),
        parts=tuple(parts),
        parent=parent,
        created_at=moment_of(node.get("createdAt")),
        updated_at=moment_of(node.get("updatedAt")),
        status=_status(node),
        model=text_of(node.get("model")) or None,
        extra=extra,
    )


def _role(node: Mapping[str, Any]) -> Role:
    by_user = node.get("isCreatedByUser")
    if by_user is None:
        return "user" if text_of(node.get("sender")).lower() == "user" else "assistant"
    return "user" if flag_of(by_user) else "assistant"


def _status(node: Mapping[str, Any]) -> MessageStatus:
    if flag_of(node.get("error")):
        return "failed"
    return "interrupted" if flag_of(node.get("unfinished")) else "complete"
