"""Fields of this dialect's schemas, with the limits of its contract. What they refuse they do not repeat."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from backchat.sealing.binary import from_text
from backchat.sealing.keys import is_key_id
from backchat.sealing.timestamps import is_timestamp

REQUIRED, NULL = "This field is required.", "Must not be null."
LARGEST = 2**53 - 1
"""Of numbers: the largest that every client reads as what it is."""
PROBLEMS = 20
"""How many of a list's items are told what is wrong with them."""
REPEATED = 1000
"""Items of a list that has each once: so many are looked at, with those that are there again."""
_MESSAGES: dict[str, Any] = {"required": REQUIRED, "null": NULL}
_HALF = re.compile("[\ud800-\udfff]")
_DIGITS = re.compile(r"[0-9]+", re.ASCII)
_MOST_DIGITS = 16


class Lenient(Schema):
    """Unknown fields are ignored."""

    class Meta:
        unknown = EXCLUDE


class Words(fields.Field[str]):
    """A text of ``least`` to ``most`` characters, exactly as it was sent; ``trim``: without white space around it;
    ``small``: in small letters, which is the form that has the length.
    """

    def __init__(
        self,
        most: int | None = None,
        *,
        least: int = 0,
        trim: bool = False,
        small: bool = False,
        description: str = "",
        **more: Any,
    ) -> None:
        limits = {name: n for name, n in (("minLength", least), ("maxLength", most)) if n}
        super().__init__(**more, error_messages=_MESSAGES, metadata=_about("string", description, **limits))
        self._least, self._most, self._trim, self._small = least, most, trim, small

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> str:
        if isinstance(value, str):
            value = value.strip() if self._trim else value
            value = value.lower() if self._small else value
        require_text(value, self._least, self._most)
        return str(value)


def require_text(value: Any, least: int, most: int | None) -> None:
    """Raises ValidationError for what is no text, not of this length, or of characters that no store takes."""
    if not isinstance(value, str):
        raise ValidationError("Must be a text.")
    if len(value) < least:
        raise ValidationError("Must not be empty.")
    if most is not None and len(value) > most:
        raise ValidationError(f"Must have at most {most} characters.")
    if "\0" in value or _HALF.search(value):
        raise ValidationError("Must hold neither null characters nor halves of characters.")


