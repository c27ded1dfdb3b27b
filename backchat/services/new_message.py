"""What a client stores in a message tree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from backchat.domain.message import MessageStatus, Part, Role


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessage:
    """A message as a client stores it. ``id`` None: the server names it. ``parent`` None: a root."""

    id: str | None = None
    parent: str | None = None
    role: Role = "user"
    parts: tuple[Part, ...]
    status: MessageStatus = "complete"
    provider: str | None = None
    model: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
