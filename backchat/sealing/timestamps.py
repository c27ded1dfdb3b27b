"""What the vault takes for a time: an RFC 3339 date-time. Whoever seals asks here, as whoever takes in plain pushes."""

from __future__ import annotations

import re
from calendar import monthrange

_FORM = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.[0-9]+)?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)
_DAY = 24 * 60


def is_timestamp(text: str) -> bool:
    """Whether it is a date-time of a day that there is, with an offset or ``Z``.

    A leap second is one where it can be: at the end of a day in UTC (section 5.7). The calendar has no year 0.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        return False
    year, month, day, hour, minute, second = [int(part) for part in found.groups()[:6]]
    ahead = [int(part or 0) for part in found.groups()[7:]]
    if not year or not 1 <= month <= 12 or not 1 <= day <= monthrange(year, month)[1]:
        return False
    if hour > 23 or minute > 59 or second > 60 or ahead[0] > 23 or ahead[1] > 59:
        return False
    offset = (ahead[0] * 60 + ahead[1]) * (-1 if found[7] == "-" else 1)
    return second < 60 or (hour * 60 + minute - offset) % _DAY == _DAY - 1
