"""Content: messages as canonical JSON, sealed for one conversation; and a hash that says whether two are the same."""

from __future__ import annotations

import hashlib
import hmac
import os
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from backchat.domain.vault import ROLES, SealedContent, VaultMessage
from backchat.sealing.failures import Altered, Swapped, Truncated, WrongKey
from backchat.sealing.keys import IV_BYTES, TAG_BYTES, VaultKey, derived

_HASH_INFO = "backspace-content-hash-v1"
_BEGIN, _END = b'{"messages":[', b'],"v":1}'


def canonical(messages: Sequence[VaultMessage]) -> bytes:
    """The plaintext: keys in order, no white space, nothing escaped that need not be. UnicodeEncodeError for half a
    character, which has no UTF-8.
    """
    told: list[dict[str, str]] = []
    for m in messages:
        if m.timestamp is None:
            told.append({"content": m.content, "role": m.role})
        else:
            told.append({"content": m.content, "role": m.role, "timestamp": m.timestamp})
    try:
        # Escapes what the contract wants escaped, in its way, and nothing else: tests compare every character.
        return orjson.dumps({"messages": told, "v": 1})
    except orjson.JSONEncodeError:
        for m in messages:
            m.content.encode()
            (m.timestamp or "").encode()
        raise


def messages_of(plaintext: bytes) -> list[VaultMessage]:
    """The messages of a plaintext. Raises Altered if it is none: it was sealed by somebody who does it another way."""
    try:
        found: Any = orjson.loads(plaintext)
        if found["v"] != 1:
            raise Altered("the content is of a version that is not known here")
        return [_message(m) for m in found["messages"]]
    except (orjson.JSONDecodeError, LookupError, TypeError):
        raise Altered("the content opens, but is not messages as this vault has them") from None


def _message(m: Any) -> VaultMessage:
    role, content, timestamp = m["role"], m["content"], m.get("timestamp")
    if role not in ROLES or not isinstance(content, str):
        raise TypeError
    if timestamp is not None and not isinstance(timestamp, str):
        raise TypeError
    return VaultMessage(role, content, timestamp)


def associated(platform: str, chat: str) -> bytes:
    """What ties content to its conversation. ``platform`` is in its stored form."""
    return b":".join([b"backspace:v1", *[urlsafe_b64encode(part.encode()).rstrip(b"=") for part in (platform, chat)]])


def seal(plaintext: bytes, key: VaultKey, platform: str, chat: str, iv: bytes | None = None) -> SealedContent:
    """``iv`` is a fresh random one unless a test gives it."""
    iv = os.urandom(IV_BYTES) if iv is None else iv
    return SealedContent(iv, AESGCM(key.secret).encrypt(iv, plaintext, associated(platform, chat)))


def open_sealed(
    sealed: SealedContent, key: VaultKey, platform: str, chat: str, content_hash: str | None = None
) -> bytes:
    """The plaintext. ``content_hash``, if it is known, only helps to say what is wrong.

    Raises WrongKey, Truncated, Swapped, or Altered; what is returned is exactly what was sealed.
    """
    about = associated(platform, chat)
    try:
        return AESGCM(key.secret).decrypt(sealed.iv, sealed.data, about)
    except (InvalidTag, ValueError):
        _explain(sealed, key, about, content_hash)
        raise Altered("the content has been changed since it was sealed, or is another conversation's") from None


def _explain(sealed: SealedContent, key: VaultKey, about: bytes, content_hash: str | None) -> None:
    """Raise what is known of content that did not open. What it would be, unproven, is looked at and thrown away."""
    if len(sealed.iv) != IV_BYTES:
        raise Altered("the content's IV is not 12 bytes long")
    if len(sealed.data) < len(_BEGIN) + len(_END) + TAG_BYTES:
        raise Truncated("most of the content is missing: it is shorter than that of no messages")
    decryptor = Cipher(algorithms.AES256(key.secret), modes.GCM(sealed.iv)).decryptor()
    unproven = decryptor.update(sealed.data[:-TAG_BYTES])
    ended = _agree(unproven[-len(_END) :], _END)
    if not ended and not _agree(unproven[: len(_BEGIN)], _BEGIN) and not _looks_like_text(unproven):
        raise WrongKey("the content is sealed under another key or with another IV, or its beginning is missing")
    if content_hash is not None and hmac.compare_digest(hash_of(unproven, key), content_hash):
        tag = AESGCM(key.secret).encrypt(sealed.iv, unproven, about)[-TAG_BYTES:]
        if _agree(sealed.data[-TAG_BYTES:], tag):
            raise Altered("the content's seal, the last 16 bytes of it, has been changed")
        raise Swapped("the content is whole, but it was sealed for another conversation")
    if not ended:
        raise Truncated("the end of the content is missing")


def _agree(found: bytes, expected: bytes) -> bool:
    """Whether most of it is the same: what was altered is, what is of another key or place hardly has a byte alike."""
    return sum([a == b for a, b in zip(found, expected, strict=False)]) > len(expected) // 2


def _looks_like_text(unproven: bytes) -> bool:
    """Whether it is long enough to tell, and has next to no control characters, which are an eighth of random bytes."""
    return len(unproven) >= 256 and sum([byte < 0x20 for byte in unproven[:4096]]) < min(len(unproven), 4096) // 32


def hash_of(plaintext: bytes, key: VaultKey) -> str:
    """Whether two contents are the same, for those who have the key only: 64 hex digits."""
    return hmac.new(derived(key.secret, b"", _HASH_INFO), plaintext, hashlib.sha256).hexdigest()
