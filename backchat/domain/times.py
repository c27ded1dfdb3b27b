"""Times as they are stored and shown: UTC, RFC 3339, milliseconds, of one width, so that text order is time order."""

from __future__ import annotations

from datetime import UTC, datetime


def stamp(moment: datetime) -> str:
    """``2026-01-31T09:30:00.125Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def moment(text: str) -> datetime:
    """The time that ``stamp`` wrote, aware and in UTC."""
    return datetime.fromisoformat(text)
