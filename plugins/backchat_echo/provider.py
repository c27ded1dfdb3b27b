"""The provider itself: settings, and a prepared reply played out word by word."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from marshmallow import RAISE, Schema, fields, post_load, validate

from backchat.domain.message import Usage
from backchat.domain.run import ReasoningDelta, TextDelta
from backchat.ports.providers import Abilities, Finish, ModelRequest, ProviderEvent, UsageReport
from backchat.web.fields import Whole
from backchat_echo.calls import wanted_call
from backchat_echo.reply import prompt_words, reply_text, thinking

_WORD = re.compile(r"^\s*\S+\s*|\S+\s*|\s+")
_GIVE_WAY = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    model: str = "echo-1"
    delay_ms: float = 0
    words: int = 0
    show_system: bool = False
    vision: bool = True
    tools: bool = True
    reasoning: bool = True
    instructions: bool = False


class SettingsSchema(Schema):
    class Meta:
        unknown = RAISE

    model = fields.String(
        load_default="echo-1",
        validate=validate.Length(min=1),
        metadata={"description": "Name of the model it claims to be."},
    )
    delay_ms = fields.Float(
        load_default=0,
        validate=validate.Range(min=0, max=60_000),
        metadata={"description": "Milliseconds to wait before each word."},
    )
    words = Whole(
        load_default=0,
        validate=validate.Range(min=0, max=1_000_000),
        metadata={"description": "Least length of a reply in words; a shorter one is repeated until it has as many."},
    )
    show_system = fields.Boolean(
        load_default=False,
        metadata={"description": "Begin every reply with the instructions that the model was given."},
    )
    vision = fields.Boolean(load_default=True, metadata={"description": "Whether it accepts images."})
    tools = fields.Boolean(load_default=True, metadata={"description": "Whether it calls tools."})
    reasoning = fields.Boolean(load_default=True, metadata={"description": "Whether it shows its thinking on request."})
    instructions = fields.Boolean(
        load_default=False,
        metadata={"description": "Whether it says that it does what it is told, which it does not."},
    )

    @post_load
    def freeze(self, data: Mapping[str, Any], **_: object) -> Settings:
        return Settings(**data)


class EchoProvider:
    """Says back what reached it; see ``backchat_echo.reply`` for the wording and ``backchat_echo.calls`` for tools.

    A token is a word. Each delta is one word with the whitespace after it, so that the deltas joined are the reply.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._delay = settings.delay_ms / 1000
        self.model = settings.model
        self.abilities = Abilities(
            vision=settings.vision,
            tools=settings.tools,
            reasoning=settings.reasoning,
            instructions=settings.instructions,
        )

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ProviderEvent, None]:
        thought = said = 0
        if request.reasoning is not None and self.abilities.reasoning:
            for word in split_words(thinking(request)):
                await self._wait(thought)
                thought += 1
                yield ReasoningDelta(word)
        call = wanted_call(request) if self.abilities.tools else None
        finish: Finish
        if call is not None:
            await self._wait(0)
            said = len(call.arguments.split())
            yield call
            finish = Finish("tool_calls")
        else:
            finish = Finish("stop")
            text = reply_text(request, show_system=self._settings.show_system, at_least=self._settings.words)
            for word in split_words(text):
                if request.sampling.max_tokens is not None and said >= request.sampling.max_tokens:
                    finish = Finish("length")
                    break
                await self._wait(said)
                said += 1
                yield TextDelta(word)
        yield UsageReport(
            Usage(input_tokens=prompt_words(request), output_tokens=thought + said, reasoning_tokens=thought)
        )
        yield finish

    async def models(self) -> Sequence[str]:
        return [self.model]

    async def _wait(self, count: int) -> None:
        if self._delay:
            await asyncio.sleep(self._delay)
        elif count % _GIVE_WAY == _GIVE_WAY - 1:
            # A long reply that never waits would hold the loop until its last word.
            await asyncio.sleep(0)


def split_words(text: str) -> Iterator[str]:
    """The words of a text, each with the whitespace after it; joined they are the text."""
    return (match.group() for match in _WORD.finditer(text))


@asynccontextmanager
async def open_echo(settings: Settings) -> AsyncIterator[EchoProvider]:
    yield EchoProvider(settings)
