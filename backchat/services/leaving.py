"""The last writes of a process that stops: they are waited for, but not for long if the store does not answer.

Nothing depends on them. What is left undone, another process does when the lease is over, or the next one at its start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

import structlog

log = structlog.get_logger(source=__name__)
PATIENCE = 3.0
"""Seconds in which a store that answers gets something done."""
AGAIN = 0.1
"""Seconds until a task is stopped once more, for it may have begun to write that it was stopped."""


async def wound_up(tasks: Iterable[asyncio.Task[None]], work: str) -> None:
    """Wait until all have ended, as long as one of them does every now and then; stop the others."""
    left = set(tasks)
    done = left
    while left and done:
        done, left = await asyncio.wait(left, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
    if left:
        log.warning("server.left_undone", work=work, count=len(left))
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN)


async def last_words(writes: Coroutine[Any, Any, object], work: str) -> None:
    """Do it, if the store lets that happen in time. Raises nothing."""
    try:
        async with asyncio.timeout(PATIENCE):
            await writes
    except TimeoutError:
        log.warning("server.left_undone", work=work)
    except Exception as error:  # a store that fails keeps nobody from leaving
        log.warning("server.left_undone", work=work, exc_info=error)
