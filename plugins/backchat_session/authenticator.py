"""Tokens of sessions, which know their own from those of other services."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from marshmallow import RAISE, Schema

from backchat.domain.identity import Identity
from backchat.ports.auth import Credentials, KeyDirectory


class SettingsSchema(Schema):
    """There is nothing to set: how long a login lasts is in the section ``sessions``."""

    class Meta:
        unknown = RAISE


class SessionAuthenticator:
    """It goes before ``jwt`` in the list, which refuses every JWT that is not of its own service."""

    def __init__(self, keys: KeyDirectory) -> None:
        self._keys = keys

    async def identify(self, credentials: Credentials) -> Identity | None:
        return await self._keys.session(credentials.token)


@asynccontextmanager
async def open_session(settings: Any, keys: KeyDirectory) -> AsyncGenerator[SessionAuthenticator, None]:
    yield SessionAuthenticator(keys)
