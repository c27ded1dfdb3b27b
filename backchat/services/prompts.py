"""From stored messages to what a provider is asked."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice, takewhile

from backchat.domain.message import File, Image, Message, Part, Reasoning, Text, ToolCall, ToolResult
from backchat.ports.providers import Abilities, ImageData, PromptMessage, PromptPart
from backchat.ports.storage import RecordStore
from backchat.services.files import file_bytes


async def prompt_messages(store: RecordStore, messages: Sequence[Message], abilities: Abilities) -> list[PromptMessage]:
    """Messages with the bytes of their images; for a model without vision, a line of text in place of each image.

    Left out are messages of nothing but reasoning, as a cancelled reply may be, and tool calls that the messages right
    after theirs do not answer: services refuse both.
    """
    wanted = [p.file for m in messages for p in m.parts if type(p) is Image] if abilities.vision else []
    data = await file_bytes(store, wanted) if wanted else {}

    def part(p: Part) -> PromptPart:
        if isinstance(p, File):
            return Text(f"\n[file: {p.name}]")
        if not isinstance(p, Image):
            return p
        if p.file in data:
            return ImageData(p.mime, data[p.file])
        return Text(f"[image: {p.mime}]")

    prompt: list[PromptMessage] = []
    for n, message in enumerate(messages):
        # By place, not by id alone: models use an id again in a later reply.
        answers = takewhile(lambda m: m.role == "tool", islice(messages, n + 1, None))
        answered = {p.call for m in answers for p in m.parts if isinstance(p, ToolResult)}
        parts = [p for p in message.parts if not isinstance(p, ToolCall) or p.id in answered]
        if any(not isinstance(p, Reasoning) for p in parts):
            prompt.append(PromptMessage(message.role, tuple([part(p) for p in parts])))
    return prompt
