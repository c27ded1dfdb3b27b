"""backchat's own format: one conversation as an object, and all of a user's as lines of JSON or as members of a zip."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from typing import Any, BinaryIO

import orjson

from backchat.errors import InvalidInput
from backchat.ports.importing import EntryTooLarge, Shape, SourceConversation, Unreadable
from backchat.services.portable import LINES_FORMAT, MANIFEST_FORMAT
from backchat.services.unpacking import known_version, unpacked

CHUNK = 1 << 16
BEGIN = 64
_TELLING = frozenset({"conversation", "created_at"})
"""One of these is in every object that stands first in a file, next to ``format`` and ``version``."""


_MANIFESTS = (b'{"manifest":', b'{"format":"%s"' % MANIFEST_FORMAT.encode())


@dataclass(frozen=True, slots=True)
class TooLong:
    """A line that is not kept: larger than a conversation may be."""

    begin: bytes
    problem: EntryTooLarge


class Backchat:
    """Reads line by line. A file whose first line is not a whole value is one that somebody has laid out anew."""

    name = "backchat"

    def recognises(self, shape: Shape) -> bool:
        return not shape.is_array and {"format", "version"} <= shape.keys and bool(_TELLING & shape.keys)

    def read(self, file: BinaryIO) -> Iterator[SourceConversation | Unreadable]:
        lines = _lines(file)
        first = next(lines, b"")
        value = _value(first)
        if value is None and isinstance(first, bytes):
            rest = b"\n".join([first, *map(_whole, lines)])
            if (value := _value(rest)) is None:
                raise InvalidInput("the file is no JSON, or breaks off")
            yield from _Reading().entry(rest, value)
            return
        reading = _Reading()
        broken = 0
        for number, line in enumerate(chain([first], lines), 1):
            if broken:
                yield Unreadable(None, f"line {broken} is no JSON object")
                broken = 0
            if isinstance(line, TooLong):
                yield from reading.too_long(line)
            elif (value := _value(line)) is not None:
                yield from reading.entry(line, value)
            else:
                broken = number
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

    def too_long(self, line: TooLong) -> Iterator[Unreadable]:
        """A manifest may be: it has a line for each conversation, and is not compared then."""
        if line.begin.startswith(_MANIFESTS):
            self.unfinished = False
            self._seen.clear()
        else:
            yield Unreadable(None, str(line.problem))

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


def _value(text: bytes | TooLong) -> dict[str, Any] | None:
    if isinstance(text, TooLong):
        return None
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _whole(line: bytes | TooLong) -> bytes:
    if isinstance(line, TooLong):
        raise line.problem
    return line


def _lines(file: BinaryIO) -> Iterator[bytes | TooLong]:
    """The lines without the space around them, but blank ones. A long one is put together once."""
    pieces: list[bytes] = []
    lost: TooLong | None = None
    while True:
        try:
            chunk = file.read(CHUNK)
        except EntryTooLarge as problem:
            lost = lost or TooLong(b"".join(pieces)[:BEGIN].lstrip(), problem)
            continue
        first, *others = chunk.split(b"\n") if chunk else (b"", b"")
        if lost is None:
            pieces.append(first)
        else:
            pieces.clear()
        for other in others:
            if line := lost or b"".join(pieces).strip():
                yield line
            pieces, lost = [other], None
        if not chunk:
            return
