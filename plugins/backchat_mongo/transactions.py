"""Transactions that are done again until they are through, or the time is over.

The server undoes one as a whole when another one writes the same record, when its primary steps down, and when a
connection breaks before the commit. A commit whose answer is lost is asked for again: the server knows whether it has
carried it out. So a batch is done once or not at all, whatever happens, unless the time is over before that is known.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any

from pymongo import timeout
from pymongo.errors import PyMongoError

from backchat.errors import Unavailable
from backchat_mongo.drivers import Connection
from backchat_mongo.failures import CONFLICT, codes

FIRST_PAUSE = 0.002
LONGEST_PAUSE = 0.2
"""Seconds. Each pause is any time up to twice the one before, so that those who met do not meet again."""
TO_UNDO = 2.0
"""Seconds."""
MET = "the batch met others until its time was over, or is too large for the cache of the database"
Work = Callable[[Any], Awaitable[None]]
"""What is done within a transaction, with its session; done again from the start if need be."""


class Abandoned(Exception):
    """Nobody waits for this batch any more."""


class Attempt:
    """One batch on its way. ``abandoned`` may be set at any time: what is not committed by then will not be."""

    __slots__ = ("_deadline", "abandoned")

    def __init__(self, seconds: float) -> None:
        self._deadline = asyncio.get_running_loop().time() + seconds
        self.abandoned = False

    @property
    def left(self) -> float:
        """Seconds; below 0 when the time is over."""
        return self._deadline - asyncio.get_running_loop().time()

    def limited(self) -> AbstractContextManager[Any]:
        """What is asked of the driver in here gets no more time than is left."""
        return timeout(max(self.left, 0.001))  # 0 would be no limit

    def check(self) -> None:
        """Raise Abandoned if it is."""
        if self.abandoned:
            raise Abandoned


async def transact(connection: Connection, attempt: Attempt, work: Work) -> None:
    """Do it and commit. Raises what ``work`` does, Abandoned, and what the driver does in the end.

    Unavailable, if all that the server has said in the end is that it met others.
    """
    async with connection.session() as session:
        tries = 0
        met = False
        while True:
            attempt.check()
            try:
                await _once(connection, session, attempt, work)
            except PyMongoError as error:
                met = CONFLICT in codes(error) or (met and error.timeout)
                if not error.has_error_label("TransientTransactionError") or attempt.left <= 0:
                    if met and not error.has_error_label("UnknownTransactionCommitResult"):
                        raise Unavailable(MET) from None
                    raise
            else:
                return
            await _pause(tries)
            tries += 1


async def _once(connection: Connection, session: Any, attempt: Attempt, work: Work) -> None:
    try:
        with attempt.limited():
            await connection.begin(session)
            await work(session)
        attempt.check()
    except BaseException:
        # Also when the time is over: the server would keep others from these records for a minute.
        with timeout(TO_UNDO):
            await session.abort_transaction()
        raise
    await _commit(session, attempt)


async def _commit(session: Any, attempt: Attempt) -> None:
    tries = 0
    while True:
        try:
            with attempt.limited():
                await session.commit_transaction()
        except PyMongoError as error:
            if not error.has_error_label("UnknownTransactionCommitResult") or attempt.left <= 0:
                raise
        else:
            return
        await _pause(tries)
        tries += 1


async def _pause(tries: int) -> None:
    await asyncio.sleep(random.uniform(0, min(LONGEST_PAUSE, FIRST_PAUSE * 2**tries)))
