"""The parts of messages: LibreChat's ``text`` and ``content``, and this server's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backchat.domain.content_items import fields_at, items, numbered
from backchat.domain.message import File, Foreign, Image, Message, Part, Reasoning, Text, ToolCall, ToolResult

Fields = dict[str, Any]
UNKNOWN = "unknown"
"""The type of a part that has none."""


def shown(parts: Sequence[Part], extra: Mapping[str, Any]) -> dict[str, Any]:
    """``text``; ``content`` too if there is more than text; ``files``, if documents came with it.

    ``extra`` is the message's: fields that parts have no place for are shown where they were.
    """
    found: dict[str, Any] = {"text": "\n".join([p.text for p in parts if type(p) is Text])}
    fields = fields_at(parts, extra)
    if fields or _has_content(parts):
        found["content"] = [
            _with(_item(parts[at.place], at.output is not None and parts[at.output]), fields.get(at.place, {}))
            for at in items(parts)
        ]
    documents = [{"file_id": p.document, "filename": p.name} for p in parts if type(p) is File]
    if documents:
        found["files"] = documents
    return found


def place(parts: Sequence[Part], extra: Mapping[str, Any], index: int) -> int:
    """Which part it is that clients see at ``index`` of the content; one that is not there, if there is none."""
    if index < 0 or not (_has_content(parts) or fields_at(parts, extra)):
        return index
    found = items(parts)
    return found[index].place if index < len(found) else len(parts)


def _has_content(parts: Sequence[Part]) -> bool:
    return any(not isinstance(p, Text | File) for p in parts)


def _item(part: Part, output: Part | bool) -> Fields:
    match part:
        case Text(text):
            return {"type": "text", "text": text}
        case Reasoning(text):
            return {"type": "think", "think": text}
        case ToolCall(id, name, arguments):
            return _call(id, name, arguments, output.content if isinstance(output, ToolResult) else None)
        case ToolResult(call, content):  # the call is in the message before
            return _call(call, "", "", content)
        case Image(file, mime):
            return {"type": "image_file", "image_file": {"file_id": file, "type": mime}}
        case Foreign(data):
            return _typed(data)
        case File():
            raise TypeError("a document is no item of the content")


def _call(id: str, name: str, arguments: str, output: str | None) -> Fields:
    call: Fields = {"id": id, "type": "tool_call", "name": name, "args": arguments}
    if output is not None:
        call |= {"output": output, "progress": 1}
    return {"type": "tool_call", "tool_call": call}


def _typed(data: Mapping[str, Any]) -> Fields:
    """A part of elsewhere with a type, and without nulls: what is missing is absent."""
    kind = data.get("type")
    if not isinstance(kind, str):
        named = data.get("content_type")
        kind = named if isinstance(named, str) else UNKNOWN
    found = {name: value for name, value in data.items() if value is not None} | {"type": kind}
    if isinstance(inner := found.get(kind), Mapping):
        found[kind] = {name: value for name, value in inner.items() if value is not None}
    return found


def _with(item: Fields, fields: Mapping[str, Any]) -> Fields:
    """An item with fields of its own; what it is goes before them."""
    for name, value in fields.items():
        there = item.get(name)
        if there is None:
            item[name] = value
        elif not isinstance(value, Mapping):
            continue
        elif isinstance(there, dict):
            item[name] = {**there, **value}
        elif name == item["type"]:  # a text, written as an object
            item[name] = {**value, "value": there}
    return item


@dataclass(frozen=True, slots=True)
class Taken:
    """What a client stores: parts, the files that are of other places, and what the items had besides."""

    parts: tuple[Part, ...]
    files: list[Any]
    fields: Fields


def taken(
    text: str | None, content: Sequence[Mapping[str, Any]] | None, files: object, before: Message | None
) -> Taken:
    """``content`` goes before ``text``.

    ``before`` is the message as it stands, if it does: its images and documents are found again by their ids.
    """
    own = {p.file: p for p in (before.parts if before else ()) if type(p) is Image}
    documents = {p.document: p for p in (before.parts if before else ()) if type(p) is File}
    parts: list[Part] = []
    fields: dict[int, Fields] = {}
    for data in content or ():
        made, rest = _read(data, own)
        if rest:
            fields[len(parts)] = rest
        parts += made
    if not content and text is not None:
        parts.append(Text(text))
    others = []
    for file in files if isinstance(files, list) else []:
        id = file.get("file_id") if isinstance(file, Mapping) else None
        if isinstance(id, str) and id in documents:
            parts.append(documents[id])
        else:
            others.append(file)
    return Taken(tuple(parts), others, numbered(parts, fields))


def _read(data: Mapping[str, Any], own: Mapping[str, Image]) -> tuple[Sequence[Part], Fields]:
    """The parts of an item, and what else it has."""
    rest = {name: value for name, value in data.items() if value is not None}
    kind = rest.pop("type", None)
    inner = rest.pop(kind, None) if isinstance(kind, str) else None
    parts: Sequence[Part] = []
    within: Fields = {}
    match kind, inner:
        case "text" | "think", str(words) | {"value": str(words)}:
            parts = [Text(words) if kind == "text" else Reasoning(words)]
            within = _without(inner, "value")
        case "image_file", {"file_id": str(file)} if file in own:
            parts = [own[file]]
            within = _without(inner, "file_id", "type")
        case "tool_call", {"id": str(id), "name": str(name), "args": str(arguments), **others}:
            output = others.get("output")
            if isinstance(output, str | None):
                parts = _read_call(id, name, arguments, output)
                within = _without(inner, "id", "name", "args", "output")
                if within.get("type") == kind:
                    del within["type"]
                if output is not None and within.get("progress") == 1:
                    del within["progress"]
    if not parts:
        return [Foreign(dict(data))], {}
    return parts, rest | ({str(kind): within} if within else {})


def _without(inner: object, *names: str) -> Fields:
    there = inner if isinstance(inner, Mapping) else {}
    return {name: value for name, value in there.items() if name not in names and value is not None}


def _read_call(id: str, name: str, arguments: str, output: str | None) -> Sequence[Part]:
    """A call with its output, or an output alone: its call is in the message before."""
    parts: list[Part] = [ToolCall(id, name, arguments)] if name else []
    return parts if output is None else [*parts, ToolResult(id, output)]
