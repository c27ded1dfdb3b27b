"""backchat's own format: one conversation as an object, and all of a user's as lines of JSON or as members of a zip."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any, BinaryIO

import orjson

from backchat.errors import InvalidInput
from backchat.ports.importing import Shape, SourceConversation, Unreadable
from backchat.services.portable import LINES_FORMAT, MANIFEST_FORMAT
from backchat.services.unpacking import known_version, unpacked

CHUNK = 1 << 16
_TELLING = frozenset({"conversation", "created_at"})
"""One of these is in every object that stands first in a file, next to ``format`` and ``version``."""


class Backchat:
    """Reads line by line. A file whose first line is not a whole value is one that somebody has laid out anew."""

    name = "backchat"

    def recognises(self, shape: Shape) -> bool:
        return not shape.is_array and {"format", "version"} <= shape.keys and bool(_TELLING & shape.keys)

    def read(self, file: BinaryIO) -> Iterator[SourceConversation | Unreadable]:
        lines = _lines(file)
        first = next(lines, b"")
        value = _value(first)
        if value is None:
            rest = b"\n".join([first, *lines])
            if (value := _value(rest)) is None:
                raise InvalidInput("the file is no JSON, or breaks off")
            yield from _Reading().entry(rest, value)
            return
        reading = _Reading()
        yield from reading.entry(first, value)
        broken = 0
        for number, line in enumerate(lines, 2):
            if broken:
                yield Unreadable(None, f"line {broken} is no JSON object")
            value = _value(line)
            broken = number if value is None else 0
            if value is not None:
                yield from reading.entry(line, value)
        if broken:
            raise InvalidInput(f"the file breaks off in line {broken}")
        if reading.unfinished:
            raise InvalidInput("the file breaks off: its last line, the manifest, is missing")


class _Reading:
    """What is known of the lines since the last header. ``unfinished``: the manifest is still to come."""

    def __init__(self) -> None:
        self.unfinished = False
        self._seen: set[bytes] = set()

    def entry(self, line: bytes, value: Mapping[str, Any]) -> Iterator[SourceConversation | Unreadable]:
        if value.get("format") == LINES_FORMAT:
            known_version(value)
            self.unfinished = True
        elif value.get("format") == MANIFEST_FORMAT:
            known_version(value)
        elif self.unfinished and "manifest" in value:
            self.unfinished = False
            yield from self._compared(value["manifest"])
            self._seen.clear()
        else:
            self._seen.add(sha256(line).digest())
            yield _conversation(value)

    def _compared(self, manifest: object) -> Iterator[Unreadable]:
        """What was changed is read like everything else; that it was is said once."""
        listed = manifest if isinstance(manifest, list) else []
        wanted = {str(entry.get("sha256")) for entry in listed if isinstance(entry, dict)}
        missing = len(wanted - {digest.hex() for digest in self._seen})
        if missing:
            what = "1 conversation is" if missing == 1 else f"{missing} conversations are"
            yield Unreadable(None, f"{what} not in the file as the manifest at its end says: changed, or missing")


def _conversation(value: Mapping[str, Any]) -> SourceConversation | Unreadable:
    try:
        return unpacked(value)
    except InvalidInput as problem:
        about = value.get("conversation")
        title = about.get("title") if isinstance(about, dict) else None
        return Unreadable(title if isinstance(title, str) else None, str(problem))


def _value(text: bytes) -> dict[str, Any] | None:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines without the space around them, but blank ones. A long one is put together once."""
    pieces: list[bytes] = []
    while chunk := file.read(CHUNK):
        first, *others = chunk.split(b"\n")
        pieces.append(first)
        for other in others:
            if line := b"".join(pieces).strip():
                yield line
            pieces = [other]
    if line := b"".join(pieces).strip():
        yield line
