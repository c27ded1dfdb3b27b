"""Conversations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import uuid4

from backchat.domain.settings import ModelSettings
from backchat.domain.workspace import Grant, personal_workspace

TITLE_LENGTH = 80
GIVEN_TITLE_LENGTH = 1024
"""UTF-16 code units of a title that a user gives: what a browser counts as characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A tree of messages with one active path.

    leaf        the newest message of the active path; the path is the leaf and its parents
    next_seq    the seq that the next message gets
    messages    how many messages there are; ``characters`` is the length of their texts together
    active_run  the run that is being worked on or waits for the client's tool outputs, if any
    assistant   the assistant that answers in it, if one does; documents are only in conversations that have one
    archived_at when it was put out of the way, if it was;  ``temporary`` ones are in no list
    expires_at  the last moment at which it can be read; nobody finds it later, and what it owns is deleted
    source      where it was imported from, and its id there
    removed     ids of messages that were brought from there and deleted here, so that they are not brought again
    options     the settings that it came with (endpoint, model, temperature, ...), in the words of where it came from
    settings    what its replies are asked with, unless a message says otherwise
    workspace   where it was begun; None: in its owner's personal one (see ``home``)
    completed   its owner has declared it finished
    grants      with whom it is shared, oldest first
    public      whoever has ``link`` may read it;  ``link``: a random UUID that never changes
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
    archived_at: datetime | None = None
    pinned: bool = False
    temporary: bool = False
    expires_at: datetime | None = None
    tags: tuple[str, ...] = ()
    source: str | None = None
    removed: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    settings: ModelSettings = field(default_factory=ModelSettings)
    workspace: str | None = None
    completed: bool = False
    grants: tuple[Grant, ...] = ()
    public: bool = False
    link: str = field(default_factory=lambda: str(uuid4()))
    version: int = 0

    @property
    def home(self) -> str:
        """The id of its workspace."""
        return self.workspace or personal_workspace(self.owner)


def title_of(text: str) -> str:
    """A title made of the first words of a text: one line of at most 80 characters, an ellipsis where it was cut."""
    line = " ".join(text[: 4 * TITLE_LENGTH].split())
    return line if len(line) <= TITLE_LENGTH else line[: TITLE_LENGTH - 1].rstrip() + "\u2026"


def given_title(text: str) -> str:
    """A title as a user gives it: without white space around it, and cut where it is too long."""
    text = text.strip()
    units = text.encode("utf-16-le", "surrogatepass")[: 2 * GIVEN_TITLE_LENGTH]
    return units.decode("utf-16-le", "ignore")  # half of a character at the end is left out
