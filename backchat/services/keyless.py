"""Why somebody has no vault key, in words that say what to do about it."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from backchat.errors import Forbidden
from backchat.sealing.failures import CannotOpen
from backchat.sealing.keys import VaultKey
from backchat.sealing.tokens import Secret
from backchat.services.keyrings import Keyring, Reach, RingKey, may_hold, reach

ENDED = "this API key has ended"
_NO_TOKEN = (
    "this needs the vault key, which opens with an API key only, and not with a JWT or a login: call with an API"
    " token, or push sealed content"
)
NO_ISSUER = (
    "a JWT or a login alone issues no API key: call with an API key, or send the recovery key as recoveryKey;"
    " whoever runs the server makes a first one with `backchat keys create`"
)
ONLY_RECOVERY = (
    "there is an older vault key that only the recovery key before opens: recover with that one first, and no key is"
    " lost; with abandon (--abandon), what is under it stays closed for good"
)
_NO_SCOPE = "this API key cannot have the vault key: it has none of the scopes push, pull and vault"
_RECOVER = "recover it with the recovery key (`backchat vault key recover`)"
_ROTATE = (
    "rotate the vault key with abandon (`backchat vault key rotate --abandon`): what is in the vault then stays closed"
)
_LEFT: dict[Reach, str] = {
    "tokens": "this API key has no vault key yet: it gets it by itself when another API key of yours that has it is"
    " used with the vault",
    "recovery": f"no API key is left that has the vault key: {_RECOVER}, or {_ROTATE}",
    "nobody": f"neither an API key nor a recovery key is left that has the vault key: {_ROTATE} for good",
}
_AGAIN = f"{_RECOVER}, issue another API key with one that has it, or {_ROTATE}"
_BAD_WRAP = f"the vault key that is kept for this API key is damaged: {_AGAIN}"
_BAD_GRANT = f"the vault key that was left for this API key is damaged: {_AGAIN}"
_OLDER: dict[Reach, str] = {
    "tokens": "which this API key gets by itself when another API key of yours that has it is used with the vault",
    "recovery": f"which no API key has any more: {_RECOVER}",
    "nobody": "which no API key or recovery key has any more: it stays closed",
}


def holding(token: Secret | None, scopes: Collection[str]) -> Secret:
    """The token of a caller who may hold vault keys. Raises Forbidden."""
    if token is None:
        raise Forbidden(_NO_TOKEN)
    if not may_hold(scopes):
        raise Forbidden(_NO_SCOPE)
    return token


def open_for(token: Secret, ring: Keyring, kept: RingKey, now: datetime) -> VaultKey:
    """One of the keys of a ring. Raises Forbidden if the token has it not, or it is damaged."""
    try:
        key = kept.opened(token)
    except CannotOpen:
        raise Forbidden(_BAD_WRAP if token.id in kept.wraps else _BAD_GRANT) from None
    if key is None:
        left = reach(ring, now)[kept.id]
        # To rotate helps with what is to be sealed, and that is under the current key.
        raise Forbidden(
            _LEFT[left] if kept.id == ring.keys[-1].id else f"this is sealed under {kept.id}, {_OLDER[left]}"
        )
    return key
