"""Runs: replies in the making, and the events of their log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from backchat.domain.memory import Recalled
from backchat.domain.message import Seal, ToolCall, ToolResult, Usage
from backchat.domain.recipe import Recipe

RunStatus = Literal["running", "waiting", "completed", "failed", "cancelled", "interrupted"]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a run did not complete: the kind and code of ``backchat.errors`` and a sentence for the caller."""

    kind: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next piece of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """The next piece of what the model shows of its thinking."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningSealed:
    """The thinking up to here, since the last of these, is one piece with this seal. No client is shown it."""

    seal: Seal


@dataclass(frozen=True, slots=True)
class StatusNote:
    """A line for people on what the server is doing."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCalled:
    """The model asked for a tool."""

    call: ToolCall


@dataclass(frozen=True, slots=True)
class ToolReturned:
    """A tool of the server answered a call of the model's."""

    result: ToolResult


@dataclass(frozen=True, slots=True)
class CallEnded:
    """A call of the model is over, and another one follows in this run: what is said next is another message.

    It is in the log so that the usage is known of a run whose server is killed; no client is shown it.
    """

    provider: str
    model: str
    usage: Usage
    estimated: bool


@dataclass(frozen=True, slots=True)
class MemoriesRecalled:
    """What was remembered for this reply; comes before its text in every turn with memory on, also when empty."""

    memories: tuple[Recalled, ...]


@dataclass(frozen=True, slots=True)
class PassagesFound:
    """The files whose passages were put into the prompt, best first, each once."""

    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """What a user says to a call that waits for them. The model is told the ``reason`` why it is not allowed."""

    allow: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RunPaused:
    """The tool calls before this event that have no answer are the client's to run, but for those with an id in
    ``confirm``: they are the server's, and the user's to allow. ``message`` is the id of the stored answer so far.

    The log goes on when all outputs and decisions are in.
    """

    message: str
    provider: str
    model: str
    confirm: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The last event of every run. ``message`` is the id of the stored answer, None if nothing had been said.

    ``usage`` is that of all the run's provider calls together; ``finish`` why the model stopped, if it completed.
    """

    status: RunStatus
    message: str | None
    provider: str
    model: str
    failure: Failure | None = None
    usage: Usage | None = None
    finish: str = "stop"


RunEvent = (
    TextDelta
    | ReasoningDelta
    | ReasoningSealed
    | StatusNote
    | MemoriesRecalled
    | PassagesFound
    | ToolCalled
    | ToolReturned
    | CallEnded
    | RunPaused
    | RunEnded
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One reply.

    author    the user who asked for the part that it is in;  workspace  the id of the conversation's: these pay
    input     id of the user's message, and ``seq`` its seq;  answer  the id that the answer has or will have
    parent    the message that the answer follows: the input, or the last of the tools' answers
    provider  name of the configured provider that answers (the last one tried, after a fallback)
    recipe    what the reply is asked with;  options  what else its dialect wants to keep with it (mood, ...)
    position  number of the last event of the log when the run last paused; 0 if it never did
    began     number of the last event before the part that it is in, or was in when it ended or paused
    confirm   ids of the calls of the server's tools that the user is asked about, while it waits
    decided   what they have said so far, by id;  allowed  calls that are run before the model is asked again
    usage     of all its provider calls together
    worker    id of the server process that works on it
    again     it makes an answer anew: the end of the active path when it began, whose place it takes once it has
              completed, if the path still ends there; None for any other
    expires_at  until when an ended run's events can be replayed; None while it runs and once they are gone
    """

    id: str
    conversation: str
    owner: str
    author: str
    workspace: str
    input: str
    seq: int
    answer: str
    parent: str
    provider: str
    model: str
    worker: str
    created_at: datetime
    recipe: Recipe
    status: RunStatus = "running"
    again: str | None = None
    position: int = 0
    began: int = 0
    confirm: tuple[str, ...] = ()
    decided: Mapping[str, Decision] = field(default_factory=dict)
    allowed: tuple[ToolCall, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    usage: Usage | None = None
    failure: Failure | None = None
    ended_at: datetime | None = None
    expires_at: datetime | None = None
    version: int = 0
