"""How often a route may be called: fixed windows, by address and by user, with headers that say what is left."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from aiohttp import web
from marshmallow import ValidationError, fields

from backchat.domain.identity import Identity
from backchat.errors import RateLimited
from backchat.services.windows import Quota, Window
from backchat.web.address import address, network
from backchat.web.keys import RATE_HEADERS, SERVICES

_DAY = 24 * 60 * 60
_SECONDS = {"second": 1, "minute": 60, "hour": 60 * 60, "day": _DAY, "month": 30 * _DAY, "year": 365 * _DAY}
_LONGEST = 10 * _SECONDS["year"]
_RATE = re.compile(
    rf"([1-9][0-9]{{0,8}})\s*(?:/|per)\s*(?:([1-9][0-9]{{0,4}})\s*)?({'|'.join(_SECONDS)})s?", re.IGNORECASE | re.ASCII
)


class Rate(fields.Field[str | None]):
    """A number of calls in a time, such as ``7/minute`` or ``50 per 15 minutes``; ``off``, or null, for no limit.

    A month has 30 days, a year 365; ten years are the longest time.
    """

    def __init__(self, **kwargs: Any) -> None:
        metadata = {"type": "rate", **kwargs.pop("metadata", {})}
        super().__init__(**{"allow_none": True, **kwargs, "metadata": metadata})

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str | None:
        if value is False or value == "off":  # which a YAML file says in the same word
            return None
        try:
            if isinstance(value, str):
                parsed(value)
                return value.strip()
        except ValueError:
            pass
        raise ValidationError("Must be a number of calls in a time, such as 7/minute or 50 per 15 minutes, or off.")


@lru_cache(maxsize=64)
def parsed(rate: str) -> tuple[int, int]:
    """How many calls in how many seconds. Raises ValueError."""
    found = _RATE.fullmatch(rate.strip())
    if found is None:
        raise ValueError("not a rate")
    seconds = int(found[2] or 1) * _SECONDS[found[3].lower()]
    if seconds > _LONGEST:
        raise ValueError("too long")
    return int(found[1]), seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What routes that name the same budget may be called, together: rates as ``Rate`` gives them, None for no limit.

    ``message`` is for those who have called too often.
    """

    name: str
    address: str | None = None
    user: str | None = None
    message: str


async def charge(request: web.Request, who: Identity, budget: Budget) -> None:
    """Count a call against the budget: first of its address, then of its user, if it has one.

    Raises RateLimited. The headers of the last one that was looked at are put on whatever the request is answered with.
    """
    callers = (("address", budget.address, network(address(request))), ("user", budget.user, who.user))
    quotas = [
        Quota(*parsed(rate), (budget.name, sort, caller))
        for sort, rate, caller in callers
        if rate is not None and caller
    ]
    if not quotas:
        return
    window = (await request.app[SERVICES].windows.count(quotas))[-1]
    request[RATE_HEADERS] = _headers(window)
    if window.exceeded:
        raise RateLimited(budget.message, retry_after=max(1, math.ceil(window.ends_in)))


def _headers(window: Window) -> Mapping[str, str]:
    return {
        "X-RateLimit-Limit": str(window.limit),
        "X-RateLimit-Remaining": str(window.remaining),
        "X-RateLimit-Reset": str(math.ceil(window.ends_at)),
    }
