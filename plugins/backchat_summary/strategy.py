"""The newest messages of a conversation as they are, and a rolling summary of those before them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

from backchat.domain.message import Message
from backchat.errors import ProviderError
from backchat.ports.memory import Ask, History, Shown, Summary
from backchat.ports.newest import fitting, length_of, newest
from backchat_summary.prompts import cut, instructions, material, told
from backchat_summary.settings import Settings

MOST_STEPS = 5
"""How often the model is asked in one review. One that is farther behind goes on after the next reply."""


class Rolling:
    """What a summary does not cover is shown as it is, and at least the ``size`` newest messages.

    So a message is in the summary, or shown, or both: both on a branch that leaves the path shortly after, or even
    before the newest ones, when its summary was made. It is neither only while the summary is farther behind than
    the bounds reach. A summary never ends between a tool call and its results.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._instructions = instructions(settings.prompt, settings.length)

    async def select(self, history: History) -> Shown:
        settings, kept = self._settings, await history.summary()
        limit = settings.limit + 1 if kept is not None else settings.max_size + 1
        rest, whole = await _since(history, kept, limit)
        if not whole and kept is not None:
            rest, _ = await _since(history, kept, settings.max_size + 1)
        size = min(max(len(rest), settings.size), settings.max_size)
        shown = await newest(history, size, settings.max_characters)
        return Shown(shown, kept.text if kept is not None else "", due=self._is_due(rest))

    async def review(self, history: History, ask: Ask) -> Summary | None:
        made = kept = await history.summary()
        limit, whole, rest = self._settings.limit + 1, False, list[Message]()
        while not whole:
            rest, whole = await _since(history, kept, limit)
            limit *= 2
        if not self._is_due(rest):
            return None
        for number, messages in enumerate(self._steps(rest), 1):
            text = material(made.text if made is not None else "", messages)
            try:
                said = await self._asked(ask, text)
            except ProviderError:
                if made is kept:
                    raise
                break  # what there is counts; the rest is due again
            made = Summary(said, covers=messages[-1].id)
            if number == MOST_STEPS:
                break
        return made if made is not kept else None

    async def _asked(self, ask: Ask, text: str) -> str:
        said = cut(await ask(self._instructions, text), self._settings.length)
        if not said:
            raise ProviderError("the model's summary is empty")
        return said

    def _is_due(self, rest: Sequence[Message]) -> bool:
        """Whether so much is outside of the summary that there is to be a new one."""
        most = self._settings.max_characters
        return len(rest) > self._settings.limit or (most is not None and sum(map(length_of, rest)) > most // 2)

    def _steps(self, rest: Sequence[Message]) -> Iterator[Sequence[Message]]:
        """What a new summary is to cover, in pieces that are asked about one by one.

        The newest messages stay outside: as many as ``size`` says, and fit in a quarter of ``max_characters``.
        """
        most = self._settings.max_characters
        left_out = fitting(rest[-self._settings.size :], most // 4 if most is not None else None)
        end, step, length = len(rest) - left_out, list[Message](), 0
        for exchange in _exchanges(rest):
            end -= len(exchange)
            if end < 0:
                break
            more = sum([len(told(message)) for message in exchange])
            if step and length + more > self._settings.step:
                yield step
                step, length = [], 0
            step += exchange
            length += more
        if step:
            yield step


async def _since(history: History, kept: Summary | None, limit: int) -> tuple[list[Message], bool]:
    """Of the newest ``limit`` messages those that the summary does not cover, and whether these are all such ones."""
    latest = await history.latest(limit)
    for index, message in enumerate(latest):
        if kept is not None and message.id == kept.covers:
            return list(latest[index + 1 :]), True
    return list(latest), len(latest) < limit


def _exchanges(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    """The messages in their order, each together with the results of tools that follow it."""
    begin = 0
    for n, message in enumerate(messages):
        if n > begin and message.role != "tool":
            yield messages[begin:n]
            begin = n
    if messages:
        yield messages[begin:]


@asynccontextmanager
async def open_summary(settings: Settings) -> AsyncIterator[Rolling]:
    yield Rolling(settings)
