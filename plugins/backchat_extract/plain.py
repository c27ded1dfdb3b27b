"""Text in whatever encoding, and tables of separated values."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Sequence

from backchat.ports.extraction import Page, Unreadable
from backchat_extract.rows import written

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE = 1 << 16
_DECLARED = re.compile(rb"""(?:encoding|charset)\s*=\s*["']?([A-Za-z0-9_.:-]{2,40})""")
_STRANGE = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f]")


def text(data: bytes, name: str) -> Sequence[Page]:
    return [Page(decoded(data))]


def table(data: bytes, name: str) -> Sequence[Page]:
    """Separated values, a line for each row with the names of its columns."""
    whole = decoded(data)
    csv.field_size_limit(len(whole) + 1)
    try:
        dialect = csv.Sniffer().sniff(whole[:8192], delimiters=",;\t|")
        dialect.doublequote = True  # the sniffer says no wherever its sample holds no quote
        return [Page(written(list(csv.reader(io.StringIO(whole), dialect))))]
    except csv.Error:
        return [Page(whole)]


def decoded(data: bytes) -> str:
    """The text of the bytes: by their mark, as UTF-8, as they declare, or as they look. Raises Unreadable."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _checked(data.decode(encoding, errors="replace"))
    try:
        return _checked(data.decode())
    except UnicodeDecodeError:
        pass
    if b"\x00" in data[:_SAMPLE]:
        raise Unreadable("the file is not text")
    return _checked(data.decode(_declared(data) or _guessed(data), errors="replace"))


def _declared(data: bytes) -> str | None:
    found = _DECLARED.search(data, 0, 1024)
    if found is None:
        return None
    try:
        encoding = codecs.lookup(found[1].decode())
    except LookupError:
        return None
    # Only what is for text, and not UTF-8, which it is not.
    return encoding.name if encoding._is_text_encoding and encoding.name != "utf-8" else None


def _guessed(data: bytes) -> str:
    try:
        from charset_normalizer import from_bytes
    except ImportError:
        return "cp1252"
    best = from_bytes(data[:_SAMPLE]).best()
    return best.encoding if best is not None else "cp1252"


def _checked(found: str) -> str:
    sample = found[:_SAMPLE]
    if "\x00" in sample or len(_STRANGE.findall(sample)) > len(sample) // 100:
        raise Unreadable("the file is not text")
    return found
