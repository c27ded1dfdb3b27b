"""What becomes of conversations whose time is over: nobody finds them any more, and what they own is deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime

import structlog

from backchat.domain.limits import Retention
from backchat.domain.times import stamp
from backchat.ports.storage import Condition, Query, Range, Record, RecordStore
from backchat.services.conversations import Conversations
from backchat.services.paging import pages
from backchat.services.retrying import retrying
from backchat.services.stored import CONVERSATION, NEVER, conversation_of, conversation_put

log = structlog.get_logger(source=__name__)

PAUSE = 30.0
"""Seconds between two looks. Whatever reads a conversation keeps to its deadline exactly, purged or not."""
PAGE = 100


class Keeper:
    """Enter it to purge in the background, at once and again and again. It may run in several processes on one store.

    ``pause``: seconds between two looks.
    """

    def __init__(
        self,
        store: RecordStore,
        conversations: Conversations,
        retention: Retention,
        now: Callable[[], datetime],
        *,
        pause: float = PAUSE,
    ) -> None:
        self._store, self._conversations, self._retention, self._now = store, conversations, retention, now
        self._pause = pause
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Keeper:
        self._task = asyncio.create_task(self._again(), name="retention")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _again(self) -> None:
        while True:
            try:
                await self.purge()
            except Exception:  # a store that fails now may answer the next time
                log.exception("retention.failed")
            await asyncio.sleep(self._pause)

    async def purge(self) -> int:
        """Delete what is over its deadline, after giving one to those that lack it; returns how many were deleted.

        A conversation that cannot be deleted now keeps none of the others, and is tried again the next time. Deadlines
        that there are stay as they are when the configuration changes: they move with the next word of the user.
        """
        if self._retention.conversations is not None:
            given = await self._each((("expires", (NEVER,)),), None, self._limit)
            if given:
                log.info("retention.limited", conversations=given)
        purged = await self._each((), Range("expires", high=stamp(self._now())), self._conversations.expire)
        if purged:
            log.info("retention.purged", conversations=purged)
        return purged

    async def _each(
        self, where: tuple[Condition, ...], range: Range | None, work: Callable[[str], Awaitable[bool]]
    ) -> int:
        """Do it to all conversations that meet the conditions; returns to how many it was done."""
        done = 0
        ranges = (range,) if range is not None else ()
        query = Query(kind=CONVERSATION.name, where=where, ranges=ranges, order=("expires",), limit=PAGE)
        async for page in pages(self._store, query):
            # Together: they share commits.
            done += sum(await asyncio.gather(*[self._one(record, work) for record in page]))
        return done

    async def _one(self, record: Record, work: Callable[[str], Awaitable[bool]]) -> bool:
        try:
            return await work(record.id)
        except Exception:
            log.exception("retention.failed", conversation=record.id)
            return False

    async def _limit(self, id: str) -> bool:
        """Give a conversation the deadline that it would have, had there been this retention when it last changed."""

        async def attempt() -> bool:
            record = await self._store.get(CONVERSATION.name, id)
            conversation = conversation_of(record) if record is not None else None
            if conversation is None or conversation.expires_at is not None:
                return False
            until = self._retention.deadline(conversation.temporary, conversation.updated_at)
            await self._store.apply([conversation_put(replace(conversation, expires_at=until))])
            return True

        return await retrying(attempt)
