"""``web_fetch``: the text of a page, read in a process of its own, since a page may be hostile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import Any

from aiohttp.abc import AbstractResolver

from backchat.domain.limits import DocumentLimits
from backchat.domain.tool import ToolDefinition
from backchat.ports.extraction import Extractor, Unreadable
from backchat.ports.tools import Tool, ToolFailed
from backchat.services.extraction import Extracted, Extraction
from backchat.upstream.enclosing import enclosed, one_line
from backchat_web.fetch_settings import FetchSettings
from backchat_web.lookups import Lookups
from backchat_web.media import PDF
from backchat_web.pages import Fetched, Pages
from backchat_web.reading import TEXT, TITLE, packed

_NEEDED = ("trafilatura", "semantic_text_splitter")
_FILE = "page.md"
"""The name under which pages are read: their text is Markdown."""
_LONGEST_URL, _LONGEST_TITLE = 2048, 300
MOST_FETCHED = 16
"""Pages that a process of the server fetches at a time, each of which it keeps in memory; others wait."""
_DEFINITION = ToolDefinition(
    "web_fetch",
    "The text of a page in the web, as Markdown: HTML, plain text, JSON, XML, and PDF where the server can read it. "
    "Long pages come in parts.",
    {
        "type": "object",
        "properties": {
            "url": {
                "type": "string",
                "minLength": 1,
                "maxLength": _LONGEST_URL,
                "description": "Complete address of the page, with http:// or https://.",
            },
            "start": {
                "type": "integer",
                "minimum": 0,
                "description": "Which character of the page's text to begin with, as an earlier call said. "
                "Left out: the first.",
            },
        },
        "required": ["url"],
        "additionalProperties": False,
    },
    web=True,
)


class WebFetch:
    definition = _DEFINITION

    def __init__(self, settings: FetchSettings, pages: Pages) -> None:
        self._settings, self._pages = settings, pages
        reader = Extractor("web", (".md",), "backchat_web.reading:text", "web")
        limits = DocumentLimits(time_limit=settings.time_limit, max_text=2 * settings.max_size, chunk=settings.max_text)
        self._extraction = Extraction({".md": reader}, limits)
        self._turn = asyncio.Semaphore(settings.at_once)
        self._fetching = asyncio.Semaphore(MOST_FETCHED)

    async def run(self, arguments: Mapping[str, Any]) -> str:
        limit = self._settings.time_limit
        try:
            async with asyncio.timeout(limit):
                async with self._fetching:
                    page = await self._pages.get(arguments["url"])
                async with self._turn:
                    found = await self._read(page)
        except TimeoutError:
            raise ToolFailed(f"fetching and reading the page took longer than {limit:g} seconds") from None
        return _answer(page, found, arguments.get("start", 0))

    async def _read(self, page: Fetched) -> Extracted:
        try:
            return await self._extraction.read(_FILE, packed(str(page.url), page.type, page.charset, page.data))
        except Unreadable as error:
            raise ToolFailed(f"the page cannot be read: {error}") from None


def _answer(page: Fetched, found: Extracted, start: int) -> str:
    parts = [cut for cut in found.cuts if cut.page == TEXT]
    title = " ".join([cut.text for cut in found.cuts if cut.page == TITLE])
    end = parts[-1].end if parts else 0
    part = next((cut for cut in parts if cut.end > start), None)
    if part is None:
        raise ToolFailed(f"the page's text has only {end} characters")
    start = max(start, part.start)
    lines = [f"Title: {one_line(title, _LONGEST_TITLE)}"] if title else []
    lines += [f"URL: {page.url}", f"Characters {start} to {part.end} of {end}", "", part.text[start - part.start :]]
    shown = enclosed("Content of a web page.", "web-page", "\n".join(lines))
    if part is parts[-1]:
        return shown
    return f"{shown}\n\nThe page goes on: call {_DEFINITION.name} with start={part.end} for what follows."


@asynccontextmanager
async def open_fetch(
    settings: FetchSettings, resolver: AbstractResolver | None = None
) -> AsyncIterator[Sequence[Tool]]:
    """``resolver`` looks names up, in place of the system's.

    Raises ImportError if the packages are missing that pages are read with, by the process that is made for that.
    """
    for package in _NEEDED:
        if find_spec(package) is None:
            raise ImportError(f"{package} is not installed")
    lookups = resolver or Lookups(MOST_FETCHED)
    pages = Pages(
        settings.rules,
        ports=settings.ports,
        redirects=settings.max_redirects,
        max_size=settings.max_size,
        user_agent=settings.user_agent,
        types=frozenset([PDF] if find_spec("kreuzberg") else []),
        resolver=lookups,
    )
    try:
        yield [WebFetch(settings, pages)]
    finally:
        await lookups.close()
