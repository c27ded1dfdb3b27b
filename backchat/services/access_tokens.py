"""Access tokens: JWTs (RFC 7519), signed with HS256 by this server and for it."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from backchat.domain.identity import User
from backchat.errors import InvalidCredentials

if TYPE_CHECKING:
    from jwt.types import Options

TOKEN_MAX = 8192
ISSUER = "backchat"
KEY_ID = "backchat-session"

_SEGMENT = re.compile(r"[A-Za-z0-9_-]+")
_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token says whose signature is right."""

    session: str
    expires_at: datetime


def claims_to_be_ours(token: str) -> bool:
    """Whether a token names this issuer and its key, which anybody can write: it only tells who is to check it.

    Raises InvalidCredentials for one that names the key and is no JWT otherwise.
    """
    if len(token) > TOKEN_MAX or token.count(".") != 2:
        return False
    header, payload, _ = token.split(".")
    if (_object(header) or {}).get("kid") != KEY_ID:
        return False
    claims = _object(payload)
    if claims is None or not _FORM.fullmatch(token):
        raise InvalidCredentials("jwt malformed")
    return claims.get("iss") == ISSUER


class AccessTokens:
    """Made and checked with one secret. Importing what does it reads files: build this off the event loop."""

    def __init__(self, secret: bytes) -> None:
        from jwt import PyJWT, PyJWTError

        # The caller compares the times: PyJWT knows no clock but its own.
        options: Options = {
            "require": ["exp", "sid"],
            "verify_exp": False,
            "verify_nbf": False,
            "verify_iat": False,
        }
        self._jwt = PyJWT(options)
        self._errors: tuple[type[Exception], ...] = (PyJWTError, RecursionError)  # the latter: deeply nested JSON
        self._secret = secret

    def issue(self, user: User, session: str, issued_at: datetime, expires_at: datetime) -> str:
        """A token for a session of an account, with whole seconds as its times."""
        claims = {
            "id": user.id,
            "username": user.name,
            "provider": "local",
            "email": user.email,
            "sid": session,
            "iss": ISSUER,
            "iat": int(issued_at.timestamp()),
            "exp": int(expires_at.timestamp()),
        }
        return self._jwt.encode(claims, self._secret, algorithm="HS256", headers={"kid": KEY_ID})

    def read(self, token: str) -> Grant:
        """Raises InvalidCredentials unless this secret signed it; the time of expiry is the caller's to look at."""
        claims = self._signed(token)
        if claims is None:
            raise InvalidCredentials("invalid signature")
        return Grant(claims["sid"], datetime.fromtimestamp(claims["exp"], UTC))

    def _signed(self, token: str) -> Mapping[str, Any] | None:
        try:
            claims: Mapping[str, Any] = self._jwt.decode(token, self._secret, algorithms=["HS256"])
        except self._errors:
            return None
        return claims


def _object(segment: str) -> Mapping[str, Any] | None:
    """The JSON object in a segment of a JWT; None if there is none."""
    if not _SEGMENT.fullmatch(segment):
        return None
    try:
        found = orjson.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    except (binascii.Error, orjson.JSONDecodeError):
        return None
    return found if isinstance(found, dict) else None
