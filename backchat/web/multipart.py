"""``multipart/form-data`` (RFC 7578), read as it arrives: what is kept is the parts' data and half a line at most.

The data of a form's files is kept in a ``Spool``: in memory, or on the disk. See ``streamed_form`` for keeping none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import BinaryIO

from backchat.errors import InvalidInput, TooLarge
from backchat.web.spool import Spool

PARTS = 1000
"""Most parts of a body."""
FILES_ON_DISK = 16
"""Most files of a body that are kept on the disk."""
_HEADERS = 16 << 10
_LINE = 2 << 10
"""Characters of a part's header: room for a filename of 255 characters, however it is written."""
_BOUNDARY = re.compile(
    r"(?:^|;)\s*boundary\s*=\s*(?:\"([^\"\\\r\n]{1,70})\"|([^\s;\",]{1,70}))\s*(?:;|$)", re.IGNORECASE
)
# Possessive, so that no header makes it look at the same characters again and again.
_PARAMETER = re.compile(
    r";\s*+([!#$&+.^_`|~0-9A-Za-z-]++\*?+)\s*+=\s*+(?:\"((?:[^\"\\]|\\.)*+)\"|([^\s;\"]*+))\s*+(?=;|$)"
)
_ESCAPED = re.compile(r"\\([\"\\])")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class MalformedBody(InvalidInput):
    """The body is not what its content type says."""

    code = "malformed_body"


@dataclass(frozen=True, slots=True)
class Upload:
    """A file of a form. ``name`` is the part's; ``filename`` is the client's word, and may be any text of one line.

    ``mime`` is the declared type in lower case, without parameters; ``application/octet-stream`` if there is none.
    ``size`` is in bytes. ``file`` is closed when the request is answered; that of a ``spooled`` route is on the disk.
    """

    name: str
    filename: str
    mime: str
    size: int
    file: BinaryIO = field(repr=False)
    _spool: Spool = field(repr=False)

    @property
    def data(self) -> bytes:
        """All of it; of a file on the disk only in a thread."""
        if isinstance(self.file, BytesIO):
            return self.file.getvalue()  # no copy
        self.file.seek(0)
        return self.file.read()

    def take(self) -> BinaryIO:
        """The file, which the caller closes from now on; at its end or anywhere."""
        self._spool.take(self.file)
        return self.file


@dataclass(frozen=True, slots=True)
class Heading:
    """What a part says of itself. ``filename`` is None for a text; ``mime`` is as in ``Upload``."""

    name: str
    filename: str | None
    mime: str


def boundary_of(content_type: str) -> bytes:
    """The boundary that a Content-Type header names. Raises MalformedBody if it names none."""
    found = _BOUNDARY.search(content_type.partition(";")[2])
    if found is None:
        raise MalformedBody("the Content-Type header names no boundary")
    return (found[1] or found[2]).encode("latin-1", "replace")


class Splitter:
    """The parts of a form on its way, each as its heading, pieces of its data, and None at its end.

    ``feed`` it what arrives, ``close`` it at the end. Raises MalformedBody.
    """

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._buffer = bytearray(b"\r\n")  # so that the first delimiter looks like every other one
        self._inside = False
        self._step = self._data
        self._count = 0
        self._found: list[Heading | bytes | None] = []

    def feed(self, chunk: bytes) -> Sequence[Heading | bytes | None]:
        self._found = []
        self._buffer += chunk
        while self._step():
            pass
        return self._found

    def close(self) -> None:
        if self._step != self._epilogue:
            raise MalformedBody("the form ends before its last boundary")

    # Each step takes what it can from the buffer, and says whether the next one may find something.

    def _data(self) -> bool:
        end = self._buffer.find(self._delimiter)
        ready = end if end >= 0 else max(0, len(self._buffer) - len(self._delimiter) + 1)
        if self._inside and ready:
            with memoryview(self._buffer) as view:
                self._found.append(bytes(view[:ready]))
        del self._buffer[:ready]
        if end < 0:
            return False
        if self._inside:
            self._found.append(None)
            self._inside = False
        del self._buffer[: len(self._delimiter)]
        self._step = self._after_delimiter
        return True

    def _after_delimiter(self) -> bool:
        if len(self._buffer) < 2:
            return False
        line = bytes(self._buffer[:2])
        if line == b"--":
            self._step = self._epilogue
            return True
        if line != b"\r\n":
            raise MalformedBody("a boundary of the form is not followed by the end of its line")
        self._count += 1
        if self._count > PARTS:
            raise MalformedBody(f"the form has more than {PARTS} parts")
        self._step = self._headers
        return True

    def _headers(self) -> bool:
        # The line end of the delimiter is still there, so that a part without headers is seen as one.
        end = self._buffer.find(b"\r\n\r\n", 0, _HEADERS)
        if end < 0:
            if len(self._buffer) >= _HEADERS:
                raise MalformedBody(f"the headers of a part are longer than {_HEADERS} bytes")
            return False
        self._found.append(_heading(bytes(self._buffer[2:end])))
        self._inside = True
        del self._buffer[: end + 4]
        self._step = self._data
        return True

    def _epilogue(self) -> bool:
        self._buffer.clear()
        return False


