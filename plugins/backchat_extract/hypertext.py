"""Web pages: what a reader of the page would see, in order."""

from __future__ import annotations

from collections.abc import Sequence
from html.parser import HTMLParser

from backchat.ports.extraction import Page
from backchat_extract.plain import decoded

_HIDDEN = frozenset(("script", "style", "template", "svg", "iframe", "object"))
# fmt: off
_BLOCKS = frozenset((
    "address", "article", "aside", "blockquote", "body", "dd", "details", "div", "dl", "dt", "fieldset", "figcaption",
    "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "main", "nav", "ol", "option", "p",
    "pre", "section", "summary", "table", "textarea", "title", "ul",
))
# fmt: on
_LINES = frozenset(("br", "li", "tr"))
_CELLS = frozenset(("td", "th"))


def text(data: bytes, name: str) -> Sequence[Page]:
    reader = _Reader()
    reader.feed(decoded(data))
    reader.close()
    return [Page(reader.text())]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._found: list[str] = []
        self._hidden: str | None = None
        self._depth = self._verbatim = 0

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        if self._hidden is not None:
            self._depth += tag == self._hidden
        elif tag in _HIDDEN:
            self._hidden, self._depth = tag, 1
        else:
            self._verbatim += tag == "pre"
            self._break(tag)
            if tag == "img" and (words := dict(attrs).get("alt")):
                self._found.append(f" {words} ")

    def handle_endtag(self, tag: str) -> None:
        if self._hidden is not None:
            self._depth -= tag == self._hidden
            if self._depth == 0:
                self._hidden = None
        else:
            self._verbatim = max(0, self._verbatim - (tag == "pre"))
            if tag in _BLOCKS:
                self._break(tag)

    def handle_startendtag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        if tag not in _HIDDEN:
            self.handle_starttag(tag, attrs)

    def handle_data(self, data: str) -> None:
        if self._hidden is None and data:
            # A marked line break is one that was written; any other white space is a space.
            self._found.append(data if self._verbatim else _flowing(data))

    def _break(self, tag: str) -> None:
        if tag in _BLOCKS:
            self._found.append("\n\n")
        elif tag in _LINES:
            self._found.append("\n")
        elif tag in _CELLS:
            self._found.append("\t")

    def text(self) -> str:
        blocks: list[str] = []
        for line in "".join(self._found).split("\n"):
            cells = [" ".join(cell.split()) if "\t" in line else cell.rstrip() for cell in line.split("\t")]
            line = " | ".join(cell for cell in cells if cell) if "\t" in line else cells[0]
            if line.strip():
                blocks.append(line if line.startswith("  ") else line.strip())
            elif blocks and blocks[-1]:
                blocks.append("")
        return "\n".join(blocks).strip()


def _flowing(data: str) -> str:
    inner = " ".join(data.split())
    if not inner:
        return " "
    return f"{' ' if data[0].isspace() else ''}{inner}{' ' if data[-1].isspace() else ''}"
