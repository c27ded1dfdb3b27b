"""Tools, and what is made of calls of them, for the tests of several parts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from backchat.domain.message import Text, ToolCall

LOOK = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "Look around",
        "parameters": {"type": "object", "properties": {"where": {"type": "string"}}, "required": ["where"]},
    },
}


def call(id: str, name: str, what: str = "x") -> ToolCall:
    return ToolCall(id, name, json.dumps({"what": what}))


async def tell(arguments: Mapping[str, Any]) -> str:
    return f"told {arguments['what']}"


def shape(messages: Any) -> list[tuple[str, str, list[str]]]:
    """Role, text and the ids of calls or results of each."""
    ids = [
        [p.id if isinstance(p, ToolCall) else p.call for p in m.parts if hasattr(p, "id") or hasattr(p, "call")]
        for m in messages
    ]
    return [
        (m.role, "".join([p.text for p in m.parts if isinstance(p, Text)]), i)
        for m, i in zip(messages, ids, strict=True)
    ]
