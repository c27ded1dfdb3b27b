"""How users and API keys are stored: the declared kinds, and from value to record and back."""

from __future__ import annotations

import unicodedata
from datetime import datetime
from typing import Any

from backchat.domain.identity import ApiKey, Identity, User
from backchat.domain.times import moment, stamp
from backchat.ports.storage import Kind, Record

USER = Kind(
    name="user",
    fields=("name_folded", "email_folded", "created"),
    indexes=(("created",),),
    unique=(("name_folded",), ("email_folded",)),
)
API_KEY = Kind(
    name="api_key", fields=("user", "created"), indexes=(("created",), ("user", "created")), partition="user"
)


def user_doc(user: User) -> dict[str, Any]:
    return {
        "name": user.name,
        "name_folded": folded(user.name),
        "email": user.email,
        "email_folded": None if user.email is None else folded(user.email),
        "password_hash": user.password_hash,
        "role": user.role,
        "settings": user.settings,
        "created": stamp(user.created_at),
    }


def unclaimed_doc(who: Identity, now: datetime) -> dict[str, Any]:
    """The record of a token's subject. Its name is only shown: it neither takes a user name nor is found by it."""
    return {
        "name": who.name or who.user,
        "name_folded": None,
        "email": None,
        "email_folded": None,
        "password_hash": None,
        "role": "user",
        "settings": {},
        "created": stamp(now),
    }


def user_of(record: Record) -> User:
    d = record.doc
    return User(
        id=record.id,
        name=d["name"],
        email=d["email"],
        password_hash=d["password_hash"],
        role=d["role"],
        settings=dict(d["settings"]),
        created_at=moment(d["created"]),
        version=record.version,
    )


def key_doc(key: ApiKey) -> dict[str, Any]:
    return {
        "user": key.user,
        "user_name": key.user_name,
        "name": key.name,
        "digest": key.digest,
        "platform": key.platform,
        "scopes": list(key.scopes),
        "created": stamp(key.created_at),
        "expires": None if key.expires_at is None else stamp(key.expires_at),
        "revoked": None if key.revoked_at is None else stamp(key.revoked_at),
    }


def key_of(record: Record) -> ApiKey:
    d = record.doc
    return ApiKey(
        id=record.id,
        user=d["user"],
        user_name=d["user_name"],
        name=d["name"],
        digest=d["digest"],
        platform=d["platform"],
        scopes=tuple(d["scopes"]),
        created_at=moment(d["created"]),
        expires_at=None if d["expires"] is None else moment(d["expires"]),
        revoked_at=None if d["revoked"] is None else moment(d["revoked"]),
        version=record.version,
    )


def folded(text: str) -> str:
    """A name or an address as it is compared: without regard to case, width and outer space."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text.strip()).casefold())
