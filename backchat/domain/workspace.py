"""Workspaces, who is in them, and with whom conversations are shared there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from uuid import UUID, uuid5

from backchat.domain.rights import Permission, Role

_PERSONAL = UUID("5f0d6a0e-5d3c-4b39-9d6e-0f3c1f7a9b52")


@lru_cache(maxsize=4096)
def personal_workspace(user: str) -> str:
    """The id of a user's personal workspace: where their conversations are that were begun in no other."""
    return str(uuid5(_PERSONAL, user))


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """``personal``: the one that its owner has had from the beginning, and cannot be without."""

    id: str
    name: str
    owner: str
    created_at: datetime
    updated_at: datetime
    personal: bool = False
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    workspace: str
    user: str
    role: Role
    created_at: datetime
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """That a conversation is shared with a user; there is one for each of them. It holds while they are members."""

    id: str
    user: str
    permission: Permission
    shared_by: str
    created_at: datetime
