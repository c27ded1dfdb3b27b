"""Runs in this process: they belong to the server, not to the request that asked for them.

A run is a task that works, a log that grows, and any number of readers. What several processes on one store need from
each other (who still lives, who is asked to stop) is in ``backchat.services.workers``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from backchat.domain.conversation import Conversation
from backchat.domain.identity import Identity
from backchat.domain.memory import Recalled
from backchat.domain.message import Message
from backchat.domain.rights import Action
from backchat.domain.run import Run
from backchat.errors import Draining, Expired, NotFound, RunInProgress
from backchat.ports.storage import Change, Put, RecordStore
from backchat.services.access import Access
from backchat.services.deadlines import over
from backchat.services.following import ACTIVE, Following
from backchat.services.leaving import wound_up
from backchat.services.live_runs import LiveRun
from backchat.services.news import News
from backchat.services.retrying import retrying
from backchat.services.runlog import Numbered, RunLog, read_events, read_grounds
from backchat.services.runstate import run_of
from backchat.services.stored import conversation_of, conversation_put, message_of
from backchat.services.waiting import given_up

log = structlog.get_logger(source=__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTimes:
    """``keep``: how long an ended run can be replayed. ``wait``: how long a send waits for the running reply.

    ``limit``: how long a run may take. ``lease``: how long a silent process keeps its runs. ``tool_time``: how long one
    of the server's tools may take. ``tool_rounds``: how often the model is asked after it called some. ``recheck``: how
    long it takes at most until somebody stops reading who may not read any more.
    """

    keep: timedelta = timedelta(days=1)
    wait: timedelta = timedelta(seconds=30)
    limit: timedelta = timedelta(minutes=10)
    tool_time: timedelta = timedelta(seconds=30)
    tool_rounds: int = 8
    lease: timedelta = timedelta(seconds=15)
    recheck: timedelta = timedelta(seconds=1)


class Runs:
    """The runs of one process, and the readers' side of everybody's. ``news`` has to be entered.

    ``lost`` are runs whose end this process could not write: ``Workers.recover`` does, unless somebody else has.
    ``beaten`` is when this process last told the store that it lives, in monotonic seconds.
    """

    def __init__(
        self, store: RecordStore, access: Access, worker: str, times: RunTimes, now: Callable[[], datetime]
    ) -> None:
        self.store, self.access, self.worker, self.times, self.now = store, access, worker, times, now
        self.live: dict[str, LiveRun] = {}
        self.news = News(store)
        self._following = Following(store, access, self.live, self.news, times.recheck)
        self.lost: set[str] = set()
        self.draining = False
        self.beaten = time.monotonic()

    def is_healthy(self) -> bool:
        """Whether the store has taken a write within the last lease."""
        return time.monotonic() - self.beaten < self.times.lease.total_seconds()

    def refuse_if_draining(self) -> None:
        if self.draining:
            raise Draining("the server is shutting down", retry_after=5)

    def start(self, run: Run, work: Callable[[LiveRun], Awaitable[bool]]) -> LiveRun:
        """Own a run that is stored already: work on it in a task of its own. ``work``: whether its end is written."""
        live = LiveRun(run, RunLog(self.store, run.id, run.position))
        self.live[run.id] = live
        live.task = asyncio.create_task(self._work(live, work), name=f"run {run.id}")
        return live

    async def _work(self, live: LiveRun, work: Callable[[LiveRun], Awaitable[bool]]) -> None:
        try:
            if not await work(live):
                self.lost.add(live.run.id)
        except Exception:
            log.exception("run.end_not_written", run=live.run.id)
            self.lost.add(live.run.id)
        except asyncio.CancelledError:
            self.lost.add(live.run.id)
            raise
        finally:
            if self.live.get(live.run.id) is live:  # a run that paused may have been resumed already
                del self.live[live.run.id]
            live.log.abandon()

    # ---- readers ----------------------------------------------------------------------------------------------------

    async def open(self, who: Identity, id: str, action: Action = "read") -> Run:
        """A run of a conversation that the caller may do this with. Raises like ``conversations.open``."""
        record = await self.store.get("run", id)
        run = run_of(record) if record is not None else None
        at = await self.store.get("conversation", run.conversation) if run is not None else None
        if run is None or at is None or over(at, self.now()):
            raise NotFound("run not found")
        await self.access.require(who, action, conversation_of(at))
        return run

    async def replayable(self, who: Identity, id: str) -> Run:
        """Like ``open``; raises Expired when the events of the run are gone."""
        run = await self.open(who, id)
        if run.status not in ACTIVE and run.expires_at is None:
            raise Expired("the events of this run are no longer kept; its message is")
        return run

    async def is_over(self, run: Run, after: int) -> bool:
        """Whether the run has ended and has no event above ``after``."""
        return run.status not in ACTIVE and not await read_events(self.store, run.id, after, 1)

    def follow(
        self, who: Identity, id: str, after: int = 0, *, past_pauses: bool = False
    ) -> AsyncGenerator[Sequence[Numbered], None]:
        """The events of a run above ``after`` in batches as they are committed, up to and including its end.

        The first pause is an end too, unless ``past_pauses``: then this waits for the client's tool outputs as well.
        Ends without either only if the run is deleted meanwhile, or if there is nothing above ``after``. What was
        remembered is left out for anybody but the run's owner. Raises
        NotFound as soon as the caller may not read the conversation any more.
        """
        return self._following.follow(who, id, after, past_pauses)

    async def result(self, who: Identity, id: str) -> tuple[Run, Message | None]:
        """Wait until a run has ended or waits for tool outputs; the message is None if the model said nothing.

        Raises what the run failed with; NotFound if it was deleted meanwhile, and as soon as the caller may not read
        the conversation any more.
        """
        return await self._following.result(who, id)

    async def grounds(self, who: Identity, run: Run) -> tuple[Sequence[Recalled] | None, Sequence[str]]:
        """The memories and files that the last part of a run was grounded with; None in a run without memory.

        Memories are for the run's owner only: for anybody else they are None.
        """
        if run.recipe.assistant is None:
            return None, ()
        memories, files = await read_grounds(self.store, run)
        return memories if who.user == run.owner else None, files

    # ---- stopping ---------------------------------------------------------------------------------------------------

    async def cancel(self, who: Identity, id: str) -> Run:
        """Stop a run, wherever it is worked on, and wait until it has ended. One that has ended is left alone.

        For those who may say something in its conversation.
        """
        await self._stop(await self.open(who, id, "say"))
        return await self.open(who, id)

    async def stop_on(self, conversation: Conversation) -> None:
        """Cancel the conversation's active run, if there is one, and wait until it has ended."""
        run = await self.active(conversation)
        if run is not None:
            await self._stop(run)

    async def _stop(self, run: Run) -> None:
        live = self.live.get(run.id)
        if live is not None:
            live.stop("cancelled")
            await self._following.end_of(live)
        elif run.status == "running":
            await self.store.apply([Put("cancel", run.id, {"worker": run.worker})])
            await self._following.ended(run.id)
        await self._give_up(run.id)

    async def _give_up(self, id: str) -> None:
        """End a run that waits for tool outputs."""

        async def attempt() -> None:
            record = await self.store.get("run", id)
            if record is None or record.doc["status"] != "waiting":
                return
            run = run_of(record)
            at = await self.store.get("conversation", run.conversation)
            if at is not None:
                conversation = replace(conversation_of(at), active_run=None)
                await self.store.apply([*await self.given_up(run), conversation_put(conversation)])

        await retrying(attempt)

    async def given_up(self, run: Run) -> list[Change]:
        """What ends a waiting run; the conversation's change is the caller's."""
        record = await self.store.get("message", run.answer)
        return given_up(run, message_of(record) if record else None, self.now(), self.times.keep)

    async def active(self, conversation: Conversation) -> Run | None:
        """The run that is worked on or waits for tool outputs, if there is one."""
        if conversation.active_run is None:
            return None
        record = await self.store.get("run", conversation.active_run)
        return run_of(record) if record is not None and record.doc["status"] in ACTIVE else None

    async def idle(self, conversation: Conversation) -> None:
        """Wait until no run is worked on in the conversation; RunInProgress after ``times.wait``."""
        run = await self.active(conversation)
        if run is None or run.status == "waiting":
            return
        try:
            async with asyncio.timeout(self.times.wait.total_seconds()):
                live = self.live.get(run.id)
                if live is not None:
                    await self._following.end_of(live)
                await self._following.ended(run.id)
        except TimeoutError:
            raise RunInProgress("the previous reply of this conversation is still running") from None

    async def drain(self, seconds: float) -> None:
        """Start nothing new, give what runs this many seconds, interrupt the rest. Nothing that was said is lost.

        If the store does not answer, the ends are written by whoever finds the runs when it does.
        """
        self.draining = True
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while (tasks := self._tasks()) and (left := until - loop.time()) > 0:
            await asyncio.wait(tasks, timeout=left)
        for live in list(self.live.values()):
            live.stop("interrupted")
        while tasks := self._tasks():
            await wound_up(tasks, "runs")

    def _tasks(self) -> set[asyncio.Task[None]]:
        return {live.task for live in self.live.values() if live.task is not None}
