"""Messages of a prompt as LangChain's messages, and back, without loss.

The content of a LangChain message is a list of its standard blocks, in the order of the parts; one text alone is a
string. Calls are blocks too, and in ``tool_calls`` as well, which is where a graph looks for them.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from backchat.domain.message import Reasoning, Seal, Text, ToolCall, ToolResult
from backchat.ports.providers import FileData, ImageData, PromptMessage, PromptPart

LangChainMessage = HumanMessage | AIMessage | SystemMessage | ToolMessage


def to_langchain(message: PromptMessage) -> LangChainMessage:
    """Raises ValueError for a message of role ``tool`` that does not hold one result."""
    if message.role == "tool":
        match message.parts:
            case (ToolResult(call, result),):
                return ToolMessage(result, tool_call_id=call)
        raise ValueError("a message of role tool holds one result")
    content = _content(message.parts)
    if message.role == "user":
        return HumanMessage(content)
    if message.role == "system":
        return SystemMessage(content)
    calls = [part for part in message.parts if isinstance(part, ToolCall)]
    return AIMessage(content, tool_calls=[{"id": c.id, "name": c.name, "args": _arguments(c)} for c in calls])


def from_langchain(message: BaseMessage) -> PromptMessage:
    """Raises ValueError for what no prompt can hold."""
    match message:
        case ToolMessage():
            return PromptMessage("tool", (ToolResult(message.tool_call_id, str(message.text)),))
        case HumanMessage():
            return PromptMessage("user", _parts(message))
        case SystemMessage():
            return PromptMessage("system", _parts(message))
        case AIMessage():
            return PromptMessage("assistant", (*_parts(message), *_calls_beside(message)))
    raise ValueError(f"no prompt holds a message of type {message.type}")


def calls_of(message: AIMessage) -> list[ToolCall]:
    """What the model called for, with the arguments as it wrote them."""
    return [part for part in from_langchain(message).parts if isinstance(part, ToolCall)]


def _content(parts: Sequence[PromptPart]) -> str | list[str | dict[str, Any]]:
    match parts:
        case (Text(text),) if text:
            return text
    return [_block(part) for part in parts]


def _block(part: PromptPart) -> dict[str, Any]:
    match part:
        case Text(text):
            return {"type": "text", "text": text}
        case Reasoning(text, seal):
            return {"type": "reasoning", "reasoning": text, **({"extras": _sealed(seal)} if seal else {})}
        case ImageData(mime, data):
            return {"type": "image", "mime_type": mime, "base64": b64encode(data).decode()}
        case FileData(name, mime, data, pages):
            more = {"name": name, "pages": pages}
            return {"type": "file", "mime_type": mime, "base64": b64encode(data).decode(), "extras": more}
        case ToolCall(id, name, arguments, seal):
            written = {"arguments": arguments, **(_sealed(seal) if seal else {})}
            return {"type": "tool_call", "id": id, "name": name, "args": _arguments(part), "extras": written}
    raise ValueError("a result stands in a message of role tool")


def _parts(message: BaseMessage) -> tuple[PromptPart, ...]:
    if isinstance(message.content, str):
        return (Text(message.content),)
    return tuple([_part(block) for block in message.content])


def _part(block: str | Mapping[str, Any]) -> PromptPart:
    match block:
        case str():
            return Text(block)
        case {"type": "text", "text": str(text)}:
            return Text(text)
        case {"type": "reasoning", "reasoning": str(text)}:
            return Reasoning(text, _seal(block.get("extras")))
        case {"type": "image", "mime_type": str(mime), "base64": str(data)}:
            return ImageData(mime, b64decode(data))
        case {
            "type": "file",
            "mime_type": str(mime),
            "base64": str(data),
            "extras": {"name": str(name), "pages": pages},
        }:
            return FileData(name, mime, b64decode(data), pages)
        case {"type": "tool_call", "id": str(id), "name": str(name), "extras": {"arguments": str(arguments)} as more}:
            return ToolCall(id, name, arguments, _seal(more))
    raise ValueError(f"no prompt holds a block of type {block.get('type')}")


def _sealed(seal: Seal) -> dict[str, Any]:
    return {"seal": [seal.maker, seal.data]}


def _seal(extras: Mapping[str, Any] | None) -> Seal | None:
    return Seal(*extras["seal"]) if extras and "seal" in extras else None


def _calls_beside(message: AIMessage) -> list[ToolCall]:
    """Calls that are not in the content."""
    inside = [block.get("id") for block in message.content if isinstance(block, dict)]
    return [
        ToolCall(call["id"] or "", call["name"], json.dumps(call["args"]))
        for call in message.tool_calls
        if call["id"] not in inside
    ]


def _arguments(call: ToolCall) -> dict[str, Any]:
    """For whoever looks into them; what is sent is the text. Older calls may hold what is no object."""
    try:
        read = json.loads(call.arguments)
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}
