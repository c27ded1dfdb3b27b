"""From stored messages to what a provider is asked."""

from __future__ import annotations

from collections.abc import Sequence

from backchat.domain.message import Image, Message, Part, Reasoning, Text, ToolCall, ToolResult
from backchat.ports.providers import Abilities, ImageData, PromptMessage, PromptPart
from backchat.ports.storage import RecordStore
from backchat.services.files import file_bytes


async def prompt_messages(store: RecordStore, messages: Sequence[Message], abilities: Abilities) -> list[PromptMessage]:
    """Messages with the bytes of their images; for a model without vision, a line of text in place of each image.

    Left out are messages of nothing but reasoning, as a cancelled reply may be, and tool calls that nobody answered:
    services refuse both.
    """
    answered = {p.call for m in messages for p in m.parts if isinstance(p, ToolResult)}
    wanted = [p.file for m in messages for p in m.parts if type(p) is Image] if abilities.vision else []
    data = await file_bytes(store, wanted) if wanted else {}

    def part(p: Part) -> PromptPart:
        if not isinstance(p, Image):
            return p
        if p.file in data:
            return ImageData(p.mime, data[p.file])
        return Text(f"[image: {p.mime}]")

    prompt: list[PromptMessage] = []
    for message in messages:
        parts = [p for p in message.parts if not isinstance(p, ToolCall) or p.id in answered]
        if any(not isinstance(p, Reasoning) for p in parts):
            prompt.append(PromptMessage(message.role, tuple([part(p) for p in parts])))
    return prompt
