"""From stored messages to what a provider is asked."""

from __future__ import annotations

from collections.abc import Sequence

from backchat.domain.message import Image, Message, Part, Text
from backchat.ports.providers import Abilities, ImageData, PromptMessage, PromptPart
from backchat.ports.storage import RecordStore
from backchat.services.files import file_bytes


async def prompt_messages(store: RecordStore, messages: Sequence[Message], abilities: Abilities) -> list[PromptMessage]:
    """Messages with the bytes of their images; for a model without vision, a line of text in place of each image."""
    wanted = [p.file for m in messages for p in m.parts if type(p) is Image] if abilities.vision else []
    data = await file_bytes(store, wanted) if wanted else {}

    def part(p: Part) -> PromptPart:
        if not isinstance(p, Image):
            return p
        if p.file in data:
            return ImageData(p.mime, data[p.file])
        return Text(f"[image: {p.mime}]")

    return [PromptMessage(m.role, tuple([part(p) for p in m.parts])) for m in messages if m.parts]
