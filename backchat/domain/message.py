"""Messages and the parts they are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]
MessageStatus = Literal["complete", "running", "interrupted", "failed", "cancelled", "waiting"]


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Image:
    """An image kept by the server; ``file`` is the id of its bytes, ``mime`` like ``image/png``."""

    file: str
    mime: str


@dataclass(frozen=True, slots=True)
class File:
    """A document that came with a message. What it says reaches the model by retrieval."""

    document: str
    name: str


@dataclass(frozen=True, slots=True)
class Seal:
    """What a service adds to what its model thought or called, and wants back unchanged when the conversation goes on.

    It means nothing to anybody else: ``maker`` is the protocol that it is of, such as ``anthropic``, and ``data`` a
    text of that plugin's own. Shown to no client.
    """

    maker: str
    data: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A model's wish to call a tool. ``arguments`` is the JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str
    seal: Seal | None = None


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool answered to the call with id ``call``."""

    call: str
    content: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """What a model showed of its thinking; empty where there is a seal only, as of what a service hides."""

    text: str
    seal: Seal | None = None


@dataclass(frozen=True, slots=True)
class Foreign:
    """A part that came from elsewhere and means nothing here: kept as it came, a JSON object. No model is shown it."""

    data: Mapping[str, Any]


Part = Text | Image | File | ToolCall | ToolResult | Reasoning | Foreign


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of provider calls.

    Cached tokens, and those that were written into a cache, are part of the input; reasoning tokens of the output.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a conversation.

    seq      unique in the conversation, grows, is never used again
    parent   the message this one answers or follows; always of a lower seq; None at a root
    author   id of the user who said it, for role ``user``
    run      the run that made it, for role ``assistant``
    extra    what the message of another system has that has no place here, by its names there
    """

    id: str
    conversation: str
    owner: str
    seq: int
    role: Role
    parts: tuple[Part, ...]
    created_at: datetime
    parent: str | None = None
    status: MessageStatus = "complete"
    author: str | None = None
    run: str | None = None
    provider: str | None = None
    model: str | None = None
    usage: Usage | None = None
    updated_at: datetime | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    version: int = 0

    @property
    def text(self) -> str:
        """The text parts, each on lines of its own: between two of them there may have been something else."""
        return "\n".join([p.text for p in self.parts if type(p) is Text])
