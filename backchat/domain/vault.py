"""The vault: conversations of any platform, each push a whole version, with content that the server cannot read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, get_args

VaultRole = Literal["user", "assistant", "system", "tool"]
ROLES: tuple[VaultRole, ...] = get_args(VaultRole)
BODY_MAX = 10 << 20
"""Bytes of the JSON that a push is sent as (contract, 2)."""
MESSAGES_MAX = 10_000
"""How many a push has at most; it has one at least."""
CHAT_MAX, PLATFORM_MAX, TITLE_MAX, CATEGORY_MAX, TOPIC_MAX, MODEL_MAX, TAG_MAX = 255, 64, 500, 64, 200, 128, 64
"""Characters that each has at most (contract, 3)."""
TAGS_MAX = 32
"""How many an entry has at most."""
UNTITLED = "Untitled"
"""What an entry without a title is called (contract, 3)."""


@dataclass(frozen=True, slots=True)
class VaultMessage:
    """``timestamp`` is an RFC 3339 date-time letter for letter as it was sent."""

    role: VaultRole
    content: str = field(repr=False)
    timestamp: str | None = None


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A vault key that somebody has, without the key. ``current``: what is pushed now is sealed under it."""

    id: str
    created_at: datetime
    current: bool


@dataclass(frozen=True, slots=True)
class SealedContent:
    """Content under AES-256-GCM: ``iv`` of 12 bytes, and ``data`` with the tag of 16 bytes at its end."""

    iv: bytes = field(repr=False)
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SealedText:
    """The same in base64, as it is stored and as it is sent: what is only passed on need not be bytes in between."""

    iv: str = field(repr=False)
    data: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainPush:
    """Messages that the server seals, and forgets."""

    messages: Sequence[VaultMessage] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedPush:
    """Content that its sender has sealed.

    messages      how many there are in it
    content_hash  64 small hex digits, or None: then it is new unless it is the very bytes of the latest version
    key           id of the key that it was sealed under; None: one that only its sender knows
    """

    sealed: SealedContent
    messages: int
    content_hash: str | None = field(default=None, repr=False)
    key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """What a platform hands in of one conversation.

    platform  None: that of the token
    base      the version that it was made from, 0 for a new one; None: whatever is there
    details   those of title, category, topic, model (text or None) and tags (texts) that were given: what was not
              given keeps its value, None clears it
    """

    chat: str
    content: PlainPush | SealedPush
    platform: str | None = None
    base: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict, repr=False)


PushOutcome = Literal["created", "updated", "described", "unchanged"]


@dataclass(frozen=True, slots=True)
class Pushed:
    """``entry`` is the number of the entry, ``version`` its latest one. ``described``: only its details changed."""

    entry: int
    version: int
    outcome: PushOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultEntry:
    """A conversation in the vault as its latest version is: an owner's, of one platform, with that platform's id.

    number   positive, below 2**53, the same for as long as it is there, and never another's
    chat     the platform's id of it, as it was sent;  platform  in small letters
    latest   the newest version;  oldest  the oldest that is still kept
    messages, content_hash, key, size   of the latest version, see ``VaultVersion``
    """

    id: str
    owner: str
    number: int
    chat: str
    platform: str
    title: str | None = field(repr=False)
    category: str | None
    topic: str | None = field(repr=False)
    tags: tuple[str, ...] = field(repr=False)
    model: str | None
    latest: int
    oldest: int
    messages: int
    content_hash: str | None = field(repr=False)
    key: str | None
    size: int
    created_at: datetime
    updated_at: datetime
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultVersion:
    """A push as it is kept; it never changes.

    messages  how many there are in it;  size  of the sealed content, in bytes
    key       id of the vault key that it is sealed under; None: of a key that only its sender knows
    token     id of the API key that pushed it, if one did
    """

    entry: str
    owner: str
    number: int
    messages: int
    content_hash: str | None = field(repr=False)
    key: str | None
    model: str | None
    token: str | None
    size: int
    created_at: datetime
