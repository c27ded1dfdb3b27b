"""The work of a run: prompt, provider, events, end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime
from time import perf_counter

import structlog

from backchat.domain.conversation import Conversation
from backchat.domain.message import ToolCall, Usage
from backchat.domain.run import ReasoningDelta, RunStatus, StatusNote, TextDelta, ToolCalled
from backchat.errors import (
    BackchatError,
    Cancelled,
    Internal,
    Interrupted,
    ProviderError,
    ProviderRejected,
    ProviderTimeout,
    StaleWrite,
)
from backchat.ports.memory import MemoryStrategy
from backchat.ports.metrics import Meter
from backchat.ports.providers import Finish, ModelRequest, ProviderEvent, UsageReport
from backchat.ports.storage import RecordStore
from backchat.services.endings import Ending, Said, failure_of
from backchat.services.paths import Path
from backchat.services.prompts import prompt_messages
from backchat.services.providers import Configured
from backchat.services.runlog import events_purge
from backchat.services.runs import LiveRun, RunTimes
from backchat.services.stored import conversation_of

log = structlog.get_logger(source=__name__)


@dataclass(slots=True)
class Answering:
    """Who answers, and what the provider reported; changes while the answer comes in."""

    provider: str
    model: str
    started: float
    usage: Usage | None = None
    finish: str = "stop"
    begun: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a run is to do: who is asked, in order, with which instructions."""

    conversation: Conversation
    candidates: Sequence[Configured]
    request: ModelRequest
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    store: RecordStore
    memory: MemoryStrategy
    times: RunTimes
    meter: Meter
    now: Callable[[], datetime]

    async def work(self, live: LiveRun, job: Job) -> None:
        """Answer, and write the end whatever happens, unless the run was taken over or deleted meanwhile."""
        self.meter.run_started()
        first = job.candidates[0]
        answering = Answering(first.name, first.provider.model, perf_counter())
        said = Said()
        for note in job.notes:
            live.log.add(StatusNote(note))
        pump = asyncio.create_task(live.log.pump())
        try:
            error = await self._answer(live, job, answering, said, pump)
        finally:
            live.finishing = True
            live.log.close()
            broken = (await asyncio.gather(pump, return_exceptions=True))[0]
        if broken is not None and not isinstance(broken, StaleWrite):
            log.error("run.log_broken", run=live.run.id, exc_info=broken)
        ended = False
        try:
            taken_over = isinstance(broken, StaleWrite)
            ended = not taken_over and await self._end(live, job.conversation, answering, said, error)
        finally:
            status = live.run.status if ended else "lost"
            self.meter.run_ended(answering.provider, status, answering.usage)
        if not ended:
            log.warning("run.lost", run=live.run.id)
            live.error = Interrupted("another process took this reply over")
        elif error is not None:
            log.warning("run.ended_early", run=live.run.id, provider=answering.provider, code=error.code)

    async def _answer(
        self, live: LiveRun, job: Job, answering: Answering, said: Said, pump: asyncio.Task[None]
    ) -> BackchatError | None:
        """Ask until somebody answers; what went wrong, as an error of ours."""
        pump.add_done_callback(lambda _: live.stop("interrupted"))
        live.begun = True
        if live.reason is not None:
            return _stopped(live)
        try:
            async with asyncio.timeout(self.times.limit.total_seconds()):
                await self._ask(live, job, answering, said)
        except TimeoutError:
            return ProviderTimeout("the reply took longer than this server allows")
        except asyncio.CancelledError:
            if live.reason is None:
                raise
            asyncio.current_task().uncancel()  # the reason is ours: the end is still to write
            return _stopped(live)
        except BackchatError as error:
            return error
        except Exception:
            log.exception("run.crashed", run=live.run.id)
            return Internal("internal error")
        return None

    async def _ask(self, live: LiveRun, job: Job, answering: Answering, said: Said) -> None:
        candidates = list(job.candidates)
        while True:
            candidate = candidates.pop(0)
            answering.provider, answering.model = candidate.name, job.request.model or candidate.provider.model
            try:
                async with aclosing(await self._stream(candidate, live, job)) as events:
                    await self._listen(events, live, answering, said)
                return
            except ProviderError as error:
                if answering.begun or not candidates or isinstance(error, ProviderRejected):
                    raise
                log.warning("run.fallback", run=live.run.id, provider=candidate.name, code=error.code)

    async def _stream(self, candidate: Configured, live: LiveRun, job: Job) -> AsyncGenerator[ProviderEvent, None]:
        # Built here and handed straight on: this side holds nothing of the prompt while the answer streams.
        past = await self.memory.select(Path(self.store, live.run.conversation, live.run.input))
        messages = await prompt_messages(self.store, past, candidate.provider.abilities)
        return candidate.provider.stream(replace(job.request, messages=messages))

    async def _listen(
        self, events: AsyncGenerator[ProviderEvent, None], live: LiveRun, answering: Answering, said: Said
    ) -> None:
        add = live.log.add
        async for event in events:
            if type(event) is UsageReport:
                answering.usage = event.usage
                continue
            if type(event) is Finish:
                answering.finish = event.reason
                continue
            if not answering.begun:
                answering.begun = True
                self.meter.first_token(answering.provider, perf_counter() - answering.started)
            if type(event) is TextDelta or type(event) is ReasoningDelta:
                logged: TextDelta | ReasoningDelta | ToolCalled = event
            else:
                assert type(event) is ToolCall
                logged = ToolCalled(event)
            said.add(logged)
            add(logged)

    async def _end(
        self, live: LiveRun, conversation: Conversation, answering: Answering, said: Said, error: BackchatError | None
    ) -> bool:
        """Write the end. False if the run is no longer ours: taken over, or deleted with its conversation."""
        ending = Ending(
            status=_status_of(error),
            provider=answering.provider,
            model=answering.model,
            usage=answering.usage,
            failure=failure_of(error) if error else None,
            finish=answering.finish,
        )
        while True:
            run, answer, changes, last = ending.changes(live.run, conversation, said, self.now(), self.times.keep)
            try:
                await live.log.commit(changes, last)
            except StaleWrite:
                pass
            else:  # the readers wake after this, not before
                live.run, live.error, live.answer = run, error, answer
                return True
            record = await self.store.get("run", run.id)
            if record is None:
                await self.store.apply([events_purge(run.id)])
                return False
            if record.version != run.version:
                return False
            current = await self.store.get("conversation", conversation.id)
            if current is None:
                return False
            conversation = conversation_of(current)


def _stopped(live: LiveRun) -> BackchatError:
    if live.reason == "cancelled":
        return Cancelled("the reply was cancelled")
    return Interrupted("the server stopped before the reply was complete")


def _status_of(error: BackchatError | None) -> RunStatus:
    if error is None:
        return "completed"
    if isinstance(error, Cancelled):
        return "cancelled"
    return "interrupted" if isinstance(error, Interrupted) else "failed"
