"""``backchat usage``: what calls of models have cost, also while the server runs."""

from __future__ import annotations

import asyncio
import csv
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import click

from backchat.app import new_id, now, open_store
from backchat.cli.installation import Installation, installation_options
from backchat.cli.tables import show
from backchat.config import Config
from backchat.domain.usage import UsageRecord
from backchat.ports.storage import Query, RecordStore
from backchat.services.accounts import Accounts
from backchat.services.usage_records import USAGE, Sum, sum_of, usage_between
from backchat.web.logs import set_up_logs

DAY = click.DateTime(["%Y-%m-%d"])
SHOWN = Decimal("0.0001")
"""US dollars: what a table rounds to, halves to the even digit."""
NOTHING = Sum()

_BY: Mapping[str, Callable[[UsageRecord], str]] = {
    "user": lambda u: u.payer.user,
    "workspace": lambda u: u.payer.workspace,
    "model": lambda u: u.model,
    "provider": lambda u: u.provider,
    "purpose": lambda u: u.purpose,
    "day": lambda u: f"{u.at:%Y-%m-%d}",
    "month": lambda u: f"{u.at:%Y-%m}",
}
_IN_TIME = ("day", "month")


@dataclass(frozen=True, slots=True)
class Line:
    """``estimated``: how many of the calls have tokens that are estimates;  ``unpriced``: whose price was not known."""

    sum: Sum = NOTHING
    estimated: int = 0
    unpriced: int = 0

    def __add__(self, other: Line) -> Line:
        return Line(self.sum + other.sum, self.estimated + other.estimated, self.unpriced + other.unpriced)

    @property
    def share(self) -> Decimal:
        """Of the calls that are estimated, from 0 to 1."""
        return Decimal(self.estimated) / max(self.sum.calls, 1)


@click.command()
@click.option(
    "--by", type=click.Choice(list(_BY)), default="model", show_default=True, help="What each line is the sum of."
)
@click.option("--since", type=DAY, metavar="DAY", help="From this day on, such as 2026-01-31.")
@click.option("--until", type=DAY, metavar="DAY", help="Up to this day, which is included.")
@click.option("--user", metavar="NAME", help="Only what this user has asked for; NAME may be an id.")
@click.option("--workspace", metavar="ID", help="Only what was spent in this workspace.")
@click.option("--csv", "as_csv", is_flag=True, help="Comma-separated values, with costs that are not rounded.")
@installation_options
def usage(
    by: str,
    since: datetime | None,
    until: datetime | None,
    user: str | None,
    workspace: str | None,
    as_csv: bool,
    file: Path | None,
    data: Path,
) -> None:
    """Show what calls of models have cost, in US dollars. Days and months are those of UTC.

    It works beside a running server. Estimated are calls of which the provider did not tell the tokens: their share,
    and with --csv their number.
    """
    if since is not None and until is not None and since > until:
        raise click.UsageError("--since is later than --until")
    config = Installation(file, data).load_usable()
    set_up_logs("console", "warning")
    until = until + timedelta(days=1) if until is not None else None
    lines = asyncio.run(_lines(config, by, _utc(since), _utc(until), user, workspace))
    if as_csv:
        _print_csv(by, lines)
    elif lines:
        _print_table(by, lines)
    else:
        click.echo("no calls of models were booked")


def _utc(day: datetime | None) -> datetime | None:
    return day.replace(tzinfo=UTC) if day is not None else None


async def _lines(
    config: Config, by: str, since: datetime | None, until: datetime | None, user: str | None, workspace: str | None
) -> Sequence[tuple[str, Line]]:
    """What there is of each, in order of time, else the most expensive first."""
    async with open_store(config) as store:
        accounts = Accounts(store, now=now, new_id=new_id)
        id = await _user(accounts, store, user) if user is not None else None
        lines: dict[str, Line] = {}
        async for u in usage_between(store, since=since, until=until, user=id, workspace=workspace):
            key = _BY[by](u)
            lines[key] = lines.get(key, Line()) + Line(sum_of(u), int(u.estimated), int(u.input_price is None))
        if by in _IN_TIME:
            return sorted(lines.items())
        names = {user.id: user.name for user in await accounts.users()} if by == "user" else {}
        ordered = sorted(lines.items(), key=lambda item: (-item[1].sum.cost, item[0]))
        return [(names.get(key, key), line) for key, line in ordered]


async def _user(accounts: Accounts, store: RecordStore, name: str) -> str:
    """The id of a user; also of one without an account, whom another server knows, or who was deleted."""
    user = await accounts.user_by_name(name)
    if user is not None:
        return user.id
    if await accounts.user(name) is None and not await store.find(
        Query(kind=USAGE.name, where=(("user", (name,)),), limit=1)
    ):
        raise click.ClickException(f"there is no user called {name!r}")
    return name


def _print_csv(by: str, lines: Sequence[tuple[str, Line]]) -> None:
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow([by, "calls", "input_tokens", "output_tokens", "estimated", "cost"])
    for key, line in lines:
        s = line.sum
        out.writerow([key, s.calls, s.input_tokens, s.output_tokens, line.estimated, f"{s.cost:f}"])


def _print_table(by: str, lines: Sequence[tuple[str, Line]]) -> None:
    everything = sum([line for _, line in lines], Line())
    columns = (by.capitalize(), "Calls", "Input tokens", "Output tokens", "Estimated", "Cost (US$)")
    rows = [(key, *_cells(line)) for key, line in lines]
    show(columns, [*rows, ("Total", *_cells(everything))], numbers=5)
    if everything.unpriced:
        calls = "1 call" if everything.unpriced == 1 else f"{everything.unpriced} calls"
        click.echo(f"{calls} of models whose price is not known count as 0: see credits.prices", err=True)


def _cells(line: Line) -> tuple[str, ...]:
    s = line.sum
    return (
        f"{s.calls:,}",
        f"{s.input_tokens:,}",
        f"{s.output_tokens:,}",
        f"{line.share:.0%}",
        f"{s.cost.quantize(SHOWN):,f}",
    )
