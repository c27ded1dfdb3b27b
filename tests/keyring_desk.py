"""Accounts and vault keys over a store in memory, and callers as the authenticator of API keys knows them."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from argon2 import PasswordHasher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from backchat.domain.identity import Identity, User
from backchat.errors import BackchatError, Forbidden, InvalidCredentials
from backchat.ports.auth import Credentials
from backchat.ports.storage import Change, Query, Record, Scalar
from backchat.sealing.keys import VaultKey, Wrap
from backchat.sealing.tokens import Secret, parse
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
        _, token, _ = await self.keys.issue(bearer, "key", **more)
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


class Hurried(MemoryStore):
    """Something else comes first, just before the next batch."""

    def __init__(self) -> None:
        super().__init__(KINDS)
        self._first: Callable[[], Awaitable[object]] | None = None

    def before(self, first: Callable[[], Awaitable[object]]) -> None:
        self._first = first

    async def apply(self, changes: Sequence[Change]) -> None:
        if self._first is not None:
            first, self._first = self._first, None
            await first()
        await super().apply(changes)


def by_the_contract(wrap: Wrap, secret: Secret) -> bytes:
    """The vault key in a wrap, as sections 1 and 2 of the contract say it, with nothing of ours."""
    info, about = {
        "token": ("backspace-kek-v1", "backspace:wrap:v1"),
        "recovery": ("backspace-recovery-v1", "backspace:recovery:v1"),
    }[secret.use]
    extracted = hmac.new(secret.id.encode(), secret.secret.encode(), hashlib.sha256).digest()
    kek = hmac.new(extracted, info.encode() + b"\x01", hashlib.sha256).digest()
    return AESGCM(kek).decrypt(wrap.iv, wrap.wrapped, f"{about}:{secret.id}:{wrap.key}".encode())


async def refused(call: Awaitable[object], error: type[BackchatError] = Forbidden) -> str:
    with pytest.raises(error) as caught:
        await call
    assert type(caught.value) is error
    return str(caught.value)


async def has_the_same(desk: Desk, bearer: Bearer, key: VaultKey) -> None:
    """The bearer has this key by every way there is."""
    await desk.keys.attend(bearer)
    assert await desk.keys.find(bearer, key.id) == key
    assert bearer.token is not None
    assert by_the_contract(await desk.keys.wrapped(bearer, key.id), bearer.token) == key.secret


async def before_there_were_rings(desk: Desk, *bearers: Bearer) -> None:
    """As if their tokens were issued by a version without the vault."""
    await desk.store_ring(replace(await desk.ring(), holders={}, keys=[]))
    assert bearers


async def stored_ring(desk: Desk) -> object:
    record = await desk.store.get("vault_keyring", (await desk.user()).id)
    assert record is not None
    return record.doc
