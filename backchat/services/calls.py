"""Asking a model for one text, outside of a reply: what it costs is booked, whatever becomes of the call."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Literal

import structlog

from backchat.domain.message import ToolCall, Usage
from backchat.domain.run import ReasoningDelta, TextDelta
from backchat.domain.usage import Payer, UsageRecord
from backchat.errors import GaveWay, ProviderError, ProviderTimeout
from backchat.ports.providers import ModelRequest, ProviderEvent, UsageReport
from backchat.ports.storage import RecordStore
from backchat.services.estimates import costs_nothing, tokens_asked, tokens_said
from backchat.services.finishing import through
from backchat.services.ledger import Ledger
from backchat.services.providers import Configured

log = structlog.get_logger(source=__name__)
Wanted = Literal["title", "memory", "summary", "description", "translation"]

_WORDS: Mapping[Wanted, tuple[str, str]] = {
    "title": ("the model's title did not end", "the model took too long to make a title"),
    "memory": (
        "the model's answer about what to remember did not end",
        "the model took too long to say what to remember",
    ),
    "summary": ("the model's summary did not end", "the model took too long to sum the conversation up"),
    "description": (
        "the model's description of the image did not end",
        "the model took too long to describe the image",
    ),
    "translation": ("the model's translation did not end", "the model took too long to translate"),
}
"""What is said of a call that does not end, and of one that takes too long."""
_BACKGROUND: frozenset[Wanted] = frozenset({"title", "memory", "summary"})
"""What nobody waits for before they can go on."""
TRIES = 3
"""How often a call in the background is made that is ended each time because a reply needs its place."""


@dataclass(slots=True)
class _Clock:
    """The time that a call takes, without what it waits on this side before it is made, or made again."""

    timer: asyncio.Timeout
    left: float | None = None

    def waits(self, waits: bool) -> None:
        now = asyncio.get_running_loop().time()
        if waits:
            self.left = (self.timer.when() or now) - now
            self.timer.reschedule(None)
        elif self.left is not None:
            self.timer.reschedule(now + self.left)
            self.left = None


@dataclass(slots=True)
class _Answer:
    """What a model has said so far: its text, and everything that it is paid for; ``complete`` if it said all."""

    text: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    length: int = 0
    usage: Usage | None = None
    begun: bool = False
    complete: bool = False

    def hear(self, event: ProviderEvent) -> None:
        if isinstance(event, UsageReport):
            self.usage = event.usage
        elif isinstance(event, TextDelta | ReasoningDelta):
            self.said.append(event.text)
        elif isinstance(event, ToolCall):
            self.said += [event.name, event.arguments]
        if isinstance(event, TextDelta):
            self.text.append(event.text)
            self.length += len(event.text)

    def spent(self, asked: int) -> tuple[Usage, bool]:
        """The tokens, and whether they are an estimate: what is counted before the end may be less than in the end."""
        if self.usage is not None and self.complete:
            return self.usage, False
        report = self.usage or Usage(asked)
        output = max(report.output_tokens, tokens_said(self.said))
        return replace(report, output_tokens=output), True


@dataclass(frozen=True, slots=True)
class Calls:
    store: RecordStore
    ledger: Ledger

    async def text(
        self, payer: Payer, purpose: Wanted, asked: Configured, request: ModelRequest, *, limit: float, most: int
    ) -> str:
        """What the model says, of ``most`` characters and in ``limit`` seconds, waiting for a turn not counted.

        A record with what the call must cost at least is stored before it, and replaced after it: also if it fails, is
        cancelled, or the server is killed. Nothing is left of it if the provider refuses it or is not reached.

        Raises InsufficientCredits, and ``ProviderError``, ``ProviderTimeout`` for one that takes longer or does not
        end.
        """
        background = purpose in _BACKGROUND
        request = replace(request, caller=payer.user, background=background)
        for _ in range(TRIES - 1 if background else 0):
            try:
                return await self._text(payer, purpose, asked, request, limit=limit, most=most)
            except GaveWay:
                log.info("call.gave_way", purpose=purpose, provider=asked.name)
        return await self._text(payer, purpose, asked, request, limit=limit, most=most)

    async def _text(
        self, payer: Payer, purpose: Wanted, asked: Configured, request: ModelRequest, *, limit: float, most: int
    ) -> str:
        """``text``, once."""
        await self.ledger.check(payer)
        least = Usage(tokens_asked(request))
        model = request.model or asked.provider.model
        first = self.ledger.entry(payer, purpose, asked.name, model, least, estimated=True)
        answer, refused = _Answer(), False
        endless, late = _WORDS[purpose]
        try:
            await self.store.apply([self.ledger.booked(first)])
            answer.begun = True
            async with asyncio.timeout(limit) as timer:
                clock = _Clock(timer)

                def waits(waits: bool) -> None:
                    answer.begun = not waits
                    clock.waits(waits)

                async with aclosing(asked.provider.stream(replace(request, waits=waits))) as events:
                    async for event in events:
                        answer.hear(event)
                        if answer.length > most:
                            raise ProviderError(endless)
            answer.complete = True
        except TimeoutError:
            raise ProviderTimeout(late) from None
        except ProviderError as error:
            refused = not answer.said and answer.usage is None and costs_nothing(error)
            raise
        finally:
            await through(self.ledger.settle(first, None if refused else self._last(first, answer)))
        return "".join(answer.text)

    def _last(self, first: UsageRecord, answer: _Answer) -> UsageRecord | None:
        """What stays of a call; None of one that was never made."""
        if not answer.begun:
            return None
        usage, estimated = answer.spent(first.usage.input_tokens)
        return self.ledger.entry(
            first.payer, first.purpose, first.provider, first.model, usage, id=first.id, estimated=estimated
        )
