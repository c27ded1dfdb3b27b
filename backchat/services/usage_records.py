"""What was spent, as records. Money is text: a decimal number, never a float."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

from backchat.domain.times import moment, stamp
from backchat.domain.usage import Payer, UsageRecord, total
from backchat.ports.storage import Kind, Put, Query, Range, Record, RecordStore
from backchat.services.paging import pages
from backchat.services.stored import usage_doc, usage_of

USAGE = Kind(
    name="usage",
    fields=("user", "workspace", "at", "counted"),
    # As few as will do: one is written in every turn. Who reads those of one user in order reads past the others'.
    indexes=(("user", "counted"), ("workspace", "counted"), ("counted",), ("at",)),
    partition="workspace",
)
SPENDING = Kind(name="spending")
"""The running totals of a user or of a workspace."""
PAGE = 500

Side = Literal["user", "workspace"]
"""Of whom there are totals."""


@dataclass(frozen=True, slots=True)
class Sum:
    """Of calls: their cost in US dollars, how many, and their tokens in and out."""

    cost: Decimal = Decimal(0)
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: Sum) -> Sum:
        return Sum(
            total([self.cost, other.cost]),
            self.calls + other.calls,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
        )

    def __neg__(self) -> Sum:
        return Sum(self.cost.copy_negate(), -self.calls, -self.input_tokens, -self.output_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """What the counted records of a user or a workspace come to, by calendar month (UTC) such as ``2026-01``."""

    id: str
    months: Mapping[str, Sum] = field(default_factory=dict)
    version: int = 0

    def plus(self, changes: Iterable[tuple[str, Sum]]) -> Spending:
        months = dict(self.months)
        for month, sum in changes:
            months[month] = months.get(month, Sum()) + sum
        return Spending(id=self.id, months=months, version=self.version)


def month_of(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m}"


def sum_of(u: UsageRecord) -> Sum:
    return Sum(u.cost, 1, u.usage.input_tokens, u.usage.output_tokens)


def spending_id(side: Side, id: str) -> str:
    return f"{side}.{id}"


def spending_ids(u: UsageRecord) -> tuple[str, str]:
    """Where the two totals are that a record is counted in."""
    return spending_id("user", u.payer.user), spending_id("workspace", u.payer.workspace)


def spending_put(s: Spending) -> Put:
    """Store totals as the successor of the version they carry."""
    months = {
        month: {"cost": str(m.cost), "calls": m.calls, "input": m.input_tokens, "output": m.output_tokens}
        for month, m in s.months.items()
    }
    return Put(SPENDING.name, s.id, {"months": months}, s.version)


def spending_of(record: Record) -> Spending:
    months = {
        month: Sum(Decimal(m["cost"]), m["calls"], m["input"], m["output"]) for month, m in record.doc["months"].items()
    }
    return Spending(id=record.id, months=months, version=record.version)


async def usage_between(
    store: RecordStore,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    user: str | None = None,
    workspace: str | None = None,
) -> AsyncIterator[UsageRecord]:
    """The records from ``since`` up to before ``until``, oldest first, read a page at a time."""
    whose = (("user", user), ("workspace", workspace))
    where = tuple([(name, (value,)) for name, value in whose if value is not None])
    times = Range("at", low=stamp(since) if since else None, high=stamp(until) if until else None)
    ranges = (times,) if since or until else ()
    query = Query(kind=USAGE.name, where=where, ranges=ranges, order=("at",), limit=PAGE)
    async for page in pages(store, query):
        for record in page:
            yield usage_record_of(record)


def usage_put(u: UsageRecord) -> Put:
    """Store a record as the successor of the version it carries; version 0 is a new one."""
    doc: dict[str, Any] = {
        "at": stamp(u.at),
        "user": u.payer.user,
        "workspace": u.payer.workspace,
        "conversation": u.payer.conversation,
        "run": u.payer.run,
        "purpose": u.purpose,
        "provider": u.provider,
        "model": u.model,
        "usage": usage_doc(u.usage),
        "cost": str(u.cost),
        "input_price": str(u.input_price) if u.input_price is not None else None,
        "output_price": str(u.output_price) if u.output_price is not None else None,
        "seconds": u.seconds,
        "estimated": u.estimated,
        "counted": u.counted,
    }
    return Put(USAGE.name, u.id, doc, u.version)


def usage_record_of(record: Record) -> UsageRecord:
    d = record.doc
    input_price, output_price = d["input_price"], d["output_price"]
    return UsageRecord(
        id=record.id,
        at=moment(d["at"]),
        payer=Payer(user=d["user"], workspace=d["workspace"], conversation=d["conversation"], run=d["run"]),
        purpose=d["purpose"],
        provider=d["provider"],
        model=d["model"],
        usage=usage_of(d["usage"]),
        cost=Decimal(d["cost"]),
        input_price=Decimal(input_price) if input_price is not None else None,
        output_price=Decimal(output_price) if output_price is not None else None,
        seconds=d["seconds"],
        estimated=d["estimated"],
        counted=d["counted"],
        version=record.version,
    )
