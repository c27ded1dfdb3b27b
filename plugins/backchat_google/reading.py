"""The stream as it comes."""

from __future__ import annotations

from backchat.upstream.sse import EventReader
from backchat_google.failures import error_in

_LONGEST = 64 << 10
_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")


class Reader(EventReader):
    """Also keeps the lines that are none of an event's: the service adds an error to a stream as plain JSON.

    Seen in https://github.com/vercel/ai/issues/5217
    """

    __slots__ = ("_apart", "_held")

    def __init__(self) -> None:
        super().__init__()
        self._apart: list[bytes] = []
        self._held = 0

    def close(self) -> list[bytes]:
        """What was left unfinished, and the error behind the events as if it were one of them."""
        events = super().close()
        tail = b"\n".join(self._apart)
        return events if error_in(tail) is None else [*events, tail]

    def _take(self, lines: list[bytes]) -> list[bytes]:
        for line in lines:
            if line[:5] != b"data:" and line and not line.startswith(_FIELDS) and self._held < _LONGEST:
                self._held += len(line)
                self._apart.append(line)
        return super()._take(lines)
