"""Changes of what one message says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from backchat.domain.content_items import FIELDS, fields_at, numbered
from backchat.domain.message import Part, Reasoning, Text
from backchat.errors import InvalidInput

_ABOUT_THE_WORDS = ("text", "think")
"""Fields from within a text, such as annotations: they say at which of its characters they are."""


def reworded(parts: Sequence[Part], text: str, index: int | None = None) -> tuple[Part, ...]:
    """The parts with this text in place of all their text, or of that of the text or reasoning part at ``index``.

    What is not text stays in its place. Raises InvalidInput for an index that names no such part.
    """
    if index is None:
        first = _first(parts)
        return (*parts[:first], Text(text), *[p for p in parts[first:] if not isinstance(p, Text)])
    if index < 0:
        raise InvalidInput("Invalid index", field="body.index")
    if index >= len(parts):
        raise InvalidInput("Content part not found", field="body.index")
    part = parts[index]
    if not isinstance(part, Text | Reasoning):
        raise InvalidInput("Cannot update non-text content", field="body.index")
    return (*parts[:index], type(part)(text), *parts[index + 1 :])


def _first(parts: Sequence[Part]) -> int:
    """The place of the first text, or of one at the end."""
    return next((n for n, p in enumerate(parts) if isinstance(p, Text)), len(parts))


def still_said(extra: Mapping[str, Any], parts: Sequence[Part], text: str, index: int | None) -> Mapping[str, Any]:
    """The extras of a message once its parts are ``reworded``: each item keeps its fields, wherever it is then.

    Those of texts that are gone are gone, and those that count the characters of the one that is changed.
    """
    fields = fields_at(parts, extra)
    if not fields:
        return extra
    changed = _first(parts) if index is None else index
    if own := fields.get(changed):
        fields[changed] = {name: value for name, value in own.items() if name not in _ABOUT_THE_WORDS}
    left = [n for n, p in enumerate(parts) if index is not None or n == changed or not isinstance(p, Text)]
    moved = {n: fields[old] for n, old in enumerate(left) if old in fields}
    return {**extra, FIELDS: numbered(reworded(parts, text, index), moved)}
