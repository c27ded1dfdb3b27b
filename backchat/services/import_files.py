"""The file of an import: JSON of any encoding, or a zip of JSON files; read as it is asked for, never as a whole."""

from __future__ import annotations

import codecs
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any, BinaryIO

from backchat.domain.limits import ImportLimits
from backchat.errors import InvalidInput
from backchat.ports.importing import EntryTooLarge, Importer, Shape, SourceConversation, Unreadable
from backchat.services.json_events import JsonEvents
from backchat.services.zip_directory import check_directory

CHUNK = 64 << 10
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_ENCODINGS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before the mark of UTF-16, with which it begins
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
MOST_KEYS = 200
"""Different keys that are looked at to say whose a file is."""
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, lzma.LZMAError)


class Damaged(InvalidInput):
    """A file, or one in a zip file, that cannot be read, whatever it is."""


@dataclass(frozen=True, slots=True)
class Entry:
    """``size``: how many bytes of JSON it took, about. ``importer``: None for a file of which nothing was read."""

    importer: Importer | None
    found: SourceConversation | Unreadable
    size: int = 0


@dataclass(slots=True)
class Meter:
    """What has been read. ``since`` counts the bytes of JSON since the last entry, ``unpacked`` all of a zip file's.

    ``place`` is how far that is in the file that was given, in bytes. When it is ``stopped``, the next read fails.

    What counts for a conversation is what was read for it, in pieces of ``CHUNK``: one of up to three pieces more than
    is allowed may still be taken.
    """

    limits: ImportLimits
    since: int = 0
    told: int = 0
    unpacked: int | None = None
    place: int = 0
    stopped: bool = False

    def count(self, size: int) -> None:
        """Raises InvalidInput beyond what a zip file may unpack to."""
        self.since += size
        self.unpack(size)

    def check(self) -> None:
        """Raises EntryTooLarge, once each time that so much was read without an entry."""
        if self.since - self.told > self.limits.max_conversation + CHUNK:  # a part may belong to the entry before
            self.told = self.since
            raise EntryTooLarge(f"a conversation in the file is larger than {self.limits.max_conversation} bytes")

    def entry(self) -> int:
        """An entry was read; how many bytes that took."""
        size, self.since, self.told = self.since, 0, 0
        return size

    def unpack(self, size: int) -> None:
        """What is looked at only."""
        if self.stopped:
            raise InvalidInput("stopped")
        if self.unpacked is not None:
            self.unpacked += size
            if self.unpacked > self.limits.max_unpacked:
                raise InvalidInput(f"the zip file unpacks to more than {self.limits.max_unpacked} bytes")


class Unicode(io.RawIOBase):
    """A file as UTF-8 without a byte order mark. ``read`` is told of every chunk that was read of it, in bytes.

    Raises InvalidInput when it is damaged.
    """

    def __init__(self, file: IO[bytes], read: Callable[[int], None]) -> None:
        self._file, self._read = file, read
        begin = self._chunk(4)
        mark, name = next(((m, n) for m, n in _ENCODINGS if begin.startswith(m)), (b"", "utf-8"))
        self._decoder = codecs.getincrementaldecoder(name)() if name != "utf-8" else None
        self._ready = self._decoded(begin[len(mark) :]) if begin else b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._ready:
            chunk = self._chunk(min(CHUNK, len(buffer)))
            self._read(len(chunk))
            self._ready = self._decoded(chunk)
            if not chunk:
                break
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size

    def _chunk(self, size: int) -> bytes:
        try:
            return self._file.read(size)
        except DAMAGED:
            raise Damaged("the zip file is damaged") from None

    def _decoded(self, chunk: bytes) -> bytes:
        if self._decoder is None:
            return chunk
        try:
            return self._decoder.decode(chunk, final=not chunk).encode()
        except UnicodeError:
            raise InvalidInput("the file is not in the encoding that its byte order mark says") from None


class Checked(io.BufferedReader):
    """A file that does not go on where ``check`` raises something; what was read before is not lost then."""

    def __init__(self, raw: io.RawIOBase, check: Callable[[], None]) -> None:
        super().__init__(raw, CHUNK)
        self._check = check

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(CHUNK), b""))
        self._check()
        return super().read(size)

    def readinto(self, buffer: Any, /) -> int:
        self._check()
        return super().readinto(buffer)


