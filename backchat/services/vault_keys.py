"""The vault keys of users: who holds them, and how they are passed on, renewed and recovered.

A vault key is open in memory for the length of a request that carries one of its holders' secrets, and nowhere else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from backchat.domain.identity import ApiKey, Identity
from backchat.domain.times import moment, stamp
from backchat.domain.vault import KnownKey
from backchat.errors import Conflict, Forbidden, InvalidCredentials, InvalidInput, NotFound
from backchat.ports.storage import Change, RecordStore
from backchat.sealing.failures import CannotOpen
from backchat.sealing.keys import VaultKey, Wrap
from backchat.sealing.tokens import Secret, new_secret, parse
from backchat.services.accounts import Accounts
from backchat.services.issuing import expiry_for, may_end, scopes_for
from backchat.services.keyless import ENDED, NO_ISSUER, ONLY_RECOVERY, holding, open_for
from backchat.services.keyrings import (
    Keyring,
    known,
    loses,
    may_hold,
    opened,
    unknown_recovery,
    with_holder,
    with_new_key,
    with_wraps,
    without,
)
from backchat.services.retrying import retrying
from backchat.services.ring_keeping import Rings
from backchat.services.storable import askable

_FIELDS = {"name": "body.name", "platform": "body.platform", "scopes": "body.scopes", "expires": "body.expiresAt"}


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who calls, and the API key that they call with; None for whoever has none, as with a JWT or a login.

    ``ring`` is the keyring as their request found it, or left it.
    """

    who: Identity
    token: Secret | None = field(repr=False)
    ring: Keyring | None = field(default=None, repr=False)


