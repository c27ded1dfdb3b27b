"""What goes to a vault, checked before it is sealed: nobody can check it afterwards, so that it would stay as it is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from backchat.client.errors import unfit
from backchat.domain.times import stamp
from backchat.domain.vault import MESSAGES_MAX, PLATFORM_MAX, ROLES, VaultMessage
from backchat.sealing.binary import to_text
from backchat.sealing.content import canonical, hash_of, seal
from backchat.sealing.keys import VaultKey
from backchat.sealing.timestamps import is_timestamp


def checked_messages(messages: Sequence[VaultMessage]) -> Sequence[VaultMessage]:
    """The messages, if a plain push of them would be taken. VaultError names the field that would not."""
    if not 1 <= len(messages) <= MESSAGES_MAX:
        raise unfit("messages", f"there must be 1 to {MESSAGES_MAX} of them")
    for n, message in enumerate(messages):
        if message.role not in ROLES:
            raise unfit(f"messages.{n}.role", f"must be one of {', '.join(ROLES)}")
        checked_text(message.content, f"messages.{n}.content")
        if message.timestamp is not None and not (
            isinstance(message.timestamp, str) and is_timestamp(message.timestamp)
        ):
            raise unfit(f"messages.{n}.timestamp", "must be an RFC 3339 date-time with an offset or Z")
    return messages


def checked_text(text: str, field: str, most: int | None = None) -> str:
    """``most`` characters, and then at least one."""
    if not isinstance(text, str):
        raise unfit(field, "must be text")
    if most is not None and not 1 <= len(text) <= most:
        raise unfit(field, f"must have 1 to {most} characters")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise unfit(field, "holds half a character (a lone surrogate), which has no UTF-8 form") from None
    return text


def checked_platform(text: str) -> str:
    """In its stored form, in small letters, which is the one that has a length."""
    return checked_text(checked_text(text, "platform").lower(), "platform", PLATFORM_MAX)


def checked_moment(moment: datetime, field: str) -> str:
    if moment.tzinfo is None:
        raise unfit(field, "must be a time with a time zone")
    try:
        return stamp(moment)
    except OverflowError:
        raise unfit(field, "must be a time that is in the years 1 to 9999 in UTC as well") from None


def content_hash(messages: Sequence[VaultMessage], key: VaultKey) -> str:
    """Takes its time: runs in a thread."""
    return hash_of(canonical(messages), key)


def sealed_push(messages: Sequence[VaultMessage], key: VaultKey, platform: str, chat: str) -> dict[str, Any]:
    """The body of a push without details. Takes its time: runs in a thread."""
    plaintext = canonical(messages)
    sealed = seal(plaintext, key, platform, chat)
    return {
        "chatId": chat,
        "platform": platform,
        "encryptedContent": to_text(sealed.data),
        "iv": to_text(sealed.iv),
        "messageCount": len(messages),
        "contentHash": hash_of(plaintext, key),
        "keyId": key.id,
    }
