"""What an earlier version stored, brought up to date in the background."""

from __future__ import annotations

import asyncio

import structlog

from backchat.errors import StaleWrite
from backchat.ports.storage import Query, RecordStore
from backchat.services.retrying import retrying
from backchat.services.stored import CONVERSATION, conversation_of, conversation_put

log = structlog.get_logger(source=__name__)

PAGE = 200
PAUSE = 30.0
"""Seconds until the next try after a store has failed."""


class Upgrades:
    """Enter it to begin. It may run in several processes on one store, and ends when there is nothing left to do.

    Conversations from before there were workspaces name none, and lists of a workspace do not find them: each is stored
    once more, as it is read. ``pause``: seconds until the next try after a failure.
    """

    def __init__(self, store: RecordStore, *, pause: float = PAUSE) -> None:
        self._store, self._pause = store, pause
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Upgrades:
        self._task = asyncio.create_task(self._again(), name="upgrades")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def done(self) -> None:
        """Wait until there is nothing left to do."""
        assert self._task is not None
        await asyncio.shield(self._task)

    async def _again(self) -> None:
        while True:
            try:
                await self.home()
            except Exception:  # a store that fails now may answer the next time
                log.exception("upgrade.failed")
                await asyncio.sleep(self._pause)
            else:
                return

    async def home(self) -> int:
        """Let every conversation name its workspace; returns how many did not."""
        query = Query(kind=CONVERSATION.name, where=(("workspace", (None,)),), limit=PAGE)
        count = 0
        while page := await self._store.find(query):
            try:
                await self._store.apply([conversation_put(conversation_of(record)) for record in page])
            except StaleWrite:  # somebody is at work on one of them: the others one by one
                await asyncio.gather(*[self._one(record.id) for record in page])
            count += len(page)
        if count:
            log.info("upgrade.conversations", count=count)
        return count

    async def _one(self, id: str) -> None:
        async def attempt() -> None:
            record = await self._store.get(CONVERSATION.name, id)
            if record is not None and record.doc.get("workspace") is None:
                await self._store.apply([conversation_put(conversation_of(record))])

        await retrying(attempt)
