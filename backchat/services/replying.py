"""One part of a run: the model is asked, and asked again, until the answer is there or waits for the client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from time import perf_counter
from typing import Protocol

import structlog

from backchat.domain.message import ToolCall, ToolResult
from backchat.domain.run import ReasoningDelta, ReasoningSealed, StatusNote, TextDelta, ToolCalled, ToolReturned
from backchat.errors import NotConfigured, ProviderError, ProviderRejected
from backchat.ports.metrics import Meter
from backchat.ports.providers import (
    Abilities,
    FileData,
    Finish,
    ModelRequest,
    PromptMessage,
    ProviderEvent,
    UsageReport,
)
from backchat.ports.storage import RecordStore
from backchat.services.answering import Answering
from backchat.services.booking import booking, payer_of
from backchat.services.corrections import MOST, correction, told_apart, unfit
from backchat.services.estimates import costs_nothing, tokens_asked
from backchat.services.ledger import Ledger
from backchat.services.live_runs import LiveRun
from backchat.services.prompts import Kept, prompt_messages
from backchat.services.providers import Configured, Providers
from backchat.services.runs import RunTimes
from backchat.services.strategies import Strategies
from backchat.services.toolbox import Toolbox

log = structlog.get_logger(source=__name__)

Prompt = Callable[[Abilities], Awaitable[Sequence[PromptMessage]]]
"""Makes the messages of a prompt for a model that can do so much. Called anew for every call of one."""


class Means(Protocol):
    """What a reply is made with."""

    @property
    def store(self) -> RecordStore: ...
    @property
    def providers(self) -> Providers: ...
    @property
    def strategies(self) -> Strategies: ...
    @property
    def ledger(self) -> Ledger: ...
    @property
    def toolbox(self) -> Toolbox: ...
    @property
    def times(self) -> RunTimes: ...
    @property
    def meter(self) -> Meter: ...


class Reply:
    """``request`` is what every call of the model has in common; ``tools`` are the server's, ``request.tools`` all.

    Raises NotConfigured if none of the run's providers is there any more.
    """

    __slots__ = ("_answering", "_bare", "_candidates", "_kept", "_live", "_means", "_own", "_request", "_shows_files")

    def __init__(self, means: Means, live: LiveRun, answering: Answering, request: ModelRequest) -> None:
        self._means, self._live, self._answering, self._request = means, live, answering, request
        recipe = live.run.recipe
        self._own = recipe.own_tools
        self._kept: Kept = {}
        self._bare = self._shows_files = False
        configured = means.providers.configured
        self._candidates = [c for name in recipe.providers if (c := configured.get(name)) is not None]
        if not self._candidates:
            raise NotConfigured("the provider of this reply is no longer configured on this server")

    @property
    def request(self) -> ModelRequest:
        return self._request

    async def by_itself(self) -> None:
        """The server's own loop: its tools are run, and the model goes on, until it calls none, or one that waits: one
        of the client's, or one that the user must allow.

        The others that a round called are run side by side, and before the run waits.
        """
        answering, must_wait = self._answering, self._means.toolbox.waits
        while True:
            async with aclosing(self.ask(self.past, answering.follows)) as events:
                async for _ in events:
                    pass
            step = answering.said.steps[-1]
            if not step.calls or not self._request.tools:
                return
            own = [c for c in step.calls if c.name in self._own]
            confirm = [c.id for c in own if must_wait(c.name)]
            await asyncio.gather(*[self.call(c) for c in own if c.id not in confirm])
            if confirm or len(own) < len(step.calls):
                answering.waits, answering.confirm = True, tuple(confirm)
                return
            answering.follows += step.prompt()

    async def ask(self, prompt: Prompt, follows: Sequence[PromptMessage]) -> AsyncGenerator[ProviderEvent, None]:
        """Ask the model, and again while its tool calls do not fit; another provider as long as nothing has come.

        What is yielded is in the log. Calls come once all of them fit; with ids of their own. Raises ProviderError,
        InsufficientCredits.
        """
        answering, corrected = self._answering, 0
        self._count_round()
        while True:
            faulty: list[PromptMessage] = []
            calls: Sequence[ToolCall] = ()
            stream = await self._sent(prompt, follows)
            try:
                # This side holds nothing of the prompt while the answer streams.
                async with aclosing(stream) as events:
                    async for event in events:
                        if type(event) is Finish:
                            answering.finish = event
                        elif self._heard(event):
                            yield event
                answering.whole = True
                if answering.calls:
                    calls, faulty = await self._checked(corrected)
            except Exception as error:
                if not answering.came and costs_nothing(error):
                    answering.refused()
                if not self._gives_way(error):
                    raise
                continue
            finally:
                answering.over()
            if not faulty:
                break
            follows = [*follows, *faulty]
            corrected += 1
        for call in calls:
            yield call
        yield answering.finish

    def _count_round(self) -> None:
        if self._answering.asks > self._means.times.tool_rounds:
            raise _too_many()
        self._answering.asks += 1

    async def _sent(self, prompt: Prompt, follows: Sequence[PromptMessage]) -> AsyncGenerator[ProviderEvent, None]:
        """The stream of the first candidate."""
        self._log_ended()
        if self._answering.said.calls:
            await self._live.log.written()  # what was spent just now counts
        await self._means.ledger.check(payer_of(self._live.run))
        candidate, recipe = self._candidates[0], self._live.run.recipe
        # A chosen model is one of the first provider's; the others answer with their own.
        model = recipe.model if candidate.name == recipe.providers[0] else None
        abilities = candidate.provider.abilities
        messages = [*await prompt(replace(abilities, files=frozenset()) if self._bare else abilities), *follows]
        self._shows_files = any(type(p) is FileData for m in messages for p in m.parts)
        request = replace(self._request, model=model, messages=messages, waits=self._answering.held_back)
        self._answering.sent(candidate.name, model or candidate.provider.model, tokens_asked(request))
        return candidate.provider.stream(request)

    def _heard(self, event: ProviderEvent) -> bool:
        """Take an event in; whether it is to be shown now."""
        answering = self._answering
        if type(event) is StatusNote:  # nothing of the answer: another provider may still be asked
            self._live.log.add(event)
            return True
        answering.came = True
        if type(event) is UsageReport:
            answering.reported = event.usage
            return True
        if not answering.begun:
            answering.begun = True
            self._means.meter.first_token(answering.provider, perf_counter() - answering.started)
        if type(event) is TextDelta or type(event) is ReasoningDelta or type(event) is ReasoningSealed:
            answering.said.add(event)
            self._live.log.add(event)
            return True
        assert type(event) is ToolCall
        if self._request.tools:
            answering.calls.append(event)
            return False
        self._called(event)  # nobody offered it a tool: shown, and nothing comes of it
        return True

    def _called(self, call: ToolCall) -> None:
        self._answering.said.add(ToolCalled(call))
        self._live.log.add(ToolCalled(call))

    async def _checked(self, corrected: int) -> tuple[Sequence[ToolCall], list[PromptMessage]]:
        """The model's calls, which are handed out if all of them fit; else what it is to be told."""
        answering = self._answering
        apart = told_apart(answering.calls, answering.said.taken)
        # Not on the loop: schemas come from strangers.
        calls, faults = await asyncio.to_thread(unfit, apart, self._request.tools)
        if faults:
            if corrected == MOST:
                raise ProviderError("the model called a tool with arguments that do not fit it, again and again")
            log.info("run.corrected", run=self._live.run.id, provider=answering.provider)
            return (), correction(apart, faults)
        if answering.asks > self._means.times.tool_rounds and all(c.name in self._own for c in calls):
            raise _too_many()
        answering.calls = []
        for call in calls:
            self._called(call)
        return calls, []

    def _gives_way(self, error: Exception) -> bool:
        """Whether another call is made: the next provider is asked instead, or this one without documents."""
        if isinstance(error, ProviderRejected):
            return self._leaves_files_out(error)
        if not isinstance(error, ProviderError):
            return False
        if self._answering.begun or len(self._candidates) == 1:
            return False
        failed, self._bare = self._candidates.pop(0), False
        self._answering.tried.append({"provider": failed.name, "code": error.code})
        self._live.log.add(StatusNote(f"{failed.name} does not answer; asking {self.asked.name}"))
        log.warning("run.fallback", run=self._live.run.id, provider=failed.name, code=error.code)
        return True

    def _leaves_files_out(self, error: ProviderRejected) -> bool:
        """Whether the same provider is asked again without the documents themselves: one that its service does not
        take, such as a PDF of too many pages, would end the conversation.
        """
        if error.at_work or self._answering.came or not self._shows_files:
            return False
        self._bare = True
        self._live.log.add(StatusNote(f"{self.asked.name} refused the request; asking again without the documents"))
        log.info("run.without_documents", run=self._live.run.id, provider=self.asked.name)
        return True

    async def call(self, call: ToolCall) -> ToolResult:
        """Run one of the server's tools, with a call of the model's that fits it."""
        self._log_ended()
        result = await self._means.toolbox.call(call)
        self._answering.said.add(ToolReturned(result))
        self._live.log.add(ToolReturned(result))
        return result

    def _log_ended(self) -> None:
        """Another call follows, or tools do: whoever finds this run without its process knows what was spent on it."""
        answering, run = self._answering, self._live.run
        if (ended := answering.unlogged) is not None:
            self._live.log.add(ended, booking(self._means.ledger, run, ended, len(answering.said.calls)))
            answering.unlogged = None

    async def past(self, abilities: Abilities) -> Sequence[PromptMessage]:
        """The stored messages that the memory strategy shows."""
        means, run = self._means, self._live.run
        shown = await means.strategies.shown(means.store, run)
        self._answering.due = shown.due
        self._request = replace(self._request, summary=shown.summary)
        # Held while the answer streams only where another round may need them.
        kept = self._kept if self._request.tools else None
        return await prompt_messages(means.store, shown.messages, abilities, assistant=run.recipe.assistant, kept=kept)

    @property
    def asked(self) -> Configured:
        """Who is asked next."""
        return self._candidates[0]

    def asked_for(self, id: str) -> ToolCall | None:
        """The model's call of one of the server's tools with this id."""
        steps = self._answering.said.steps
        return next((c for s in reversed(steps) for c in s.calls if c.id == id and c.name in self._own), None)

    def answered(self, id: str) -> ToolResult | None:
        """What came of it, if anything has."""
        steps = self._answering.said.steps
        return next((ToolResult(id, s.answers[id]) for s in reversed(steps) if id in s.answers), None)


def _too_many() -> ProviderError:
    return ProviderError("the model called tools again and again, and came to no answer")
