"""What goes out: values of the domain as LibreChat's documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any

from backchat.domain.content_items import FIELDS
from backchat.domain.conversation import Conversation
from backchat.domain.identity import Identity, User
from backchat.domain.message import Message
from backchat.domain.times import stamp
from backchat.services.import_records import Import
from backchat.services.share_records import Share
from backchat.services.tag_records import Tag
from backchat_dialect_convos import parts

ROOT = "00000000-0000-0000-0000-000000000000"
"""What a message without a parent has for one."""
ENDPOINT = "custom"
"""Of a conversation in which no provider has said anything yet."""
LISTED = ("agent_id", "assistant_id", "spec", "iconURL")
SERVER_ONLY = frozenset((
    "_id", "__v", "user", "clientId", "invocationId", "conversationSignature", "summary", "summaryTokenCount",
    "contextMeta", "langfuseTraceId", "langfuseSessionId",
))  # fmt: skip
"""Fields of messages that lists do not show."""
KEPT = ("hidden", "otherMessages")
"""Of what other products said of a conversation: what has no place in a document, and is for exports of backchat."""


def mongo_id(id: str) -> str:
    """The ``_id`` of a thing: 24 hexadecimal digits that follow from its id."""
    return sha256(id.encode()).hexdigest()[:24]


def _present(values: Mapping[str, Any]) -> dict[str, Any]:
    """Missing values are absent, not null."""
    return {name: value for name, value in values.items() if value is not None}


def _stamp(moment: datetime | None) -> str | None:
    return stamp(moment) if moment is not None else None


# ---- conversations --------------------------------------------------------------------------------------------------


def listed(c: Conversation, is_shared: bool) -> dict[str, Any]:
    """As a list shows it."""
    options = {name: c.options[name] for name in LISTED if name in c.options}
    return _present(
        {
            **options,
            "_id": mongo_id(c.id),
            "conversationId": c.id,
            "user": c.owner,
            "title": c.title,
            "endpoint": c.options.get("endpoint") or ENDPOINT,
            "model": c.options.get("model"),
            "createdAt": stamp(c.created_at),
            "updatedAt": stamp(c.updated_at),
            "isArchived": c.archived_at is not None,
            "archivedAt": _stamp(c.archived_at),
            "pinned": c.pinned,
            "isShared": is_shared,
        }
    )


def whole(c: Conversation, messages: Sequence[Message]) -> dict[str, Any]:
    """The whole document; ``messages`` are those of every branch."""
    answer = next((m for m in reversed(messages) if m.role == "assistant" and (m.provider or m.model)), None)
    return _present(
        {
            "endpoint": (answer.provider if answer else None) or ENDPOINT,
            "model": answer.model if answer else None,
            **_present({name: value for name, value in c.options.items() if name not in KEPT}),
            "_id": mongo_id(c.id),
            "__v": 0,
            "conversationId": c.id,
            "user": c.owner,
            "title": c.title,
            "messages": [mongo_id(m.id) for m in messages],
            "files": [],
            "tags": list(c.tags),
            "createdAt": stamp(c.created_at),
            "updatedAt": stamp(c.updated_at),
            "isArchived": c.archived_at is not None,
            "archivedAt": _stamp(c.archived_at),
            "pinned": c.pinned,
            "isTemporary": c.temporary,
            "expiredAt": _stamp(c.expires_at),
        }
    )


def exported(c: Conversation, messages: Sequence[Message], now: datetime) -> dict[str, Any]:
    """As LibreChat's client writes it to a file: every branch, flat."""
    shown = whole(c, messages)
    state = ("_id", "__v", "conversationId", "user", "title", "messages", "files", "isTemporary", "expiredAt")
    return {
        "conversationId": c.id,
        "endpoint": shown["endpoint"],
        "title": c.title,
        "exportAt": stamp(now),
        "branches": True,
        "recursive": False,
        "options": {name: value for name, value in shown.items() if name not in state},
        "messages": [message(m) for m in messages],
    }


# ---- messages -------------------------------------------------------------------------------------------------------


def message(m: Message) -> dict[str, Any]:
    """As lists show it."""
    return {name: value for name, value in stored(m).items() if name not in SERVER_ONLY}


