"""``apply``: each batch the cheapest way that keeps its promise.

One new record goes with others of its kind (``inserting``). One change of one record is one command, which the server
does wholly or not at all, and which the driver may send again. Everything else is a transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial

from pymongo.errors import DuplicateKeyError

from backchat.errors import Unavailable
from backchat.ports.checks import check_change, known_kind
from backchat.ports.storage import Change, OnCommit, Put
from backchat_mongo.batches import Unforeseen, Way, carefully, quickly, update_of
from backchat_mongo.closing import let_end
from backchat_mongo.documents import content, stored
from backchat_mongo.drivers import Connection, Stored
from backchat_mongo.failures import UNANSWERED, translated
from backchat_mongo.inserting import Inserts, encoded
from backchat_mongo.layout import VERSION, Layout
from backchat_mongo.plan import Plan, plan_of
from backchat_mongo.transactions import Attempt, transact
from backchat_mongo.turns import Place, Turns

MANY = 200
LONG = 64 << 10
"""Changes of a batch, and characters of text in it, whose documents are not made on the event loop: it would be held up
for milliseconds."""
MOST_TURNS = 100
"""Records of one batch that are taken in turns; a batch that changes more of them meets others anyway."""


class Applying:
    """The writing half of the store."""

    def __init__(self, connection: Connection, layouts: Mapping[str, Layout], on_commit: OnCommit) -> None:
        self._connection = connection
        self._layouts = layouts
        self._kinds = {name: layout.kind for name, layout in layouts.items()}
        self._on_commit = on_commit
        self._turns = Turns()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._inserts = {name: Inserts(connection, layout, on_commit, self._begin) for name, layout in layouts.items()}

    async def apply(self, changes: Sequence[Change]) -> None:
        """As the port says. When the caller is cancelled, what is not being committed yet will not be.

        The work goes on in a task of its own until it is through or undone: a command that is cut off in its middle
        costs a connection, and Motor cannot take one back at all.
        """
        if self._closed:
            raise Unavailable("the database is closed")
        if len(changes) == 1 and isinstance(changes[0], Put) and changes[0].expect == 0:
            await self._insert(changes[0])
            return
        attempt = Attempt(self._connection.timeout)
        if len(changes) > MANY or self._is_long(changes):
            work = self._begin(self._apply_many(attempt, tuple(changes)))
        elif changes:
            work = self._begin(self._apply(attempt, self._plan(changes), lone=len(changes) == 1))
        else:
            return
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            if work.cancelled():
                raise Unavailable("the database is closed") from None
            attempt.abandoned = True
            work.add_done_callback(_unheard)
            raise

    async def close(self) -> None:
        """Take no more batches, and wait for those that are under way, but not long for a server that is silent."""
        self._closed = True
        await let_end(self._tasks)

    def _begin(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _plan(self, changes: Sequence[Change]) -> Plan:
        return plan_of(self._kinds, self._content, changes)

    def _content(self, put: Put) -> Stored:
        return content(self._layouts[put.kind], put.id, put.doc)

    async def _insert(self, put: Put) -> None:
        check_change(known_kind(self._kinds, put.kind), put)
        is_long = self._is_long([put])
        raw = await asyncio.to_thread(self._raw, put) if is_long else self._raw(put)
        if self._closed:  # meanwhile
            raise Unavailable("the database is closed")
        await self._inserts[put.kind].add(put, raw)

    def _raw(self, put: Put) -> bytes:
        return encoded(stored(self._layouts[put.kind], put.id, put.doc, 1))

    def _is_long(self, changes: Sequence[Change]) -> bool:
        puts = [(c.doc, known_kind(self._kinds, c.kind).text) for c in changes if isinstance(c, Put)]
        texts = [doc.get(field) for doc, text in puts for field in text]
        return sum(len(text) for text in texts if isinstance(text, str)) > LONG

    async def _apply_many(self, attempt: Attempt, changes: Sequence[Change]) -> None:
        await self._apply(attempt, await asyncio.to_thread(self._plan, changes), lone=False)

    async def _apply(self, attempt: Attempt, plan: Plan, *, lone: bool) -> None:
        with translated():
            try:
                done = lone and await self._command(plan)
            except Unforeseen:
                await self._transaction(attempt, plan, [carefully])
            else:
                if not done:
                    await self._transaction(attempt, plan, [quickly, carefully])
        self._on_commit(1)

    async def _command(self, plan: Plan) -> bool:
        """Do the only change in one command, if it can be done so. Raises Unforeseen and StaleWrite."""
        ((kind, (part,)),) = plan.items()
        collection = self._connection.collection(self._layouts[kind].collection)
        for id, fate in part.fates.items():
            if fate.doc is not None:
                where, update = update_of(self._layouts[kind], id, fate)
                try:
                    put = await collection.update_one(where, update, upsert=not fate.must_be)
                except DuplicateKeyError:
                    raise Unforeseen from None
                if not put.matched_count and put.upserted_id is None:
                    raise Unforeseen
                return True
            if fate.gone:
                version = {} if fate.before is None else {VERSION: fate.before}
                deleted = await collection.delete_one({"_id": id, **version})
                if fate.must_be and not deleted.deleted_count:
                    raise fate.refusal()
                return True
        return False

    async def _transaction(self, attempt: Attempt, plan: Plan, ways: Sequence[Way]) -> None:
        """Do it in the first of these ways that works out."""
        async with AsyncExitStack() as held:
            places = _changed(plan)
            if len(places) <= MOST_TURNS:
                try:
                    async with asyncio.timeout(attempt.left):
                        await held.enter_async_context(self._turns.at(places))
                except TimeoutError:
                    raise Unavailable(UNANSWERED) from None
            for way in ways:
                with suppress(Unforeseen):
                    await transact(self._connection, attempt, partial(way, self._connection, self._layouts, plan))
                    return
        raise AssertionError("a careful look leaves nothing open")


def _unheard(work: asyncio.Task[None]) -> None:
    """Nobody is there to be told how it ended."""
    if not work.cancelled():
        work.exception()


def _changed(plan: Plan) -> list[Place]:
    """The records that are there and are written to, as far as that is known beforehand."""
    return [
        (kind, id)
        for kind, parts in plan.items()
        for part in parts
        for id, fate in part.fates.items()
        if fate.before != 0
    ]
