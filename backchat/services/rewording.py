"""Changes of what one message says."""

from __future__ import annotations

from collections.abc import Sequence

from backchat.domain.message import Part, Reasoning, Text
from backchat.errors import InvalidInput


def reworded(parts: Sequence[Part], text: str, index: int | None = None) -> tuple[Part, ...]:
    """The parts with this text in place of all their text, or of that of the text or reasoning part at ``index``.

    What is not text stays in its place. Raises InvalidInput for an index that names no such part.
    """
    if index is None:
        first = next((n for n, p in enumerate(parts) if isinstance(p, Text)), len(parts))
        return (*parts[:first], Text(text), *[p for p in parts[first:] if not isinstance(p, Text)])
    if index < 0:
        raise InvalidInput("Invalid index", field="body.index")
    if index >= len(parts):
        raise InvalidInput("Content part not found", field="body.index")
    part = parts[index]
    if not isinstance(part, Text | Reasoning):
        raise InvalidInput("Cannot update non-text content", field="body.index")
    return (*parts[:index], type(part)(text), *parts[index + 1 :])
