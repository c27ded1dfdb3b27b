"""Places in lists, as clients carry them from one page to the next."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Sequence

import orjson

from backchat.errors import InvalidInput

Scalar = str | int | float | bool | None
Place = tuple[Scalar, ...]
"""Where a page ended: the values that its last row is sorted by, and its id; before them what the list is sorted by."""
_NAMES = ("primary", "secondary", "id")


def cursor(place: Place | None, of: int = 0) -> str | None:
    """base64 of a JSON object, whose names are those of LibreChat's cursors.

    The first ``of`` steps say which order the place is in; then there are one or two values, and an id.
    """
    if place is None:
        return None
    *values, id = place[of:]
    named = {**dict(zip(_NAMES, values, strict=False)), "id": id, "of": place[:of]}
    return b64encode(orjson.dumps(named)).decode()


def place_of(text: str | None) -> Place | None:
    """The place that ``cursor`` wrote. Raises InvalidInput for anything else."""
    if not text:
        return None
    try:
        found = orjson.loads(b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("of"), list):
        raise _unreadable()
    place: Sequence[object] = (*found["of"], *(found[name] for name in _NAMES if name in found))
    if not all(isinstance(step, str | int | float | bool | None) for step in place):
        raise _unreadable()
    return tuple(step for step in place if isinstance(step, str | int | float | bool | None))


def _unreadable() -> InvalidInput:
    return InvalidInput("is none that this list gave", field="query.cursor")
