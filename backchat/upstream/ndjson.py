"""Lines of JSON, read incrementally (https://github.com/ndjson/ndjson-spec)."""

from __future__ import annotations

LIMIT = 10 * 1024 * 1024


class LineReader:
    """Feed bytes as they come, get the lines that are complete; empty ones are passed over.

    Works on bytes, so that a character split between two reads is whole again before anyone decodes it. A line ends
    with LF; a CR before it is JSON's white space. ``too_long`` is set, and nothing more is read, once a line exceeds
    ``LIMIT`` bytes.
    """

    __slots__ = ("_line", "too_long")

    def __init__(self) -> None:
        self._line = bytearray()
        self.too_long = False

    def feed(self, chunk: bytes) -> list[bytes]:
        *lines, rest = chunk.split(b"\n")
        if lines and self._line:
            lines[0] = bytes(self._line) + lines[0]
            self._line.clear()
        self._line += rest
        if len(self._line) > LIMIT or any(len(line) > LIMIT for line in lines):
            self.too_long = True
            self._line.clear()
            return _before_the_long_one(lines)
        return [line for line in lines if line and not line.isspace()]

    def close(self) -> list[bytes]:
        """The last line, where a server leaves the line feed after it out."""
        line = bytes(self._line)
        self._line.clear()
        return [line] if line and not line.isspace() else []


def _before_the_long_one(lines: list[bytes]) -> list[bytes]:
    kept: list[bytes] = []
    for line in lines:
        if len(line) > LIMIT:
            break
        if line and not line.isspace():
            kept.append(line)
    return kept
