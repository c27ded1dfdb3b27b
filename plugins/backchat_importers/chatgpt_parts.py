"""What ChatGPT's messages consist of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from backchat.domain.message import Foreign, Part, Text
from backchat_importers.chatgpt_citations import cited
from backchat_importers.values import array_of, fenced, foreign, object_of, text_of, without


def content_of(content: Any, metadata: Mapping[str, Any]) -> tuple[Part, ...]:
    """Nothing if it says nothing. ``metadata`` tells of citations in it."""
    if type(content) is str:
        return (Text(content),) if content else ()
    content = object_of(content)
    kind, text = content.get("content_type"), text_of(content.get("text"))
    if kind == "code" and text:
        language = text_of(content.get("language"))
        return (Text(fenced(text, "" if language == "unknown" else language)),)
    if kind == "execution_output" and text:
        return (Text("Execution Output:\n> " + text.replace("\n", "\n> ")),)
    if type(content.get("parts")) is list:
        parts = _joined(content["parts"])
        if len(parts) == 1 and type(said := parts[0]) is Text:
            return (Text(cited(said.text, metadata)),)
        return tuple(parts)
    return tuple(_mixed(content, "content_type"))


def thoughts_of(content: Mapping[str, Any]) -> str:
    """The thoughts under their headings, a blank line between two of them."""
    thoughts = [object_of(t) for t in array_of(content.get("thoughts"))]
    lines = ("\n".join(filter(None, (text_of(t.get("summary")), text_of(t.get("content"))))) for t in thoughts)
    return "\n\n".join(filter(None, lines))


def _joined(items: Sequence[Any]) -> list[Part]:
    """Texts with a space between them, and in their places the parts that are none (images, recordings)."""
    parts: list[Part] = []
    for texts, run in groupby(items, lambda item: type(item) is str):
        if texts:
            said = " ".join(filter(None, run))
            parts += [Text(said)] if said else []
            continue
        for item in run:
            if type(item) is dict:
                parts += _mixed(item, "content_type")
            elif item is not None:
                parts.append(foreign(item))
    return parts


def _mixed(content: Mapping[str, Any], *names: str) -> list[Part]:
    """The text of something that is more than its text, and what else it is."""
    rest = without(content, *names, "text")
    text = text_of(content.get("text"))
    if not text:
        return [foreign(content)] if rest else []
    return [Text(text), Foreign(without(content, "text"))] if rest else [Text(text)]
