"""What strangers see of a shared conversation: what was said. Ids are made for one answer.

What is not named here is not shown: parts and fields of unknown types may hold ids, paths and names.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from backchat.domain.message import Message
from backchat.domain.times import stamp
from backchat.services.shares import Shared
from backchat_dialect_convos import shapes

_WORDS = ("sender", "text", "model", "endpoint", "createdAt", "updatedAt")
_SWITCHES = ("isCreatedByUser", "error", "unfinished")
_ABROAD = re.compile(r"(https?://|data:)", re.IGNORECASE)
_AGENT = re.compile(r"(agent|asst)_")
"""What a model is called that is somebody's own."""


class Names:
    """New names for old ones, the same within one answer."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, str], str] = {}

    def of(self, kind: str, id: str) -> str:
        return self._names.setdefault((kind, id), f"{kind}_{secrets.token_urlsafe(12)}")


def anonymous(found: Shared) -> dict[str, Any]:
    names = Names()
    conversation = names.of("convo", found.conversation.id)
    shown = {m.id for m in found.messages}
    return {
        "shareId": found.share.id,
        "title": found.share.title,
        "createdAt": stamp(found.share.created_at),
        "updatedAt": stamp(found.share.updated_at),
        "conversationId": conversation,
        "shareRevision": found.revision,
        "messages": [
            {
                "messageId": names.of("msg", m.id),
                "conversationId": conversation,
                "parentMessageId": names.of("msg", m.parent) if m.parent in shown and m.parent else shapes.ROOT,
                **_message(m, names),
            }
            for m in found.messages
        ],
    }


def _message(m: Message, names: Names) -> dict[str, Any]:
    whole = shapes.message(m)
    found: dict[str, Any] = {name: whole[name] for name in _WORDS if isinstance(whole.get(name), str)}
    found |= {name: whole[name] for name in _SWITCHES if isinstance(whole.get(name), bool)}
    if "model" in found and _AGENT.match(found["model"]):
        found["model"] = names.of("agent", found["model"])
    if icon := _abroad(whole.get("iconURL")):
        found["iconURL"] = icon
    if "content" in whole:
        found["content"] = [shown for part in whole["content"] if (shown := _part(part, names))]
    return found


def _part(part: Mapping[str, Any], names: Names) -> dict[str, Any] | None:
    """A part of a message, None if it is of a kind that strangers do not see."""
    kind = str(part.get("type"))
    match part:
        case {"type": "text" | "think" | "error"}:
            said = part.get(kind)
            words = said.get("value") if isinstance(said, Mapping) else said
            if not isinstance(words, str):
                return None
            found: dict[str, Any] = {"type": kind, kind: words}
        case {"type": "tool_call", "tool_call": Mapping() as call}:
            found = {"type": kind, "tool_call": _call(call, names)}
        case {"type": "image_file"}:  # a file of some server; that there was a picture may be seen
            image = part.get("image_file")
            found = {"type": kind, "image_file": _only(image, {"type": str, "width": int, "height": int})}
        case {"type": "image_url" | "video_url"}:
            found = {"type": kind, kind: _link(part.get(kind))}
        case {"type": "input_audio"}:
            found = {"type": kind, "input_audio": _only(part.get("input_audio"), {"data": str, "format": str})}
        case _:
            return None
    if isinstance(agent := part.get("agentId"), str):
        found["agentId"] = names.of("agent", agent)
    if type(group := part.get("groupId")) is int:
        found["groupId"] = group
    if isinstance(calls := part.get("tool_call_ids"), Sequence) and not isinstance(calls, str):
        found["tool_call_ids"] = [names.of("call", id) for id in calls if isinstance(id, str)]
    return found


def _call(call: Mapping[str, Any], names: Names) -> dict[str, Any]:
    found = _only(call, {"name": str, "args": (str, dict), "output": str, "progress": (int, float)})
    if isinstance(call.get("function"), Mapping):
        found["function"] = _only(call["function"], {"name": str, "arguments": str, "output": str})
    if isinstance(id := call.get("id"), str):
        found["id"] = names.of("call", id)
    return {"type": "tool_call", **found}


def _link(value: Any) -> dict[str, Any]:
    url = _abroad(value.get("url") if isinstance(value, Mapping) else value)
    return {**_only(value, {"detail": str}), **({"url": url} if url else {})}


def _abroad(url: Any) -> str | None:
    """A link that leads somewhere without this server's help; None for one to its files."""
    return url if isinstance(url, str) and _ABROAD.match(url) else None


def _only(value: Any, fields: Mapping[str, type | tuple[type, ...]]) -> dict[str, Any]:
    there = value if isinstance(value, Mapping) else {}
    return {name: there[name] for name, kind in fields.items() if isinstance(there.get(name), kind)}
