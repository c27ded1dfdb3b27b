"""Arguments for a tool, taken from a text according to the tool's JSON schema."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from backchat.ports.words import words

_NUMBER = re.compile(r"(?<![\w.])-?\d{1,15}(?:\.\d{1,15})?(?!\w)")
_QUOTED = re.compile(r"\"([^\"]+)\"|\u201c([^\u201d]+)\u201d")
_NO = frozenset({"no", "not", "false", "off", "without", "never"})
_DEPTH = 16
_VALUES = 1000


class Filler:
    """Fills every required argument; arguments that are not required are left out.

    string           the next quoted passage of the text, or the whole text
    integer, number  the next number in the text, else the default or 0; kept between minimum and maximum
    boolean          false if the text holds a word like "no" or "without", else true
    enum             the first value that the text names, else the first
    array            as many items as it must have, at least one
    object           its required properties

    A schema may come from a stranger: what is malformed in it counts as absent, and past 1,000 values, or nested more
    than 16 deep, the rest is null.
    """

    def __init__(self, schema: Mapping[str, Any], text: str) -> None:
        self._root = schema
        self._text = text
        self._words = set(words(text))
        self._left = _VALUES
        self._numbers = iter([float(n) for n in _NUMBER.findall(text)])
        self._quoted: Iterator[str] = iter([a or b for a, b in _QUOTED.findall(text)])

    def arguments(self) -> dict[str, Any]:
        return self._object(self._root, 0)

    def _value(self, schema: Any, depth: int) -> Any:
        self._left -= 1
        if depth > _DEPTH or self._left < 0:
            return None
        schema = self._resolved(schema if isinstance(schema, Mapping) else {})
        if "const" in schema:
            return schema["const"]
        if values := _list(schema, "enum"):
            return self._choice(values)
        match _type_of(schema):
            case "object":
                return self._object(schema, depth)
            case "array":
                count = max(1, int(_number(schema, "minItems") or 1))
                return [self._value(schema.get("items"), depth + 1) for _ in range(min(count, self._left + 1))]
            case "integer":
                return int(self._number(schema))
            case "number":
                return self._number(schema)
            case "boolean":
                return not self._words & _NO
            case "null":
                return None
            case _:
                longest = _number(schema, "maxLength")
                return next(self._quoted, self._text)[: None if longest is None else max(0, int(longest))]

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties = _mapping(schema, "properties")
        required = [name for name in _list(schema, "required") if isinstance(name, str)]
        return {name: self._value(properties.get(name), depth + 1) for name in required}

    def _resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """Follow ``$ref`` inside the document, and take the first alternative that is not null."""
        for _ in range(_DEPTH):
            if isinstance(schema.get("$ref"), str):
                target: Mapping[str, Any] = self._root
                for step in schema["$ref"].removeprefix("#").strip("/").split("/"):
                    target = _mapping(target, step)
                schema = target
            elif options := _list(schema, "anyOf") or _list(schema, "oneOf") or _list(schema, "allOf"):
                schema = next((o for o in options if isinstance(o, Mapping) and o.get("type") != "null"), {})
            else:
                break
        return schema

    def _number(self, schema: Mapping[str, Any]) -> int | float:
        value = next(self._numbers, _number(schema, "default") or 0)
        low, high = _number(schema, "minimum"), _number(schema, "maximum")
        value = value if low is None else max(value, low)
        value = value if high is None else min(value, high)
        return int(value) if value == int(value) else value

    def _choice(self, values: Sequence[Any]) -> Any:
        named = (v for v in values if isinstance(v, str) and words(v) and self._words.issuperset(words(v)))
        return next(named, values[0])


def _type_of(schema: Mapping[str, Any]) -> object:
    if types := _list(schema, "type"):
        return next((t for t in types if t != "null"), "null")
    return schema.get("type", "object" if "properties" in schema else "string")


def _list(schema: Mapping[str, Any], key: str) -> Sequence[Any]:
    value = schema.get(key)
    return value if isinstance(value, list | tuple) else ()


def _mapping(schema: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = schema.get(key)
    return value if isinstance(value, Mapping) else {}


def _number(schema: Mapping[str, Any], key: str) -> int | float | None:
    value = schema.get(key)
    usable = isinstance(value, int | float) and not isinstance(value, bool) and -1e15 <= value <= 1e15
    return value if usable else None
