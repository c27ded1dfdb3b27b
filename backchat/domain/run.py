"""Runs: replies in the making, and the events of their log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from backchat.domain.message import ToolCall, Usage

RunStatus = Literal["running", "completed", "failed", "cancelled", "interrupted"]


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
class StatusNote:
    """A line for people on what the server is doing."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCalled:
    """The model asked for a tool."""

    call: ToolCall


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The last event of every run. ``message`` is the id of the stored answer, None if nothing had been said."""

    status: RunStatus
    message: str | None
    provider: str
    model: str
    failure: Failure | None = None


RunEvent = TextDelta | ReasoningDelta | StatusNote | ToolCalled | RunEnded


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One reply.

    input     id of the user's message, and ``seq`` its seq;  answer  the id that the answer has or will have
    provider  name of the configured provider that answers (the last one tried, after a fallback)
    options   snapshot of what the reply was asked with (mood, web, tools, ...)
    worker    id of the server process that works on it
    expires_at  until when an ended run's events can be replayed; None while it runs and once they are gone
    """

    id: str
    conversation: str
    owner: str
    input: str
    seq: int
    answer: str
    provider: str
    model: str
    worker: str
    created_at: datetime
    status: RunStatus = "running"
    options: Mapping[str, Any] = field(default_factory=dict)
    usage: Usage | None = None
    failure: Failure | None = None
    ended_at: datetime | None = None
    expires_at: datetime | None = None
    version: int = 0
