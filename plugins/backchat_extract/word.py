"""Word documents (.docx).

Read here and not by kreuzberg, which in 4.10 loses every ``&``, ``<`` and ``>`` of them ("R&D" becomes "RD").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from xml.parsers import expat
from zipfile import ZipFile

from backchat.ports.extraction import Page, Unreadable
from backchat_extract.containers import DAMAGED, MOST, TOO_MUCH, unzipped
from backchat_extract.rows import written

MAIN = re.compile(r"word/document\d*\.xml")
BESIDE = re.compile(r"word/(footnotes|endnotes|comments|header\d*|footer\d*)\.xml")
_NAMES = (
    "http://schemas.openxmlformats.org/wordprocessingml/2006/main ",
    "http://purl.oclc.org/ooxml/wordprocessingml/main ",
)
_GIVEN_UP = frozenset(("del", "moveFrom", "Fallback", "instrText", "delText"))
"""What the document's readers do not see."""


def text(data: bytes, name: str) -> Sequence[Page]:
    with unzipped(data, "word/", "a Word document (.docx)") as archive:
        names = archive.namelist()
        main = next((n for n in names if MAIN.fullmatch(n)), None)
        if main is None:
            raise Unreadable("the file is not a Word document (.docx)")
        beside = sorted({n for n in names if BESIDE.fullmatch(n)})
        found = [_part(archive, n) for n in (main, *beside)]
    # The same header often comes three times: for first, odd and even pages.
    return [Page("\n\n".join(dict.fromkeys(part for part in found if part)))]


def _part(archive: ZipFile, name: str) -> str:
    reader = _Reader()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.data
    # No entities are declared in a Word document; where they are, somebody means harm.
    parser.EntityDeclHandler = _refuse
    seen = 0
    with archive.open(name) as part:
        while block := part.read(1 << 16):
            seen += len(block)
            if seen > MOST:
                raise Unreadable(TOO_MUCH)
            parser.Parse(block, False)
        parser.Parse(b"", True)
    return "\n\n".join(reader.blocks)


def _refuse(*_: object) -> None:
    raise Unreadable(DAMAGED)


class _Reader:
    """Paragraphs and tables of one part. Tables in tables are written where they stand, as cells with bars."""

    def __init__(self) -> None:
        self.blocks: list[str] = []
        self._line: list[str] = []
        self._tables: list[list[list[str]]] = []
        self._cells: list[list[str]] = []
        self._hidden = 0
        self._open = False

    def start(self, name: str, attributes: object) -> None:
        tag = name.rsplit(" ", 1)[-1]
        if self._hidden or tag in _GIVEN_UP:
            self._hidden += 1
        elif name.startswith(_NAMES) and (begin := _BEGIN.get(tag)) is not None:
            begin(self)

    def end(self, name: str) -> None:
        if self._hidden:
            self._hidden -= 1
        elif name.startswith(_NAMES) and (finish := _FINISH.get(name.rsplit(" ", 1)[-1])) is not None:
            finish(self)

    def data(self, text: str) -> None:
        if self._open and not self._hidden:
            self._line.append(text)

    def text_begins(self) -> None:
        self._open = True

    def text_ends(self) -> None:
        self._open = False

    def tab(self) -> None:
        self._line.append("\t")

    def line_break(self) -> None:
        self._line.append("\n")

    def paragraph_ends(self) -> None:
        line = "".join(self._line).strip()
        self._line.clear()
        if line:
            (self._cells[-1] if self._cells else self.blocks).append(line)

    def table_begins(self) -> None:
        self._tables.append([])

    def row_begins(self) -> None:
        if self._tables:
            self._tables[-1].append([])

    def cell_begins(self) -> None:
        self._cells.append([])

    def cell_ends(self) -> None:
        if self._cells:
            cell = " ".join(self._cells.pop())
            if self._tables and self._tables[-1]:
                self._tables[-1][-1].append(cell)

    def table_ends(self) -> None:
        if not self._tables:
            return
        rows = self._tables.pop()
        if self._cells:
            self._cells[-1] += [" | ".join(filter(None, row)) for row in rows]
        elif table := written(rows):
            self.blocks.append(table)


_BEGIN: dict[str, Callable[[_Reader], None]] = {
    "t": _Reader.text_begins,
    "tab": _Reader.tab,
    "br": _Reader.line_break,
    "cr": _Reader.line_break,
    "tbl": _Reader.table_begins,
    "tr": _Reader.row_begins,
    "tc": _Reader.cell_begins,
}
_FINISH: dict[str, Callable[[_Reader], None]] = {
    "t": _Reader.text_ends,
    "p": _Reader.paragraph_ends,
    "tc": _Reader.cell_ends,
    "tbl": _Reader.table_ends,
}
