"""Server-sent events, read incrementally (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

LIMIT = 10 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"


class EventReader:
    """Feed bytes as they come, get the ``data`` of the events that are complete.

    Works on bytes, so that a character split between two reads is whole again before anyone decodes it. Lines end with
    LF, CRLF or CR; comments and other fields are passed over; several data lines of an event are joined by LF.
    ``too_long`` is set, and nothing more is read, once a line or the data of one event exceeds ``LIMIT`` bytes.
    """

    __slots__ = ("_after_cr", "_data", "_fresh", "_line", "_size", "too_long")

    def __init__(self) -> None:
        self._line = bytearray()
        self._data: list[bytes] = []
        self._size = 0
        self._after_cr = False
        self._fresh = True
        self.too_long = False

    def feed(self, chunk: bytes) -> list[bytes]:
        if self._after_cr and chunk[:1] == b"\n":
            chunk, self._after_cr = chunk[1:], False
        if not chunk:
            return []
        self._after_cr = chunk[-1] == 13
        # bytes.splitlines knows CR and LF only; that of str would also cut at U+2028.
        lines = chunk.splitlines()
        rest = b"" if chunk[-1] in b"\r\n" else lines.pop()
        if lines and self._line:
            lines[0] = bytes(self._line) + lines[0]
            self._line = bytearray()
        if self._fresh and lines:
            lines[0] = lines[0].removeprefix(_BOM)
            self._fresh = False
        events = self._take(lines)
        if rest:
            self._line += rest
            self.too_long = self.too_long or len(self._line) > LIMIT
        return events

    def close(self) -> list[bytes]:
        """What a server left unfinished: the specification drops it, but some end without the last empty line."""
        lines = [bytes(self._line), b""]
        self._line = bytearray()
        return self._take(lines)

    def _take(self, lines: list[bytes]) -> list[bytes]:
        events: list[bytes] = []
        data = self._data
        for line in lines:
            if line[:5] == b"data:":
                value = line[6:] if line[5:6] == b" " else line[5:]
                self._size += len(value)
                if self._size > LIMIT:
                    self.too_long = True
                    break
                data.append(value)
            elif not line and data:
                events.append(data[0] if len(data) == 1 else b"\n".join(data))
                data.clear()
                self._size = 0
        return events


class Document:
    """The same face for a body that is no stream but one JSON document, from servers that do not stream."""

    __slots__ = ("_body", "too_long")

    def __init__(self) -> None:
        self._body = bytearray()
        self.too_long = False

    def feed(self, chunk: bytes) -> list[bytes]:
        self._body += chunk
        self.too_long = len(self._body) > LIMIT
        return []

    def close(self) -> list[bytes]:
        return [bytes(self._body)]