class VaultKeys:
    def __init__(
        self, store: RecordStore, accounts: Accounts, *, now: Callable[[], datetime], new_id: Callable[[], str]
    ) -> None:
        self._accounts, self._clock, self._new_id = accounts, now, new_id
        self._rings = Rings(store, accounts, self._now)

    def _now(self) -> datetime:
        return moment(stamp(self._clock()))  # as exact as it is stored

    async def attend(self, bearer: Bearer) -> Bearer:
        """What every request to the vault begins with.

        A token that was left keys has them wrapped under its own secret from now on; to those that wait, and are
        neither revoked nor expired, it leaves those that it has. A token that is no holder yet, and may be, becomes
        one. Writes only if there is something of that to do, reads one record. Quiet for whoever has no token.
        Returns the bearer for the rest of the request.
        """
        token = bearer.token
        if token is None or not may_hold(bearer.who.scopes):
            return bearer

        async def attempt() -> Keyring:
            ring = await self._rings.of(bearer.who.user)
            after, proof = await self._rings.joined(ring, token)
            return await self._rings.stored(ring, await self._rings.shared(after, token), proof)

        return replace(bearer, ring=await retrying(attempt))

    async def current(self, bearer: Bearer) -> VaultKey:
        """The key that content is sealed under now; made if the user has none.

        Raises Forbidden, which says why, for whoever has no token, or one that waits.
        """
        token, ring = holding(bearer.token, bearer.who.scopes), bearer.ring
        if ring is None or not ring.keys or not ring.keys[-1].has(token.id):  # it may have it by now
            ring = await self._rings.with_key(bearer.who.user, token)
        return open_for(token, ring, ring.keys[-1], self._now())

    async def find(self, bearer: Bearer, id: str) -> VaultKey | None:
        """One of the keys, an older one perhaps; None if the bearer has no such key, or one that is damaged."""
        if bearer.token is None:
            return None
        kept = (await self._rings.of(bearer.who.user)).key(id)
        try:
            return kept.opened(bearer.token) if kept is not None else None
        except CannotOpen:
            return None

    async def keys(self, bearer: Bearer) -> Sequence[KnownKey]:
        """Those that the bearer's token has, oldest first; none for whoever has no token."""
        return [] if bearer.token is None else known(await self._rings.of(bearer.who.user), bearer.token.id)

    async def wrapped(self, bearer: Bearer, id: str | None = None) -> Wrap:
        """The wrap of the current key, or the one of that id, for the bearer's token. Made if the user has no key.

        Raises NotFound if the user has no key of that id, and Forbidden like ``current``.
        """
        token = holding(bearer.token, bearer.who.scopes)

        async def attempt() -> Wrap:
            ring = await (
                self._rings.of(bearer.who.user) if id is not None else self._rings.with_key(bearer.who.user, token)
            )
            kept = ring.keys[-1] if id is None else ring.key(id)
            if kept is None:
                raise NotFound("vault key not found")
            key = open_for(token, ring, kept, self._now())
            if token.id in kept.grants:  # left since the request began
                ring = await self._rings.stored(ring, with_wraps(ring, token, {key.id: key}))
                kept = next(k for k in ring.keys if k.id == key.id)
            return kept.wraps[token.id]

        return await retrying(attempt)

    async def rotate(self, bearer: Bearer, *, abandon: bool = False) -> str:
        """Make a new current key, for all holders, and return its id. Older content stays under its own.

        ``abandon``: also if the bearer's token has no key, as long as no other API key does that could give it to
        them: what is under the old keys stays closed, for good unless there is a recovery key. Raises Forbidden like
        ``current``, and Conflict if there are tokens left that have the key that would be abandoned.
        """
        token = holding(bearer.token, bearer.who.scopes)

        async def attempt() -> str:
            ring = await self._rings.of(bearer.who.user)
            after, proof = await self._rings.must_join(ring, token)
            after = await self._rings.without_ended(after, set(after.holders) - {token.id})
            if after.keys:
                self._check_left(after, token, abandon=abandon)
            after = with_new_key(after, token, self._now())
            ring = await self._rings.stored(ring, await self._rings.shared(after, token), proof)
            return ring.keys[-1].id

        return await retrying(attempt)

    def _check_left(self, ring: Keyring, token: Secret, *, abandon: bool) -> None:
        """Whether this token may make the key that comes after the current one."""
        kept = ring.keys[-1]
        try:
            open_for(token, ring, kept, self._now())
        except Forbidden:
            if not abandon:
                raise
            if any(kept.has(id) for id, h in ring.holders.items() if h.use == "token" and id != token.id):
                raise Conflict(
                    "other API keys have the vault key: use one of them with the vault, and this one has it as well,"
                    " or revoke those that are lost"
                ) from None

    async def make_recovery(self, bearer: Bearer, *, abandon: bool = False) -> Secret:
        """A recovery key for all keys, in place of the one before. It exists nowhere else and cannot be had again.

        Older keys that the bearer's token has not are left to it by the next token that has them. ``abandon``: also if
        there are keys that only the recovery key before opens, which has been lost: what is under them stays closed
        for good. Raises Forbidden like ``current``, and Conflict.
        """
        token = holding(bearer.token, bearer.who.scopes)

        async def attempt() -> Secret:
            recovery = new_secret("recovery", self._new_id().replace("-", ""))
            ring = await self._rings.with_key(bearer.who.user, token)
            open_for(token, ring, ring.keys[-1], self._now())
            after = without(ring, [id for id, holder in ring.holders.items() if holder.use == "recovery"])
            after = with_holder(after, recovery, None)
            after = await asyncio.to_thread(lambda: with_wraps(after, recovery, opened(ring, token)))
            if not abandon and loses(ring, after, self._now()):
                raise Conflict(ONLY_RECOVERY)
            await self._rings.stored(ring, after)
            return recovery

        return await retrying(attempt)

    async def recover(self, bearer: Bearer, recovery: str) -> str:
        """Give the bearer's token, if there is one, and those that wait, all keys of the user by a recovery key.

        Returns the id of the current key. Raises InvalidInput (``body.recoveryKey``) if it is not the recovery key of
        this user, and Forbidden if the current key is damaged.
        """
        token = holding(bearer.token, bearer.who.scopes) if bearer.token is not None else None

        async def attempt() -> str:
            ring = await self._rings.of(bearer.who.user)
            secret = _recovery(ring, recovery)
            keys = await asyncio.to_thread(opened, ring, secret)
            after, proof = ring, list[Change]()
            if token is not None:
                after, proof = await self._rings.must_join(ring, token)
                after = await asyncio.to_thread(with_wraps, after, token, keys)
            ring = await self._rings.stored(ring, await self._rings.shared(after, secret), proof)
            if token is not None:
                open_for(token, ring, ring.keys[-1], self._now())
            return ring.keys[-1].id

        return await retrying(attempt)

    async def issue(
        self,
        bearer: Bearer,
        name: str,
        *,
        platform: str | None = None,
        scopes: Sequence[str] | None = None,
        expires: datetime | None = None,
        recovery: str | None = None,
    ) -> tuple[ApiKey, str, bool]:
        """A further API key of the user, which gets the keys that the bearer's token has, or those of a recovery key;
        its text; and whether it has the current vault key.

        It may do no more than the bearer, and not for longer: without ``scopes`` and ``expires`` it gets theirs. If
        the bearer's token waits, so does the new one. Whoever has no token needs the recovery key: else what is good
        for an hour would make one that is good for ever. Raises Forbidden, InvalidCredentials if the account is gone,
        and InvalidInput (``body.name``, ``body.platform``, ``body.scopes``, ``body.expiresAt``, ``body.recoveryKey``).
        """
        who, own = bearer.who, await self._own(bearer)
        if own is None and recovery is None:
            raise Forbidden(NO_ISSUER)
        allowed, until = scopes_for(who, own, scopes), expiry_for(own, expires)
        giver: Secret | None = None
        if recovery is not None:
            giver = _recovery(await self._rings.of(who.user), recovery)
        elif bearer.token is not None and may_hold(who.scopes) and may_hold(allowed):
            ring = await self._rings.with_key(who.user, bearer.token)
            giver = bearer.token if await asyncio.to_thread(opened, ring, bearer.token) else None
        user = await self._accounts.user(who.user)
        if user is None:
            raise InvalidCredentials("this account has been deleted")
        try:
            made, text = await self._accounts.create_key(
                user,
                name,
                platform=platform,
                scopes=allowed,
                expires=until,
                giver=giver,
                issuer=own.id if own is not None else None,
            )
        except InvalidInput as error:
            raise InvalidInput(str(error), field=_FIELDS.get(error.field or "", error.field)) from None
        return made, text, _has_current(await self._rings.of(who.user), made)

    async def tokens(self, bearer: Bearer) -> Sequence[tuple[ApiKey, bool]]:
        """The API keys of the user that are neither revoked nor expired, oldest first, and whether each has the
        current vault key.
        """
        ring, now = await self._rings.of(bearer.who.user), self._now()
        live = [key for key in await self._accounts.keys(bearer.who.user) if key.is_live(now)]
        return [(key, _has_current(ring, key)) for key in live]

    async def revoke(self, bearer: Bearer, id: str, *, abandon: bool = False) -> None:
        """End one of the user's API keys; it has no vault key from then on. Its holder may have kept the keys it saw:
        ``rotate`` keeps new content from it. ``abandon``: also if nobody could open a vault key any more. Raises
        NotFound, Forbidden for one that may do more than the bearer, and Conflict.
        """
        key = await self._accounts.api_key(id) if askable(id) else None
        if key is None or key.user != bearer.who.user:
            raise NotFound("API key not found")
        if not may_end(bearer.who, key):
            raise Forbidden("an API key that may do more than this one can only be revoked by one that may as well")
        await self._accounts.revoke_key(id, abandon=abandon)

    async def _own(self, bearer: Bearer) -> ApiKey | None:
        """The API key that is called with, if it is one."""
        if bearer.who.key is None:
            return None
        live = await self._accounts.live_key(bearer.who.key)
        if live is None:
            raise Forbidden(ENDED)
        return live[0]


def _has_current(ring: Keyring, key: ApiKey) -> bool:
    return bool(ring.keys) and ring.keys[-1].has(key.id)


def _recovery(ring: Keyring, text: str) -> Secret:
    """The recovery key of this ring. Raises InvalidInput if it is another one, or none."""
    secret = parse(text)
    holder = ring.holders.get(secret.id) if secret is not None and secret.use == "recovery" else None
    if secret is None or holder is None or holder.use != "recovery" or not opened(ring, secret):
        raise unknown_recovery()
    return secret
