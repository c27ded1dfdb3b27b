"""What a vault answers, and how it is read. A server is not trusted: what is not as it should be is a VaultError."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from backchat.client.errors import VaultError
from backchat.domain.vault import SealedContent
from backchat.sealing.binary import from_text
from backchat.sealing.keys import KDF_NAME, KEK_INFO, Wrap, is_key_id
from backchat.sealing.tokens import Use, parse

T = TypeVar("T")
TOKEN_ID = re.compile("[A-Za-z0-9-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An entry as the server tells it, with the sealed content of one version.

    id        positive, and the entry's for as long as it is there;  chat  the platform's own id of the conversation
    messages  how many there are in this version;  key  which key it is sealed under, None: one that only its sender has
    """

    id: int
    chat: str
    title: str = field(repr=False)
    platform: str
    category: str | None
    topic: str | None = field(repr=False)
    tags: tuple[str, ...] = field(repr=False)
    model: str | None
    messages: int
    version: int
    content_hash: str | None = field(repr=False)
    key: str | None
    created_at: datetime
    updated_at: datetime
    sealed: SealedContent = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version of an entry, without its content."""

    number: int
    messages: int
    created_at: datetime
    content_hash: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Result:
    """What a push came to. ``message`` is the server's, for people."""

    entry: int
    version: int
    changed: bool
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """An API key of the user, as the server lists it. No ``scopes`` are all scopes."""

    id: str
    name: str
    platform: str | None
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    has_key: bool


class _Unfit(Exception):
    """Names the field that is not as it should be."""


def read(shape: Callable[[Mapping[str, Any]], T], data: Mapping[str, Any], what: str) -> T:
    """The value that the data is. ``what`` names it for the VaultError that is raised if it is none."""
    try:
        return shape(data)
    except _Unfit as error:
        raise VaultError(f"the server answers with {what} that is not one: {error}", code="not_a_vault") from None


def entry(d: Mapping[str, Any]) -> Entry:
    return Entry(
        id=_number(d, "id"),
        chat=_text(d, "chatId"),
        title=_text(d, "title"),
        platform=_text(d, "platform"),
        category=_text_or_none(d, "category"),
        topic=_text_or_none(d, "topic"),
        tags=_texts(d, "tags"),
        model=_text_or_none(d, "model"),
        messages=_number(d, "messageCount"),
        version=_number(d, "version"),
        content_hash=_text_or_none(d, "contentHash"),
        key=_key_or_none(d),
        created_at=_moment(d, "createdAt"),
        updated_at=_moment(d, "updatedAt"),
        sealed=_sealed(d),
    )


def entries(d: Mapping[str, Any]) -> tuple[list[Entry], int]:
    """Those of a page, and how many there are on all pages."""
    return [entry(e) for e in _objects(d, "entries")], _number(d, "total")


def version(d: Mapping[str, Any]) -> Version:
    return Version(
        number=_number(d, "version"),
        messages=_number(d, "messageCount"),
        created_at=_moment(d, "createdAt"),
        content_hash=_text_or_none(d, "contentHash"),
    )


def versions(d: Mapping[str, Any]) -> list[Version]:
    return [version(v) for v in _objects(d, "versions")]


def version_content(d: Mapping[str, Any]) -> tuple[Version, str | None, SealedContent]:
    """A version, the key that it is sealed under, and its content."""
    return version(d), _key_or_none(d), _sealed(d)


def result(d: Mapping[str, Any]) -> Result:
    return Result(_number(d, "entryId"), _number(d, "version"), _flag(d, "changed"), _text(d, "message"))


def token(d: Mapping[str, Any]) -> Token:
    return Token(
        id=_token_id(d),
        name=_text(d, "name"),
        platform=_text_or_none(d, "platform"),
        scopes=_texts(d, "scopes"),
        created_at=_moment(d, "createdAt"),
        expires_at=None if d.get("expiresAt") is None else _moment(d, "expiresAt"),
        has_key=_flag(d, "hasKey"),
    )


def tokens(d: Mapping[str, Any]) -> list[Token]:
    return [token(t) for t in _objects(d, "tokens")]


def wrapped(d: Mapping[str, Any]) -> tuple[Wrap, str | None]:
    """A wrapped vault key, and the platform of the token that asked for it. No other derivation than ours is taken."""
    if d.get("kdf") != KDF_NAME:
        raise _Unfit("kdf")
    if d.get("info") != KEK_INFO["token"]:
        raise _Unfit("info")
    return Wrap(key_id(d), _bytes(d, "wrappedKey"), _bytes(d, "iv")), _text_or_none(d, "platform")


def key_id(d: Mapping[str, Any]) -> str:
    found = _text(d, "keyId")
    if not is_key_id(found):
        raise _Unfit("keyId")
    return found


def known_keys(d: Mapping[str, Any]) -> list[str]:
    """The ids of the vault keys that the token has, oldest first."""
    found = [_text(key, "id") for key in _objects(d, "keys")]
    if not all(map(is_key_id, found)):
        raise _Unfit("id")
    return found


def text(name: str) -> Callable[[Mapping[str, Any]], str]:
    """The shape of an answer of which one text is of interest."""
    return lambda d: _text(d, name)


def secret(name: str, use: Use) -> Callable[[Mapping[str, Any]], str]:
    """The shape of an answer with a new token or recovery key."""

    def found(d: Mapping[str, Any]) -> str:
        held = parse(_text(d, name))
        if held is None or held.use != use:
            raise _Unfit(name)
        return held.text

    return found


def _key_or_none(d: Mapping[str, Any]) -> str | None:
    return None if d.get("keyId") is None else key_id(d)


def _token_id(d: Mapping[str, Any]) -> str:
    found = _text(d, "id")
    if TOKEN_ID.fullmatch(found) is None:
        raise _Unfit("id")
    return found


def _sealed(d: Mapping[str, Any]) -> SealedContent:
    return SealedContent(_bytes(d, "iv"), _bytes(d, "encryptedContent"))


def _text(d: Mapping[str, Any], name: str) -> str:
    found = d.get(name)
    if not isinstance(found, str):
        raise _Unfit(name)
    return found


def _text_or_none(d: Mapping[str, Any], name: str) -> str | None:
    return None if d.get(name) is None else _text(d, name)


def _texts(d: Mapping[str, Any], name: str) -> tuple[str, ...]:
    found = d.get(name)
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise _Unfit(name)
    return tuple(found)


def _objects(d: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = d.get(name)
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise _Unfit(name)
    return found


def _number(d: Mapping[str, Any], name: str) -> int:
    found = d.get(name)
    if type(found) is not int or found < 0:
        raise _Unfit(name)
    return found


def _flag(d: Mapping[str, Any], name: str) -> bool:
    found = d.get(name)
    if not isinstance(found, bool):
        raise _Unfit(name)
    return found


def _bytes(d: Mapping[str, Any], name: str) -> bytes:
    try:
        return from_text(_text(d, name))
    except ValueError:
        raise _Unfit(name) from None


def _moment(d: Mapping[str, Any], name: str) -> datetime:
    try:
        found = datetime.fromisoformat(_text(d, name))
    except ValueError:
        raise _Unfit(name) from None
    if found.tzinfo is None:
        raise _Unfit(name)
    return found
