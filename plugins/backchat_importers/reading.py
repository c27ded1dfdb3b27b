"""How all of these importers read: an entry of the file is a conversation, or is told why it is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

from backchat.ports.importing import SourceConversation, Unreadable
from backchat_importers.entries import entries
from backchat_importers.values import Unfit, title_of

Convert = Callable[[Mapping[str, Any]], SourceConversation]


def conversations(
    file: BinaryIO, convert: Convert, *, under: str | None = None
) -> Iterator[SourceConversation | Unreadable]:
    """Each entry, as ``convert`` makes a conversation of it; it may raise Unfit. Raises what ``entries`` does."""
    for entry in entries(file, under=under):
        try:
            if type(entry.value) is not dict:
                raise Unfit("it is no JSON object")
            if entry.problem is not None:
                raise Unfit(entry.problem)
            conversation = convert(entry.value)
        except Unfit as problem:
            yield Unreadable(title_of(entry.value), str(problem))
        else:
            yield conversation
