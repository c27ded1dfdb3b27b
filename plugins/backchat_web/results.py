"""What search services find."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

from backchat.upstream.enclosing import enclosed, one_line

_LONGEST_TITLE, _LONGEST_SNIPPET, _LONGEST_URL = 200, 1000, 2048
_TAG = re.compile(r"</?[A-Za-z][^<>]{0,200}>")


@dataclass(frozen=True, slots=True)
class Result:
    title: str
    url: str
    snippet: str


def unmarked(text: str) -> str:
    """Text without the tags and character references of HTML, in which some services mark what was looked for."""
    return html.unescape(_TAG.sub("", text))


def shown(results: Sequence[Result], most: int) -> str:
    """At most so many of the results, numbered, each page once, as text for a model."""
    lines: list[str] = []
    seen: set[str] = set()
    for result in results:
        url = result.url.strip()
        usable = url.startswith(("http://", "https://")) and url.isprintable() and len(url) <= _LONGEST_URL
        if len(seen) == most:
            break
        if not usable or url in seen:
            continue
        seen.add(url)
        lines.append(f"{len(seen)}. {one_line(result.title, _LONGEST_TITLE) or url}\n   {url}")
        if snippet := one_line(result.snippet, _LONGEST_SNIPPET):
            lines.append(f"   {snippet}")
    if not lines:
        return "The search found nothing."
    return enclosed("Results of a web search.", "web-search", "\n".join(lines))
