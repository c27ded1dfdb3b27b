"""An event loop whose clock leaps to the next timer, so that minutes of waiting take no time and are exact."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVarTuple, Unpack

Ts = TypeVarTuple("Ts")


class _Selector(selectors.DefaultSelector):
    """Waits for nothing: what would be waited for has passed. Nobody may wait for a thread, or a socket."""

    passed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if not found:
            assert timeout is not None, "everybody waits for ever"
            self.passed += max(timeout, 0)
        return found


class LeapingLoop(asyncio.SelectorEventLoop):
    """``timers`` is how many were set."""

    def __init__(self) -> None:
        self._clock = _Selector()
        self.timers = 0
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.passed

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        self.timers += 1
        return super().call_at(when, callback, *args, context=context)


def leaping(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test on such a loop, which begins at 0 seconds."""

    def run() -> None:
        with asyncio.Runner(loop_factory=LeapingLoop) as runner:
            runner.run(test())

    return run
