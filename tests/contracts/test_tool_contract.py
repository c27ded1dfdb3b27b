"""Every tool keeps the contract of the port."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest

from backchat.ports.tools import Tool
from backchat.testing.tool import ToolContract
from backchat_toolbox.calculator import CalculatorSchema, open_calculator
from backchat_toolbox.clock import ClockSchema, open_clock


class TestClock(ToolContract):
    arguments: Mapping[str, Any] = {"zone": "Europe/Paris"}
    refused: Sequence[Mapping[str, Any]] = ({"zone": "Europe/Atlantis"}, {"zone": "../UTC"})

    @pytest.fixture
    async def tool(self) -> AsyncIterator[Tool]:
        async with open_clock(ClockSchema().load({})) as tools:
            yield tools[0]


class TestCalculator(ToolContract):
    arguments: Mapping[str, Any] = {"expression": "2 ** 100"}
    refused: Sequence[Mapping[str, Any]] = (
        {"expression": "1 / 0"},
        {"expression": "9**9**9"},
        {"expression": "open(1)"},
    )

    @pytest.fixture
    async def tool(self) -> AsyncIterator[Tool]:
        async with open_calculator(CalculatorSchema().load({})) as tools:
            yield tools[0]
