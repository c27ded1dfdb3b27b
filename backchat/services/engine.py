"""The work of a run: grounds, prompt, provider, events, end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from time import perf_counter

import structlog

from backchat.domain.conversation import Conversation
from backchat.domain.message import Message
from backchat.domain.recipe import Recipe
from backchat.domain.run import Run, RunStatus, StatusNote, ToolReturned
from backchat.domain.tool import ToolDefinition
from backchat.errors import (
    BackchatError,
    Cancelled,
    Internal,
    Interrupted,
    NotConfigured,
    ProviderRejected,
    ProviderTimeout,
    StaleWrite,
)
from backchat.ports.agents import Agent
from backchat.ports.metrics import Meter
from backchat.ports.providers import ModelRequest
from backchat.ports.storage import Change, Delete, RecordStore
from backchat.services.agent_turns import answer
from backchat.services.allowed import run_allowed
from backchat.services.answering import Answering
from backchat.services.booking import booking, unbooked
from backchat.services.endings import NEVER_RUN, UNKNOWN, Ending, failure_of, unanswered, unclaimed
from backchat.services.grounding import CITE, Grounding, Grounds
from backchat.services.jobs import Job, Jobs, job_put
from backchat.services.ledger import Ledger
from backchat.services.live_runs import LiveRun
from backchat.services.memories import Memories
from backchat.services.providers import Providers
from backchat.services.replying import Reply
from backchat.services.runlog import events_purge
from backchat.services.runs import RunTimes
from backchat.services.runstate import run_of
from backchat.services.stored import conversation_of
from backchat.services.strategies import Strategies
from backchat.services.summaries import Summaries
from backchat.services.titles import Titles
from backchat.services.toolbox import BUILT_IN, Toolbox

log = structlog.get_logger(source=__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    store: RecordStore
    providers: Providers
    strategies: Strategies
    grounding: Grounding
    memories: Memories
    titles: Titles
    summaries: Summaries
    jobs: Jobs
    ledger: Ledger
    toolbox: Toolbox
    agents: Mapping[str, Agent]
    times: RunTimes
    meter: Meter
    now: Callable[[], datetime]

    async def work(self, live: LiveRun, conversation: Conversation, notes: Sequence[str] = ()) -> bool:
        """Answer, and write the end whatever happens, unless the run was taken over or deleted meanwhile; or seems to
        be, as the store took a write of this process' and said that it had not. Whether the end is written.
        """
        self.meter.run_started()
        answering = Answering(live.run.provider, live.run.model, perf_counter())
        for note in notes:
            live.log.add(StatusNote(note))
        pump = asyncio.create_task(live.log.pump())
        try:
            error = await self._answer(live, answering, pump)
        finally:
            live.finishing = True
            live.log.close()
            broken = (await asyncio.gather(pump, return_exceptions=True))[0]
        if broken is not None and not isinstance(broken, StaleWrite):
            log.error("run.log_broken", run=live.run.id, exc_info=broken)
        ended = False
        try:
            taken_over = isinstance(broken, StaleWrite)
            ended = not taken_over and await self._end(live, conversation, answering, error)
        finally:
            status = live.run.status if ended else "lost"
            self.meter.run_ended(answering.provider, status, answering.said.usage)
        if not ended:
            log.warning("run.lost", run=live.run.id)
            live.error = Interrupted("the end of this reply is not this process' to write any more")
        elif error is not None:
            log.warning("run.ended_early", run=live.run.id, provider=answering.provider, code=error.code)
        return ended

    async def _answer(self, live: LiveRun, answering: Answering, pump: asyncio.Task[None]) -> BackchatError | None:
        """Ask until somebody answers; what went wrong, as an error of ours."""
        pump.add_done_callback(lambda _: live.stop("interrupted"))
        live.begun = True
        if live.reason is not None:
            return _stopped(live)
        limit = asyncio.timeout(self.times.limit.total_seconds())
        error: BackchatError | None = None
        try:
            async with limit:
                grounds = await self.grounding.gather(live.run)
                for event in grounds.events:
                    live.log.add(event)
                make = self._maker(live, answering, grounds)  # before any tool is run: it may not be possible any more
                await run_allowed(self.store, self.toolbox, live, answering.said, self.now)
                await make()
                if answering.finish.reason == "content_filter" and not any(s.parts() for s in answering.said.steps):
                    raise ProviderRejected("the model service withheld its answer")
        except asyncio.CancelledError:
            if live.reason is None:
                raise
        except BackchatError as known:
            error = known
        except Exception:
            if not limit.expired() and live.reason is None:
                log.exception("run.crashed", run=live.run.id)
            error = Internal("internal error")
        # Not by what was raised: an agent may have made something else of it, or nothing.
        if live.reason is not None:
            asyncio.current_task().uncancel()  # the reason is ours: the end is still to write
            return _stopped(live)
        return ProviderTimeout("the reply took longer than this server allows") if limit.expired() else error

    def _maker(self, live: LiveRun, answering: Answering, grounds: Grounds) -> Callable[[], Awaitable[None]]:
        """What makes the reply. Raises NotConfigured if nobody can."""
        recipe = live.run.recipe
        own = self.toolbox.definitions(recipe.own_tools)
        reply = Reply(self, live, answering, replace(_request(recipe, grounds, own), caller=live.run.author))
        if recipe.agent == BUILT_IN:
            return reply.by_itself
        agent = self.agents.get(recipe.agent)
        if agent is None:
            raise NotConfigured(f"the agent {recipe.agent!r} of this reply is no longer configured on this server")
        return partial(answer, agent, reply)

    async def _end(
        self, live: LiveRun, conversation: Conversation, answering: Answering, error: BackchatError | None
    ) -> bool:
        """Write the end. False if the run is no longer ours: taken over, or deleted with its conversation."""
        for result in unanswered(live.run, answering.said, UNKNOWN if live.calling else NEVER_RUN):
            answering.said.add(ToolReturned(result))
            live.log.add(ToolReturned(result))
        ending = Ending(
            status=_status_of(error, answering),
            provider=answering.provider,
            model=answering.model,
            failure=failure_of(error) if error else None,
            finish=answering.finish.reason,
            tried=answering.tried,
            confirm=answering.confirm,
            position=live.log.ahead(),
        )
        last_call = answering.unlogged
        number = len(answering.said.calls)
        booked = [booking(self.ledger, live.run, last_call, number)] if last_call is not None else []
        while True:
            run, reply, changes, last = ending.changes(
                live.run, conversation, answering.said, self.now(), self.times.keep
            )
            afterwards = self._afterwards(run, conversation, reply, answering.due)
            changes += [*booked, *[change for more, _ in afterwards for change in more]]
            try:
                await live.log.commit(changes, last)
            except StaleWrite:
                pass
            else:  # the readers wake after this, not before
                live.run, live.error, live.answer = run, error, reply
                for _, job in afterwards:
                    self.jobs.start(job)
                return True
            record = await self.store.get("run", run.id)
            current = await self.store.get("conversation", conversation.id)
            if record is not None and record.version != run.version:
                return False
            if record is None or current is None:
                await self._leave(run, answering)
                return False
            before = (conversation.version, live.run.answer, len(booked))
            conversation, live.run = conversation_of(current), await unclaimed(self.store, run_of(record))
            booked = await unbooked(self.store, booked)
            if (conversation.version, live.run.answer, len(booked)) == before:
                raise Internal("the end of a reply is refused, though nothing has changed")  # it would be for ever

    async def _leave(self, run: Run, answering: Answering) -> None:
        """Of a run that was deleted with its conversation, what it cost is all that stays."""
        await self.store.apply([Delete("run", run.id), events_purge(run.id)])
        calls = enumerate(answering.said.calls, 1)
        with suppress(StaleWrite):  # somebody has booked the same meanwhile
            await self.store.apply(
                await unbooked(self.store, [booking(self.ledger, run, call, number) for number, call in calls])
            )

    def _afterwards(
        self, run: Run, conversation: Conversation, answer: Message | None, due: bool
    ) -> list[tuple[list[Change], Job]]:
        """The jobs that a completed run gives rise to, with what is to be stored for each.

        ``due``: its memory strategy has something to do.
        """
        if run.status != "completed":
            return []
        found: list[tuple[list[Change], Job]] = []
        if run.recipe.memory == "write" and run.recipe.assistant is not None:
            found.append(self.memories.learning(run, self.now()))
        if (title := self.titles.job(run, conversation, answer)) is not None:
            found.append(([job_put(title)], title))
        if due and answer is not None and (summary := self.summaries.job(run)) is not None:
            found.append(([job_put(summary)], summary))
        return found


def _request(recipe: Recipe, grounds: Grounds, own: Sequence[ToolDefinition]) -> ModelRequest:
    citations = grounds.citations
    system = recipe.system
    if recipe.cite and citations:
        system = f"{system}\n\n{CITE}" if system else CITE
    return ModelRequest(
        messages=(),
        system=system,
        citations=citations,
        tools=(*recipe.tools, *own),
        reasoning=recipe.reasoning,
        json_output=recipe.json_output,
        sampling=recipe.sampling,
    )


def _stopped(live: LiveRun) -> BackchatError:
    if live.reason == "cancelled":
        return Cancelled("the reply was cancelled")
    return Interrupted("the server stopped before the reply was complete")


def _status_of(error: BackchatError | None, answering: Answering) -> RunStatus:
    if error is None:
        return "waiting" if answering.waits else "completed"
    if isinstance(error, Cancelled):
        return "cancelled"
    return "interrupted" if isinstance(error, Interrupted) else "failed"
