"""What a model cannot do is refused before its service is asked."""

from __future__ import annotations

from backchat.errors import ProviderRejected
from backchat.ports.providers import Abilities, FileData, ImageData, ModelRequest


def refuse(request: ModelRequest, abilities: Abilities) -> None:
    """Raise ProviderRejected for the first thing that ``request`` asks for and that ``abilities`` lack."""
    if request.tools and not abilities.tools:
        raise ProviderRejected("this model calls no tools")
    if request.reasoning is not None and not abilities.reasoning:
        raise ProviderRejected("this model cannot be told how hard to think")
    if request.json_output and not abilities.json_output:
        raise ProviderRejected("this model cannot be held to a JSON object")
    for message in request.messages:
        for part in message.parts:
            if type(part) is ImageData and not abilities.sees(part.mime):
                kind = f" of the type {part.mime}" if abilities.vision else ""
                raise ProviderRejected(f"this model sees no images{kind}")
            if type(part) is FileData and part.mime not in abilities.files:
                raise ProviderRejected("this model reads no documents of this type")
