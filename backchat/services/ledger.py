"""What calls of models cost: a record of each, running totals, and limits on them.

A record is stored uncounted, in the batch of what it was for. Counting takes some records and, in one batch, adds them
to the totals of their users and of their workspaces and marks them; a total asked for is the stored one and what is not
counted yet. So it is exact at any moment, with any number of processes, whichever of them dies.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from types import TracebackType
from typing import Self

import structlog

from backchat.domain.identity import Identity
from backchat.domain.message import Usage
from backchat.domain.usage import Credits, Payer, Price, Purpose, UsageRecord, total
from backchat.errors import InsufficientCredits
from backchat.ports.storage import Change, Condition, Delete, Put, Query, RecordStore
from backchat.services.limited import known
from backchat.services.modeltable import model_table
from backchat.services.providers import Providers
from backchat.services.retrying import retrying
from backchat.services.usage_records import (
    SPENDING,
    USAGE,
    Side,
    Spending,
    Sum,
    month_of,
    spending_id,
    spending_ids,
    spending_of,
    spending_put,
    sum_of,
    usage_put,
    usage_record_of,
)

log = structlog.get_logger(source=__name__)

AT_ONCE = 200
"""Records that are counted in one batch."""
FEW = 50
"""Records that are added up each time rather than counted first."""
EVERY = 60.0
"""Seconds between two rounds in which everything is counted."""
MOST_UNKNOWN = 1000
"""Models whose price is looked for in vain, and told of: their names may be a caller's."""

_SPENT: Mapping[Side, str] = {
    "user": "you have spent your credit",
    "workspace": "the credit of this workspace is spent",
}


@dataclass(frozen=True, slots=True)
class Spent:
    """What somebody has spent in the current period, and may; None is without limit. US dollars."""

    total: Decimal
    limit: Decimal | None


