"""Tokens are checked against the pinned key, algorithms, audience and issuer; nothing in a token chooses how."""

from __future__ import annotations

import hashlib
import math
import re
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from backchat.domain.identity import Identity
from backchat.errors import InvalidCredentials
from backchat.ports.auth import Credentials, KeyDirectory
from backchat_jwt.settings import Settings

if TYPE_CHECKING:
    from jwt.types import Options

TOKEN_MAX = 8192
SUBJECT_MAX = 255
NAME_MAX = 100
REMEMBERED = 4096

_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


class JwtAuthenticator:
    """A token with two dots is its kind. ``sub`` is the user's id, ``username`` or ``name`` what to call them, and the
    ``role`` ``admin`` makes an admin.

    A token that was found good is remembered, by its digest, until it expires: a signature costs more than a look-up.
    """

    def __init__(self, settings: Settings, now: Callable[[], float]) -> None:
        from jwt import PyJWT
        from jwt.algorithms import get_default_algorithms

        self._settings, self._now = settings, now
        self._key = get_default_algorithms()[settings.algorithms[0]].prepare_key(settings.key)
        # The times are checked here: PyJWT takes text for a time, and knows no clock but its own.
        options: Options = {
            "require": ["exp", "sub"],
            "verify_exp": False,
            "verify_nbf": False,
            "verify_iat": False,
            "verify_aud": True,
            "verify_iss": bool(settings.issuer),
        }
        self._jwt = PyJWT(options)
        self._remembered: dict[bytes, tuple[float, Identity]] = {}

    async def identify(self, credentials: Credentials) -> Identity | None:
        token = credentials.token
        if token.count(".") != 2:
            return None
        who = self._known(token)
        if who is None:
            raise InvalidCredentials("invalid or expired token")
        return who

    def _known(self, token: str) -> Identity | None:
        if len(token) > TOKEN_MAX or not _FORM.fullmatch(token):
            return None
        digest = hashlib.sha256(token.encode()).digest()
        remembered = self._remembered.get(digest)
        if remembered is not None and self._now() < remembered[0]:
            return remembered[1]
        found = self._verified(token)
        if found is None:
            self._remembered.pop(digest, None)
            return None
        if len(self._remembered) >= REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[digest] = found
        return found[1]

    def _verified(self, token: str) -> tuple[float, Identity] | None:
        """Until when, and for whom, a token is good; None if it is not."""
        claims = self._signed_claims(token)
        if claims is None:
            return None
        leeway, now = self._settings.leeway, self._now()
        until = _time(claims["exp"])
        begins = [_time(claims[name]) for name in ("nbf", "iat") if name in claims]
        if until is None or now >= until + leeway or any(t is None or t > now + leeway for t in begins):
            return None
        subject = claims["sub"]
        if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_MAX or not subject.isprintable():
            return None
        names = [claims.get("username"), claims.get("name")]
        name = next((n for n in names if isinstance(n, str) and 0 < len(n) <= NAME_MAX and n.isprintable()), None)
        role = claims.get("role")
        return until + leeway, Identity(user=subject, name=name, role="admin" if role == "admin" else "user")

    def _signed_claims(self, token: str) -> Mapping[str, Any] | None:
        from jwt import PyJWTError

        settings = self._settings
        try:
            found = self._jwt.decode_complete(
                token,
                self._key,
                algorithms=list(settings.algorithms),
                audience=settings.audience or None,
                issuer=list(settings.issuer) or None,
            )
        except (PyJWTError, RecursionError):  # the latter: a stranger's JSON, nested very deeply
            return None
        claims: Mapping[str, Any] = found["payload"]
        return None if "crit" in found["header"] else claims  # no extension is understood (RFC 7515, section 4.1.11)


def _time(value: object) -> float | None:
    """A NumericDate (RFC 7519, section 2); None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        seconds = float(value)
    except OverflowError:
        return None
    return seconds if math.isfinite(seconds) else None


@asynccontextmanager
async def open_jwt(
    settings: Settings, keys: KeyDirectory, *, now: Callable[[], float] = time.time
) -> AsyncGenerator[JwtAuthenticator, None]:
    yield JwtAuthenticator(settings, now)
