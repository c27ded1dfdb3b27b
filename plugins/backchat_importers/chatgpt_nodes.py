"""A node of ChatGPT's tree, and the message that it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backchat.domain.message import MessageStatus, Part, Reasoning, Role
from backchat.ports.importing import SourceMessage
from backchat_importers.chatgpt_parts import content_of, thoughts_of
from backchat_importers.values import array_of, id_of, moment_of, object_of, text_of, without

HIDDEN = ("user_editable_context", "model_editable_context")
"""Content of which nobody is shown anything: what the model is told about the user, and remembers."""


@dataclass(slots=True, kw_only=True)
class Node:
    """shown     it is a message; if not, its children follow what it follows
    by_user   the user said it
    says      it is no message, and still worth keeping: an object for that, else None
    thoughts  what the model thought here, empty if nothing;  ``recap`` is ChatGPT's line about it
    """

    id: str
    parent: str | None
    children: Any
    message: Mapping[str, Any]
    parts: tuple[Part, ...] = ()
    shown: bool = False
    by_user: bool = False
    thoughts: str = ""
    recap: str = ""
    says: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, id: str, node: Mapping[str, Any]) -> Node:
        message = object_of(node.get("message"))
        made = cls(id=id, parent=id_of(node.get("parent")), children=node.get("children"), message=message)
        content = message.get("content")
        kind = object_of(content).get("content_type")
        role = object_of(message.get("author")).get("role")
        metadata = object_of(message.get("metadata"))
        made.by_user = role == "user"
        if kind == "thoughts":
            made.thoughts = thoughts_of(object_of(content))
            made.parts = (Reasoning(made.thoughts),)
        elif kind == "reasoning_recap":
            made.recap = text_of(object_of(content).get("content"))
        elif kind in HIDDEN:
            made.says = {"id": id, "role": role, "content": content}
        else:
            made.parts = content_of(content, {} if made.by_user else metadata)
            made.shown = bool(made.parts) or (role != "system" and bool(array_of(metadata.get("attachments"))))
            if not made.shown and (told := metadata.get("user_context_message_data")):
                made.says = {"id": id, "role": role, "content": told}
        return made


def message_of(node: Node, parent: str | None, thoughts: Sequence[str], recap: str | None) -> SourceMessage:
    message = node.message
    metadata = object_of(message.get("metadata"))
    author = object_of(message.get("author"))
    model = text_of(metadata.get("model_slug")) or None
    extra: dict[str, Any] = {"sender": _sender(node, model), "endpoint": "openAI"}
    if name := text_of(author.get("name")):
        extra["author"] = name
    for name in ("weight", "recipient", "channel"):
        if message.get(name) not in (None, 1, "all"):
            extra[name] = message[name]
    if files := [_file(a) for a in array_of(metadata.get("attachments")) if type(a) is dict]:
        extra["files"] = files
    if recap:
        extra["reasoning_recap"] = recap
    if rest := without(metadata, "model_slug", "attachments"):
        extra["metadata"] = rest
    return SourceMessage(
        id=node.id,
        role=_role(node, author.get("role")),
        parts=(*map(Reasoning, thoughts), *node.parts),
        parent=parent,
        created_at=moment_of(message.get("create_time")),
        updated_at=moment_of(message.get("update_time")),
        status=_status(message, metadata),
        model=None if node.by_user else model,
        extra=extra,
    )


def _role(node: Node, role: Any) -> Role:
    """What tools say is the model's as well: there is no call that it could be the answer to."""
    if node.by_user:
        return "user"
    return "system" if role == "system" else "assistant"


def _sender(node: Node, model: str | None) -> str:
    if node.by_user:
        return "user"
    if model is None:
        return "assistant"
    return f"GPT-{model[4:]}" if model.startswith("gpt-") else model


def _status(message: Mapping[str, Any], metadata: Mapping[str, Any]) -> MessageStatus:
    stopped = object_of(metadata.get("finish_details")).get("type") == "interrupted"
    broken = message.get("status") in ("in_progress", "finished_partial_completion")
    return "interrupted" if stopped or broken else "complete"


def _file(attachment: Mapping[str, Any]) -> dict[str, Any]:
    """An attachment under LibreChat's names."""
    named = {"id": "file_id", "name": "filename", "mime_type": "type", "mimeType": "type", "size": "bytes"}
    return {named.get(k, k): v for k, v in attachment.items() if v is not None}
