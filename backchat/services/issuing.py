"""API keys: how one is made, and what one of them may issue or revoke."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Sequence
from datetime import datetime

from backchat.domain.identity import ApiKey, Identity, User
from backchat.domain.times import moment, stamp
from backchat.domain.vault import PLATFORM_MAX
from backchat.errors import Forbidden, InvalidInput
from backchat.sealing.tokens import Secret

NAME_MAX = 100

_SCOPE = re.compile(r"[a-z0-9][a-z0-9_.-]*")
_VAULT = "vault"
_IN_VAULT = frozenset({"push", "pull"})
"""What a key that is limited to the vault, but to all of it, may do there."""


def made_key(
    user: User,
    name: str,
    token: Secret,
    now: datetime,
    *,
    platform: str | None,
    scopes: Sequence[str],
    expires: datetime | None,
) -> ApiKey:
    """The key for this token. Raises InvalidInput (``name``, ``platform``, ``scopes``, ``expires``)."""
    for scope in scopes:
        if not _SCOPE.fullmatch(scope):
            raise InvalidInput("a scope is a name of small letters, digits, '-', '_' and '.'", field="scopes")
    if expires is not None and expires <= now:
        raise InvalidInput("the time of expiry has passed", field="expires")
    return ApiKey(
        id=token.id,
        user=user.id,
        user_name=user.name,
        name=label(name, "name"),
        digest=hashlib.sha256(token.secret.encode()).hexdigest(),
        platform=None if platform is None else _platform(platform),
        scopes=tuple(dict.fromkeys(scopes)),
        created_at=now,
        expires_at=None if expires is None else moment(stamp(expires)),
    )


def _platform(text: str) -> str:
    """As it is kept; as the vault stores it, in small letters, it has its length. Raises InvalidInput."""
    text = label(text, "platform")
    if len(text.lower()) > PLATFORM_MAX:
        raise InvalidInput(f"must be 1 to {PLATFORM_MAX} characters in small letters", field="platform")
    return text


def label(text: str, field: str) -> str:
    """A name as it is kept. Raises InvalidInput."""
    text = text.strip()
    if not text or len(text) > NAME_MAX or not text.isprintable():
        raise InvalidInput(f"must be 1 to {NAME_MAX} printable characters", field=field)
    return text


def scopes_for(who: Identity, own: ApiKey | None, scopes: Sequence[str] | None) -> Sequence[str]:
    """The scopes of a key that the caller issues; None: the caller's, whose key is ``own``. Raises Forbidden."""
    if scopes is None:
        return own.scopes if own is not None else sorted(who.scopes)
    if not _within(scopes, who.scopes):
        raise Forbidden(
            f"an API key that is limited to {', '.join(sorted(who.scopes))} can issue one that is limited to some of"
            " that",
            field="body.scopes",
        )
    return scopes


def expiry_for(own: ApiKey | None, expires: datetime | None) -> datetime | None:
    """Until when a key is good that is issued with the key ``own``; None: for as long as that. Raises Forbidden."""
    until = own.expires_at if own is not None else None
    if until is None or expires is None:
        return until if expires is None else expires
    if moment(stamp(expires)) > until:
        raise Forbidden(
            "an API key that expires can issue one that expires no later than itself", field="body.expiresAt"
        )
    return expires


def may_end(who: Identity, key: ApiKey) -> bool:
    """Whether the caller may revoke this key of theirs: it may do no more than the caller."""
    return _within(key.scopes, who.scopes)


def _within(scopes: Collection[str], limits: frozenset[str]) -> bool:
    """Whether these scopes allow nothing that those do not; none allow everything."""
    if not limits:
        return True
    return bool(scopes) and (limits | (_IN_VAULT if _VAULT in limits else frozenset())).issuperset(scopes)
