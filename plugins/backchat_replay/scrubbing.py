"""Taking out of texts what looks like a key, the same way from an answer and from the prompt that it becomes part of.

An answer is scrubbed as the one text that it is, however it was cut into pieces; so a key that was cut is found too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from backchat.domain.message import ToolCall
from backchat.domain.run import ReasoningDelta, ReasoningSealed, StatusNote, TextDelta
from backchat.ports.providers import ProviderEvent
from backchat.upstream.failures import KEY

_KEY = re.compile(
    r"\b(?:sk|gsk|pk|rk|xai|hf|nvapi|bsk|tvly)[-_](?=[\w-]{0,40}?(?:[A-Za-z]\d|\d[A-Za-z]|\d{8}))[\w-]{8,}"
    r"|\bkey-[0-9a-f]{32}\b|\bAIza[\w-]{10,}"
    r"|\b[Bb]earer\s+(?=[\w~+/=-]{0,40}?(?:\d|\.\w))[\w.~+/=-]{6,}"
    r"|\beyJ[\w-]{1,1000}\.[\w-]+\.[\w-]*"
)
"""Keys and tokens of the usual services, and no words: what is kept of a conversation must stay what was said, with its
`key_column` and its bearer of news. Errors are shown to anybody, and are stricter. Takes linear time.
"""


@dataclass(frozen=True, slots=True)
class Heard:
    """An event, and the seconds between the one before it, or the request, and it."""

    after: float
    event: ProviderEvent


def scrubbed(text: str) -> str:
    return _KEY.sub(KEY, text)


def scrubbed_json(value: Any) -> Any:
    """The texts in a JSON value scrubbed, one by one: a key in it cannot take the punctuation after it along."""
    if isinstance(value, str):
        return scrubbed(value)
    if isinstance(value, list | tuple):
        return [scrubbed_json(inner) for inner in value]
    if isinstance(value, Mapping):
        return {scrubbed(key): scrubbed_json(inner) for key, inner in value.items()}
    return value


def scrubbed_arguments(arguments: str) -> str:
    """As they were if there is no key in them."""
    try:
        value = json.loads(arguments)
    except (ValueError, RecursionError):
        return scrubbed(arguments)
    found = scrubbed_json(value)
    return arguments if found == value else json.dumps(found, ensure_ascii=False)


def scrubbed_events(heard: Sequence[Heard]) -> list[Heard]:
    """An answer without keys. Seals stay as they are: their services want them back unchanged."""
    found: list[Heard | None] = list(heard)
    text = [n for n, h in enumerate(heard) if isinstance(h.event, TextDelta)]
    _scrub(found, text)
    thought: list[int] = []
    for n, h in enumerate(heard):
        match h.event:
            case ReasoningDelta():
                thought.append(n)
            case ReasoningSealed():
                _scrub(found, thought)
                thought = []
            case ToolCall():
                found[n] = Heard(h.after, replace(h.event, arguments=scrubbed_arguments(h.event.arguments)))
            case StatusNote():
                found[n] = Heard(h.after, StatusNote(scrubbed(h.event.text)))
    _scrub(found, thought)
    kept: list[Heard] = []
    lost = 0.0
    for left, was in zip(found, heard, strict=True):
        if left is None:
            lost += was.after
        else:
            kept.append(replace(left, after=left.after + lost))
            lost = 0.0
    return kept


def _scrub(found: list[Heard | None], places: Sequence[int]) -> None:
    """Scrub the one text that the deltas at these places make. One of which nothing is left becomes None."""
    pieces = [_text(found[n]) for n in places]
    whole = "".join(pieces)
    keys = [match.span() for match in _KEY.finditer(whole)]
    if not keys:
        return
    begins = 0
    for n, piece in zip(places, pieces, strict=True):
        ends = begins + len(piece)
        left, at = [], begins
        for first, last in keys:
            if last <= begins or first >= ends:
                continue
            left.append(whole[at : max(first, at)])
            if first >= begins:
                left.append(KEY)
            at = min(last, ends)
        left.append(whole[at:ends])
        begins = ends
        old = found[n]
        assert old is not None
        said = "".join(left)
        made = TextDelta(said) if isinstance(old.event, TextDelta) else ReasoningDelta(said)
        found[n] = Heard(old.after, made) if said else None


def _text(heard: Heard | None) -> str:
    assert heard is not None
    assert isinstance(heard.event, TextDelta | ReasoningDelta)
    return heard.event.text
