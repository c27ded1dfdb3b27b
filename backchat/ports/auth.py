"""The authentication port: from a credential to an identity."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from backchat.domain.identity import ApiKey, Identity
from backchat.ports.component import Component


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request brought, as its dialect reads it. ``scheme`` is lower case: bearer, jwt, x-api-key, query."""

    scheme: str
    token: str = field(repr=False)


class KeyDirectory(Protocol):
    """Where an authenticator looks API keys up: the core's accounts, and nothing else of them."""

    async def api_key(self, id: str) -> ApiKey | None:
        """The key with this id as it stands now, revoked and expired ones included; None if there is none."""
        ...


class Authenticator(Protocol):
    """Three answers: whose it is; None (not mine, ask the next); or ``InvalidCredentials`` (mine, and bad)."""

    async def identify(self, credentials: Credentials) -> Identity | None: ...


OpenAuthenticator = Callable[[Any, KeyDirectory], AbstractAsyncContextManager[Authenticator]]
AuthenticatorBackend = Component[OpenAuthenticator]
