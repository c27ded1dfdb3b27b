"""Why somebody has no vault key, in words that say what to do about it."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from backchat.errors import Forbidden
from backchat.sealing.failures import CannotOpen
from backchat.sealing.keys import VaultKey
from backchat.sealing.tokens import Secret
from backchat.services.keyrings import Keyring, RingKey, may_hold, reach

ENDED = "this API token has ended"
_NO_TOKEN = (
    "this needs the vault key, which opens with an API token only, and not with a JWT or a login: call with an API"
    " token, or push sealed content"
)
_NO_SCOPE = "this API token cannot have the vault key: it has none of the scopes push, pull and vault"
_ROTATE = "rotate the vault key with abandon: what is in the vault then stays closed"
_LEFT = {
    "tokens": "this API token has no vault key yet: it gets it by itself when another API token of yours that has it is"
    " used with the vault",
    "recovery": f"no API token is left that has the vault key: recover it with the recovery key, or {_ROTATE}",
    "nobody": f"neither an API token nor a recovery key is left that has the vault key: {_ROTATE} for good",
}
_AGAIN = f"recover it with the recovery key, issue another API token with one that has it, or {_ROTATE}"
_BAD_WRAP = f"the vault key that is kept for this API token is damaged: {_AGAIN}"
_BAD_GRANT = f"the vault key that was left for this API token is damaged: {_AGAIN}"


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
        raise Forbidden(_LEFT[reach(ring, now)[kept.id]])
    return key
