"""What is known of an answer while it comes in."""

from __future__ import annotations

from dataclasses import dataclass, field

from backchat.domain.message import ToolCall, Usage
from backchat.ports.providers import PromptMessage


@dataclass(slots=True)
class Answering:
    """Who answers, and what the provider reported; changes while the answer comes in.

    usage   of the current call;  ``spent`` of the calls before it, whose tool calls had to be corrected
    asked   what the model was told of its unfit tool calls, ``corrected`` times;  ``calls`` the current, unchecked ones
    """

    provider: str
    model: str
    started: float
    usage: Usage | None = None
    spent: Usage | None = None
    finish: str = "stop"
    begun: bool = False
    asked: list[PromptMessage] = field(default_factory=list)
    corrected: int = 0
    calls: list[ToolCall] = field(default_factory=list)
    waits: bool = False

    def again(self) -> None:
        """The model is asked once more."""
        self.spent, self.usage = self.used, None
        self.calls = []
        self.corrected += 1

    @property
    def used(self) -> Usage | None:
        return self.spent + self.usage if self.spent and self.usage else self.usage or self.spent
