"""Accounts and vault keys over a store in memory, and callers as the authenticator of API keys knows them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from argon2 import PasswordHasher

from backchat.domain.identity import Identity, User
from backchat.errors import InvalidCredentials
from backchat.ports.auth import Credentials
from backchat.ports.storage import Change, Query, Record, Scalar
from backchat.sealing.keys import VaultKey
from backchat.sealing.tokens import parse
from backchat.services.accounts import Accounts
from backchat.services.keyrings import Keyring, keyring, keyring_put
from backchat.services.kinds import KINDS
from backchat.services.passwords import Passwords
from backchat.services.vault_keys import Bearer, VaultKeys
from backchat.testing.memory_store import MemoryStore
from backchat_apikey.authenticator import ApiKeyAuthenticator

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Counted(MemoryStore):
    """Counts what it is asked, and the batches that it stores."""

    def __init__(self) -> None:
        super().__init__(KINDS)
        self.asked: list[str] = []
        self.stored = 0

    async def get(self, kind: str, id: str) -> Record | None:
        self.asked.append(kind)
        return await super().get(kind, id)

    async def find(self, query: Query) -> Sequence[Record]:
        self.asked.append(query.kind)
        return await super().find(query)

    async def values(self, query: Query, field: str) -> Sequence[Scalar]:
        self.asked.append(query.kind)
        return await super().values(query, field)

    async def apply(self, changes: Sequence[Change]) -> None:
        await super().apply(changes)
        self.stored += 1


class Directory:
    """What the authenticator looks keys up in."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    async def api_key(self, id: str) -> Any:
        return await self._accounts.api_key(id)

    async def session(self, token: str) -> Identity | None:
        return None


class Desk:
    """``time`` stands until it is moved."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        self.store = store if store is not None else Counted()
        self.time = NOON
        ids = count(1)
        quick = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))

        def new_id() -> str:
            return f"{next(ids):04}-id"

        self.accounts = Accounts(self.store, now=lambda: self.time, new_id=new_id, passwords=quick)
        self.keys = VaultKeys(self.store, self.accounts, now=lambda: self.time, new_id=new_id)
        self._authenticator = ApiKeyAuthenticator(Directory(self.accounts), lambda: self.time)

    async def user(self, name: str = "ann") -> User:
        return await self.accounts.ensure_user(name)

    async def issued(self, user: str = "ann", **more: Any) -> Bearer:
        """A caller with a key that was issued beside the server: alone."""
        if "hours" in more:
            more["expires"] = self.time + timedelta(hours=more.pop("hours"))
        _, token = await self.accounts.create_key(await self.user(user), "key", **more)
        return await self.caller(token)

    async def further(self, bearer: Bearer, **more: Any) -> Bearer:
        """A caller with a key that another one has issued."""
        _, token = await self.keys.issue(bearer, "key", **more)
        return await self.caller(token)

    async def caller(self, token: str) -> Bearer:
        """Whoever calls with this token. Raises InvalidCredentials."""
        who = await self._authenticator.identify(Credentials("bearer", token))
        secret = parse(token)
        assert who is not None
        assert secret is not None
        return Bearer(who, secret)

    async def is_let_in(self, bearer: Bearer) -> bool:
        assert bearer.token is not None
        try:
            await self.caller(bearer.token.text)
        except InvalidCredentials:
            return False
        return True

    async def jwt(self, user: str = "ann", **more: Any) -> Bearer:
        """A caller without an API key."""
        return Bearer(Identity(user=(await self.user(user)).id, name=user, **more), None)

    async def ring(self, user: str = "ann") -> Keyring:
        return await keyring(self.store, (await self.user(user)).id)

    async def store_ring(self, ring: Keyring) -> None:
        await self.store.apply([keyring_put(ring)])

    async def called(self, bearer: Bearer) -> VaultKey:
        """The current key, as a request gets it that needs it."""
        await self.keys.attend(bearer)
        return await self.keys.current(bearer)


def token_id(bearer: Bearer) -> str:
    assert bearer.token is not None
    return bearer.token.id
