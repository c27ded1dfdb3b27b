"""Keys of the form ``bsk_<id>_<secret>``, looked up on every request, so that a revoked one ends with the next."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from marshmallow import RAISE, Schema

from backchat.domain.identity import ApiKey, Identity
from backchat.errors import InvalidCredentials
from backchat.ports.auth import Credentials, KeyDirectory
from backchat.sealing.tokens import parse

PREFIX = "bsk_"
_NO_DIGEST = "0" * 64


class SettingsSchema(Schema):
    """There is nothing to set: keys live in the storage."""

    class Meta:
        unknown = RAISE


class ApiKeyAuthenticator:
    """Whatever begins with ``bsk_`` is its kind of token, in whichever header it came.

    Unknown, wrong, expired and revoked keys are refused in the same words and compared in the same way.
    """

    def __init__(self, keys: KeyDirectory, now: Callable[[], datetime]) -> None:
        self._keys, self._now = keys, now

    async def identify(self, credentials: Credentials) -> Identity | None:
        if not credentials.token.startswith(PREFIX):
            return None
        key = await self._valid(credentials.token)
        if key is None:
            raise InvalidCredentials("invalid or expired token")
        return Identity(
            user=key.user, name=key.user_name, key=key.id, platform=key.platform, scopes=frozenset(key.scopes)
        )

    async def _valid(self, token: str) -> ApiKey | None:
        given = parse(token)
        if given is None or given.use != "token":
            return None
        key = await self._keys.api_key(given.id)
        digest = hashlib.sha256(given.secret.encode()).hexdigest()
        same = hmac.compare_digest(digest, key.digest if key else _NO_DIGEST)
        return key if key is not None and same and key.is_live(self._now()) else None


def _utc_now() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def open_apikey(
    settings: Any, keys: KeyDirectory, *, now: Callable[[], datetime] = _utc_now
) -> AsyncGenerator[ApiKeyAuthenticator, None]:
    yield ApiKeyAuthenticator(keys, now)
