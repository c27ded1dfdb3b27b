"""Sessions as records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from backchat.domain.times import moment, stamp
from backchat.ports.storage import Kind, Record

SESSION = Kind(name="session", fields=("owner", "expires"), indexes=(("owner",), ("expires",)), partition="owner")
SIGNING = Kind(name="signing_key")
"""The secret that access tokens are signed with: one record, made when it is first needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A login. ``name`` and ``role`` are the account's as it was at the login or at the last renewal.

    ``digest`` is the SHA-256, in hex, of the secret in the refresh token; the secret itself is stored nowhere.
    """

    id: str
    owner: str
    name: str
    role: Literal["admin", "user"]
    digest: str = field(repr=False)
    created_at: datetime
    expires_at: datetime
    version: int = 0


def session_doc(session: Session) -> Mapping[str, Any]:
    return {
        "owner": session.owner,
        "name": session.name,
        "role": session.role,
        "digest": session.digest,
        "created": stamp(session.created_at),
        "expires": stamp(session.expires_at),
    }


def session_of(record: Record) -> Session:
    d = record.doc
    return Session(
        id=record.id,
        owner=d["owner"],
        name=d["name"],
        role=d["role"],
        digest=d["digest"],
        created_at=moment(d["created"]),
        expires_at=moment(d["expires"]),
        version=record.version,
    )
