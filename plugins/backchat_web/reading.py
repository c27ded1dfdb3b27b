"""From the bytes of a page to its text; runs in the process that is made for reading one file.

HTML goes to trafilatura (https://trafilatura.readthedocs.io), which leaves menus and the like out; PDF to kreuzberg.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from backchat.ports.extraction import Page, Unreadable
from backchat_web.media import HTML, PDF

TEXT, TITLE = 1, 2
"""The numbers of the pages of an answer. The text goes first, so that places in the whole are places in it."""
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE = 1 << 16
_STRANGE = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_DEFAULT = "cp1252"
"""What pages without any sign are mostly in (https://encoding.spec.whatwg.org)."""


def packed(url: str, type: str, charset: str | None, data: bytes) -> bytes:
    """A page as ``text`` wants it: what its server said of it in a line of JSON, then its bytes."""
    return json.dumps({"url": url, "type": type, "charset": charset}).encode() + b"\n" + data


def text(data: bytes, name: str) -> Sequence[Page]:
    """The text of a ``packed`` page, as Markdown where it was HTML, and its title, which may be empty."""
    line, _, body = data.partition(b"\n")
    said: Mapping[str, Any] = json.loads(line)
    if said["type"] == PDF:
        title, found = "", _pdf(body)
    elif said["type"] in HTML:
        title, found = _html(_decoded(body, said["charset"]), said["url"])
    else:
        title, found = "", _decoded(body, said["charset"])
    if not found.strip():
        raise Unreadable("no text was found in it; pages that are made by scripts or of pictures are not read")
    return [Page(found.strip(), TEXT), Page(title, TITLE)]


def _html(page: str, url: str) -> tuple[str, str]:
    import trafilatura

    tree: Any = trafilatura.load_html(page)
    if tree is None:  # it may leave out what trafilatura knows a page by
        page = f"<!doctype html><html>{page}"
        tree = trafilatura.load_html(page)
    if tree is None:
        raise Unreadable("it is not HTML")
    title = tree.findtext(".//title") or ""
    found = trafilatura.extract(
        page, url=url, output_format="markdown", include_links=True, include_formatting=True, include_tables=True
    )
    return title, found or ""


def _pdf(data: bytes) -> str:
    import kreuzberg

    if b"%PDF-" not in data[:1024]:
        raise Unreadable("it is not a PDF")
    config = kreuzberg.ExtractionConfig(
        use_cache=False, output_format="plain", concurrency=kreuzberg.ConcurrencyConfig(max_threads=1)
    )
    try:
        found: str = kreuzberg.extract_bytes_sync(data, PDF, config).content
    except kreuzberg.KreuzbergError as error:
        if "password" in str(error).lower():
            raise Unreadable("it is protected by a password") from None
        raise
    return found


def _decoded(data: bytes, charset: str | None) -> str:
    """The text: by the mark of the bytes, as the server says if that fits, as UTF-8, or as it says itself, or looks."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _checked(data.decode(encoding, errors="replace"))
    for name in filter(None, (charset, "utf-8")):
        try:
            return _checked(data.decode(name))
        except (LookupError, UnicodeError):
            continue
    if b"\x00" in data[:_SAMPLE]:
        raise Unreadable("it is not text")
    return _checked(data.decode(_guessed(data), errors="replace"))


def _guessed(data: bytes) -> str:
    """The encoding that the text names itself, or looks like."""
    from charset_normalizer import from_bytes

    best = from_bytes(data[:_SAMPLE]).best()
    return best.encoding if best is not None else _DEFAULT


def _checked(found: str) -> str:
    sample = found[:_SAMPLE]
    if "\x00" in sample or len(_STRANGE.findall(sample)) > len(sample) // 100:
        raise Unreadable("it is not text")
    return found
