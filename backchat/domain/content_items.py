"""Parts as other products count them: a tool call and its output are one item, and documents are none.

Items may have had fields that parts have no place for (``agentId``, annotations, times). They are kept in a message's
extras under FIELDS, by the number of the item as a text: ``{"0": {"agentId": "a"}}``. Fields from within an item are
under its name, as they were there: ``{"1": {"tool_call": {"auth": "..."}}}``, ``{"2": {"text": {"annotations": []}}}``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from backchat.domain.message import File, Part, Reasoning, ToolCall, ToolResult

FIELDS = "contentFields"


@dataclass(frozen=True, slots=True)
class Item:
    """Where its part is, and for a call where its output is, if there is one."""

    place: int
    output: int | None = None


def items(parts: Sequence[Part]) -> list[Item]:
    """All of them in their order. An output whose call is in another message is an item of its own. Thinking of which
    there is nothing but a seal is none.
    """
    outputs = _outputs(parts)
    paired = set(outputs.values())
    hidden = (File, Reasoning)
    return [
        Item(n, outputs.get(n))
        for n, p in enumerate(parts)
        if n not in paired and (type(p) not in hidden or (type(p) is Reasoning and p.text))
    ]


def _outputs(parts: Sequence[Part]) -> dict[int, int]:
    """The places of outputs by those of their calls.

    Several calls may have one id. The outputs that follow each other then belong to as many of the last calls before
    them that have none, in their order.
    """
    found: dict[int, int] = {}
    waiting: dict[str, list[int]] = {}
    for is_output, group in groupby(enumerate(parts), lambda at: type(at[1]) is ToolResult):
        outputs: dict[str, list[int]] = {}
        for n, part in group:
            if type(part) is ToolCall:
                waiting.setdefault(part.id, []).append(n)
            elif type(part) is ToolResult:
                outputs.setdefault(part.call, []).append(n)
        if is_output:
            for id, places in outputs.items():
                calls = waiting.get(id, [])
                last = calls[-len(places) :]
                del calls[-len(places) :]
                found.update(zip(last, places, strict=False))
    return found


def fields_at(parts: Sequence[Part], extra: Mapping[str, Any]) -> dict[int, Mapping[str, Any]]:
    """The fields that ``extra`` has of items, by the places of their parts."""
    kept = extra.get(FIELDS)
    if not isinstance(kept, Mapping) or not kept:
        return {}
    found = {item.place: kept.get(str(n)) for n, item in enumerate(items(parts))}
    return {place: fields for place, fields in found.items() if isinstance(fields, Mapping) and fields}


def numbered(parts: Sequence[Part], fields: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Fields by the places of parts as they are kept under FIELDS. Those of an output are its call's."""
    if not fields:
        return {}
    found: dict[str, Any] = {}
    for n, item in enumerate(items(parts)):
        own = {**fields.get(item.place, {}), **(fields.get(item.output, {}) if item.output is not None else {})}
        if own:
            found[str(n)] = own
    return found
