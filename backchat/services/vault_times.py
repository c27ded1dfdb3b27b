"""Times of the vault's messages, which keep them letter for letter, as those of other messages."""

from __future__ import annotations

from datetime import datetime

from backchat.services.import_trees import sane


def moment_of(timestamp: str | None) -> datetime | None:
    """None also for what is a time in RFC 3339 and none here, such as a leap second, or cannot be meant."""
    try:
        read = datetime.fromisoformat((timestamp or "").upper())
    except ValueError:
        return None
    return sane(read) if read.tzinfo is not None else None