def entries(file: BinaryIO, importers: Sequence[Importer], meter: Meter) -> Generator[Entry, None, None]:
    """What is in a file, which blocks; ``meter`` says how far it is. Raises InvalidInput for what cannot be read.

    Of a zip file it is what the ``.json`` and ``.jsonl`` files in it have that are exports; one that breaks off, or is
    no JSON, is an ``Unreadable`` after its entries, and the others are read all the same.
    """
    file.seek(0)
    begin = file.read(4)
    file.seek(0)
    if begin in _ZIP:
        meter.unpacked = 0
        yield from _zipped(file, importers, meter)
    else:
        importer = _recognised(file, importers, meter)
        if importer is None:
            raise unknown(importers)

        def read(size: int) -> None:
            meter.place += size
            meter.count(size)

        file.seek(0)
        yield from _read(importer, file, read, meter)


def unknown(importers: Sequence[Importer]) -> InvalidInput:
    names = ", ".join([importer.name for importer in importers])
    return InvalidInput(f"the file is not the export of a product that is known here: {names}")


def _read(importer: Importer, file: IO[bytes], read: Callable[[int], None], meter: Meter) -> Iterator[Entry]:
    meter.entry()
    for found in importer.read(Checked(Unicode(file, read), meter.check)):
        yield Entry(importer, found, meter.entry())


def _zipped(file: BinaryIO, importers: Sequence[Importer], meter: Meter) -> Iterator[Entry]:
    check_directory(file)
    try:
        archive = zipfile.ZipFile(file)
    except (*DAMAGED, ValueError, OSError, NotImplementedError):
        raise InvalidInput("the zip file is damaged") from None
    known = False
    with archive:
        for info in archive.infolist():
            begin = meter.place
            if _is_json(info.filename):
                for entry in _member(archive, info, importers, meter):
                    known = known or entry.importer is not None
                    yield entry
            meter.place = begin + info.compress_size
    if not known:
        raise unknown(importers)


def _is_json(path: str) -> bool:
    name = path.rpartition("/")[2].lower()
    return name.endswith((".json", ".jsonl")) and not name.startswith("._")  # macOS puts attributes into such files


def _member(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, importers: Sequence[Importer], meter: Meter
) -> Iterator[Entry]:
    begin, size = meter.place, max(1, info.file_size)

    def read(count: int) -> None:
        meter.place = min(begin + info.compress_size, meter.place + count * info.compress_size // size)
        meter.count(count)

    importer: Importer | None = None
    try:
        with _opened(archive, info) as member:
            importer = _recognised(member, importers, meter)
        if importer is not None:
            with _opened(archive, info) as member:
                yield from _read(importer, member, read, meter)
    except InvalidInput as error:
        if meter.stopped or (meter.unpacked is not None and meter.unpacked > meter.limits.max_unpacked):
            raise
        yield Entry(importer, Unreadable(None, f"{_short(info.filename)}: {error}"))


def _opened(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> IO[bytes]:
    try:
        return archive.open(info)
    except (*DAMAGED, ValueError, RuntimeError):  # of which NotImplementedError is one
        raise Damaged("the zip file is damaged there, encrypted, or packed in a way that is not known") from None


def _short(path: str) -> str:
    name = "".join([c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in path])
    return name if len(name) <= 100 else f"\N{HORIZONTAL ELLIPSIS}{name[-99:]}"


class _Unknown(Exception):
    """So much was read of a file, and it is nobody's."""


def _recognised(file: IO[bytes], importers: Sequence[Importer], meter: Meter) -> Importer | None:
    """Whose file it is. Reads only as far as is needed to say so, and no more than what a conversation may have.

    Raises InvalidInput if it is no JSON until there.
    """
    left = meter.limits.max_conversation + CHUNK

    def read(size: int) -> None:
        nonlocal left
        left -= size
        meter.unpack(size)
        if left < 0:
            raise _Unknown

    events = JsonEvents(io.BufferedReader(Unicode(file, read), CHUNK))
    try:
        for shape in _shapes(events):
            for importer in importers:
                if importer.recognises(shape):
                    return importer
    except _Unknown:
        return None
    if events.problem is not None:
        raise InvalidInput("the file is no JSON, and no zip of JSON files")
    return None


def _shapes(events: JsonEvents) -> Iterator[Shape]:
    """What is known of the first value of a file, whenever another of its keys is."""
    depth, level, keys = 0, 1, set[str]()
    is_array = False
    while not events.ended:
        for event, value in events.read():
            if event in ("start_map", "start_array"):
                if depth == 0:
                    is_array = event == "start_array"
                    level = 2 if is_array else 1
                depth += 1
            elif event in ("end_map", "end_array"):
                if depth == level or depth == 1:
                    yield Shape(is_array, frozenset(keys), whole=True)
                    return
                depth -= 1
            elif event == "map_key":
                if depth == level and value not in keys:
                    keys.add(value)
                    yield Shape(is_array, frozenset(keys))
                    if len(keys) == MOST_KEYS:
                        return
            elif depth < level:  # a value that is no object, or an array of such
                yield Shape(is_array, frozenset(keys), whole=True)
                return
