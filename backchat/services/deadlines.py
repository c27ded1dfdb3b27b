"""The last moment at which a conversation can be read."""

from __future__ import annotations

from datetime import datetime

from backchat.domain.times import stamp
from backchat.ports.storage import Range, Record


def living(now: datetime) -> Range:
    """What keeps conversations out of a list whose time is over."""
    return Range("expires", low=stamp(now))


def over(record: Record, now: datetime) -> bool:
    """The same of the record of one conversation: the milliseconds of its deadline are its last ones."""
    return bool(record.doc["expires"] < stamp(now))