def stored(m: Message) -> dict[str, Any]:
    """The whole document. What another system said of the message goes before what is guessed, not before what is."""
    spoken = m.role == "user"
    return _present(
        {
            "sender": "User" if spoken else m.model or m.provider or "Assistant",
            "endpoint": m.provider,
            "tokenCount": m.usage.output_tokens if m.usage else None,
            "error": m.status == "failed",
            "unfinished": m.status in ("cancelled", "interrupted"),
            "model": m.model,
            **_present({name: value for name, value in m.extra.items() if name != FIELDS}),
            "_id": mongo_id(m.id),
            "__v": 0,
            "messageId": m.id,
            "conversationId": m.conversation,
            "parentMessageId": m.parent or ROOT,
            "user": m.owner,
            "isCreatedByUser": spoken,
            "metadata": dict(m.metadata) or m.extra.get("metadata"),
            "createdAt": stamp(m.created_at),
            "updatedAt": stamp(m.updated_at or m.created_at),
            **_with_files(parts.shown(m.parts, m.extra), m.extra.get("files")),
        }
    )


def _with_files(shown: dict[str, Any], others: object) -> dict[str, Any]:
    """Documents of this server, and files that a message of another system names."""
    if "files" in shown and isinstance(others, list):
        return {**shown, "files": [*others, *shown["files"]]}
    return shown


def edited(m: Message) -> dict[str, Any]:
    """What is told of a message after a change."""
    names = (
        "messageId", "conversationId", "parentMessageId", "sender", "text", "content", "isCreatedByUser", "tokenCount",
        "feedback", "endpoint", "model", "updatedAt",
    )  # fmt: skip
    shown = message(m)
    return {name: shown[name] for name in names if name in shown}


def found(m: Message, c: Conversation) -> dict[str, Any]:
    """A message that a search found."""
    shown = message(m)
    return {**shown, **_present({"title": c.title, "model": shown.get("model") or c.options.get("model")})}


# ---- the rest -------------------------------------------------------------------------------------------------------


def tag(t: Tag) -> dict[str, Any]:
    return _present(
        {
            "_id": mongo_id(t.id),
            "user": t.owner,
            "tag": t.tag,
            "description": t.description,
            "position": t.position,
            "count": t.count,
            "createdAt": stamp(t.created_at),
            "updatedAt": stamp(t.updated_at),
        }
    )


def link(s: Share) -> dict[str, Any]:
    return _present(
        {
            "_id": mongo_id(s.id),
            "shareId": s.id,
            "conversationId": s.conversation,
            "targetMessageId": s.target,
        }
    )


def listed_link(s: Share) -> dict[str, Any]:
    return {
        "shareId": s.id,
        "title": s.title,
        "conversationId": s.conversation,
        "createdAt": stamp(s.created_at),
        "updatedAt": stamp(s.updated_at),
    }


def user(u: User) -> dict[str, Any]:
    return _user(u.id, u.name, u.email, u.role, u.created_at)


def caller(who: Identity) -> dict[str, Any]:
    """What is known of a caller whose token names somebody without an account."""
    return _user(who.user, who.name or who.user, None, who.role, None)


def _user(id: str, name: str, email: str | None, role: str, created: datetime | None) -> dict[str, Any]:
    return _present(
        {
            "_id": id,
            "id": id,
            "username": name,
            "name": name,
            "email": email or "",
            "emailVerified": True,
            "avatar": "",
            "provider": "local",
            "role": role.upper(),
            "plugins": [],
            "twoFactorEnabled": False,
            "termsAccepted": True,
            "createdAt": _stamp(created),
            "updatedAt": _stamp(created),
        }
    )


ENDS = {
    "cancelled": "the import was cancelled here",
    "interrupted": "the server was stopped here; importing the file again completes it",
    "failed": "the file could not be read from here on",
}
"""Why an import did not come to the end of its file, if nothing else says it."""


def progress(i: Import) -> dict[str, Any]:
    """How far an import is; ``final`` once that is all. The last of its errors is what ended it before its time."""
    errors = [{"index": p.index, "title": p.title, "reason": p.reason} for p in i.problems]
    if i.status in ENDS:
        ended = i.problem if i.status == "failed" and i.problem else ENDS[i.status]
        errors.append({"index": i.imported + i.skipped + i.failed, "title": None, "reason": ended})
    return {
        "jobId": i.id,
        "status": i.status,
        "name": i.name,
        "size": i.size,
        "read": i.read,
        "imported": i.imported,
        "skipped": i.skipped,
        "failed": i.failed,
        "errors": errors,
        "final": i.status != "running",
    }
