"""The record store on MongoDB."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Container, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

from backchat.ports.abilities import Place
from backchat.ports.storage import Change, Kind, OnCommit, Record, RecordStore
from backchat_mongo import journal
from backchat_mongo.answering import Answering
from backchat_mongo.applying import Applying
from backchat_mongo.drivers import Connection, connect
from backchat_mongo.freezing import frozen
from backchat_mongo.layout import Layout, layout_of
from backchat_mongo.preparing import prepare
from backchat_mongo.reading import Reading
from backchat_mongo.watching import watching


class MongoStore(Answering):
    """A ``RecordStore``. Any number of processes may have the same database open.

    ``connection`` and ``layouts`` (by kind) are for the parts of this package.
    """

    def __init__(self, connection: Connection, layouts: Mapping[str, Layout], on_commit: OnCommit) -> None:
        super().__init__(layouts, Reading(connection))
        self.connection = connection
        self._applying = Applying(connection, layouts, on_commit)

    @property
    def driver(self) -> str:
        """The driver that it works with: ``pymongo`` or ``motor``."""
        return self.connection.driver

    @classmethod
    async def open(cls, settings: Mapping[str, Any], kinds: Sequence[Kind], on_commit: OnCommit) -> MongoStore:
        """Open with the settings that ``MongoSettings`` loads. Raises ConfigError."""
        layouts = {kind.name: layout_of(kind) for kind in kinds}
        async with AsyncExitStack() as opened:
            connection = await connect(settings)
            opened.push_async_callback(connection.close)
            await prepare(connection, layouts)
            opened.pop_all()
        return cls(connection, layouts, on_commit)

    async def close(self) -> None:
        """Let what is under way end, then disconnect."""
        try:
            await asyncio.gather(self._applying.close(), self._reading.close())
        finally:
            await self.connection.close()

    async def apply(self, changes: Sequence[Change]) -> None:
        await self._applying.apply(changes)

    async def compact(self) -> None:
        """Nothing: what MongoDB does with the room of deleted records is not in the hands of its clients.

        It uses it for new ones, and until then the bytes stay in the files; the oplog holds every change until it is
        full. The command ``compact`` is no part of the Stable API, needs a role of its own, and works on one server at
        a time. docs/operations.md says what an operator can do.
        """

    def watch(
        self, kind: str, partitions: Container[str]
    ) -> AbstractAsyncContextManager[AsyncIterator[Sequence[Record]]]:
        return watching(self.connection, self._layout(kind), partitions)

    async def begin_journal(self) -> str:
        return await journal.begin(self.connection)

    async def journal(self, position: str, limit: int) -> tuple[Sequence[Place], str]:
        return await journal.read(self.connection, self.layouts, position, limit)

    async def end_journal(self) -> None:
        await journal.end(self.connection)

    def frozen(self) -> AbstractAsyncContextManager[RecordStore]:
        return frozen(self.connection, self.layouts)
