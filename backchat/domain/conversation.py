"""Conversations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

TITLE_LENGTH = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A tree of messages with one active path.

    leaf        the newest message of the active path; the path is the leaf and its parents
    next_seq    the seq that the next message gets
    messages    how many messages there are; ``characters`` is the length of their texts together
    active_run  the run that is being worked on or waits for the client's tool outputs, if any
    assistant   the assistant that answers in it, if one does; documents are only in conversations that have one
    """

    id: str
    owner: str
    title: str
    created_at: datetime
    updated_at: datetime
    channel: str = "web"
    leaf: str | None = None
    next_seq: int = 1
    messages: int = 0
    characters: int = 0
    active_run: str | None = None
    assistant: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    version: int = 0


def title_of(text: str) -> str:
    """A title made of the first words of a text: one line of at most 80 characters, an ellipsis where it was cut."""
    line = " ".join(text[: 4 * TITLE_LENGTH].split())
    return line if len(line) <= TITLE_LENGTH else line[: TITLE_LENGTH - 1].rstrip() + "\u2026"