class Form:
    """A form in the making: ``feed`` it what arrives, ``close`` it at the end.

    ``most_text`` bounds the bytes of all parts that are not files together. Raises MalformedBody and TooLarge. With a
    spool on the disk it blocks.
    """

    def __init__(self, boundary: bytes, most_text: int, spool: Spool) -> None:
        self._splitter = Splitter(boundary)
        self._spool = spool
        self._part: Heading | None = None
        self._data: BinaryIO | None = None  # as long as there is nothing of it
        self._size = self._on_disk = 0
        self._most_text = self._text_left = most_text
        self._texts: dict[str, str] = {}
        self._files: dict[str, list[Upload]] = {}

    def feed(self, chunk: bytes) -> None:
        for found in self._splitter.feed(chunk):
            if isinstance(found, Heading):
                self._part, self._data, self._size = found, None, 0
            elif self._part is None:
                raise AssertionError("data of no part")
            elif found is None:
                self._finish(self._part)
            else:
                self._keep(self._part, found)

    def close(self) -> dict[str, str | tuple[Upload, ...]]:
        """The fields: the last text of each name, or all the files of a name that has any."""
        self._splitter.close()
        return {**self._texts, **{name: tuple(files) for name, files in self._files.items()}}

    def _keep(self, part: Heading, data: bytes) -> None:
        if part.filename is None:
            self._text_left -= len(data)
            if self._text_left < 0:
                raise TooLarge(f"the text fields of the form are larger than {self._most_text} bytes")
        if self._data is None:
            self._data = BytesIO() if part.filename is None else self._file()
        self._data.write(data)
        self._size += len(data)

    def _finish(self, part: Heading) -> None:
        if self._data is not None:
            self._data.seek(0)
        if part.filename is None:
            self._texts[part.name] = decoded(self._data.read()) if self._data is not None else ""
        elif part.filename or self._size:  # a browser sends an empty file without a name where none was chosen
            data = self._data if self._data is not None else self._file()
            upload = Upload(part.name, part.filename, part.mime, self._size, data, self._spool)
            self._files.setdefault(part.name, []).append(upload)

    def _file(self) -> BinaryIO:
        if self._spool.disk:
            self._on_disk += 1
            if self._on_disk > FILES_ON_DISK:
                raise MalformedBody(f"the form has more than {FILES_ON_DISK} files")
        return self._spool.file()


def decoded(text: bytes) -> str:
    """The text of a part that is no file. Raises MalformedBody."""
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedBody("a text field of the form is not UTF-8") from None


def _heading(block: bytes) -> Heading:
    headers: dict[str, str] = {}
    try:
        lines = block.decode("utf-8").split("\r\n")
    except UnicodeDecodeError:
        raise MalformedBody("the headers of a part are not UTF-8") from None
    for line in lines:
        if len(line) > _LINE:
            raise MalformedBody(f"a header of a part is longer than {_LINE} characters")
        name, colon, value = line.partition(":")
        if not colon or _CONTROL.search(line):
            raise MalformedBody("a part of the form has a line among its headers that is none")
        headers[name.strip().lower()] = value.strip()
    if headers.get("content-transfer-encoding", "binary").lower() not in ("binary", "8bit", "7bit"):
        raise MalformedBody("a part of the form has a transfer encoding, which forms do not have")
    disposition = headers.get("content-disposition", "")
    kind, semicolon, rest = disposition.partition(";")
    parameters = {name.lower(): _unquoted(q) if q else plain for name, q, plain in _PARAMETER.findall(semicolon + rest)}
    if kind.strip().lower() != "form-data" or not parameters.get("name"):
        raise MalformedBody("a part of the form has no name")
    mime = headers.get("content-type", "").partition(";")[0].strip().lower()
    return Heading(parameters["name"], parameters.get("filename"), mime or "application/octet-stream")


def _unquoted(text: str) -> str:
    """A quoted value. A quote comes as ``%22`` (browsers, httpx) or as ``\\"`` (curl), a backslash as one or as two."""
    return _ESCAPED.sub(r"\1", text).replace("%22", '"')
