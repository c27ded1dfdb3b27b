"""Vault keys, and how their holders get them: a wrap under a holder's secret, or a grant to its public key.

A holder is an API key or a recovery key. A wrap is what the contract of the vault makes public. A grant is the server's
own: whoever has a vault key open leaves it for a holder whose secret is not at hand, and only that secret opens it
(HPKE, RFC 9180, with a key pair that is derived from the secret).
"""

from __future__ import annotations

import os
import re
import secrets
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from backchat.sealing.failures import Altered, WrongKey
from backchat.sealing.tokens import Secret, Use

KEY_BYTES, IV_BYTES, TAG_BYTES = 32, 12, 16
KDF_NAME = "HKDF-SHA256"
KEK_INFO: dict[Use, str] = {"token": "backspace-kek-v1", "recovery": "backspace-recovery-v1"}
_WRAP: dict[Use, str] = {"token": "backspace:wrap:v1", "recovery": "backspace:recovery:v1"}
_GRANT = "backspace-grant-v1"
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


@dataclass(frozen=True, slots=True)
class VaultKey:
    """The key of a user's content. ``id`` is public, and never that of another key."""

    id: str
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != KEY_BYTES or not is_key_id(self.id):
            raise ValueError("a vault key has 32 bytes, and an id of 1 to 64 letters, digits, - and _")


@dataclass(frozen=True, slots=True)
class Wrap:
    """A vault key under the key of one holder: 48 bytes, with the ``iv`` of 12."""

    key: str
    wrapped: bytes = field(repr=False)
    iv: bytes = field(repr=False)


def is_key_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None


def new_key() -> VaultKey:
    return VaultKey(f"vk-{secrets.token_hex(12)}", os.urandom(KEY_BYTES))


def kek(holder: Secret) -> bytes:
    """The key that a holder's wraps are under."""
    return derived(holder.secret.encode(), holder.id.encode(), KEK_INFO[holder.use])


def derived(secret: bytes, salt: bytes, info: str) -> bytes:
    """32 bytes by HKDF-SHA256 (RFC 5869)."""
    return HKDF(SHA256(), KEY_BYTES, salt or None, info.encode()).derive(secret)


def wrap(key: VaultKey, holder: Secret, iv: bytes | None = None) -> Wrap:
    """The key for this holder. ``iv`` is a fresh random one unless a test gives it."""
    iv = os.urandom(IV_BYTES) if iv is None else iv
    return Wrap(key.id, AESGCM(kek(holder)).encrypt(iv, key.secret, _about(holder, key.id)), iv)


def unwrap(wrapped: Wrap, holder: Secret) -> VaultKey:
    """The key in a wrap. Raises WrongKey if it is another holder's, or was changed: that cannot be told apart."""
    try:
        return VaultKey(
            wrapped.key, AESGCM(kek(holder)).decrypt(wrapped.iv, wrapped.wrapped, _about(holder, wrapped.key))
        )
    except (InvalidTag, ValueError):
        raise WrongKey("the wrapped vault key does not open with this token, or is damaged") from None


def _about(holder: Secret, key: str) -> bytes:
    return f"{_WRAP[holder.use]}:{holder.id}:{key}".encode()


def public_key(holder: Secret) -> bytes:
    """What a grant to this holder is made with: 32 bytes that say nothing about the secret."""
    return _private(holder).public_key().public_bytes_raw()


def grant(key: VaultKey, holder: str, public: bytes) -> bytes:
    """The key for the holder with this id and public key."""
    return _SUITE.encrypt(key.secret, X25519PublicKey.from_public_bytes(public), _info(holder, key.id))


def accept(granted: bytes, key: str, holder: Secret) -> VaultKey:
    """The key of that id in a grant. Raises Altered if it is not this holder's, or was changed."""
    try:
        return VaultKey(key, _SUITE.decrypt(granted, _private(holder), _info(holder.id, key)))
    except (InvalidTag, ValueError):
        raise Altered("the vault key that was left for this token does not open") from None


def _private(holder: Secret) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(derived(holder.secret.encode(), holder.id.encode(), _GRANT))


def _info(holder: str, key: str) -> bytes:
    return f"{_GRANT}:{holder}:{key}".encode()
