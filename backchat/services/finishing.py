"""Work that is done to its end, whatever becomes of who asked for it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


async def through(work: Coroutine[Any, Any, None]) -> None:
    """Do it, and wait for it; a caller who is cancelled meanwhile still waits, and then ends."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
