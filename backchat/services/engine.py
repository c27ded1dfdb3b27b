"""The work of a run: grounds, prompt, provider, events, end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime
from time import perf_counter

import structlog

from backchat.domain.conversation import Conversation
from backchat.domain.message import Message, ToolCall
from backchat.domain.recipe import Recipe
from backchat.domain.run import ReasoningDelta, Run, RunStatus, StatusNote, TextDelta, ToolCalled
from backchat.errors import (
    BackchatError,
    Cancelled,
    Internal,
    Interrupted,
    NotConfigured,
    ProviderError,
    ProviderRejected,
    ProviderTimeout,
    StaleWrite,
)
from backchat.ports.memory import MemoryStrategy
from backchat.ports.metrics import Meter
from backchat.ports.providers import Finish, ModelRequest, ProviderEvent, UsageReport
from backchat.ports.storage import Change, RecordStore
from backchat.services.answering import Answering
from backchat.services.corrections import MOST, correction, told_apart, unfit
from backchat.services.endings import Ending, Said, failure_of, unclaimed
from backchat.services.grounding import CITE, Grounding, Grounds
from backchat.services.jobs import Job, Jobs, job_put
from backchat.services.live_runs import LiveRun
from backchat.services.memories import Memories
from backchat.services.paths import Path
from backchat.services.prompts import prompt_messages
from backchat.services.providers import Configured, Providers
from backchat.services.runlog import events_purge
from backchat.services.runs import RunTimes
from backchat.services.runstate import run_of
from backchat.services.stored import conversation_of
from backchat.services.titles import Titles

log = structlog.get_logger(source=__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    store: RecordStore
    providers: Providers
    memory: MemoryStrategy
    grounding: Grounding
    memories: Memories
    titles: Titles
    jobs: Jobs
    times: RunTimes
    meter: Meter
    now: Callable[[], datetime]

    async def work(self, live: LiveRun, conversation: Conversation, notes: Sequence[str] = ()) -> None:
        """Answer, and write the end whatever happens, unless the run was taken over or deleted meanwhile."""
        self.meter.run_started()
        answering = Answering(live.run.provider, live.run.model, perf_counter())
        said = Said()
        for note in notes:
            live.log.add(StatusNote(note))
        pump = asyncio.create_task(live.log.pump())
        try:
            error = await self._answer(live, answering, said, pump)
        finally:
            live.finishing = True
            live.log.close()
            broken = (await asyncio.gather(pump, return_exceptions=True))[0]
        if broken is not None and not isinstance(broken, StaleWrite):
            log.error("run.log_broken", run=live.run.id, exc_info=broken)
        ended = False
        try:
            taken_over = isinstance(broken, StaleWrite)
            ended = not taken_over and await self._end(live, conversation, answering, said, error)
        finally:
            status = live.run.status if ended else "lost"
            self.meter.run_ended(answering.provider, status, answering.used)
        if not ended:
            log.warning("run.lost", run=live.run.id)
            live.error = Interrupted("another process took this reply over")
        elif error is not None:
            log.warning("run.ended_early", run=live.run.id, provider=answering.provider, code=error.code)

    async def _answer(
        self, live: LiveRun, answering: Answering, said: Said, pump: asyncio.Task[None]
    ) -> BackchatError | None:
        """Ask until somebody answers; what went wrong, as an error of ours."""
        pump.add_done_callback(lambda _: live.stop("interrupted"))
        live.begun = True
        if live.reason is not None:
            return _stopped(live)
        try:
            async with asyncio.timeout(self.times.limit.total_seconds()):
                grounds = await self.grounding.gather(live.run)
                for event in grounds.events:
                    live.log.add(event)
                await self._ask(live, _request(live.run.recipe, grounds), answering, said)
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

    async def _ask(self, live: LiveRun, request: ModelRequest, answering: Answering, said: Said) -> None:
        recipe = live.run.recipe
        candidates = [c for name in recipe.providers if (c := self.providers.configured.get(name)) is not None]
        if not candidates:
            raise NotConfigured("the provider of this reply is no longer configured on this server")
        first = candidates[0].name == recipe.providers[0]
        while True:
            candidate = candidates.pop(0)
            # A chosen model is one of the first provider's; the others answer with their own.
            asked = replace(request, model=recipe.model if first else None)
            answering.provider, answering.model = candidate.name, asked.model or candidate.provider.model
            first = False
            try:
                await self._converse(candidate, live, asked, answering, said)
                return
            except ProviderError as error:
                if answering.begun or not candidates or isinstance(error, ProviderRejected):
                    raise
                log.warning("run.fallback", run=live.run.id, provider=candidate.name, code=error.code)

    async def _converse(
        self, candidate: Configured, live: LiveRun, request: ModelRequest, answering: Answering, said: Said
    ) -> None:
        """Ask, and ask again while the model's tool calls do not fit. What fits is handed out, all or none."""
        while True:
            async with aclosing(await self._stream(candidate, live, request, answering)) as events:
                await self._listen(events, live, answering, said)
            answering.calls = told_apart(answering.calls)
            if not answering.calls:
                return
            # Not on the loop: schemas come from strangers.
            calls, faults = await asyncio.to_thread(unfit, answering.calls, request.tools)
            if not faults:
                for call in calls:
                    said.add(ToolCalled(call))
                    live.log.add(ToolCalled(call))
                answering.waits = True
                return
            if answering.corrected == MOST:
                raise ProviderError("the model called a tool with arguments that do not fit it, again and again")
            log.info("run.corrected", run=live.run.id, provider=candidate.name)
            answering.asked += correction(answering.calls, faults)
            answering.again()

    async def _stream(
        self, candidate: Configured, live: LiveRun, request: ModelRequest, answering: Answering
    ) -> AsyncGenerator[ProviderEvent, None]:
        # Built here and handed straight on: this side holds nothing of the prompt while the answer streams.
        past = await self.memory.select(Path(self.store, live.run.conversation, live.run.parent))
        messages = await prompt_messages(self.store, past, candidate.provider.abilities)
        return candidate.provider.stream(replace(request, messages=[*messages, *answering.asked]))

    async def _listen(
        self, events: AsyncGenerator[ProviderEvent, None], live: LiveRun, answering: Answering, said: Said
    ) -> None:
        add = live.log.add
        offered = bool(live.run.recipe.tools)
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
                if offered:
                    answering.calls.append(event)
                    continue
                logged = ToolCalled(event)  # nobody offered it a tool: shown, and nothing comes of it
            said.add(logged)
            add(logged)

    async def _end(
        self, live: LiveRun, conversation: Conversation, answering: Answering, said: Said, error: BackchatError | None
    ) -> bool:
        """Write the end. False if the run is no longer ours: taken over, or deleted with its conversation."""
        ending = Ending(
            status=_status_of(error, answering),
            provider=answering.provider,
            model=answering.model,
            usage=answering.used,
            failure=failure_of(error) if error else None,
            finish=answering.finish,
            position=live.log.ahead(),
        )
        while True:
            run, answer, changes, last = ending.changes(live.run, conversation, said, self.now(), self.times.keep)
            afterwards = self._afterwards(run, conversation, answer)
            changes += [change for more, _ in afterwards for change in more]
            try:
                await live.log.commit(changes, last)
            except StaleWrite:
                pass
            else:  # the readers wake after this, not before
                live.run, live.error, live.answer = run, error, answer
                for _, job in afterwards:
                    self.jobs.start(job)
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
            conversation, live.run = conversation_of(current), await unclaimed(self.store, run_of(record))

    def _afterwards(
        self, run: Run, conversation: Conversation, answer: Message | None
    ) -> list[tuple[list[Change], Job]]:
        """The jobs that a completed run gives rise to, with what is to be stored for each."""
        if run.status != "completed":
            return []
        found: list[tuple[list[Change], Job]] = []
        if run.recipe.memory == "write" and run.recipe.assistant is not None:
            found.append(self.memories.learning(run, self.now()))
        if (title := self.titles.job(run, conversation, answer)) is not None:
            found.append(([job_put(title)], title))
        return found


def _request(recipe: Recipe, grounds: Grounds) -> ModelRequest:
    citations = grounds.citations
    system = recipe.system
    if recipe.cite and citations:
        system = f"{system}\n\n{CITE}" if system else CITE
    return ModelRequest(
        messages=(),
        system=system,
        citations=citations,
        tools=recipe.tools,
        reasoning=recipe.reasoning,
        json_output=recipe.json_output,
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
