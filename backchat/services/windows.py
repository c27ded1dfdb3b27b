"""How often something was done: calls in fixed windows, counted in the store, and so by all processes on it together.

A window begins with its first call, is one record, and is over at a time by the injected clock. Calls that come while
others are being counted are counted together after them, in one batch whatever their windows: so a counted call costs
one commit at most, many at once cost one together, and processes that count in the same window make each other begin
again instead of losing a call. When the store does not answer, those that wait already fail with those that are being
counted: they would wait as long once more. Who is over a limit is remembered here until the window ends, and costs
nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from itertools import islice

import orjson

from backchat.domain.times import moment, stamp
from backchat.errors import Unavailable
from backchat.ports.storage import Kind, Put, Query, Record, RecordStore
from backchat.services.finishing import through
from backchat.services.retrying import retrying

RATE = Kind(name="rate", fields=("expires",), indexes=(("expires",),))
AT_ONCE = 200
"""Calls that are counted in one batch."""
REMEMBERED = 4096
"""Windows that are known to be full. One that is forgotten early costs a look into the store, and no commit."""


@dataclass(frozen=True)
class Quota:
    """So many calls in so many seconds, of one caller, who is stored as a digest only.

    ``caller`` are words that say which window a call falls into; another number of calls or seconds is another window.
    """

    calls: int
    seconds: int
    caller: tuple[str, ...] = field(repr=False)

    @cached_property
    def id(self) -> str:
        """Of the record of its window: 64 hexadecimal digits."""
        return hashlib.sha256(orjson.dumps([self.calls, self.seconds, *self.caller])).hexdigest()

    def begun(self, now: datetime) -> datetime:
        """When a window ends that begins now, as the store will tell."""
        return moment(stamp(now + timedelta(seconds=self.seconds)))

    def lasts(self, end: datetime, now: datetime) -> bool:
        """Whether a window with this end is not over. One that ends much too late is of a clock that was wrong."""
        return now < end <= now + timedelta(seconds=2 * self.seconds)


@dataclass(frozen=True, slots=True)
class Window:
    """What is left of a quota, after a call. ``ends_at`` is in seconds since 1970, ``ends_in`` in seconds from now."""

    limit: int
    remaining: int
    ends_at: float
    ends_in: float
    exceeded: bool


@dataclass(slots=True, eq=False)
class _Call:
    quotas: Sequence[Quota]
    windows: Sequence[Window] = ()
    error: Exception | None = None

    @property
    def is_counted(self) -> bool:
        return bool(self.windows) or self.error is not None


@dataclass(slots=True)
class _Count:
    """A window while calls are being counted. ``version`` is that of its record, 0 for none."""

    count: int
    ends: datetime
    version: int
    changed: bool = False

    def take(self, quota: Quota, now: datetime) -> Window:
        exceeded = self.count >= quota.calls
        if not exceeded:
            self.count += 1
            self.changed = True
        return _window(quota, quota.calls - self.count, self.ends, now, exceeded=exceeded)


class Windows:
    """``now`` tells when windows begin and end: the clocks of all processes on the store should agree to the second."""

    def __init__(self, store: RecordStore, now: Callable[[], datetime]) -> None:
        self._store, self._now = store, now
        self._waiting: dict[_Call, None] = {}
        self._turn = asyncio.Lock()
        self._full: dict[str, datetime] = {}

    async def count(self, quotas: Sequence[Quota]) -> Sequence[Window]:
        """Count a call against each of the quotas, of which there is one at least, up to the first that is exceeded.

        Returns their windows; only the last can be exceeded, and that call was counted in those before it and in no
        other. A call that is cut off here may have been counted. Raises Unavailable.
        """
        now, first = self._now(), quotas[0]
        end = self._full.get(first.id)
        if end is not None and first.lasts(end, now):
            return [_window(first, 0, end, now, exceeded=True)]
        call = _Call(quotas)
        self._waiting[call] = None
        try:
            while not call.is_counted:
                async with self._turn:
                    if not call.is_counted:
                        await through(self._count_waiting())
        finally:
            self._waiting.pop(call, None)  # cut off before it was its turn
        if call.error is not None:
            raise call.error
        return call.windows

    async def _count_waiting(self) -> None:
        calls = list(islice(self._waiting, AT_ONCE))
        for call in calls:
            del self._waiting[call]
        behind = list(self._waiting)
        try:
            await retrying(lambda: self._attempt(calls))
        except Exception as error:
            for call in [*calls, *behind] if isinstance(error, Unavailable) else calls:
                call.error = error
                self._waiting.pop(call, None)

    async def _attempt(self, calls: Sequence[_Call]) -> None:
        quotas = {quota.id: quota for call in calls for quota in call.quotas}
        query = Query(kind=RATE.name, where=(("id", tuple(quotas)),), limit=len(quotas))
        stored = {record.id: record for record in await self._store.find(query)}
        now = self._now()
        counts = {id: _read(stored.get(id), quota, now) for id, quota in quotas.items()}
        found = [_counted(call.quotas, counts, now) for call in calls]
        changes = [_put(id, count) for id, count in counts.items() if count.changed]
        if changes:
            await self._store.apply(changes)
        for id, count in counts.items():
            if count.count >= quotas[id].calls:
                self._remember(id, count.ends)
        for call, windows in zip(calls, found, strict=True):
            call.windows = windows

    def _remember(self, id: str, end: datetime) -> None:
        self._full.pop(id, None)
        if len(self._full) >= REMEMBERED:
            del self._full[next(iter(self._full))]
        self._full[id] = end


def _read(record: Record | None, quota: Quota, now: datetime) -> _Count:
    """The window as it is stored, or a new one if that is over."""
    if record is not None and quota.lasts(end := moment(record.doc["expires"]), now):
        return _Count(record.doc["count"], end, record.version)
    return _Count(0, quota.begun(now), record.version if record is not None else 0)


def _counted(quotas: Sequence[Quota], counts: Mapping[str, _Count], now: datetime) -> Sequence[Window]:
    windows: list[Window] = []
    for quota in quotas:
        windows.append(counts[quota.id].take(quota, now))
        if windows[-1].exceeded:
            break
    return windows


def _put(id: str, count: _Count) -> Put:
    return Put(RATE.name, id, {"count": count.count, "expires": stamp(count.ends)}, count.version)


def _window(quota: Quota, remaining: int, end: datetime, now: datetime, *, exceeded: bool) -> Window:
    return Window(quota.calls, remaining, end.timestamp(), (end - now).total_seconds(), exceeded)
