"""From stored messages to what a provider is asked."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace
from itertools import islice, takewhile

from backchat.domain.message import File, Foreign, Image, Message, Part, Reasoning, Role, Text, ToolCall, ToolResult
from backchat.ports.providers import Abilities, ImageData, PromptMessage, PromptPart
from backchat.ports.storage import RecordStore
from backchat.services.files import file_bytes


async def prompt_messages(store: RecordStore, messages: Sequence[Message], abilities: Abilities) -> list[PromptMessage]:
    """Messages with the bytes of their images; for a model without vision, a line of text in place of each image.

    Left out is what services refuse: messages of nothing but reasoning, as a cancelled reply may be, or of nothing at
    all; tool calls that the messages right after theirs do not answer, results of no call in the message right before
    them, or of one that has its result, as deleting messages leaves them, and those that imported answers have in them;
    and parts that mean nothing here.
    """
    wanted = [p.file for m in messages for p in m.parts if type(p) is Image] if abilities.vision else []
    data = await file_bytes(store, wanted) if wanted else {}

    def part(p: Part, role: Role, asked: set[str], answered: Set[str]) -> PromptPart | None:
        if isinstance(p, Foreign) or (isinstance(p, ToolCall) and p.id not in answered):
            return None
        if isinstance(p, ToolResult):
            if role != "tool" or p.call not in asked:
                return None
            asked.discard(p.call)
        if isinstance(p, File):
            return Text(f"\n[file: {p.name}]")
        if not isinstance(p, Image):
            return p
        if p.file in data:
            return ImageData(p.mime, data[p.file])
        return _described(p.mime)

    prompt: list[PromptMessage] = []
    asked: set[str] = set()
    for n, message in enumerate(messages):
        # By place, not by id alone: models use an id again in a later reply.
        if message.role != "tool":
            asked = {p.id for p in message.parts if isinstance(p, ToolCall)}
        answers = takewhile(lambda m: m.role == "tool", islice(messages, n + 1, None))
        answered = {p.call for m in answers for p in m.parts if isinstance(p, ToolResult)}
        parts = tuple([shown for p in message.parts if (shown := part(p, message.role, asked, answered)) is not None])
        if any(not isinstance(p, Reasoning) and p != Text("") for p in parts):
            prompt.append(PromptMessage(message.role, parts))
    return prompt


def without_images(messages: Sequence[PromptMessage]) -> list[PromptMessage]:
    """The messages for a model without vision: a line of text in place of each image."""
    return [
        replace(m, parts=tuple([_described(p.mime) if isinstance(p, ImageData) else p for p in m.parts]))
        for m in messages
    ]


def _described(mime: str) -> Text:
    return Text(f"[image: {mime}]")