class Ledger:
    """Use it as an async context manager: it reads the packaged prices and who has limits of their own, and counts what
    there is to count.
    """

    def __init__(
        self,
        store: RecordStore,
        providers: Providers,
        credits: Credits,
        *,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
    ) -> None:
        self._store, self._providers, self._credits = store, providers, credits
        self._now, self._new_id = now, new_id
        self._unknown: set[tuple[str, str]] = set()
        self._one_at_a_time = asyncio.Lock()
        self._counting: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await _prices_at_hand()
        self._credits = await known(self._store, self._credits)
        self._counting = asyncio.create_task(self._count_on(), name="counting usage")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._counting is not None:
            self._counting.cancel()
            await asyncio.wait([self._counting])

    # ---- before a call ----------------------------------------------------------------------------------------------

    async def check(self, payer: Payer) -> None:
        """Raises InsufficientCredits if the user or the workspace has spent its limit. Reads nothing without limits."""
        await _prices_at_hand()
        sides: Sequence[tuple[Side, str]] = [("user", payer.user), ("workspace", payer.workspace)]
        for side, id in sides:
            limit = self._limit(side, id)
            if limit is not None and await self.total(side, id) >= limit - self._credits.reserve:
                raise InsufficientCredits(_SPENT[side] + (" for this month" if self._credits.period == "month" else ""))

    # ---- records ----------------------------------------------------------------------------------------------------

    def entry(
        self,
        payer: Payer,
        purpose: Purpose,
        provider: str,
        model: str,
        usage: Usage,
        *,
        id: str | None = None,
        seconds: float | None = None,
        estimated: bool = False,
    ) -> UsageRecord:
        """A call at today's price, to be stored with ``booked``; None as id makes a new one. Does no I/O.

        ``check`` comes before it, or the ledger has been entered: then the packaged prices are in memory.
        """
        price = self._price(provider, model)
        return UsageRecord(
            id=id or self._new_id(),
            at=self._now(),
            payer=payer,
            purpose=purpose,
            provider=provider,
            model=model,
            usage=usage,
            cost=price.cost(usage, seconds) if price is not None else Decimal(0),
            input_price=price.input if price is not None else None,
            output_price=price.output if price is not None else None,
            seconds=seconds,
            estimated=estimated,
        )

    def booked(self, record: UsageRecord) -> Put:
        """What stores a new record; stale if there is one with its id. To replace that one, use ``settle``."""
        return usage_put(record)

    async def settle(self, first: UsageRecord, last: UsageRecord | None) -> None:
        """Put ``last`` in the place of what was stored before the call, counted or not; None leaves nothing of it.

        They have the same payer; ``last`` gets the id and the time of the first. It is stored even if that one is not.
        """

        async def attempt() -> None:
            record = await self._store.get(USAGE.name, first.id)
            before = usage_record_of(record) if record is not None else replace(first, version=0)
            changes: list[Change] = []
            if last is not None:
                kept = replace(last, id=first.id, at=before.at, counted=before.counted, version=before.version)
                changes.append(usage_put(kept))
            elif record is not None:
                changes.append(Delete(USAGE.name, first.id, before.version))
            if before.counted:
                change = -sum_of(before) + (sum_of(last) if last is not None else Sum())
                changes += await self._totals({id: [(month_of(before.at), change)] for id in spending_ids(before)})
            if changes:
                await self._store.apply(changes)

        await retrying(attempt)

    # ---- totals -----------------------------------------------------------------------------------------------------

    async def spent(self, who: Identity) -> Spent:
        """What the caller has spent, in all workspaces."""
        return Spent(await self.total("user", who.user), self._limit("user", who.user))

    async def total(self, side: Side, id: str) -> Decimal:
        """What a user or a workspace has spent in the current period.

        Counts first if there is much that is not counted.
        """
        own: Condition = (side, (id,))
        query = Query(kind=USAGE.name, where=(own, ("counted", (False,))), limit=FEW + 1)
        counted = await self._spending(side, id)
        while True:
            found = await self._store.find(query)
            if len(found) > FEW:
                await self._count((own,))
                counted = await self._spending(side, id)
                continue
            again = await self._spending(side, id)
            if again.version == counted.version:  # nothing was counted between the two looks
                break
            counted = again
        sums = [*counted.months.items()]
        for record in found:
            booked = usage_record_of(record)
            sums.append((month_of(booked.at), sum_of(booked)))
        this = month_of(self._now()) if self._credits.period == "month" else None
        return total([sum.cost for month, sum in sums if this in (None, month)])

    async def count(self) -> None:
        """Count all records that are not counted yet."""
        while await self._count(()):
            pass

    def _limit(self, side: Side, id: str) -> Decimal | None:
        credits = self._credits
        if side == "user":
            return credits.users.get(id, credits.per_user)
        return credits.workspaces.get(id, credits.per_workspace)

    async def _spending(self, side: Side, id: str) -> Spending:
        record = await self._store.get(SPENDING.name, spending_id(side, id))
        return spending_of(record) if record is not None else Spending(id=spending_id(side, id))

    async def _count(self, where: tuple[Condition, ...]) -> bool:
        """Count some of the records that meet the conditions; False if there are none."""

        async def attempt() -> bool:
            query = Query(kind=USAGE.name, where=(*where, ("counted", (False,))), limit=AT_ONCE)
            found = [usage_record_of(record) for record in await self._store.find(query)]
            sums: defaultdict[str, list[tuple[str, Sum]]] = defaultdict(list)
            for booked in found:
                for id in spending_ids(booked):
                    sums[id].append((month_of(booked.at), sum_of(booked)))
            if found:
                marked = [usage_put(replace(booked, counted=True)) for booked in found]
                await self._store.apply([*marked, *await self._totals(sums)])
            return bool(found)

        async with self._one_at_a_time:
            return await retrying(attempt)

    async def _totals(self, sums: Mapping[str, Sequence[tuple[str, Sum]]]) -> list[Put]:
        """What adds so much to each of the totals; stale when one of them changes meanwhile."""
        query = Query(kind=SPENDING.name, where=(("id", tuple(sums)),), limit=len(sums))
        stored = {record.id: spending_of(record) for record in await self._store.find(query)}
        return [spending_put(stored.get(id, Spending(id=id)).plus(added)) for id, added in sums.items()]

    async def _count_on(self) -> None:
        while True:
            try:
                await self.count()
            except Exception:
                log.exception("usage.not_counted")
            await asyncio.sleep(EVERY)

    # ---- prices -----------------------------------------------------------------------------------------------------

    def _price(self, provider: str, model: str) -> Price | None:
        """The configured price, else the packaged table's; None, and a line in the log, if neither knows the model."""
        configured = self._providers.configured.get(provider)
        use = configured.use if configured is not None else provider
        for name in (f"{provider}/{model}", f"{use}/{model}", model):
            if name in self._credits.prices:
                return self._credits.prices[name]
        row = model_table().find(use, model)
        if all(row.get(price) is None for price in ("price", "output_price", "minute_price")):
            if (provider, model) not in self._unknown and len(self._unknown) < MOST_UNKNOWN:
                self._unknown.add((provider, model))
                log.warning("usage.price_unknown", provider=provider, model=model)
            return None
        cached, written = row.get("cached_price"), row.get("cache_write_price")
        return Price(
            input=_amount(row.get("price")),
            output=_amount(row.get("output_price")),
            cached=_amount(cached) if cached is not None else None,
            cache_write=_amount(written) if written is not None else None,
            minute=_amount(row.get("minute_price")),
        )


def _amount(number: float | None) -> Decimal:
    """The decimal number that the table's author wrote."""
    return Decimal(str(number or 0))


async def _prices_at_hand() -> None:
    if not model_table.cache_info().currsize:
        await asyncio.to_thread(model_table)
