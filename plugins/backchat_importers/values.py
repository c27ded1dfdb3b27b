"""What the values in a file may be, whatever the product that wrote it meant them to be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from math import isfinite
from typing import Any

import orjson

from backchat.domain.message import Foreign
from backchat.services.storable import json_text

EARLIEST, LATEST = datetime(1970, 1, 2, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
"""Of the dates that are believed."""
_EARLIEST, _LATEST = EARLIEST.timestamp(), LATEST.timestamp()
_FINE = datetime(2000, 1, 1, tzinfo=UTC).timestamp()
"""From here on numbers of smaller units are believed: almost any number is a date in the seventies in one of them."""
_FENCES = re.compile("`{3,}")
TITLE = 200
"""Characters of a title in a report."""


class Unfit(Exception):
    """Why something is no conversation; a sentence that repeats nothing of it."""


def object_of(value: Any) -> Mapping[str, Any]:
    return value if type(value) is dict else {}


def array_of(value: Any) -> list[Any]:
    return value if type(value) is list else []


def text_of(value: Any) -> str:
    """Empty for everything that is no text."""
    return value if type(value) is str else ""


def id_of(value: Any) -> str | None:
    """Some products number things: 12 is ``12``."""
    if type(value) is str:
        return value.strip() or None
    return str(value) if type(value) is int else None


def flag_of(value: Any) -> bool:
    return value is True or (type(value) is str and value.strip().lower() == "true")


def moment_of(value: Any) -> datetime | None:
    """ISO 8601, UTC if it does not say, or a number since 1970: of seconds, or thousandths of it down to 1 ns.

    Also a text of such a number, and MongoDB's ``{"$date": ...}``. None for everything else, and for dates too far off.
    """
    if type(value) is dict:
        value = object_of(value.get("$date")).get("$numberLong", value.get("$date"))
    if type(value) is str:
        value = value.strip()
        if not (number := _number(value)):
            return _written(value)
        value = number
    if type(value) not in (int, float) or not isfinite(value):
        return None
    if value < _LATEST:
        return datetime.fromtimestamp(value, UTC) if value >= _EARLIEST else None
    scaled = next((value / unit for unit in (1e3, 1e6, 1e9) if value / unit < _LATEST), 0)
    return datetime.fromtimestamp(scaled, UTC) if scaled >= _FINE else None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _written(text: str) -> datetime | None:
    try:
        read = datetime.fromisoformat(text)
        read = read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return read if EARLIEST <= read < LATEST else None


def archived(flag: Any, *moments: datetime | None) -> datetime | None:
    """When a conversation was put away of which a file says whether, but perhaps not when: the first that is known."""
    return next(filter(None, moments), None) or datetime.now(UTC) if flag_of(flag) else None


def json_of(value: Any) -> str:
    """As JSON text, however deep it is."""
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        return json_text(value)


def fenced(text: str, language: str = "") -> str:
    """A block of code in Markdown, within more backticks than there are in it."""
    fence = "`" * (1 + max(map(len, _FENCES.findall(text)), default=2))
    return f"{fence}{language}\n{text}\n{fence}"


def without(value: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """What else an object has that says something."""
    return {k: v for k, v in value.items() if k not in names and v is not None}


def foreign(value: Any) -> Foreign:
    """A part that means nothing here; if it is no object, as the ``value`` of one."""
    return Foreign(value if type(value) is dict else {"type": "unknown", "value": value})


def title_of(entry: Any) -> str | None:
    """For a report: the start of what most products call a title."""
    entry = object_of(entry)
    title = text_of(entry.get("title")) or text_of(entry.get("name"))
    return " ".join(title[:TITLE].split()) or None
