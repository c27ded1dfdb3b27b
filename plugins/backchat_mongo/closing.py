"""The end of what is under way when a store is closed."""

from __future__ import annotations

import asyncio
from typing import Any

PATIENCE = 2.0
"""Seconds. A server that answers needs less; from one that does not, nothing is to be had by waiting."""


async def let_end(tasks: set[asyncio.Task[Any]]) -> None:
    """Wait until they are through, and cut off those that are not in time. More may be added meanwhile."""
    loop = asyncio.get_running_loop()
    until = loop.time() + PATIENCE
    while tasks and (left := until - loop.time()) > 0:
        await asyncio.wait(tasks, timeout=left)
    cut = list(tasks)
    for task in cut:
        task.cancel()
    if cut:
        await asyncio.wait(cut, timeout=PATIENCE)
