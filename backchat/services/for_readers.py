"""What a conversation shows to those who may read it and do not own it: in what they export, and in copies of theirs.

Its title, its times, and the messages of all branches with their images. The rest is between the owner and their
programs: settings, options, metadata, tags, the place in lists, the assistant; and of messages metadata, what they
cost, and the documents behind the names of files.
"""

from __future__ import annotations

from dataclasses import replace

from backchat.domain.conversation import Conversation
from backchat.domain.message import File, Message, Part, Text
from backchat.domain.settings import ModelSettings

SHOWN = ("sender", "iconURL", "model", "endpoint")
"""Extras of messages that others see."""


def conversation_for_readers(conversation: Conversation) -> Conversation:
    return replace(
        conversation,
        assistant=None,
        archived_at=None,
        pinned=False,
        tags=(),
        source=None,
        options={},
        metadata={},
        settings=ModelSettings(),
        completed=False,
    )


def message_for_readers(message: Message) -> Message:
    """A document is a line of text: it stays with its owner."""
    return replace(
        message,
        parts=tuple([_part(part) for part in message.parts]),
        usage=None,
        metadata={},
        extra={name: message.extra[name] for name in SHOWN if name in message.extra},
    )


def _part(part: Part) -> Part:
    return Text(f"[file: {part.name}]") if isinstance(part, File) else part
