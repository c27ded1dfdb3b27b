"""With everything that is stored, and all the code that opens things, nothing opens that no secret is given for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from backchat.domain.limits import VaultLimits
from backchat.domain.vault import PlainPush, Push, VaultMessage
from backchat.ports.storage import Query, Record
from backchat.sealing.binary import from_text, to_text
from backchat.sealing.content import open_sealed
from backchat.sealing.failures import CannotOpen
from backchat.sealing.keys import KEK_INFO, VaultKey, Wrap, accept, derived, unwrap
from backchat.sealing.tokens import Secret
from backchat.services.keyrings import Keyring, keyring_of, opened
from backchat.services.kinds import KINDS
from backchat.services.vault import Vault
from backchat.services.vault_keys import Bearer
from backchat.services.vault_records import content_of
from keyring_desk import Desk, token_id

PLATFORM, CHAT, MARKER = "ollama", "chat-1", "wombatlike quuxbarian"
SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class Thief:
    """Has a copy of the store, the code, and no token."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.records = list(records)
        self.contents = [content_of(record) for record in self.records if record.kind == "vault_content"]
        self.ring: Keyring = next(keyring_of(r) for r in self.records if r.kind == "vault_keyring")
        texts = sorted({text for record in self.records for text in _texts(record.doc)} | {r.id for r in self.records})
        self.texts = texts
        self.bytes = self._bytes()

    def _bytes(self) -> set[bytes]:
        """All of 32 bytes that is stored, or made of what is stored: as it is, decoded, hashed, or cut out of it."""
        raw = {text.encode() for text in self.texts}
        for text in self.texts:
            for decode in (bytes.fromhex, from_text):
                try:
                    raw.add(decode(text))
                except ValueError:
                    continue
        found = {hashlib.sha256(data).digest() for data in raw}
        for data in raw:
            found |= {data[:32], data[-32:], data[12:44], data[16:48]}
        ids = [id.encode() for id in (*self.ring.holders, *[key.id for key in self.ring.keys], "")]
        infos = [*KEK_INFO.values(), "backspace-grant-v1", "backspace-content-hash-v1", ""]
        for data in [d for d in raw if 32 <= len(d) <= 64]:
            found |= {derived(data, salt, info) for salt in ids for info in infos}
        return {data for data in found if len(data) == 32} | {bytes(32)}

    def secrets(self) -> Iterator[Secret]:
        """Every text that is stored, taken for the secret of every holder."""
        texts = [*self.texts, *[hashlib.sha256(text.encode()).hexdigest() for text in self.texts], ""]
        for id, holder in self.ring.holders.items():
            yield from [Secret(holder.use, id, text) for text in texts]

    def sealed_keys(self) -> Iterator[tuple[str, str, Wrap | bytes]]:
        for kept in self.ring.keys:
            yield from [(kept.id, id, wrap) for id, wrap in kept.wraps.items()]
            yield from [(kept.id, id, granted) for id, granted in kept.grants.items()]

    def opened(self) -> Iterator[str]:
        """What it has come to."""
        yield from [f"all that {s.id} has, with a text" for s in self.secrets() if opened(self.ring, s)]
        for candidate in self.bytes:
            private = X25519PrivateKey.from_private_bytes(candidate)
            for key, id, sealed in self.sealed_keys():
                if self._opens(sealed, candidate, private, id, key):
                    yield f"{key} as {id} has it"
            for content in self.contents:
                try:
                    open_sealed(content, VaultKey("vk", candidate), PLATFORM, CHAT)
                    yield "content"
                except CannotOpen:
                    continue

    def _opens(self, sealed: Wrap | bytes, kek: bytes, private: X25519PrivateKey, id: str, key: str) -> bool:
        try:
            if isinstance(sealed, bytes):
                SUITE.decrypt(sealed, private, f"backspace-grant-v1:{id}:{key}".encode())
            else:
                label = "backspace:wrap:v1" if self.ring.holders[id].use == "token" else "backspace:recovery:v1"
                AESGCM(kek).decrypt(sealed.iv, sealed.wrapped, f"{label}:{id}:{key}".encode())
        except (InvalidTag, ValueError):
            return False
        return True


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from (key, *_texts(inner))
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


async def everything(desk: Desk) -> list[Record]:
    return [record for kind in KINDS for record in await desk.store.find(Query(kind=kind.name, limit=1000))]


