"""Fields for sizes and spans of time, as a configuration writes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from marshmallow import ValidationError, fields

MIB = 1024 * 1024
_SIZE = re.compile(r"(\d{1,12})\s*(|KiB|MiB|GiB)")
_UNITS = {"": 1, "KiB": 1024, "MiB": MIB, "GiB": 1024 * MIB}
_SPAN = re.compile(r"(\d{1,9})\s*(|s|m|h|d)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST = timedelta(days=36500)


class Size(fields.Field[int]):
    """A number of bytes, or text such as ``20MiB``."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> int:
        found = None if isinstance(value, bool) else _SIZE.fullmatch(str(value))
        if found is None or not int(found[1]):
            raise ValidationError("Must be a number of bytes, or one with KiB, MiB or GiB.")
        return int(found[1]) * _UNITS[found[2]]


class Span(fields.Field[timedelta]):
    """A number of seconds, or text such as ``15m``, ``12h`` or ``30d``."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> timedelta:
        found = None if isinstance(value, bool) else _SPAN.fullmatch(str(value))
        if found is None or not int(found[1]):
            raise ValidationError("Must be a number of seconds, or one with s, m, h or d.")
        span = timedelta(seconds=int(found[1]) * _SECONDS[found[2]])
        if span > _LONGEST:
            raise ValidationError("Must be at most 100 years.")
        return span
