"""Memories: facts that an assistant keeps about its user, across conversations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Former:
    """What a memory said before it was superseded, and until when."""

    content: str
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """A fact. ``sources`` are ids of the messages that taught it; ``history`` what it said before, oldest first."""

    id: str
    owner: str
    assistant: str
    content: str
    created_at: datetime
    updated_at: datetime
    sources: tuple[str, ...] = ()
    history: tuple[Former, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    version: int = 0


@dataclass(frozen=True, slots=True)
class Recalled:
    """A memory that was put into a prompt. ``score`` is between 0 and 1; comparable within one recall only."""

    id: str
    content: str
    score: float


OperationStatus = Literal["pending", "completed", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryOperation:
    """The learning from one turn; its id is the id of the run. ``memories`` are the ids it made or changed."""

    id: str
    owner: str
    assistant: str
    created_at: datetime
    updated_at: datetime
    status: OperationStatus = "pending"
    memories: tuple[str, ...] = ()
    problem: str | None = None
    version: int = 0
