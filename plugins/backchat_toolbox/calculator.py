"""``calculate``: arithmetic, which models get wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from marshmallow import RAISE, Schema, post_load

from backchat.domain.tool import ToolDefinition
from backchat.ports.tools import Tool, ToolFailed
from backchat_toolbox.arithmetic import CONSTANTS, FUNCTIONS, LONGEST, calculated


@dataclass(frozen=True, slots=True, kw_only=True)
class CalculatorSettings:
    pass


class CalculatorSchema(Schema):
    class Meta:
        unknown = RAISE

    @post_load
    def freeze(self, data: Mapping[str, Any], **_: object) -> CalculatorSettings:
        return CalculatorSettings(**data)


class Calculator:
    definition = ToolDefinition(
        "calculate",
        "The value of an arithmetic expression. Call it for every computation with more than the simplest numbers. "
        "Whole numbers are exact; other numbers have 15 digits.",
        {
            "type": "object",
            "properties": {
                "expression": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": LONGEST,
                    "description": "Numbers without thousands separators, + - * / // (whole part of the quotient) "
                    f"% (remainder) ** (power), parentheses, {', '.join(CONSTANTS)}, and the functions "
                    f"{', '.join(FUNCTIONS)}; angles in radians. For example: 1234.5 * (1 + 0.19) ** 3",
                }
            },
            "required": ["expression"],
            "additionalProperties": False,
        },
    )

    async def run(self, arguments: Mapping[str, Any]) -> str:
        try:
            return await asyncio.to_thread(calculated, arguments["expression"])
        except ValueError as error:
            raise ToolFailed(str(error)) from None


@asynccontextmanager
async def open_calculator(settings: CalculatorSettings) -> AsyncIterator[Sequence[Tool]]:
    yield [Calculator()]
