"""What goes to a vault, checked before it is sealed: nobody can check it afterwards, so that it would stay as it is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import get_args

from backchat.client.errors import VaultError, unfit
from backchat.domain.times import stamp
from backchat.domain.vault import VaultMessage, VaultRole
from backchat.sealing.timestamps import is_timestamp

MESSAGES_MAX = 10_000
CHAT_MAX = 255
PLATFORM_MAX = 64
_ROLES = get_args(VaultRole)


def checked_messages(messages: Sequence[VaultMessage]) -> Sequence[VaultMessage]:
    """The messages, if a plain push of them would be taken. VaultError names the field that would not."""
    if not 1 <= len(messages) <= MESSAGES_MAX:
        raise unfit("messages", f"there must be 1 to {MESSAGES_MAX} of them")
    for n, message in enumerate(messages):
        if message.role not in _ROLES:
            raise unfit(f"messages.{n}.role", f"must be one of {', '.join(_ROLES)}")
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


def checked_moment(moment: datetime, field: str) -> str:
    if moment.tzinfo is None:
        raise VaultError(f"{field}: must be a time with a time zone", code="validation_error")
    return stamp(moment)