async def a_vault() -> tuple[Desk, Bearer]:
    """A user who has had a rotation, a recovery key, and tokens that have the keys, wait for them, or are revoked."""
    desk = Desk()
    vault = Vault(desk.store, desk.keys, VaultLimits(), now=lambda: desk.time)
    first = await desk.issued(platform=PLATFORM)
    await vault.push(first, Push(chat=CHAT, content=PlainPush(messages=[VaultMessage("user", MARKER)])))
    revoked = await desk.further(first)
    await desk.keys.make_recovery(first)
    await desk.issued()
    await desk.keys.revoke(first, token_id(revoked))
    await desk.keys.rotate(first)
    more = [VaultMessage("user", MARKER), VaultMessage("assistant", "")]
    await vault.push(first, Push(chat=CHAT, content=PlainPush(messages=more)))
    return desk, first


async def test_a_copy_of_the_store_opens_nothing() -> None:
    desk, _ = await a_vault()
    thief = Thief(await everything(desk))
    assert {len(list(thief.sealed_keys())), len(thief.ring.keys)} == {6, 2}
    assert any(kept.grants for kept in thief.ring.keys)
    assert {r.kind for r in thief.records} >= {"user", "api_key", "vault_keyring", "vault_entry", "vault_content"}
    assert len(thief.contents) == 2
    assert len(thief.bytes) > 500
    assert list(thief.opened()) == []


@pytest.mark.parametrize("leak", ["token", "kek", "vault key", "private key"])
async def test_a_thief_who_finds_one_secret_is_noticed_by_the_test_above(leak: str) -> None:
    """It would see it if the store held any of these, in any field."""
    desk, first = await a_vault()
    assert first.token is not None
    key, secret = await desk.keys.current(first), first.token
    waiting = await desk.issued()
    await desk.keys.attend(first)
    assert waiting.token is not None
    told = {
        "token": secret.secret,
        "kek": derived(secret.secret.encode(), secret.id.encode(), KEK_INFO["token"]).hex(),
        "vault key": to_text(key.secret),
        "private key": derived(waiting.token.secret.encode(), waiting.token.id.encode(), "backspace-grant-v1").hex(),
    }[leak]
    records = await everything(desk)
    ring = next(record for record in records if record.kind == "vault_keyring")
    leaky = Record(ring.kind, ring.id, {**ring.doc, "note": told}, ring.version)
    assert next(Thief([*[r for r in records if r is not ring], leaky]).opened(), None)


async def test_what_is_kept_of_a_token_is_neither_its_kek_nor_leads_to_it() -> None:
    desk, first = await a_vault()
    assert first.token is not None
    secret = first.token
    kek = derived(secret.secret.encode(), secret.id.encode(), KEK_INFO["token"])
    stored = str(await everything(desk))
    for told in (secret.secret, kek.hex(), to_text(kek), to_text(kek)[:20], kek.hex()[:20]):
        assert told not in stored
    assert MARKER not in stored
    for one, two in pairwise([secret.secret[n : n + 12] for n in range(0, 36, 12)]):
        assert one not in stored
        assert two not in stored


async def test_a_secret_of_another_user_opens_nothing() -> None:
    """Neither as it is, nor under the ids of the holders."""
    desk, _ = await a_vault()
    bob = await desk.issued("bob")
    other = await desk.called(bob)
    ring = await desk.ring()
    assert bob.token is not None
    for id, holder in ring.holders.items():
        assert opened(ring, Secret(holder.use, id, bob.token.secret)) == {}
    for kept in ring.keys:
        for wrap in kept.wraps.values():
            with pytest.raises(CannotOpen):
                unwrap(wrap, bob.token)
        for granted in kept.grants.values():
            with pytest.raises(CannotOpen):
                accept(granted, kept.id, bob.token)
    for content in Thief(await everything(desk)).contents:
        with pytest.raises(CannotOpen):
            open_sealed(content, other, PLATFORM, CHAT)


async def test_what_is_stored_of_one_holder_opens_for_no_other() -> None:
    """A wrap or a grant that is moved to another holder, or another key, is of no use there."""
    desk, first = await a_vault()
    second = await desk.issued()
    await desk.keys.attend(first)
    await desk.keys.attend(second)
    ring = await desk.ring()
    old, new = ring.keys
    assert first.token is not None
    assert second.token is not None
    wrap = old.wraps[token_id(first)]
    for moved, holder in (
        (wrap, second.token),
        (Wrap(new.id, wrap.wrapped, wrap.iv), first.token),
        (wrap, Secret("recovery", first.token.id, first.token.secret)),
        (wrap, Secret("token", second.token.id, first.token.secret)),
    ):
        with pytest.raises(CannotOpen):
            unwrap(moved, holder)
