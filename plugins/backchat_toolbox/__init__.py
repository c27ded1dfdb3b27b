"""Tools that need nothing but the server: ``clock`` and ``calculator``."""

from __future__ import annotations

from collections.abc import Sequence

from backchat.hookspecs import hookimpl
from backchat.ports.component import Component
from backchat.ports.tools import ToolBackend
from backchat_toolbox.calculator import CalculatorSchema, open_calculator
from backchat_toolbox.clock import ClockSchema, open_clock


@hookimpl
def backchat_tools() -> Sequence[ToolBackend]:
    return [
        Component("clock", ClockSchema(), open_clock),
        Component("calculator", CalculatorSchema(), open_calculator),
    ]
