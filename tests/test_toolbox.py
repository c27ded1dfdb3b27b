"""The server's own tools: what they answer, and that no question keeps them busy."""

from __future__ import annotations

import asyncio
import time
import warnings
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

import pytest
from marshmallow import ValidationError

import backchat_toolbox
from backchat.plugins import Plugins
from backchat.ports.tools import Tool, ToolFailed
from backchat_toolbox.arithmetic import BITS, FUNCTIONS, LONGEST, calculated
from backchat_toolbox.calculator import Calculator
from backchat_toolbox.clock import ClockSchema, ClockSettings, open_clock

NOON = datetime(2026, 7, 1, 12, 0, 7, 999_999, tzinfo=UTC)


@pytest.fixture
async def clock() -> AsyncIterator[Sequence[Tool]]:
    async with open_clock(ClockSettings(zone="Asia/Kolkata"), lambda: NOON) as tools:
        yield tools


async def calculate(expression: str) -> str:
    return await Calculator().run({"expression": expression})


def test_offers_both() -> None:
    offered = Plugins([backchat_toolbox]).tools
    assert [offered.pick(name).name for name in ("clock", "calculator")] == ["clock", "calculator"]


# ---- the clock


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        ({}, "Wednesday, 2026-07-01 17:30:07+05:30 (Asia/Kolkata)"),
        ({"zone": "UTC"}, "Wednesday, 2026-07-01 12:00:07+00:00 (UTC)"),
        ({"zone": "America/New_York"}, "Wednesday, 2026-07-01 08:00:07-04:00 (America/New_York)"),
        ({"zone": "Pacific/Kiritimati"}, "Thursday, 2026-07-02 02:00:07+14:00 (Pacific/Kiritimati)"),
    ],
)
async def test_tells_the_time(clock: Sequence[Tool], arguments: dict[str, str], answer: str) -> None:
    [tool] = clock
    assert await tool.run(arguments) == answer


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "America", "../../etc/passwd", "/etc/passwd", "a\0b", "Ü/Ö", "."])
async def test_knows_no_other_zone(clock: Sequence[Tool], zone: str) -> None:
    [tool] = clock
    with pytest.raises(ToolFailed, match="IANA"):
        await tool.run({"zone": zone})
    with pytest.raises(ValidationError):
        ClockSchema().load({"zone": zone})


async def test_tells_the_model_the_zone_that_is_meant_without_one(clock: Sequence[Tool]) -> None:
    [tool] = clock
    assert "Asia/Kolkata" in tool.definition.parameters["properties"]["zone"]["description"]


# ---- the calculator


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1234.5 * (1 + 0.19) ** 3", "2080.3287855"),
        ("0.1 + 0.2", "0.3"),
        ("2 ** 100 + 1", "1267650600228229401496703205377"),
        ("-7 // 2", "-4"),
        ("-7 % 3", "2"),
        ("7 / 2", "3.5"),
        ("8 / 2", "4"),
        ("2 ** -3", "0.125"),
        (" 2*pi ", "6.28318530717959"),
        ("round(2.675, 1) + round(7.6)", "10.7"),
        ("sqrt(2) ** 2 - max(1, 2, min(5, 7))", "-3"),
        ("degrees(atan2(1, 1))", "45"),
        ("log(8, 2)", "3"),
        ("lcm(4, 6) + gcd(12, 18)", "18"),
        ("factorial(20)", "2432902008176640000"),
        ("+1 - -1", "2"),
    ],
)
async def test_calculates(expression: str, value: str) -> None:
    assert await calculate(expression) == value


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("1 / 0", "division by zero"),
        ("1 +", "cannot be read"),
        ("", "cannot be read"),
        ("1 2", "cannot be read"),
        ("1;2", "';'"),
        ("2 ^ 3", r"written \*\*"),
        ("1,000 + 1", "thousands separators"),
        ("1if 1else 2", "cannot be read"),
        ("(-8) ** 0.5", "not a real number"),
        ("1e308 - 2e308 * 0", "too large"),
        ("10e307 * 10", "too large"),
        ("log(0)", "domain"),
        ("factorial(2.5)", "whole number"),
        ("sqrt()", "cannot be read"),
        ("max(1)", "cannot be read"),
        ("max(1, 2, key=abs)", "'='"),
        ("x + 1", "x is not known"),
        ("pow(2, 3)", "pow is not known"),
        ("abs", "abs is not known"),
        ("True + 1", "only numbers"),
        ("2j", "only numbers"),
        ("1 < 2", "'<'"),
        ("1 and 2", "only numbers"),
        ("'a' * 3", "'"),
        ("(1).real", "only numbers"),
        ("__import__(1)", "not known"),
        ("max(*(1, 2))", "only numbers"),
    ],
)
async def test_says_what_is_wrong(expression: str, problem: str) -> None:
    with pytest.raises(ToolFailed, match=problem):
        await calculate(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "9**9**9",
        "9**9**9**9",
        "(-9)**9**9",
        "2**(2**4000)",
        "*".join(["10**1000"] * 90),
        f"2**{BITS}",
        "factorial(10**9)",
        "factorial(factorial(100))",
        "round(1, -10**9)",
        "round(1.5, 10**9)",
        f"lcm({','.join(f'10**999+{n}' for n in range(70))})",
        "exp(10**5)",
        "1e999",
        "-" * (LONGEST - 1) + "1",
        "(" * 400 + "1" + ")" * 400,
        "9" * (LONGEST + 1),
    ],
)
async def test_ends_quickly_and_lets_others_go_on(expression: str) -> None:
    """Each would otherwise take seconds to ages, or a great deal of memory."""
    begun = time.process_time()
    with pytest.raises(ToolFailed):
        await calculate(expression)
    assert time.process_time() - begun < 0.1


def test_the_parser_does_not_warn_of_what_it_reads() -> None:
    """Warnings of Python's parser would go to the server's log."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for expression in ("1if 1else 2", "0xfor 1", "1.or 2", "1_and 2", "2not in 3", "1is 1"):
            with pytest.raises(ValueError, match="cannot be read"):
                calculated(expression)
    assert seen == []


async def test_works_off_the_loop() -> None:
    loop = asyncio.get_running_loop()
    steps: list[str] = []
    loop.call_soon(steps.append, "others")
    await calculate("1 + 1")
    assert steps == ["others"]


def test_the_model_is_told_of_every_function() -> None:
    described = Calculator.definition.parameters["properties"]["expression"]["description"]
    assert all(name in described for name in FUNCTIONS)
    assert Calculator.definition.parameters["properties"]["expression"]["maxLength"] == LONGEST
