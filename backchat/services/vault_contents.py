"""What a push brings, plain or sealed: whether an entry has it already, and as what it is stored if not."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from backchat.domain.vault import SealedContent, SealedPush, VaultEntry, VaultMessage
from backchat.errors import InvalidInput
from backchat.ports.storage import Put, RecordStore
from backchat.sealing.content import canonical, hash_of, seal
from backchat.sealing.keys import VaultKey
from backchat.services.aside import aside
from backchat.services.vault_keys import Bearer, VaultKeys
from backchat.services.vault_records import CONTENT, NONCE, content_of, entry_id, latest_id, nonce_id, nonce_put

PER_MESSAGE = 64
"""Bytes that stand for what a message weighs apart from its text."""


@dataclass(frozen=True, slots=True)
class Place:
    """What an entry is of: an owner's conversation on a platform, which is in its stored form."""

    owner: str
    platform: str
    chat: str

    @property
    def id(self) -> str:
        return entry_id(self.owner, self.platform, self.chat)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fresh:
    """Content for a new version. ``nonce`` is None if its IV is known to have been used for exactly this."""

    sealed: SealedContent = field(repr=False)
    messages: int
    content_hash: str | None = field(repr=False)
    key: str | None
    nonce: Put | None = field(repr=False)


class Incoming(Protocol):
    async def fresh(self) -> Fresh:
        """As what it is stored. Raises InvalidInput (``body.iv``)."""
        ...

    async def unless_in(self, entry: VaultEntry) -> Fresh | None:
        """The same, or None if it is what the entry's latest version has."""
        ...


class PlainContent:
    """Messages, which are sealed here for their place."""

    def __init__(
        self, keys: VaultKeys, bearer: Bearer, place: Place, key: VaultKey, plaintext: bytes, messages: int
    ) -> None:
        self._keys, self._bearer, self._place, self._key = keys, bearer, place, key
        self._plaintext, self._messages = plaintext, messages
        self._hashes: dict[str, str] = {}

    @classmethod
    async def of(cls, keys: VaultKeys, bearer: Bearer, place: Place, messages: Sequence[VaultMessage]) -> PlainContent:
        """Raises Forbidden if the bearer has no vault key."""
        key = await keys.current(bearer)
        weight = sum([len(m.content) + PER_MESSAGE for m in messages])
        return cls(keys, bearer, place, key, await aside(weight, partial(canonical, messages)), len(messages))

    async def fresh(self) -> Fresh:
        """Sealed anew each time, with another IV."""
        content_hash = await self._hash(self._key)
        sealed, digest = await aside(len(self._plaintext), self._seal)
        nonce = nonce_put(self._place.owner, self._key.id, sealed.iv, digest)
        return Fresh(sealed=sealed, messages=self._messages, content_hash=content_hash, key=self._key.id, nonce=nonce)

    async def unless_in(self, entry: VaultEntry) -> Fresh | None:
        """Compared under the key of the latest version, if the bearer has it: it may be an older one."""
        if entry.content_hash is not None:
            key = self._key
            if entry.key is not None and entry.key != key.id:
                key = await self._keys.find(self._bearer, entry.key) or key
            if await self._hash(key) == entry.content_hash:
                return None
        return await self.fresh()

    def _seal(self) -> tuple[SealedContent, str]:
        sealed = seal(self._plaintext, self._key, self._place.platform, self._place.chat)
        return sealed, _digest(sealed.data)

    async def _hash(self, key: VaultKey) -> str:
        if key.id not in self._hashes:
            self._hashes[key.id] = await aside(len(self._plaintext), partial(hash_of, self._plaintext, key))
        return self._hashes[key.id]


class ForeignContent:
    """Content that its sender has sealed: nothing here tries to open it."""

    def __init__(self, store: RecordStore, owner: str, push: SealedPush) -> None:
        self._store, self._owner, self._push = store, owner, push

    async def fresh(self) -> Fresh:
        push, sealed = self._push, self._push.sealed
        used = await self._store.get(NONCE.name, nonce_id(self._owner, push.key, sealed.iv))
        digest = await aside(len(sealed.data), partial(_digest, sealed.data))
        if used is not None and used.doc["digest"] != digest:
            raise InvalidInput(
                "this IV has been used for other content under the same key: seal with a fresh one", field="body.iv"
            )
        return Fresh(
            sealed=sealed,
            messages=push.messages,
            content_hash=push.content_hash,
            key=push.key,
            nonce=nonce_put(self._owner, push.key, sealed.iv, digest) if used is None else None,
        )

    async def unless_in(self, entry: VaultEntry) -> Fresh | None:
        """The very bytes are a retry. Of all others the IV is looked at, whatever their hash says."""
        if await self._is_latest_of(entry):
            return None
        fresh = await self.fresh()
        return None if fresh.content_hash is not None and fresh.content_hash == entry.content_hash else fresh

    async def _is_latest_of(self, entry: VaultEntry) -> bool:
        sealed = self._push.sealed
        if entry.size != len(sealed.data):
            return False
        record = await self._store.get(CONTENT.name, latest_id(entry))
        return record is not None and await aside(entry.size, partial(content_of, record)) == sealed


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
