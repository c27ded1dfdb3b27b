"""Chatbot UI's export: a ``history`` of conversations, of which each is a list of messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from backchat.domain.message import Part, Text
from backchat.ports.importing import Shape, SourceConversation, SourceMessage, Unreadable
from backchat_importers.reading import conversations
from backchat_importers.values import Unfit, foreign, id_of, object_of, text_of, without

_CONVERSATION = ("id", "name", "messages", "model", "prompt")


@dataclass(frozen=True, slots=True)
class ChatbotUI:
    """All versions. The first one is an array of conversations, the others an object that has it as ``history``."""

    name: str = "chatbotui"

    def recognises(self, shape: Shape) -> bool:
        if shape.is_array:
            return shape.keys >= {"id", "name", "messages"} and "conversationId" not in shape.keys
        return "history" in shape.keys and bool(shape.keys & {"version", "folders"})

    def read(self, file: BinaryIO) -> Iterator[SourceConversation | Unreadable]:
        return conversations(file, _conversation, under="history")


def _conversation(entry: Mapping[str, Any]) -> SourceConversation:
    found = entry.get("messages")
    if type(found) is not list:
        raise Unfit("it has no array `messages`")
    model = entry.get("model")
    slug = text_of(model) or text_of(object_of(model).get("id")) or None
    options: dict[str, Any] = {"endpoint": "openAI", **({"model": slug} if slug else {})}
    # LibreChat's name for it.
    if prompt := text_of(entry.get("prompt")):
        options["promptPrefix"] = prompt
    options |= without(entry, *_CONVERSATION)
    messages: list[SourceMessage] = []
    others: list[dict[str, Any]] = []
    for n, raw in enumerate(found):
        if type(raw) is not dict:
            continue
        if raw.get("role") not in ("user", "assistant"):
            others.append({"place": n, "message": raw})
            continue
        messages.append(_message(n, raw, messages[-1].id if messages else None, model, slug))
    if others:
        options["otherMessages"] = others
    return SourceConversation(
        id=id_of(entry.get("id")), messages=messages, title=text_of(entry.get("name")) or None, options=options
    )


def _message(n: int, raw: Mapping[str, Any], parent: str | None, model: Any, slug: str | None) -> SourceMessage:
    """It has neither a name nor a date in the file: its place there is its name."""
    by_user = raw["role"] == "user"
    sender = "user" if by_user else text_of(object_of(model).get("name")) or slug or "assistant"
    return SourceMessage(
        id=f"#{n}",
        role="user" if by_user else "assistant",
        parts=tuple(_parts(raw.get("content"))),
        parent=parent,
        model=None if by_user else slug,
        extra={"sender": sender, "endpoint": "openAI"} | without(raw, "id", "role", "content"),
    )


def _parts(content: Any) -> list[Part]:
    """A text, or the parts of the model service that it talks to."""
    parts: list[Part] = []
    for item in content if type(content) is list else [content]:
        if type(item) is str:
            parts.append(Text(item))
        elif type(text := object_of(item).get("text")) is str and not without(object_of(item), "type", "text"):
            parts.append(Text(text))
        elif item is not None:
            parts.append(foreign(item))
    return parts
