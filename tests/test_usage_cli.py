"""``backchat usage`` on an installation of its own."""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from backchat.cli import main
from backchat.domain.message import Usage
from backchat.domain.usage import Payer, UsageRecord
from backchat.services.kinds import KINDS
from backchat.services.usage_records import usage_put
from sqlite_files import opened

Run = Callable[..., Result]


def call(id: str, at: str, user: str, usage: Usage, cost: str | None, **more: Any) -> UsageRecord:
    return UsageRecord(
        id=id,
        at=datetime.fromisoformat(at).replace(tzinfo=UTC),
        payer=Payer(user=user, workspace=more.pop("workspace", "w")),
        purpose=more.pop("purpose", "reply"),
        provider=more.pop("provider", "cloud"),
        model=more.pop("model", "big"),
        usage=usage,
        cost=Decimal(cost or 0),
        input_price=Decimal(1) if cost is not None else None,
        **more,
    )


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a command in a directory of its own."""

    def ran(*args: str) -> Result:
        return CliRunner().invoke(main, [*args, "--data", str(tmp_path / "data")])

    return ran


@pytest.fixture
def ada(tmp_path: Path, run: Run) -> str:
    """The id of a user for whom five calls were booked, two others for somebody without an account."""
    id = run("users", "create", "ada").stdout.strip()
    calls = [
        call("1", "2026-01-31T23:59:59.999", id, Usage(1000, 10), "0.1"),
        call("2", "2026-02-01T00:00", id, Usage(2000, 20), "0.2", model="small", estimated=True),
        call("3", "2026-02-01T12:00", id, Usage(3, 4), "0.0000000000001", model="small", purpose="title"),
        call("4", "2026-02-02T00:00", id, Usage(5, 6), None, model="home", provider="local", estimated=True),
        call("5", "2026-03-01T00:00", id, Usage(7_000_000, 8), "1234.5", workspace="v", counted=True),
        call("6", "2026-02-01T06:00", "guest", Usage(9, 9), "0.00005", model="small"),
        call("7", "2026-02-01T06:01", "guest", Usage(9, 9), "0.5", model="=small,\"'", workspace="v"),
    ]

    async def put() -> None:
        async with opened(tmp_path / "data" / "backchat.db", KINDS) as store:
            await store.apply([usage_put(record) for record in calls])

    asyncio.run(put())
    return id


def rows(result: Result) -> list[list[str]]:
    assert (result.exit_code, result.stderr) == (0, "")
    return list(csv.reader(result.stdout.splitlines()))


def test_the_table(run: Run, ada: str) -> None:
    result = run("usage")
    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines() if line.strip()]
    assert lines[0] == ["Model", "Calls", "Input", "tokens", "Output", "tokens", "Estimated", "Cost", "(US$)"]
    assert lines[2:] == [
        ["big", "2", "7,001,000", "18", "0%", "1,234.6000"],
        ["=small,\"'", "1", "9", "9", "0%", "0.5000"],
        ["small", "3", "2,012", "33", "33%", "0.2001"],
        ["home", "1", "5", "6", "100%", "0.0000"],
        ["Total", "7", "7,003,026", "66", "29%", "1,235.3001"],
    ]
    assert result.stderr == "1 call of models whose price is not known count as 0: see credits.prices\n"


def test_values_are_exact(run: Run, ada: str) -> None:
    assert rows(run("usage", "--csv")) == [
        ["model", "calls", "input_tokens", "output_tokens", "estimated", "cost"],
        ["big", "2", "7001000", "18", "0", "1234.6"],
        ["=small,\"'", "1", "9", "9", "0", "0.5"],
        ["small", "3", "2012", "33", "1", "0.2000500000001"],
        ["home", "1", "5", "6", "1", "0"],
    ]


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("user", [["ada", "5", "1234.8000000000001"], ["guest", "2", "0.50005"]]),
        ("workspace", [["v", "2", "1235.0"], ["w", "5", "0.3000500000001"]]),
        ("provider", [["cloud", "6", "1235.3000500000001"], ["local", "1", "0"]]),
        ("purpose", [["reply", "6", "1235.30005"], ["title", "1", "0.0000000000001"]]),
        (
            "day",
            [
                ["2026-01-31", "1", "0.1"],
                ["2026-02-01", "4", "0.7000500000001"],
                ["2026-02-02", "1", "0"],
                ["2026-03-01", "1", "1234.5"],
            ],
        ),
        ("month", [["2026-01", "1", "0.1"], ["2026-02", "5", "0.7000500000001"], ["2026-03", "1", "1234.5"]]),
    ],
)
def test_what_lines_are_the_sums_of(run: Run, ada: str, by: str, expected: list[list[str]]) -> None:
    found = rows(run("usage", "--csv", "--by", by))
    assert found[0][0] == by
    assert [[row[0], row[1], row[5]] for row in found[1:]] == expected


@pytest.mark.parametrize(
    ("options", "days"),
    [
        (["--since", "2026-02-01"], {"2026-02-01": 4, "2026-02-02": 1, "2026-03-01": 1}),
        (["--until", "2026-02-01"], {"2026-01-31": 1, "2026-02-01": 4}),
        (["--since", "2026-02-01", "--until", "2026-02-01"], {"2026-02-01": 4}),
        (["--since", "2026-04-01"], {}),
        (["--workspace", "v"], {"2026-02-01": 1, "2026-03-01": 1}),
        (["--workspace", "nowhere"], {}),
        (["--user", "ada"], {"2026-01-31": 1, "2026-02-01": 2, "2026-02-02": 1, "2026-03-01": 1}),
        (["--user", "guest"], {"2026-02-01": 2}),
        (["--user", "guest", "--workspace", "w", "--since", "2026-01-01"], {"2026-02-01": 1}),
    ],
)
def test_what_is_left_out(run: Run, ada: str, options: list[str], days: dict[str, int]) -> None:
    found = rows(run("usage", "--csv", "--by", "day", *options))
    assert {row[0]: int(row[1]) for row in found[1:]} == days


def test_a_user_by_id(run: Run, ada: str) -> None:
    assert rows(run("usage", "--csv", "--user", ada)) == rows(run("usage", "--csv", "--user", "ada"))
    run("users", "delete", "ada", "--yes")
    assert [row[:2] for row in rows(run("usage", "--csv", "--user", ada, "--by", "user"))[1:]] == [[ada, "5"]]


def test_where_nothing_was_booked(run: Run) -> None:
    result = run("usage")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "no calls of models were booked\n", "")
    assert rows(run("usage", "--csv")) == [["model", "calls", "input_tokens", "output_tokens", "estimated", "cost"]]


def test_a_user_who_has_spent_nothing(run: Run, ada: str) -> None:
    run("users", "create", "bob")
    assert len(rows(run("usage", "--csv", "--user", "bob"))) == 1
    assert "no calls" in run("usage", "--user", "bob").stdout


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--user", "nobody"], 1, "there is no user called 'nobody'"),
        (["--since", "2026-02-02", "--until", "2026-02-01"], 2, "--since is later than --until"),
        (["--since", "yesterday"], 2, "--since"),
        (["--until", "2026-02-30"], 2, "--until"),
        (["--by", "colour"], 2, "--by"),
    ],
)
def test_what_is_refused(run: Run, options: list[str], code: int, words: str) -> None:
    result = run("usage", *options)
    assert (result.exit_code, result.stdout) == (code, "")
    assert words in result.stderr
