"""Tool definitions: only those that the SDK can read back are taken, for one that it cannot spoils every listing."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import orjson

from backchat.errors import InvalidInput
from backchat_dialect_threads.toolschemas import check_references, check_schema

MOST = 128
LARGEST = 256 << 10
REMEMBERED = 4096
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_checked: set[bytes] = set()

Tools = tuple[Mapping[str, Any], ...]


async def checked_tools(tools: Sequence[Any], field: str = "body.tools") -> Tools:
    """The tools as they are stored. Raises InvalidInput.

    A schema is checked once, in a thread: that takes longer than all the rest of a request, and clients send the same
    tools with every message.
    """
    if len(orjson.dumps(tools)) > LARGEST:
        raise InvalidInput(f"at most {LARGEST} bytes of JSON", field=field)
    found = readable_tools(tools, field)
    for n, tool in enumerate(found):
        parameters = tool["function"]["parameters"]
        digest = sha256(orjson.dumps(parameters)).digest()
        if digest not in _checked:
            await asyncio.to_thread(check_schema, parameters, f"{field}.{n}.function.parameters")
            if len(_checked) >= REMEMBERED:
                _checked.clear()
            _checked.add(digest)
    return found


def readable_tools(tools: Sequence[Any], field: str = "body.tools") -> Tools:
    """The tools as they came, with ``type``, and without the nulls that say nothing.

    InvalidInput names what the SDK's models (ToolDefinition, FunctionDefinition, ToolParameters and
    ToolParameterProperties of 1.5.19) would fail on, and what points outside itself.
    """
    if len(tools) > MOST:
        raise InvalidInput(f"at most {MOST} tools", field=field)
    found = tuple([_tool(tool, f"{field}.{n}") for n, tool in enumerate(tools)])
    names = [tool["function"]["name"] for tool in found]
    for n, name in enumerate(names):
        if name in names[:n]:
            raise InvalidInput(f"two tools are named {name!r}", field=f"{field}.{n}.function.name")
    return found


def _tool(tool: Any, at: str) -> dict[str, Any]:
    tool = _object(tool, at)
    if tool.get("type", "function") != "function":
        raise InvalidInput("must be 'function'", field=f"{at}.type")
    function = _object(tool.get("function"), f"{at}.function")
    return {**tool, "type": "function", "function": _function(function, f"{at}.function")}


def _function(function: dict[str, Any], at: str) -> dict[str, Any]:
    function = _without_nulls(function, ("description", "strict"))
    name = function.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidInput("must be 1 to 64 letters, digits, '_' or '-'", field=f"{at}.name")
    _text(function, "description", at)
    if not isinstance(function.get("strict", False), bool):
        raise InvalidInput("must be a boolean", field=f"{at}.strict")
    parameters = _parameters(_object(function.get("parameters"), f"{at}.parameters"), f"{at}.parameters")
    return {**function, "parameters": parameters}


def _parameters(parameters: dict[str, Any], at: str) -> dict[str, Any]:
    parameters = _without_nulls(parameters, ("required",))
    if parameters.get("type", "object") != "object":
        raise InvalidInput("must be 'object'", field=f"{at}.type")
    _texts(parameters, "required", at)
    properties = _object(parameters.get("properties", {}), f"{at}.properties")
    parameters = {
        **parameters,
        "type": "object",
        "properties": {name: _property(p, f"{at}.properties.{name}") for name, p in properties.items()},
    }
    check_references(parameters, at)
    return parameters


def _property(value: Any, at: str) -> dict[str, Any]:
    found = _without_nulls(_object(value, at), ("type", "description", "enum", "properties", "items"))
    if not isinstance(found.get("type", ""), str):
        raise InvalidInput("must be one type; use 'anyOf' for several", field=f"{at}.type")
    _text(found, "description", at)
    _texts(found, "enum", at)
    for name in ("properties", "items"):
        if name in found:
            _object(found[name], f"{at}.{name}")
    return found


def _object(value: Any, at: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInput("must be an object", field=at)
    return value


def _text(values: Mapping[str, Any], name: str, at: str) -> None:
    if not isinstance(values.get(name, ""), str):
        raise InvalidInput("must be a string", field=f"{at}.{name}")


def _texts(values: Mapping[str, Any], name: str, at: str) -> None:
    found = values.get(name, [])
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise InvalidInput("must be a list of strings", field=f"{at}.{name}")


def _without_nulls(values: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None or name not in names}
