"""LibreChat's content parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from backchat.domain.content_items import numbered
from backchat.domain.message import Part, Reasoning, Text, ToolCall, ToolResult
from backchat_importers.values import foreign, id_of, json_of, object_of, text_of, without


def content_parts(content: Sequence[Any]) -> tuple[list[Part], dict[str, Any]]:
    """The parts, and what goes to ``extra`` as FIELDS. Parts of an unknown type are kept as they are."""
    parts: list[Part] = []
    fields: dict[int, dict[str, Any]] = {}
    for n, item in enumerate(content):
        if item is None:
            continue
        if type(item) is str:
            parts.append(Text(item))
            continue
        made, rest = _parts(object_of(item), n)
        if not made and (bare := _text(item, "text")):
            made, rest = [Text(bare[0])], bare[1]
        if made and rest:
            fields[len(parts)] = rest
        parts += made or [foreign(item)]
    return parts, numbered(parts, fields)


def _parts(item: Mapping[str, Any], n: int) -> tuple[list[Part], dict[str, Any]]:
    kind = item.get("type")
    if kind == "text" and (read := _text(item.get("text"), kind)) is not None:
        text, within = read
        return [Text(text)], without(item, "type", "text") | within
    if kind == "think" and (read := _text(item.get("think"), kind)) is not None:
        text, within = read
        return [Reasoning(text)], without(item, "type", "think") | within
    if kind == "tool_call" and (call := object_of(item.get("tool_call"))):
        made, rest = _call(call, n)
        return made, without(item, "type", "tool_call") | ({"tool_call": rest} if rest else {})
    return [], {}


def _text(value: Any, name: str) -> tuple[str, dict[str, Any]] | None:
    """A text, written as itself or as ``{"value": text, "annotations": [...]}``; the rest of that under ``name``."""
    if type(value) is str:
        return value, {}
    value = object_of(value)
    if type(value.get("value")) is not str or "type" in value:
        return None
    within = {k: v for k, v in without(value, "value").items() if v != []}
    return value["value"], {name: within} if within else {}


def _call(call: Mapping[str, Any], n: int) -> tuple[list[Part], dict[str, Any]]:
    """What was called and what it answered, if it did. Assistants of OpenAI have both within ``function``."""
    function = object_of(call.get("function"))
    name = text_of(call.get("name")) or text_of(function.get("name"))
    if not name:
        return [], {}
    id = id_of(call.get("id")) or f"call_{n}"
    arguments = call.get("args", function.get("arguments"))
    output = call.get("output", function.get("output"))
    made: list[Part] = [ToolCall(id, name, written(arguments, "{}"))]
    if output is not None:
        made.append(ToolResult(id, written(output, "")))
    rest = without(call, "id", "name", "args", "output", "function")
    if unmapped := without(function, "name", "arguments", "output"):
        rest["function"] = unmapped
    return made, rest


def written(value: Any, nothing: str) -> str:
    """A text as it is, everything else as JSON."""
    if value is None:
        return nothing
    return value if type(value) is str else json_of(value)
