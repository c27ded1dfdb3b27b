"""The one writer: a thread with the only connection that writes, and natural group commit.

Whatever ``apply`` calls arrive while a commit runs become the next transaction. There is no timer: a lone call is
committed at once. What costs is the way to the thread and back, so a group comes back in one call into the loop.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from backchat.errors import Unavailable
from backchat.ports.storage import OnCommit
from backchat_sqlite.changes import Changes, Step, is_single_statement
from backchat_sqlite.index import fold_some
from backchat_sqlite.tables import Table
from backchat_sqlite.watches import leave_note

T = TypeVar("T")
GROUP = 256
"""Batches in one transaction at most; more of them would make the first wait longer and save little."""
FOLD_IDLE = 1_000
FOLD_BUSY = 10_000
"""Rows waiting for the word index: how many are worth an idle moment, and how many are not to wait for one."""


@dataclass(frozen=True, slots=True)
class Batch:
    steps: Sequence[Step]
    done: asyncio.Future[None]


@dataclass(frozen=True, slots=True)
class Job(Generic[T]):
    """Work on the writer's connection that makes its own transaction."""

    work: Callable[[sqlite3.Connection], T]
    done: asyncio.Future[T]


@dataclass(frozen=True, slots=True)
class Stop:
    """The last thing in the queue."""


Outcome = tuple["asyncio.Future[Any]", Any, BaseException | None]


