"""The file of an import: JSON of any encoding, or a zip of JSON files; read as it is asked for, never as a whole."""

from __future__ import annotations

import codecs
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, BinaryIO

import ijson

from backchat.domain.limits import ImportLimits
from backchat.errors import InvalidInput
from backchat.ports.importing import Importer, Shape, SourceConversation, Unreadable
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
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
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
    """

    limits: ImportLimits
    since: int = 0
    unpacked: int | None = None
    place: int = 0
    stopped: bool = False

    def count(self, size: int) -> None:
        """Raises InvalidInput beyond a limit."""
        self.since += size
        if self.since > self.limits.max_conversation + CHUNK:  # a part of what was read belongs to the entry before
            raise InvalidInput(f"a conversation in the file is larger than {self.limits.max_conversation} bytes")
        self.unpack(size)

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


def entries(file: BinaryIO, importers: Sequence[Importer], meter: Meter) -> Generator[Entry, None, None]:
    """What is in a file, which blocks; ``meter`` says how far it is. Raises InvalidInput for what cannot be read.

    Of a zip file it is what the ``.json`` and ``.jsonl`` files in it have that are exports; one that breaks off is an
    ``Unreadable`` after its entries, and the others are read all the same.
    """
    file.seek(0)
    begin = file.read(4)
    file.seek(0)
    if begin in _ZIP:
        meter.unpacked = 0
        yield from _zipped(file, importers, meter)
    else:
        importer = _recognised(_plain(file, meter.unpack), importers)
        if importer is None:
            raise unknown(importers)

        def read(size: int) -> None:
            meter.place += size
            meter.count(size)

        yield from _read(importer, _plain(file, read), meter)


def unknown(importers: Sequence[Importer]) -> InvalidInput:
    names = ", ".join([importer.name for importer in importers])
    return InvalidInput(f"the file is not the export of a product that is known here: {names}")


def _plain(file: BinaryIO, read: Callable[[int], None]) -> BinaryIO:
    file.seek(0)
    return _buffered(file, read)


def _buffered(file: IO[bytes], read: Callable[[int], None]) -> BinaryIO:
    return io.BufferedReader(Unicode(file, read), CHUNK)


def _read(importer: Importer, file: BinaryIO, meter: Meter) -> Iterator[Entry]:
    meter.since = 0
    for entry in importer.read(file):
        yield Entry(importer, entry, meter.since)
        meter.since = 0


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
            importer = _recognised(_buffered(member, meter.unpack), importers)
        if importer is not None:
            with _opened(archive, info) as member:
                yield from _read(importer, _buffered(member, read), meter)
    except InvalidInput as error:
        if meter.unpacked is not None and meter.unpacked > meter.limits.max_unpacked:
            raise
        if importer is not None or isinstance(error, Damaged):
            yield Entry(importer, Unreadable(None, f"{_short(info.filename)}: {error}"))


def _opened(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> IO[bytes]:
    try:
        return archive.open(info)
    except (*DAMAGED, ValueError, RuntimeError):  # of which NotImplementedError is one
        raise Damaged("the zip file is damaged there, encrypted, or packed in a way that is not known") from None


def _short(path: str) -> str:
    name = "".join([c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in path])
    return name if len(name) <= 100 else f"\N{HORIZONTAL ELLIPSIS}{name[-99:]}"


def _recognised(file: BinaryIO, importers: Sequence[Importer]) -> Importer | None:
    """Whose file it is. Reads only as far as is needed to say so. Raises InvalidInput if it is no JSON until there."""
    try:
        for shape in _shapes(file):
            for importer in importers:
                if importer.recognises(shape):
                    return importer
    except (ijson.JSONError, UnicodeDecodeError):
        raise InvalidInput("the file is no JSON, and no zip of JSON files") from None
    return None


class _Harmless:
    """A file without escaped surrogates, of which the parser refuses some that stand alone. Nobody looks at the texts.

    What comes after ``\\u`` may be changed even where the backslash itself is escaped: it is JSON all the same.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._kept = file, b""

    def read(self, size: int) -> bytes:
        data, more = b"", size > 0
        while more and not data:
            chunk = self._file.read(size)
            more = bool(chunk)
            data = _SURROGATE.sub(rb"\\u0020", self._kept + chunk)
            cut = data.rfind(b"\\", max(0, len(data) - 5)) if chunk else -1  # what may be the begin of one
            self._kept = data[cut:] if cut >= 0 else b""
            data = data[:cut] if cut >= 0 else data
        return data


def _shapes(file: BinaryIO) -> Iterator[Shape]:
    """What is known of the first value of a file, while more and more is read of it."""
    depth, level, keys = 0, 1, set[str]()
    is_array = False
    for event, value in ijson.basic_parse(_Harmless(file), multiple_values=True, buf_size=CHUNK):
        if event in ("start_map", "start_array"):
            if depth == 0:
                is_array = event == "start_array"
                level = 2 if is_array else 1
            depth += 1
        elif event in ("end_map", "end_array"):
            if depth == level or depth == 1:
                break
            depth -= 1
        elif event == "map_key":
            if depth == level:
                keys.add(value)
                yield Shape(is_array, frozenset(keys))
        elif depth < level:  # a value that is no object, or an array of such
            break
    else:
        return
    yield Shape(is_array, frozenset(keys), whole=True)
