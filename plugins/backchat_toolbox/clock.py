"""``current_time``: what a model cannot know."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from marshmallow import RAISE, Schema, ValidationError, fields, post_load

from backchat.domain.tool import ToolDefinition
from backchat.ports.tools import Tool, ToolFailed

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_LONGEST = 100


def _zone(name: str) -> ZoneInfo:
    """Reads a file. Raises ValueError for a name that no zone has."""
    try:
        return ZoneInfo(name)
    except (KeyError, OSError):  # OSError: the name is that of a region, which is a directory
        raise ValueError(f"no zone is called {name!r}") from None


def _known_zone(value: str) -> None:
    try:
        _zone(value)
    except ValueError:
        raise ValidationError("Must be an IANA time zone, such as Europe/Paris.") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockSettings:
    zone: str = "UTC"


class ClockSchema(Schema):
    class Meta:
        unknown = RAISE

    zone = fields.String(
        load_default="UTC",
        validate=_known_zone,
        metadata={"description": "The IANA time zone, such as `Europe/Paris`, when the model names none."},
    )

    @post_load
    def freeze(self, data: Mapping[str, Any], **_: object) -> ClockSettings:
        return ClockSettings(**data)


class Clock:
    """Tells the weekday, the date, the time with its distance to UTC, and the zone."""

    def __init__(self, zone: str, now: Callable[[], datetime]) -> None:
        self._zone, self._now = zone, now
        described = f"IANA name of a time zone, such as Europe/Paris or America/New_York. Left out: {zone}."
        self.definition = ToolDefinition(
            "current_time",
            "The current date, time and day of the week. Call it whenever an answer depends on what day or time it is.",
            {
                "type": "object",
                "properties": {"zone": {"type": "string", "maxLength": _LONGEST, "description": described}},
                "required": [],
                "additionalProperties": False,
            },
        )

    async def run(self, arguments: Mapping[str, Any]) -> str:
        name = arguments.get("zone", self._zone)
        try:
            zone = await asyncio.to_thread(_zone, name)
        except ValueError:
            raise ToolFailed("no time zone has this name; use an IANA name such as Europe/Paris") from None
        here = self._now().astimezone(zone)
        return f"{_DAYS[here.weekday()]}, {here.isoformat(' ', 'seconds')} ({name})"


@asynccontextmanager
async def open_clock(
    settings: ClockSettings, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> AsyncIterator[Sequence[Tool]]:
    yield [Clock(settings.zone, now)]
