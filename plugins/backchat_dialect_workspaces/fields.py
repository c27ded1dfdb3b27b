"""Fields of this dialect's schemas, with the limits of its contract. What they refuse they do not repeat."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import orjson
from marshmallow import EXCLUDE, Schema, ValidationError, fields

from backchat.web.fields import DEPTH, too_deep

REQUIRED, NULL, BLANK = "This field is required.", "This field may not be null.", "This field may not be blank."
LARGEST = 2**31 - 1
"""Of numbers that count something."""
_MESSAGES: dict[str, Any] = {"required": REQUIRED, "null": NULL}
_HALF = re.compile("[\ud800-\udfff]")
_DIGITS = 18


class Lenient(Schema):
    """Unknown fields, and those that only the server sets, are ignored."""

    class Meta:
        unknown = EXCLUDE


class Words(fields.Field[str]):
    """A text of at most ``most`` characters. ``blank``: it may be empty. ``trim``: without white space around it."""

    def __init__(
        self, most: int, *, blank: bool = False, trim: bool = True, description: str = "", **more: Any
    ) -> None:
        metadata = {"type": "string", "maxLength": most, "description": description}
        super().__init__(**more, error_messages=_MESSAGES, metadata=metadata)
        self._most, self._blank, self._trim = most, blank, trim

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> str:
        if not isinstance(value, str):
            raise ValidationError("Not a valid string.")
        text = value.strip() if self._trim else value
        if len(text) > self._most:
            raise ValidationError(f"Ensure this field has no more than {self._most} characters.")
        if not self._blank and not text.strip():
            raise ValidationError(BLANK)
        require_clean(text)
        return text


def require_clean(text: str) -> None:
    """Raises ValidationError for what no store and no model takes."""
    if "\0" in text:
        raise ValidationError("Null characters are not allowed.")
    if _HALF.search(text):
        raise ValidationError("Halves of characters are not allowed.")


class Choice(fields.Field[str]):
    """One of some words."""

    def __init__(self, *words: str, description: str = "", **more: Any) -> None:
        metadata = {"type": "string", "enum": list(words), "description": description}
        super().__init__(**more, error_messages=_MESSAGES, metadata=metadata)
        self._words = words

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> str:
        if not isinstance(value, str) or value not in self._words:
            raise ValidationError(f"Must be one of: {', '.join(self._words)}.")
        return value


class Number(fields.Field[float]):
    """A JSON number within limits, or null. NaN has no place in JSON; true is no number."""

    def __init__(self, low: float, high: float, description: str = "") -> None:
        metadata = {"type": "number", "minimum": low, "maximum": high, "description": description}
        super().__init__(allow_none=True, metadata=metadata)
        self._low, self._high = low, high

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValidationError("A valid number is required.")
        _require_within(value, self._low, self._high)
        return float(value)


class Count(fields.Field[int]):
    """A JSON integer above 0, or null."""

    def __init__(self, description: str = "") -> None:
        metadata = {"type": "integer", "minimum": 1, "maximum": LARGEST, "description": description}
        super().__init__(allow_none=True, metadata=metadata)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValidationError("A valid integer is required.")
        _require_within(value, 1, LARGEST)
        return value


def _require_within(value: float, low: float, high: float) -> None:
    if value < low:
        raise ValidationError(f"Ensure this value is greater than or equal to {low}.")
    if value > high:
        raise ValidationError(f"Ensure this value is less than or equal to {high}.")


class Switch(fields.Field[bool]):
    """true or false, and nothing that reads like it."""

    def __init__(self, description: str = "") -> None:
        super().__init__(error_messages=_MESSAGES, metadata={"type": "boolean", "description": description})

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> bool:
        if not isinstance(value, bool):
            raise ValidationError("Must be a valid boolean.")
        return value


class Parameters(fields.Field[dict[str, Any]]):
    """A JSON object of at most ``most`` bytes, nested as deep as what is stored inside something else may be."""

    def __init__(self, most: int, description: str = "") -> None:
        super().__init__(error_messages=_MESSAGES, metadata={"type": "object", "description": description})
        self._most = most

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValidationError("Not a valid object.")
        if too_deep(value):
            raise ValidationError(f"Ensure this object is nested no deeper than {DEPTH}.")
        written = orjson.dumps(value)
        if len(written) > self._most:
            raise ValidationError(f"Ensure this object has no more than {self._most} bytes of JSON.")
        if rb"\u0000" in written and any("\0" in text for text in _texts(value)):  # else it is an escaped backslash
            raise ValidationError("Null characters are not allowed.")
        return value


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [*value, *(text for inner in value.values() for text in _texts(inner))]
    if isinstance(value, list):
        return [text for inner in value for text in _texts(inner)]
    return [value] if isinstance(value, str) else []


class Natural(fields.Field[int]):
    """A number in a query string, from 1 to ``most``."""

    def __init__(self, default: int, most: int | None = None, description: str = "") -> None:
        limits = {"minimum": 1} if most is None else {"minimum": 1, "maximum": most}
        metadata = {"type": "integer", **limits, "default": default, "description": description}
        super().__init__(load_default=default, metadata=metadata)
        self._most = most

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> int:
        text = str(value).strip()
        if not (text.isascii() and text.isdigit()):
            raise ValidationError("A whole number above 0 is required.")
        number = int(text) if len(text) <= _DIGITS else 10**_DIGITS
        _require_within(number, 1, number if self._most is None else self._most)
        return number