class Writer:
    """``open`` makes the connection; it is called in the thread."""

    def __init__(
        self, open: Callable[[], sqlite3.Connection], tables: Mapping[str, Table], on_commit: OnCommit
    ) -> None:
        self._open = open
        self._tables = tables
        self._on_commit = on_commit
        self._queue: queue.SimpleQueue[Batch | Job[Any] | Stop] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name="backchat-sqlite-writer", daemon=True)
        self._started: asyncio.Future[None] = self._loop.create_future()
        self._refusal: str | None = None
        self._db: sqlite3.Connection
        self._changes: Changes

    async def start(self) -> None:
        """Open the connection; raises what that raises."""
        self._queue.put(Job(lambda _: None, self._started))
        self._thread.start()
        await self._started

    def apply(self, steps: Sequence[Step]) -> asyncio.Future[None]:
        """Queue a batch; the future is done when it is durable, or raises what kept it from that.

        Raises Unavailable when the thread has ended, or is about to.
        """
        return self._submit(Batch, steps)

    def run(self, work: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """Queue a job, to be done after all that is queued before it."""
        done: asyncio.Future[T] = self._submit(Job, work)
        return done

    def _submit(self, item: Callable[[Any, asyncio.Future[Any]], Batch | Job[Any]], what: Any) -> asyncio.Future[Any]:
        if self._refusal is not None:
            raise Unavailable(self._refusal)
        done: asyncio.Future[Any] = self._loop.create_future()
        self._queue.put(item(what, done))
        return done

    async def close(self) -> None:
        """Write what is queued and end the thread. Raises what ended it before."""
        if self._refusal is None:
            self._refusal = "the database is closed"
            self._queue.put(Stop())
        await asyncio.shield(self._ended)

    # What follows runs in the thread, except _settle and _end.

    def _run(self) -> None:
        failure: BaseException | None = None
        try:
            self._db = self._open()
            try:
                self._changes = Changes(self._db)
                self._changes.waiting = self._db.execute("SELECT count(*) FROM _changed").fetchone()[0]
                self._serve()
            finally:
                self._db.close()
        except BaseException as error:  # whoever waits for the thread is told, whatever it is
            failure = error
        self._loop.call_soon_threadsafe(self._end, failure)

    def _serve(self) -> None:
        while True:
            item: Batch | Job[Any] | Stop | None = self._queue.get()
            group: list[Batch] = []
            while type(item) is Batch:
                group.append(item)
                item = self._next() if len(group) < GROUP else None
            before = self._changes.waiting
            if group:
                self._commit(group)
            if type(item) is Stop:
                return
            if type(item) is Job:
                self._perform(item)
            self._fold(self._changes.waiting - before)

    def _next(self) -> Batch | Job[Any] | Stop | None:
        try:
            return self._queue.get_nowait()
        except queue.Empty:
            return None

    def _commit(self, group: Sequence[Batch]) -> None:
        execute = self._db.execute
        try:
            execute("BEGIN IMMEDIATE")
            failures = [self._attempt(batch, lone=len(group) == 1) for batch in group]
            committed = failures.count(None)
            leave_note(self._db, [b.steps for b, failure in zip(group, failures, strict=True) if failure is None])
            execute("COMMIT" if committed else "ROLLBACK")
        except Exception as error:  # nothing was committed, and every caller of the group is told
            failures = [shown(error)] * len(group)
            committed = 0
            with suppress(sqlite3.Error):  # should even that fail, the next BEGIN says so
                execute("ROLLBACK")
        outcomes: list[Outcome] = [(batch.done, None, failure) for batch, failure in zip(group, failures, strict=True)]
        self._loop.call_soon_threadsafe(self._settle, outcomes, committed)

    def _attempt(self, batch: Batch, *, lone: bool) -> Exception | None:
        """Carry out one batch of a group. A failure undoes this batch alone and is returned."""
        execute = self._db.execute
        undone_anyway = lone or is_single_statement(batch.steps)
        if not undone_anyway:
            execute("SAVEPOINT batch")
        try:
            self._changes.carry_out(batch.steps)
        except Exception as error:  # it belongs to the caller of this batch and must not reach its neighbours
            if not self._db.in_transaction:
                raise  # SQLite has given up the whole transaction (disk full, I/O error), so all of the group failed
            if not undone_anyway:
                execute("ROLLBACK TO batch")
                execute("RELEASE batch")
            return shown(error)
        if not undone_anyway:
            execute("RELEASE batch")
        return None

    def _perform(self, job: Job[Any]) -> None:
        result, failure = None, None
        try:
            result = job.work(self._db)
        except Exception as error:  # it belongs to whoever waits for the job
            failure = shown(error)
        self._loop.call_soon_threadsafe(self._settle, [(job.done, result, failure)], 0)

    def _fold(self, added: int) -> None:
        """Index some of what waits. When much does, at least as many rows as were added: it must not become more."""
        changes = self._changes
        while changes.waiting >= FOLD_BUSY or (changes.waiting >= FOLD_IDLE and self._queue.empty()):
            try:
                folded = fold_some(self._db, self._tables)
            except sqlite3.Error:
                # Another process writes, the disk is full, the index is broken: the rows stay marked, and a search,
                # which has to index them, says what is wrong. Writes need no index.
                return
            changes.waiting = changes.waiting - folded if folded else 0
            added -= folded
            if added <= 0 and not self._queue.empty():
                return

    def _settle(self, outcomes: Sequence[Outcome], committed: int) -> None:
        for done, result, failure in outcomes:
            if done.cancelled():
                continue
            if failure is None:
                done.set_result(result)
            else:
                done.set_exception(failure)
        if committed:
            self._on_commit(committed)

    def _end(self, failure: BaseException | None) -> None:
        if failure is not None and self._started.done():
            # Nobody may be waiting now, so it is told here, and then to everyone who comes.
            self._loop.call_exception_handler({"message": "the SQLite writer has failed", "exception": failure})
            failed = Unavailable("the database cannot be used: its writer has failed")
            failed.__cause__ = failure
            failure, self._refusal = failed, str(failed)
        elif self._refusal is None:
            self._refusal = "the database is closed"
        lost: list[Outcome] = []
        while (item := self._next()) is not None:
            if not isinstance(item, Stop):
                lost.append((item.done, None, failure))
        self._settle(lost, 0)
        if failure is None:
            self._ended.set_result(None)
        else:
            self._ended.set_exception(failure)


def shown(error: Exception) -> Exception:
    """The error as a caller gets it: those of SQLite, which name reasons and never values, as Unavailable."""
    return Unavailable(f"the database cannot be used: {error}") if isinstance(error, sqlite3.Error) else error
