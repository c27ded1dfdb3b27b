"""Work whose length hangs on how much there is to work on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

LARGE = 64 << 10
"""Bytes. So many are written as JSON, hashed, sealed and turned into text in half a millisecond, and read in as much;
the way to a thread and back takes a tenth of one.
"""


async def aside(size: int, work: Callable[[], T]) -> T:
    """The result of the work: done at once for a ``size`` below ``LARGE``, and in a thread for more."""
    return work() if size < LARGE else await asyncio.to_thread(work)
