"""The parts of messages: LibreChat's ``text`` and ``content``, and this server's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from backchat.domain.message import File, Foreign, Image, Message, Part, Reasoning, Text, ToolCall, ToolResult


def shown(parts: Sequence[Part]) -> dict[str, Any]:
    """``text``; ``content`` too if there is more than text; ``files``, if documents came with it."""
    text = "".join([p.text for p in parts if type(p) is Text])
    found: dict[str, Any] = {"text": text}
    if _has_content(parts):
        found["content"] = [data for _, data in _content(parts)]
    documents = [{"file_id": p.document, "filename": p.name} for p in parts if type(p) is File]
    if documents:
        found["files"] = documents
    return found


def place(parts: Sequence[Part], index: int) -> int:
    """Which part it is that clients see at ``index`` of the content; one that is not there, if there is none."""
    if index < 0 or not _has_content(parts):
        return index
    places = [n for n, _ in _content(parts)]
    return places[index] if index < len(places) else len(parts)


def _has_content(parts: Sequence[Part]) -> bool:
    return any(not isinstance(p, Text | File) for p in parts)


def _content(parts: Sequence[Part]) -> list[tuple[int, dict[str, Any]]]:
    """What clients see, each with its place among the parts: a call and its result are one."""
    results = {p.call: p.content for p in parts if type(p) is ToolResult}
    calls = {p.id for p in parts if type(p) is ToolCall}
    found: list[tuple[int, dict[str, Any]]] = []
    for n, part in enumerate(parts):
        match part:
            case Text(text):
                found.append((n, {"type": "text", "text": text}))
            case Reasoning(text):
                found.append((n, {"type": "think", "think": text}))
            case ToolCall(id, name, arguments):
                found.append((n, _call(id, name, arguments, results.get(id))))
            case ToolResult(call, content) if call not in calls:  # the call is in the message before
                found.append((n, _call(call, "", "", content)))
            case Image(file, mime):
                found.append((n, {"type": "image_file", "image_file": {"file_id": file, "type": mime}}))
            case Foreign(data):
                found.append((n, dict(data)))
    return found


def _call(id: str, name: str, arguments: str, output: str | None) -> dict[str, Any]:
    call: dict[str, Any] = {"id": id, "type": "tool_call", "name": name, "args": arguments}
    if output is not None:
        call |= {"output": output, "progress": 1}
    return {"type": "tool_call", "tool_call": call}


def taken(
    text: str | None, content: Sequence[Mapping[str, Any]] | None, files: object, before: Message | None
) -> tuple[tuple[Part, ...], list[Any]]:
    """What a client stores, and those of the files that are of other places; ``content`` goes before ``text``.

    ``before`` is the message as it stands, if it does: its images and documents are found again by their ids.
    """
    own = {p.file: p for p in (before.parts if before else ()) if type(p) is Image}
    documents = {p.document: p for p in (before.parts if before else ()) if type(p) is File}
    parts: list[Part] = []
    for data in content or ():
        parts += _part(data, own)
    if not content and text is not None:
        parts.append(Text(text))
    others = []
    for file in files if isinstance(files, list) else []:
        id = file.get("file_id") if isinstance(file, Mapping) else None
        if isinstance(id, str) and id in documents:
            parts.append(documents[id])
        else:
            others.append(file)
    return tuple(parts), others


def _part(data: Mapping[str, Any], own: Mapping[str, Image]) -> Sequence[Part]:
    match data:
        case {"type": "text", "text": str(text)} | {"type": "text", "text": {"value": str(text)}}:
            return [Text(text)]
        case {"type": "think", "think": str(text)} if len(data) == 2:
            return [Reasoning(text)]
        case {"type": "image_file", "image_file": {"file_id": str(file)}} if file in own:
            return [own[file]]
        case {"type": "tool_call", "tool_call": {"id": str(id), "name": str(name), "args": str(arguments), **rest}}:
            if set(rest) - {"type", "output", "progress"}:
                return [Foreign(dict(data))]
            call = [ToolCall(id, name, arguments)] if name else []
            output = rest.get("output")
            return [*call, ToolResult(id, output)] if isinstance(output, str) else call
    return [Foreign(dict(data))]
