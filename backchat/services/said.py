"""What a run has said so far, call by call of the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from backchat.domain.message import Part, Reasoning, Seal, Text, ToolCall, ToolResult, Usage
from backchat.domain.pieces import Pieces
from backchat.domain.run import (
    CallEnded,
    ReasoningDelta,
    ReasoningSealed,
    RunEvent,
    TextDelta,
    ToolCalled,
    ToolReturned,
)
from backchat.ports.providers import PromptMessage


@dataclass(slots=True)
class Step:
    """One call of the model: what it said, which tools it called, and what the server's tools answered by call id.

    Thinking that was sealed is in ``sealed``, piece by piece; ``reasoning`` is what came after.
    ``ended`` is None while it says it, and in what another process left behind.
    """

    text: Pieces = field(default_factory=Pieces)
    sealed: list[Reasoning] = field(default_factory=list)
    reasoning: Pieces = field(default_factory=Pieces)
    calls: list[ToolCall] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)
    ended: CallEnded | None = None

    @property
    def characters(self) -> int:
        thought = self.reasoning.length + sum([len(r.text) for r in self.sealed])
        return self.text.length + thought + sum([len(c.arguments) for c in self.calls])

    def seal(self, seal: Seal) -> None:
        self.sealed.append(Reasoning(str(self.reasoning), seal))
        self.reasoning = Pieces()

    def _words(self) -> list[Reasoning | Text]:
        words: list[Reasoning | Text] = [*self.sealed]
        if reasoning := str(self.reasoning):
            words.append(Reasoning(reasoning))
        if text := str(self.text):
            words.append(Text(text))
        return words

    @property
    def results(self) -> list[ToolResult]:
        """In the order of the calls."""
        return [ToolResult(c.id, self.answers[c.id]) for c in self.calls if c.id in self.answers]

    def parts(self) -> tuple[Part, ...]:
        """Empty if it has said nothing."""
        return (*self._words(), *self.calls)

    def prompt(self) -> list[PromptMessage]:
        """The step as the model is shown it when it goes on, with the calls that were answered."""
        calls = [c for c in self.calls if c.id in self.answers]
        return [
            PromptMessage("assistant", (*self._words(), *calls)),
            *[PromptMessage("tool", (r,)) for r in self.results],
        ]


@dataclass(slots=True)
class Said:
    """The steps of a run, or of one part of it; made of the events of its log, live or read again.

    ``earlier`` is what tools answered to calls of the part before it, by call id.
    """

    steps: list[Step] = field(default_factory=list)
    earlier: dict[str, str] = field(default_factory=dict)

    def add(self, event: RunEvent) -> None:
        if type(event) is TextDelta:
            self._open().text.add(event.text)
        elif type(event) is ReasoningDelta:
            self._open().reasoning.add(event.text)
        elif type(event) is ReasoningSealed:
            self._open().seal(event.seal)
        elif type(event) is ToolCalled:
            self._open().calls.append(event.call)
        elif type(event) is CallEnded:
            self._open().ended = event
        elif type(event) is ToolReturned:
            self._answered(event.result)

    def _open(self) -> Step:
        if not self.steps or self.steps[-1].ended is not None:
            self.steps.append(Step())
        return self.steps[-1]

    def _answered(self, result: ToolResult) -> None:
        step = next((s for s in reversed(self.steps) if any(c.id == result.call for c in s.calls)), None)
        answers = step.answers if step is not None else self.earlier
        answers[result.call] = result.content

    @property
    def current(self) -> Step | None:
        """The step that is not over."""
        return self.steps[-1] if self.steps and self.steps[-1].ended is None else None

    @property
    def calls(self) -> Sequence[CallEnded]:
        """The calls of the model that are over."""
        return [s.ended for s in self.steps if s.ended is not None]

    @property
    def taken(self) -> set[str]:
        """Ids of the tool calls."""
        return {c.id for s in self.steps for c in s.calls}

    @property
    def usage(self) -> Usage | None:
        """Of all calls together, as far as the providers told it."""
        told = [u for c in self.calls if (u := told_usage(c)) is not None]
        return sum(told[1:], told[0]) if told else None


def told_usage(call: CallEnded | None) -> Usage | None:
    """What the provider said; an estimate is for the ledger, and nothing that a message should claim."""
    return call.usage if call is not None and not call.estimated else None
