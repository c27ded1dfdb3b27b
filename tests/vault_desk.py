"""A vault in the hands of a test: its clock, its keys, and what is pushed to it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from backchat.domain.identity import ApiKey, Identity
from backchat.domain.limits import VaultLimits
from backchat.domain.vault import (
    PlainPush,
    Push,
    Pushed,
    SealedContent,
    SealedPush,
    SealedText,
    VaultEntry,
    VaultMessage,
    VaultRole,
)
from backchat.errors import Forbidden
from backchat.ports.storage import Put, Query, RecordStore
from backchat.sealing.binary import from_text
from backchat.sealing.content import canonical, hash_of, messages_of, open_sealed, seal
from backchat.sealing.keys import VaultKey, new_key
from backchat.sealing.tokens import new_secret
from backchat.services.account_records import API_KEY, key_doc
from backchat.services.kinds import KINDS
from backchat.services.vault import Vault, VaultFilter
from backchat.services.vault_keys import Bearer, VaultKeys


class HeldKeys(VaultKeys):
    """Whoever has a token has all keys of the user, but for those ``withheld`` from all."""

    def __init__(self) -> None:
        self.held: dict[str, list[VaultKey]] = {}
        self.withheld: set[str] = set()

    def rotated(self, user: str) -> VaultKey:
        self.held.setdefault(user, []).append(new_key())
        return self.held[user][-1]

    def newest(self, user: str) -> VaultKey:
        return self.held[user][-1] if user in self.held else self.rotated(user)

    def named(self, user: str, id: str | None) -> VaultKey:
        return next(key for key in self.held[user] if key.id == id)

    async def current(self, bearer: Bearer) -> VaultKey:
        if bearer.token is None:
            raise Forbidden("no token, no key")
        return self.newest(bearer.who.user)

    async def find(self, bearer: Bearer, id: str) -> VaultKey | None:
        there = self.held.get(bearer.who.user, []) if bearer.token is not None else []
        return next((key for key in there if key.id == id and key.id not in self.withheld), None)


class Desk:
    """A vault over a store. Its clock goes on by ``step`` whenever it is read."""

    def __init__(self, store: RecordStore, keys: HeldKeys | None = None, versions: int | None = None) -> None:
        self.store, self.keys = store, keys or HeldKeys()
        self.time, self.step = datetime(2026, 1, 1, tzinfo=UTC), timedelta(seconds=1)
        self.vault = Vault(store, self.keys, VaultLimits(versions=versions), now=self.now)

    def now(self) -> datetime:
        self.time += self.step
        return self.time

    def capped(self, versions: int | None) -> Desk:
        """The same as if it had been started with another cap."""
        other = Desk(self.store, self.keys, versions)
        other.time = self.time
        return other

    async def push(
        self, content: PlainPush | SealedPush, chat: str = "c1", by: Bearer | None = None, **more: Any
    ) -> Pushed:
        by = by or ANN
        await issued(self.store, by)
        return await self.vault.push(by, Push(chat=chat, content=content, **{"platform": "ollama", **more}))

    async def said(self, entry: int, version: int | None = None, user: str = "ann") -> list[str]:
        """What a version says, opened; the latest one unless it is named."""
        who = Identity(user=user)
        if version is None:
            about, sealed = await self.vault.entry(who, entry)
            return self.opened(about, about.key, sealed)
        about, of, sealed = await self.vault.version(who, entry, version)
        return self.opened(about, of.key, sealed)

    def opened(self, entry: VaultEntry, key: str | None, sealed: SealedText) -> list[str]:
        plain = open_sealed(as_bytes(sealed), self.keys.named(entry.owner, key), entry.platform, entry.chat)
        return [m.content for m in messages_of(plain)]

    async def about(self, entry: int, user: str = "ann") -> VaultEntry:
        return (await self.vault.entry(Identity(user=user), entry))[0]

    async def numbers(self, entry: int) -> list[int]:
        """Of the versions that are kept."""
        return [v.number for v in (await self.vault.versions(ANN.who, entry))[1]]

    async def pulled(self, limit: int = 100, offset: int = 0, **wanted: Any) -> list[int]:
        groups = self.vault.pull(ANN.who, VaultFilter(**wanted), limit=limit, offset=offset)
        return [entry.number async for group in groups for entry, _ in group]

    def seal(
        self,
        said: Sequence[str],
        *,
        key: VaultKey | None = None,
        iv: bytes | None = None,
        hashed: bool = True,
        told: str | None = "",
        chat: str = "c1",
        user: str = "ann",
    ) -> SealedPush:
        """Sealed by a client, for Ollama. ``told`` is the key id that it gives, that of the key unless said."""
        key = key or self.keys.newest(user)
        plain = canonical(messages(*said))
        return SealedPush(
            sealed=seal(plain, key, "ollama", chat, iv),
            messages=len(said),
            content_hash=hash_of(plain, key) if hashed else None,
            key=key.id if told == "" else told,
        )


def bearer(user: str, platform: str | None = None) -> Bearer:
    token = new_secret("token", os.urandom(4).hex())
    return Bearer(Identity(user=user, key=token.id, platform=platform), token)


async def issued(store: RecordStore, by: Bearer) -> None:
    """The record of the bearer's token, if it has none yet."""
    if by.token is None or await store.get(API_KEY.name, by.token.id) is not None:
        return
    key = ApiKey(
        id=by.token.id,
        user=by.who.user,
        user_name=by.who.user,
        name="desk",
        digest="",
        platform=by.who.platform,
        scopes=(),
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        expires_at=None,
    )
    await store.apply([Put(API_KEY.name, key.id, key_doc(key))])


def as_bytes(sealed: SealedText) -> SealedContent:
    return SealedContent(from_text(sealed.iv), from_text(sealed.data))


ANN, BOB = bearer("ann"), bearer("bob")


def messages(*said: str, role: VaultRole = "user") -> list[VaultMessage]:
    return [VaultMessage(role, text) for text in said]


def plain(*said: str) -> PlainPush:
    return PlainPush(messages=messages(*said))


async def everything(store: RecordStore, *kinds: str) -> dict[tuple[str, str], tuple[int, Any]]:
    """All records of the vault, or of these kinds of it, as they are."""
    names = kinds or tuple([kind.name for kind in KINDS if kind.name.startswith("vault_")])
    found = [record for name in names for record in await store.find(Query(kind=name, limit=100_000))]
    return {(record.kind, record.id): (record.version, record.doc) for record in found}
