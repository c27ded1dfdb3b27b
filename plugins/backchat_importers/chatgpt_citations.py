"""The places in ChatGPT's answers that stand for sources, as links to them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from backchat_importers.values import array_of, object_of, text_of

_MARK = re.compile("\ue200[^\ue200\ue201]*\ue201")
"""In characters of nobody's script. What else is referred to is text that shall stay."""


def cited(text: str, metadata: Mapping[str, Any]) -> str:
    """The text with links in place of the marks that ChatGPT's page draws over.

    ``citations`` give the range of each, in units of UTF-16. Newer exports have ``content_references`` in their stead,
    which quote the mark.
    """
    if links := _links(metadata):
        return _spliced(text, links)
    shown: dict[str, str] = {}
    for reference in map(object_of, array_of(metadata.get("content_references"))):
        mark, alternative = text_of(reference.get("matched_text")), reference.get("alt")
        if mark and type(alternative) is str:
            shown.setdefault(mark, f" {alternative}" if alternative else "")
    return _MARK.sub(lambda mark: shown.get(mark[0], mark[0]), text) if shown else text


def _links(metadata: Mapping[str, Any]) -> list[tuple[int, int, str]]:
    """Ranges and what to put there, from the left, without those that begin in another one."""
    links: list[tuple[int, int, str]] = []
    for citation in map(object_of, array_of(metadata.get("citations"))):
        start, end = citation.get("start_ix"), citation.get("end_ix")
        source = object_of(citation.get("metadata"))
        url = text_of(source.get("url"))
        if type(start) is int and type(end) is int and 0 <= start < end and source.get("type") == "webpage" and url:
            links.append((start, end, f" ([{text_of(source.get('title')) or url}]({url}))"))
    links.sort()
    apart: list[tuple[int, int, str]] = []
    for link in links:
        if not apart or link[0] >= apart[-1][1]:
            apart.append(link)
    return apart


def _spliced(text: str, links: list[tuple[int, int, str]]) -> str:
    units = text.encode("utf-16-le")
    pieces: list[bytes] = []
    done = 0
    for start, end, link in links:
        if 2 * end > len(units):
            break
        pieces += [units[done : 2 * start], link.encode("utf-16-le")]
        done = 2 * end
    # A range that ends within a character leaves half of it.
    return b"".join([*pieces, units[done:]]).decode("utf-16-le", "replace")
