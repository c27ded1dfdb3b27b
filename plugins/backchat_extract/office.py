"""PDF, slides, workbooks and the older office formats, by kreuzberg: one Rust library without dependencies.

It is asked for text alone: no cache on disk, no recognition of scanned text, no pictures, one thread.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from secrets import token_hex
from typing import Any

from backchat.ports.extraction import Page, Unreadable
from backchat_extract.containers import OLE, PROTECTED, holds_stream, unzipped
from backchat_extract.rows import written

_PDF = "application/pdf"
_SLIDES = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
_SHEETS = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
# A date is given as its midnight, and a time of day as that of the day before time began.
_MOMENT = re.compile(r"^(?:(\d{4}-\d\d-\d\d) 00:00:00|1899-12-3[01] (\d\d:\d\d:\d\d))$")
_HYPHEN = re.compile("[\x02\ufffe](?=([a-z\u00df-\u00ff])?)")


def text(data: bytes, name: str) -> Sequence[Page]:
    return _READERS[name.lower().rpartition(".")[2]](data)


def _pdf(data: bytes) -> Sequence[Page]:
    if b"%PDF-" not in data[:1024]:
        raise Unreadable("the file is not a PDF")
    result = _extracted(data, _PDF)
    return [Page(_rejoined(page["content"]), page["page_number"]) for page in result.pages or ()]


def _rejoined(text: str) -> str:
    """Words without the marks that stand for a hyphen at the end of a line."""
    return _HYPHEN.sub(lambda found: "" if found[1] else "-", text)


def _pptx(data: bytes) -> Sequence[Page]:
    unzipped(data, "ppt/", "a presentation (.pptx)").close()
    mark = token_hex(16)
    result = _extracted(data, _SLIDES, marker=f"\n\n{mark} {{page_num}} {mark}\n\n")
    parts = re.split(f"{mark} (\\d+) {mark}", result.content)
    return [Page(parts[i + 1].strip(), int(parts[i])) for i in range(1, len(parts), 2)]


def _ppt(data: bytes) -> Sequence[Page]:
    _compound(data, "PowerPoint Document", "a presentation (.ppt)", locked="EncryptedSummary")
    return [Page(_extracted(data, "application/vnd.ms-powerpoint").content)]


def _xlsx(data: bytes) -> Sequence[Page]:
    unzipped(data, "xl/", "a workbook (.xlsx)").close()
    return _sheets(_extracted(data, _SHEETS))


def _xls(data: bytes) -> Sequence[Page]:
    if not (data.startswith(OLE) and (holds_stream(data, "Workbook") or holds_stream(data, "Book"))):
        raise Unreadable("the file is not a workbook (.xls)")
    return _sheets(_extracted(data, "application/vnd.ms-excel"))


def _sheets(result: Any) -> Sequence[Page]:
    """Each sheet with its name, the rows with the names of their columns."""
    names = result.metadata.get("sheet_names") or []
    pages = []
    for table in result.tables:
        number = table.page_number
        title = names[number - 1] if 0 < number <= len(names) else ""
        cells = [[_MOMENT.sub(lambda m: m[1] or m[2], cell) for cell in row] for row in table.cells]
        if rows := written(cells):
            pages.append(Page(f"{title}\n\n{rows}".strip(), number))
    return pages


def _doc(data: bytes) -> Sequence[Page]:
    if data.startswith(b"{\\rtf"):
        return [Page(_extracted(data, "application/rtf").content)]
    _compound(data, "WordDocument", "a Word document (.doc)")
    # The header of the text begins a sector; its flags are the two bytes at 10, the ninth says that it is encrypted.
    for at in range(512, len(data) - 12, 512):
        if data[at : at + 2] == b"\xec\xa5":
            if data[at + 11] & 1:
                raise Unreadable(PROTECTED)
            break
    return [Page(_extracted(data, "application/msword").content)]


def _compound(data: bytes, stream: str, what: str, *, locked: str | None = None) -> None:
    if not (data.startswith(OLE) and holds_stream(data, stream)):
        raise Unreadable(f"the file is not {what}")
    if locked is not None and holds_stream(data, locked):
        raise Unreadable(PROTECTED)


def _extracted(data: bytes, mime: str, *, marker: str | None = None) -> Any:
    import kreuzberg

    pages = kreuzberg.PageConfig(extract_pages=True)
    if marker is not None:
        pages = kreuzberg.PageConfig(extract_pages=True, insert_page_markers=True, marker_format=marker)
    config = kreuzberg.ExtractionConfig(
        use_cache=False,
        enable_quality_processing=False,
        output_format="plain",
        pages=pages,
        concurrency=kreuzberg.ConcurrencyConfig(max_threads=1),
        content_filter=kreuzberg.ContentFilterConfig(
            include_headers=True, include_footers=True, strip_repeating_text=False, include_watermarks=True
        ),
    )
    try:
        return kreuzberg.extract_bytes_sync(data, mime, config)
    except kreuzberg.KreuzbergError as error:
        if "password" in str(error).lower():
            raise Unreadable(PROTECTED) from None
        raise


_READERS: dict[str, Callable[[bytes], Sequence[Page]]] = {
    "pdf": _pdf,
    "pptx": _pptx,
    "ppt": _ppt,
    "xlsx": _xlsx,
    "xls": _xls,
    "doc": _doc,
}
