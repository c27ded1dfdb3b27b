"""What is known of an answer while it comes in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from backchat.domain.message import ToolCall, Usage
from backchat.domain.run import CallEnded
from backchat.ports.providers import Finish, PromptMessage
from backchat.services.estimates import tokens_of
from backchat.services.said import Said

_STOP = Finish("stop")


@dataclass(slots=True)
class Answering:
    """One part of a run: who answers, what was said, and the call of the model that is being made, if one is.

    asks      how often the model was asked, corrections not counted
    begun     something of the answer has come: no other provider is asked any more
    due       the memory strategy has something to do once the reply is complete
    waits     it ended with calls of the client's tools, or with calls that the user must allow, whose ids are in
              ``confirm``
    follows   what the model is shown after the stored messages: its own calls and what came of them
    unlogged  the last call, if it is over and neither in the log nor booked
    tried     the providers that were asked before this one and did not answer, with the codes of what went wrong
    asked     tokens of the prompt of the current call, by its length; None between calls
    queued    the current call waits on this side, and none was made
    came, whole  whether anything has come of it, and all of it
    reported  its usage so far;  ``calls`` its tool calls before they are checked
    """

    provider: str
    model: str
    started: float
    said: Said = field(default_factory=Said)
    finish: Finish = _STOP
    asks: int = 0
    begun: bool = False
    due: bool = False
    waits: bool = False
    confirm: tuple[str, ...] = ()
    follows: list[PromptMessage] = field(default_factory=list)
    unlogged: CallEnded | None = None
    tried: list[Mapping[str, str]] = field(default_factory=list)
    asked: int | None = None
    queued: bool = False
    came: bool = False
    whole: bool = False
    reported: Usage | None = None
    calls: list[ToolCall] = field(default_factory=list)

    def sent(self, provider: str, model: str, tokens: int) -> None:
        """A call begins."""
        self.provider, self.model, self.asked = provider, model, tokens
        self.came = self.whole = self.queued = False
        self.reported, self.calls, self.finish = None, [], _STOP

    def held_back(self, waits: bool) -> None:
        """The current call waits on this side; or is made now."""
        self.queued = waits

    def over(self) -> None:
        """The current call is over, if there is one: it counts from now on.

        Its usage is what its provider reported, if it came to its end. Otherwise it is estimated, by length: a report
        that came before the rest is right about the prompt, and the larger of it and of what came for the output. A
        call of which nothing came was given up, by this side or on the way, while its provider may have worked on it:
        services bill the prompt then. Of one that cost nothing, ``refused`` was told before; nor does one that was
        given up before it was made.
        """
        if self.queued:
            self.refused()
        if self.asked is None:
            return
        if self.whole and self.reported is not None:
            ended = CallEnded(self.provider, self.model, self.reported, False)
        else:
            step = self.said.current
            unchecked = sum([len(c.arguments) for c in self.calls])
            said = tokens_of(unchecked + (step.characters if step is not None else 0))
            told = self.reported or Usage()
            usage = replace(
                told,
                input_tokens=told.input_tokens or self.asked,
                output_tokens=max(told.output_tokens, said),
            )
            ended = CallEnded(self.provider, self.model, usage, True)
        self.asked, self.calls = None, []
        self.said.add(ended)
        self.unlogged = ended

    def refused(self) -> None:
        """The current call costs nothing: there was none."""
        self.asked = None
