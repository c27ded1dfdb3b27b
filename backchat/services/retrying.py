"""Optimistic writing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from backchat.errors import StaleWrite

T = TypeVar("T")


async def retrying(attempt: Callable[[], Awaitable[T]]) -> T:
    """Run a read-then-write again for as long as somebody else wrote first. Each round somebody has got ahead."""
    while True:
        try:
            return await attempt()
        except StaleWrite:
            continue
