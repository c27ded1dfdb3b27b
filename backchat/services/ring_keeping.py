"""Keyrings at work: who joins one, who is taken out, and what one holder leaves for the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from backchat.errors import Forbidden
from backchat.ports.storage import Change, Query, RecordStore
from backchat.sealing.tokens import Secret
from backchat.services.account_records import API_KEY, key_of
from backchat.services.accounts import Accounts
from backchat.services.aside import aside
from backchat.services.keyless import ENDED
from backchat.services.keyrings import (
    Keyring,
    keyring,
    lacking,
    opened,
    storing,
    with_grants,
    with_holder,
    with_new_key,
    with_wraps,
    without,
)
from backchat.services.retrying import retrying


@dataclass(frozen=True, slots=True)
class Rings:
    store: RecordStore
    accounts: Accounts
    now: Callable[[], datetime]

    async def of(self, user: str) -> Keyring:
        return await keyring(self.store, user)

    async def with_key(self, user: str, token: Secret) -> Keyring:
        """The ring, with a first key if there was none."""

        async def attempt() -> Keyring:
            ring = await self.of(user)
            if ring.keys:
                return ring
            after, proof = await self.must_join(ring, token)
            after = await self.shared(with_new_key(after, token, self.now()), token)
            return await self.stored(ring, after, proof)

        return await retrying(attempt)

    async def joined(self, ring: Keyring, token: Secret) -> tuple[Keyring, list[Change]]:
        """The ring with this token among its holders, unless it has ended; and what is to be stored with it.

        So no ring is left with a holder that nobody takes away any more.
        """
        if token.id in ring.holders:
            return ring, []
        live = await self.accounts.live_key(token.id)
        if live is None:
            return ring, []
        key, proof = live
        return with_holder(ring, token, key.expires_at), [proof]

    async def must_join(self, ring: Keyring, token: Secret) -> tuple[Keyring, list[Change]]:
        """The same; raises Forbidden if it has ended."""
        after, proof = await self.joined(ring, token)
        if token.id not in after.holders:
            raise Forbidden(ENDED)
        return after, proof

    async def shared(self, ring: Keyring, giver: Secret) -> Keyring:
        """The ring in which this holder has wraps for its grants, and all others have the keys that it has.

        Those that wait are looked up: whoever has ended gets nothing, and is taken out.
        """
        own = {kept.id for kept in ring.keys if kept.has(giver.id)}
        left = {kept.id for kept in ring.keys if giver.id in kept.grants}
        waiting = await aside(ring.size, lambda: lacking(ring, own))
        if not left and not waiting:
            return ring
        alive = await self.without_ended(ring, waiting)

        def share() -> Keyring:
            keys = opened(alive, giver)
            return with_grants(with_wraps(alive, giver, {id: keys[id] for id in left if id in keys}), keys)

        return await asyncio.to_thread(share)  # a tenth of a millisecond for each holder and key

    async def without_ended(self, ring: Keyring, holders: Collection[str]) -> Keyring:
        """The ring without those of these holders that are tokens, and revoked, expired, or gone."""
        tokens = [id for id in holders if ring.holders[id].use == "token"]
        if not tokens:
            return ring
        where = (("user", (ring.owner,)), ("id", tokens))
        found = await self.store.find(Query(kind=API_KEY.name, where=where, limit=len(tokens)))
        now = self.now()
        return without(ring, set(tokens) - {record.id for record in found if key_of(record).is_live(now)})

    async def stored(self, ring: Keyring, after: Keyring, proof: Sequence[Change] = ()) -> Keyring:
        """The ring ``after``, stored in place of ``ring`` if they differ. Raises StaleWrite."""
        if after == ring:
            return ring
        after, put = await storing(after, self.now())
        await self.store.apply([put, *proof])
        return replace(after, version=after.version + 1)
