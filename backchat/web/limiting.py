"""How often a route may be called: fixed windows, by address and by user, with headers that say what is left."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from heapq import heappop, heappush
from typing import Any

from aiohttp import web
from limits import RateLimitItem, parse
from limits.aio.storage import Storage
from limits.aio.strategies import FixedWindowRateLimiter
from marshmallow import ValidationError, fields

from backchat.domain.identity import Identity
from backchat.errors import RateLimited
from backchat.web.address import address, network
from backchat.web.keys import LIMITER, RATE_HEADERS

_RATE = re.compile(r"[1-9][0-9]{0,8}\s*(/|per)\s*([1-9][0-9]{0,4}\s*)?[a-z]+", re.IGNORECASE)


class Rate(fields.Field[str | None]):
    """A number of calls in a time, such as ``7/minute`` or ``50 per 15 minutes``; ``off``, or null, for no limit."""

    def __init__(self, **kwargs: Any) -> None:
        metadata = {"type": "rate", **kwargs.pop("metadata", {})}
        super().__init__(**{"allow_none": True, **kwargs, "metadata": metadata})

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str | None:
        if value is False or value == "off":  # which a YAML file says in the same word
            return None
        try:
            if isinstance(value, str) and _RATE.fullmatch(value.strip()):
                _parsed(value.strip())
                return value.strip()
        except ValueError:
            pass
        raise ValidationError("Must be a number of calls in a time, such as 7/minute or 50 per 15 minutes, or off.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What routes that name the same budget may be called, together: rates as ``Rate`` gives them, None for no limit.

    ``message`` is for those who have called too often.
    """

    name: str
    address: str | None = None
    user: str | None = None
    message: str


@dataclass(frozen=True, slots=True)
class Window:
    """What is left of a rate, after a call. ``ends_at`` is in seconds since 1970, ``ends_in`` in seconds from now."""

    limit: int
    remaining: int
    ends_at: float
    ends_in: float
    exceeded: bool


class Windows(Storage):
    """Counts calls in the memory of this process, by a clock that is given. One window is forgotten when it has passed.

    The storage in memory of ``limits`` goes through all its windows at every call, and has no clock but the system's.
    """

    STORAGE_SCHEME = None

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__()
        self._now = now
        self._counts: dict[str, int] = {}
        self._ends: dict[str, float] = {}
        self._order: list[tuple[float, str]] = []

    @property
    def base_exceptions(self) -> type[Exception] | tuple[type[Exception], ...]:
        return ()

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        self._forget()
        if key not in self._counts:
            self._counts[key], self._ends[key] = 0, self._now() + expiry
            heappush(self._order, (self._ends[key], key))
        self._counts[key] += amount
        return self._counts[key]

    async def get(self, key: str) -> int:
        self._forget()
        return self._counts.get(key, 0)

    async def get_expiry(self, key: str) -> float:
        self._forget()
        return self._ends.get(key, self._now())

    async def clear(self, key: str) -> None:
        self._counts.pop(key, None)
        self._ends.pop(key, None)

    async def check(self) -> bool:
        return True

    async def reset(self) -> int:
        known = len(self._counts)
        self._counts, self._ends, self._order = {}, {}, []
        return known

    def _forget(self) -> None:
        now = self._now()
        while self._order and self._order[0][0] <= now:
            end, key = heappop(self._order)
            if self._ends.get(key) == end:  # else it was cleared, and may have begun anew
                del self._counts[key], self._ends[key]


class Limiter:
    """The windows of one app. ``storage`` is where they are counted, in this process unless another one is given."""

    def __init__(self, now: Callable[[], datetime], storage: Storage | None = None) -> None:
        self._clock = now
        self._strategy = FixedWindowRateLimiter(storage or Windows(self._now))

    def _now(self) -> float:
        return self._clock().timestamp()

    async def count(self, rate: str, *caller: str) -> Window:
        """Count one call, made in vain or not; ``caller`` are words that say which window it falls into."""
        item = _parsed(rate)
        within = await self._strategy.hit(item, *caller)
        ends_at, remaining = await self._strategy.get_window_stats(item, *caller)
        return Window(item.amount, remaining, ends_at, ends_at - self._now(), not within)


async def charge(request: web.Request, who: Identity, budget: Budget) -> None:
    """Count a call against the budget: first of its address, then of its user, if it has one.

    Raises RateLimited. The headers of the last one that was looked at are put on whatever the request is answered with.
    """
    limiter = request.app[LIMITER]
    callers = (("address", budget.address, network(address(request))), ("user", budget.user, who.user))
    for sort, rate, caller in callers:
        if rate is None or not caller:
            continue
        window = await limiter.count(rate, budget.name, sort, caller)
        request[RATE_HEADERS] = _headers(window)
        if window.exceeded:
            raise RateLimited(budget.message, retry_after=max(1, math.ceil(window.ends_in)))


def _headers(window: Window) -> Mapping[str, str]:
    return {
        "X-RateLimit-Limit": str(window.limit),
        "X-RateLimit-Remaining": str(window.remaining),
        "X-RateLimit-Reset": str(math.ceil(window.ends_at)),
    }


@lru_cache(maxsize=64)
def _parsed(rate: str) -> RateLimitItem:
    return parse(rate)
