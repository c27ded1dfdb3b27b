"""JSON output: asked for in words, held to by reading.

The service has a mode for a given schema only, and a forced tool is refused by its later models and together with
thinking (https://platform.claude.com/docs/en/build-with-claude/structured-outputs,
https://platform.claude.com/docs/en/models/opus-5-5/whats-new-opus-5-5).
"""

from __future__ import annotations

import re

from orjson import JSONDecodeError, loads

from backchat.errors import ProviderError

ASKED = (
    "Answer with one JSON object and nothing else: it begins with { and ends with }, with no words and no code fence "
    "around it."
)
_MARK = re.compile(r'["\\{}]')


class ObjectText:
    """The JSON object in a text that comes in pieces: what is around it, such as a code fence, is left out."""

    __slots__ = ("_depth", "_escaped", "_kept", "_quoted", "_whole")

    def __init__(self) -> None:
        self._kept: list[str] = []
        self._depth = 0
        self._quoted = self._escaped = self._whole = False

    def feed(self, piece: str) -> str:
        """What of this piece is in the object."""
        if self._whole or not piece:
            return ""
        if not self._kept:
            start = piece.find("{")
            if start < 0:
                return ""
            piece = piece[start:]
        piece = piece[: self._end(piece)]
        self._kept.append(piece)
        return piece

    def check(self) -> None:
        """Raises ProviderError unless one whole object has come."""
        try:
            whole = self._whole and type(loads("".join(self._kept))) is dict
        except JSONDecodeError:
            whole = False
        if not whole:
            raise ProviderError("the model did not answer with a JSON object")

    def _end(self, piece: str) -> int:
        """How far the object goes in this piece."""
        place = 1 if self._escaped else 0
        self._escaped = False
        while mark := _MARK.search(piece, place):
            place = mark.end()
            match mark.group():
                case '"':
                    self._quoted = not self._quoted
                case "\\" if place == len(piece):
                    self._escaped = True
                case "\\":
                    place += 1
                case "{" if not self._quoted:
                    self._depth += 1
                case "}" if not self._quoted:
                    self._depth -= 1
                    if not self._depth:
                        self._whole = True
                        return place
        return len(piece)
