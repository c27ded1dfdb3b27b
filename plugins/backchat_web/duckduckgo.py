"""DuckDuckGo's page for browsers without scripts, https://html.duckduckgo.com/html/: it needs no key.

There is no documentation of it; what is relied on here is what its readers have relied on for years: a ``div`` of class
``result`` for each result, in it links of class ``result__a`` and ``result__snippet``, the class ``result--ad`` for
advertisements, ``no-results`` where there are none, and a form of id ``challenge-form`` for those it takes for robots.
"""

from __future__ import annotations

from collections.abc import Sequence
from html.parser import HTMLParser
from urllib.parse import parse_qs, urlsplit

from backchat.ports.tools import ToolFailed
from backchat_web.results import Result

CHALLENGED = "the search service takes this server for a robot at the moment and answers nothing; search less, or later"


def results_in(body: bytes) -> Sequence[Result]:
    """The results on a page. Raises ToolFailed for a challenge, and for a page that is not one of results."""
    reader = _Reader()
    reader.feed(body.decode(errors="replace"))
    reader.close()
    if reader.challenged:
        raise ToolFailed(CHALLENGED)
    if not reader.results and not reader.nothing:
        raise ToolFailed("the search service answered with a page that cannot be read")
    return reader.results


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.results: list[Result] = []
        self.challenged = self.nothing = False
        self._advert = False
        self._into: list[str] | None = None
        self._tag = ""
        self._url = ""
        self._title: list[str] = []
        self._snippet: list[str] = []

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        classes = (given.get("class") or "").split()
        if self._into is not None:
            return
        if given.get("id") == "challenge-form":
            self.challenged = True
        elif "no-results" in classes:
            self.nothing = True
        elif "result" in classes:
            self._end()
            self._advert = "result--ad" in classes
        elif "result__a" in classes:
            self._end()
            self._url = "" if self._advert else _destination(given.get("href") or "")
            self._begin(tag, self._title)
        elif "result__snippet" in classes:
            self._begin(tag, self._snippet)

    def handle_endtag(self, tag: str) -> None:
        if tag == self._tag:
            self._into = None

    def handle_data(self, data: str) -> None:
        if self._into is not None:
            self._into.append(data)

    def close(self) -> None:
        super().close()
        self._end()

    def _begin(self, tag: str, into: list[str]) -> None:
        self._tag, self._into = tag, into

    def _end(self) -> None:
        """Of a result."""
        if self._url:
            self.results.append(Result("".join(self._title), self._url, "".join(self._snippet)))
        self._url = ""
        self._title, self._snippet = [], []
        self._into = None


def _destination(link: str) -> str:
    """Where a link goes, without the detour over DuckDuckGo; empty for advertisements, which go another way."""
    try:
        parts = urlsplit(link)
        if parts.path == "/y.js":
            return ""
        if parts.path == "/l/" and (parts.hostname or "duckduckgo.com").endswith("duckduckgo.com"):
            return parse_qs(parts.query).get("uddg", [""])[0]
    except ValueError:
        return ""
    return link