class Label(Words):
    """A text for people, on one line."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **more: Any) -> str:
        text = super()._deserialize(value, attr, data, **more)
        if not text.isprintable():
            raise ValidationError("Must be printable characters.")
        return text


class Labels(fields.List[Any]):
    """Texts of 1 to ``most`` characters, ``count`` of them at most, without white space around them, each once, in the
    order of their first mention.
    """

    def __init__(self, count: int, most: int, description: str = "", **more: Any) -> None:
        label = fields.String(validate=validate.Length(1, most))
        metadata = _about("array", description, maxItems=count)
        super().__init__(label, **more, error_messages=_MESSAGES, metadata=metadata)
        self._count, self._most = count, most

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> list[Any]:
        if not isinstance(value, list):
            raise ValidationError("Must be a list.")
        if len(value) > max(self._count, REPEATED):
            raise ValidationError(f"Must be at most {self._count}.")
        problems = Problems()
        found: dict[str, None] = {}
        for i, item in enumerate(value):
            text = item.strip() if isinstance(item, str) else item
            try:
                require_text(text, 1, self._most)
            except ValidationError as error:
                problems.add(i, error.messages)
            else:
                found[text] = None
        problems.report()
        if len(found) > self._count:
            raise ValidationError(f"Must be at most {self._count}.")
        return list(found)


class Problems:
    """What is wrong with the items of a list: all of it, up to ``PROBLEMS`` items, and how many more there are."""

    def __init__(self) -> None:
        self._found: dict[str | int, Any] = {}
        self._more = 0

    def add(self, item: int, messages: Any) -> None:
        if len(self._found) < PROBLEMS:
            self._found[item] = messages
        else:
            self._more += 1

    def report(self) -> None:
        """Raises ValidationError if there are any."""
        if self._more:
            self._found["_schema"] = [f"{self._more} more do not fit either."]
        if self._found:
            raise ValidationError(self._found)


class Count(fields.Field[int]):
    """A JSON integer from 0 on. 3.0 is none, nor is true."""

    def __init__(self, description: str = "", **more: Any) -> None:
        metadata = _about("integer", description, minimum=0, maximum=LARGEST)
        super().__init__(**more, error_messages=_MESSAGES, metadata=metadata)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST:
            raise ValidationError("Must be a whole number from 0 on.")
        return value


class Natural(fields.Field[int]):
    """A whole number in a query string, from ``low`` to ``high``."""

    def __init__(self, low: int, high: int | None, default: int, description: str = "") -> None:
        limits = {"minimum": low} if high is None else {"minimum": low, "maximum": high}
        super().__init__(load_default=default, metadata=_about("integer", description, **limits, default=default))
        self._low, self._high = low, high
        self._wanted = f"from {low} on" if high is None else f"from {low} to {high}"

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> int:
        digits = str(value)
        if not _DIGITS.fullmatch(digits):
            raise ValidationError(f"Must be a whole number {self._wanted}.")
        number = int(digits) if len(digits) <= _MOST_DIGITS else LARGEST
        if number < self._low or (self._high is not None and number > self._high):
            raise ValidationError(f"Must be a whole number {self._wanted}.")
        return number


class Switch(fields.Field[bool]):
    """true or false, and nothing that reads like it."""

    def __init__(self, description: str = "", **more: Any) -> None:
        super().__init__(**more, error_messages=_MESSAGES, metadata=_about("boolean", description))

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> bool:
        if not isinstance(value, bool):
            raise ValidationError("Must be true or false.")
        return value


class Flag(fields.Field[bool]):
    """``true`` or ``false`` in a query string; false if it is missing."""

    def __init__(self, description: str) -> None:
        super().__init__(load_default=False, error_messages=_MESSAGES, metadata=_about("boolean", description))

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> bool:
        if value not in ("true", "false"):
            raise ValidationError("Must be true or false.")
        return bool(value == "true")


class Binary(fields.Field[bytes]):
    """Bytes in base64 of the standard alphabet: ``exactly`` so many, or ``least`` of them."""

    def __init__(self, description: str, *, exactly: int | None = None, least: int = 0, **more: Any) -> None:
        metadata = {**_about("string", description), "format": "byte"}
        super().__init__(**more, error_messages=_MESSAGES, metadata=metadata)
        self._exactly, self._least = exactly, least

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> bytes:
        try:
            found = from_text(value) if isinstance(value, str) else None
        except ValueError:
            found = None
        if found is None:
            raise ValidationError("Must be base64 of the standard alphabet with padding, and nothing around it.")
        if self._exactly is not None and len(found) != self._exactly:
            raise ValidationError(f"Must be {self._exactly} bytes.")
        if len(found) < self._least:
            raise ValidationError(f"Must be at least {self._least} bytes.")
        return found


class Pattern(fields.Field[str]):
    """A text of a form that ``wanted`` describes."""

    def __init__(self, pattern: str, wanted: str, description: str = "", **more: Any) -> None:
        metadata = _about("string", description, pattern=f"^{pattern}$")
        super().__init__(**more, error_messages=_MESSAGES, metadata=metadata)
        self._pattern, self._wanted = re.compile(pattern, re.ASCII), wanted

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> str:
        if not isinstance(value, str) or not self._pattern.fullmatch(value):
            raise ValidationError(f"Must be {self._wanted}.")
        return value


class KeyId(fields.Field[str]):
    def __init__(self, description: str = "", **more: Any) -> None:
        metadata = _about("string", description, minLength=1, maxLength=64)
        super().__init__(**more, error_messages=_MESSAGES, metadata=metadata)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> str:
        if not isinstance(value, str) or not is_key_id(value):
            raise ValidationError("Must be 1 to 64 of the characters A-Z, a-z, 0-9, - and _.")
        return value


class Moment(fields.Field[datetime]):
    """An RFC 3339 date-time; loads in UTC."""

    def __init__(self, description: str = "", **more: Any) -> None:
        metadata = {**_about("string", description), "format": "date-time"}
        super().__init__(**more, error_messages=_MESSAGES, metadata=metadata)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> datetime:
        if not isinstance(value, str) or not is_timestamp(value):
            raise ValidationError("Must be an RFC 3339 date-time with an offset or Z.")
        try:
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
        except ValueError:
            raise ValidationError("Must be a time that every calendar has: no leap second.") from None
        except OverflowError:
            raise ValidationError("Must be a time that is in the years 1 to 9999 in UTC as well.") from None


def _about(kind: str, description: str, **limits: Any) -> dict[str, Any]:
    return {"type": kind, **limits, **({"description": description} if description else {})}
