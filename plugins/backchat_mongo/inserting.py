"""New records that arrive while others are being inserted go together, in one command, with the next ones.

There is no timer: a lone one is inserted at once. Each is a batch of its own, which is stored or not, whatever becomes
of its neighbours. Only when nothing answers, those that wait already fail with those that were tried.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bson import encode
from bson.raw_bson import RawBSONDocument
from pymongo.errors import BulkWriteError, PyMongoError, WriteError

from backchat.errors import BackchatError, TooLarge, Unavailable
from backchat.ports.checks import stale, taken
from backchat.ports.storage import OnCommit, Put
from backchat_mongo.drivers import Connection, Stored
from backchat_mongo.failures import TAKEN, TOO_LARGE, UNANSWERED, translation, unanswered
from backchat_mongo.layout import Layout

GROUP = 256
GROUP_BYTES = 4 << 20
"""Records in one command at most; more of them would make the first wait longer and save little."""
LARGEST = 16 << 20
"""Bytes of a record, as the server counts them."""


@dataclass(frozen=True, slots=True)
class Waiting:
    put: Put
    record: Any
    size: int
    done: asyncio.Future[None]


def encoded(record: Stored) -> bytes:
    """Made before it is among others, so that one that cannot be stored is not. Raises TooLarge."""
    raw = encode(record)
    if len(raw) > LARGEST:
        raise TooLarge(TOO_LARGE)
    return raw


class Inserts:
    """Of one kind. ``begin`` runs a coroutine as a task that the store waits for when it is closed."""

    def __init__(
        self,
        connection: Connection,
        layout: Layout,
        on_commit: OnCommit,
        begin: Callable[[Any], object],
    ) -> None:
        self._connection = connection
        self._layout = layout
        self._on_commit = on_commit
        self._begin = begin
        self._waiting: list[Waiting] = []
        self._busy = False

    def add(self, put: Put, raw: bytes) -> asyncio.Future[None]:
        """Done when the record is durable; raises StaleWrite and Unavailable. ``raw`` is what ``encoded`` gives."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(Waiting(put, RawBSONDocument(raw), len(raw), done))
        if not self._busy:
            self._busy = True
            self._begin(self._insert_all())
        return done

    async def _insert_all(self) -> None:
        try:
            while group := self._next():
                await self._insert(group)
        finally:
            self._busy = False

    def _next(self) -> list[Waiting]:
        """Those that go together, without the ones that nobody waits for any more."""
        group: list[Waiting] = []
        size = seen = 0
        for waiting in self._waiting:
            if group and (len(group) == GROUP or size + waiting.size > GROUP_BYTES):
                break
            seen += 1
            if not waiting.done.cancelled():
                group.append(waiting)
                size += waiting.size
        del self._waiting[:seen]
        return group

    async def _insert(self, group: Sequence[Waiting]) -> None:
        failures: dict[int, Exception] = {}
        behind = len(self._waiting)
        try:
            failures = await self._failures(group, behind)
            if len(failures) < len(group):
                self._on_commit(len(group) - len(failures))
        except asyncio.CancelledError:  # the store is closed
            for waiting in [*group, *self._waiting]:
                if not waiting.done.done():
                    waiting.done.set_exception(Unavailable("the database is closed"))
            self._waiting.clear()
            raise
        except Exception as error:  # whoever waits is told, whatever it is, and those after them have their turn
            failures = dict.fromkeys(range(len(group)), error)
        for n, waiting in enumerate(group):
            if not waiting.done.done():
                failure = failures.get(n)
                waiting.done.set_exception(failure) if failure else waiting.done.set_result(None)

    async def _failures(self, group: Sequence[Waiting], behind: int) -> dict[int, Exception]:
        """Insert them. If nothing answers, so many of those that wait are told as well: they waited just as long."""
        collection = self._connection.collection(self._layout.collection)
        try:
            await collection.insert_many([waiting.record for waiting in group], ordered=False)
        except PyMongoError as error:
            if unanswered(error):
                for waiting in self._waiting[:behind]:
                    if not waiting.done.done():
                        waiting.done.set_exception(Unavailable(UNANSWERED))
                del self._waiting[:behind]
            if isinstance(error, BulkWriteError):
                return self._told_apart(error.details, group)
            return {n: translation(error) for n in range(len(group))}
        return {}

    def _told_apart(self, details: Mapping[str, Any], group: Sequence[Waiting]) -> dict[int, Exception]:
        """The failure of each, by its place in the group."""
        failures: dict[int, Exception] = {}
        if details.get("writeConcernErrors"):
            # They are written, and may not survive the server that has them.
            failures = {n: Unavailable("the database does not keep what is written") for n in range(len(group))}
        for failed in details.get("writeErrors", ()):
            put = group[failed["index"]].put
            failures[failed["index"]] = self._failure(put, failed)
        return failures

    def _failure(self, put: Put, failed: Mapping[str, Any]) -> BackchatError:
        keys = [*failed.get("keyPattern", ())]
        if failed["code"] != TAKEN or not keys:
            return translation(WriteError("", failed["code"], failed))
        return stale(put) if keys == ["_id"] else taken(put.kind, keys[:-1])
