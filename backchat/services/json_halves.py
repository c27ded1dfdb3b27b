"""Halves of characters in JSON, as JavaScript writes them where it has cut a text in the middle of an emoji."""

from __future__ import annotations

import re

REPLACEMENT = rb"\ufffd"
_HALVES = re.compile(rb"\\u[dD](?:[89abAB][\da-fA-F]{2}(\\u[dD][c-fC-F][\da-fA-F]{2})?|[c-fC-F][\da-fA-F]{2})")
_HIGH = re.compile(rb"\\u[dD][89abAB][\da-fA-F]{2}")
_HALF = len(rb"\ud83d")


class Whole:
    """Puts U+FFFD in place of halves that stand alone: the parser takes them for an error, or for other characters.

    Fed with a file piece by piece; an escape that may go on in the next piece is kept back until then.
    """

    def __init__(self) -> None:
        self._kept = b""

    def of(self, piece: bytes) -> bytes:
        data = self._kept + piece if self._kept else piece
        start = max(0, len(data) - 2 * _HALF + 1)
        cut = data.find(b"\\", start)
        if cut < 0:
            cut = len(data)
        elif cut >= _HALF and _HIGH.match(data, cut - _HALF):
            cut -= _HALF
        # Of backslashes in a row every second one begins an escape.
        cut -= _run(data, cut) % 2
        self._kept = data[cut:]
        return _mended(data[:cut])

    def rest(self) -> bytes:
        kept, self._kept = self._kept, b""
        return _mended(kept)


def _mended(data: bytes) -> bytes:
    return _HALVES.sub(_mend, data) if rb"\ud" in data or rb"\uD" in data else data


def _mend(found: re.Match[bytes]) -> bytes:
    if _run(found.string, found.start()) % 2:
        # The backslash is one of the text. If another escape was matched with it, that is half of a character.
        return found[0][: -len(found[1])] + REPLACEMENT if found[1] else found[0]
    return found[0] if found[1] else REPLACEMENT


def _run(data: bytes, end: int) -> int:
    """How many backslashes there are in a row before a place."""
    start = end
    while start and data[start - 1] == 0x5C:
        start -= 1
    return end - start
