"""Who is calling, and the accounts behind it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The caller of a verb.

    user      the account's id: what every record's owner is compared with
    key       id of the API key that was used, if one was
    platform  the platform that the key belongs to, if any
    scopes    names of dialects or rights that the credential is limited to; empty means all
    """

    user: str
    name: str | None = None
    key: str | None = None
    platform: str | None = None
    role: Literal["admin", "user"] = "user"
    scopes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """An account. ``settings`` holds the user's own defaults (``provider``, ``mood``)."""

    id: str
    name: str
    email: str | None
    password_hash: str | None = field(repr=False)
    role: Literal["admin", "user"]
    settings: dict[str, str]
    created_at: datetime
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key ``bsk_<id>_<secret>``. Only ``digest``, the SHA-256 of the secret in hex, is stored."""

    id: str
    user: str
    user_name: str
    name: str
    digest: str
    platform: str | None
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None = None
    version: int = 0

    def is_live(self, now: datetime) -> bool:
        """Whether it is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)
