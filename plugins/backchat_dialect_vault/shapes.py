"""What goes out: values of the domain as the objects of this API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backchat.domain.conversation import Conversation
from backchat.domain.identity import ApiKey
from backchat.domain.times import stamp
from backchat.domain.vault import UNTITLED, KnownKey, Pushed, SealedText, VaultEntry, VaultVersion
from backchat.sealing.binary import to_text
from backchat.sealing.keys import KDF_NAME, KEK_INFO, Wrap


def pushed(p: Pushed) -> dict[str, Any]:
    told = {
        "created": "created",
        "updated": f"updated to version {p.version}",
        "described": "details updated",
        "unchanged": "already up to date",
    }
    return {
        "success": True,
        "entryId": p.entry,
        "message": told[p.outcome],
        "version": p.version,
        "changed": p.outcome != "unchanged",
    }


def entry(e: VaultEntry, content: SealedText) -> dict[str, Any]:
    return {
        "id": e.number,
        "chatId": e.chat,
        "title": UNTITLED if e.title is None else e.title,
        "platform": e.platform,
        "category": e.category,
        "topic": e.topic,
        "tags": list(e.tags),
        "model": e.model,
        "messageCount": e.messages,
        "createdAt": stamp(e.created_at),
        "updatedAt": stamp(e.updated_at),
        "version": e.latest,
        "contentHash": e.content_hash,
        "keyId": e.key,
        **_content(content),
    }


def version(v: VaultVersion) -> dict[str, Any]:
    return {
        "version": v.number,
        "messageCount": v.messages,
        "createdAt": stamp(v.created_at),
        "contentHash": v.content_hash,
    }


def sealed_version(v: VaultVersion, content: SealedText) -> dict[str, Any]:
    return {**version(v), "keyId": v.key, **_content(content)}


def versions(found: Sequence[VaultVersion]) -> dict[str, Any]:
    return {"versions": [version(v) for v in found], "total": len(found)}


def _content(content: SealedText) -> dict[str, Any]:
    return {"encryptedContent": content.data, "iv": content.iv}


def adopted(entry: int, made: Conversation) -> dict[str, Any]:
    return {"success": True, "entryId": entry, "conversationId": made.id, "message": "a conversation was made of it"}


# ---- keys and tokens ------------------------------------------------------------------------------------------------


def wrap(w: Wrap, platform: str | None) -> dict[str, Any]:
    return {
        "keyId": w.key,
        "wrappedKey": to_text(w.wrapped),
        "iv": to_text(w.iv),
        "kdf": KDF_NAME,
        "info": KEK_INFO["token"],
        "platform": _platform(platform),
    }


def keys(found: Sequence[KnownKey]) -> dict[str, Any]:
    told = [{"id": key.id, "createdAt": stamp(key.created_at), "current": key.current} for key in found]
    return {"keys": told, "total": len(found)}


def _platform(given: str | None) -> str | None:
    """That of a token, as its pushes are stored."""
    return None if given is None else given.lower()


def token(key: ApiKey, has_key: bool) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "platform": _platform(key.platform),
        "scopes": list(key.scopes),
        "createdAt": stamp(key.created_at),
        "expiresAt": None if key.expires_at is None else stamp(key.expires_at),
        "hasKey": has_key,
    }


def tokens(found: Sequence[tuple[ApiKey, bool]]) -> dict[str, Any]:
    return {"tokens": [token(key, has_key) for key, has_key in found], "total": len(found)}
