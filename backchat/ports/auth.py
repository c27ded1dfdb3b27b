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
    """Where an authenticator looks API keys and sessions up: the core's accounts, and nothing else of them."""

    async def api_key(self, id: str) -> ApiKey | None:
        """The key with this id as it stands now, revoked and expired ones included; None if there is none."""
        ...

    async def session(self, token: str) -> Identity | None:
        """Who logged in and was given this access token; None if it is not one of this server's.

        Raises InvalidCredentials for one of its own that has expired, was altered, or whose session has ended.
        """
        ...


class Authenticator(Protocol):
    """Three answers: whose it is; None (not mine, ask the next); or ``InvalidCredentials`` (mine, and bad)."""

    async def identify(self, credentials: Credentials) -> Identity | None: ...


OpenAuthenticator = Callable[[Any, KeyDirectory], AbstractAsyncContextManager[Authenticator]]
AuthenticatorBackend = Component[OpenAuthenticator]
