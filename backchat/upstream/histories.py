"""Histories of any origin, as services take them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from orjson import JSONDecodeError, loads

from backchat.ports.providers import FileData, ImageData, PromptMessage, PromptPart


def carried(messages: Iterable[PromptMessage]) -> Iterator[PromptMessage]:
    """Images and documents of an answer are shown in the user's next message, where only a user's are taken."""
    held: list[PromptPart] = []
    for message in messages:
        if message.role == "assistant":
            shown = [p for p in message.parts if isinstance(p, ImageData | FileData)]
            if shown:
                held += shown
                rest = [p for p in message.parts if not isinstance(p, ImageData | FileData)]
                message = replace(message, parts=tuple(rest))
        elif message.role == "user" and held:
            message = replace(message, parts=(*held, *message.parts))
            held = []
        yield message
    if held:
        yield PromptMessage("user", tuple(held))


def object_of(arguments: str) -> dict[str, Any]:
    """The arguments of a call where nothing but an object is taken: what another model wrote that is none is put into
    one; nothing at all is an empty one.
    """
    if not arguments.strip():
        return {}
    try:
        given = loads(arguments)
    except JSONDecodeError:
        given = arguments
    return given if type(given) is dict else {"arguments": given}
