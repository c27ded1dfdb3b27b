"""The events of a JSON file, in a time that grows with its length alone, whatever is in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, BinaryIO

import ijson
from ijson.utils import sendable_list

from backchat.services.json_halves import Whole

CHUNK = 1 << 16
"""Bytes that are read at a time."""
Event = tuple[str, Any]


class JsonEvents:
    """Those of all values of a file in UTF-8; halves of characters are U+FFFD.

    ended    there are no more; ``problem`` is what is wrong with the file then, None if nothing is
    silent   how many bytes were read since the last event: those of a text or a number that goes on
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._found: list[Event] = sendable_list()
        # Numbers as decimals: asked for floats, the parser takes a large number for the end of the file.
        self._parser = ijson.basic_parse_coro(self._found, multiple_values=True)
        self._whole = Whole()
        self._pending: list[bytes] = []
        self._waiting = self._sent = 0
        self.ended = False
        self.problem: str | None = None

    @property
    def silent(self) -> int:
        return self._sent + self._waiting

    def read(self) -> Sequence[Event]:
        """The next ones, until the next call. What the file raises leaves everything as it was: it can go on."""
        self._found.clear()
        while not self._found and not self.ended:
            chunk = self._file.read(CHUNK)
            self._pending.append(chunk)
            self._waiting += len(chunk)
            # The parser looks at a text from its begin again whenever it gets more of it: it gets twice as much.
            if chunk and self._waiting < self._sent:
                continue
            data = b"".join(self._pending)
            self._pending = []
            self.problem = self._pushed(self._whole.of(data) + (b"" if chunk else self._whole.rest()), last=not chunk)
            self.ended = self.problem is not None or not chunk
            self._sent = 0 if self._found else self.silent
            self._waiting = 0
        return self._found

    def _pushed(self, data: bytes, *, last: bool) -> str | None:
        """What is wrong with the file, if something is. Not in the parser's words: they quote the file."""
        try:
            if data:
                self._parser.send(data)
        except (ijson.JSONError, UnicodeDecodeError):
            return "is no JSON in UTF-8"
        try:
            if last:
                self._parser.send(b"")
        except ijson.JSONError:
            return "breaks off"
        except StopIteration:
            pass
        return None
