"""Keyrings: of each user the vault keys, each for everybody who may open it, in one record.

    holders  id -> use (token or recovery), public key, and until when it is one
    keys     newest last: id, when it was made, and for each holder that has it a wrap (under its secret) or a grant
             (for its public key, left by another holder; its own next request makes a wrap of it)

A holder that has neither waits. That the ring is one record makes a rotation, an issue and a revocation at the same
time follow one another: whoever comes second finds the record changed, and begins again. A copy of it opens nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any, Literal

from backchat.domain.times import moment, stamp
from backchat.domain.vault import KnownKey
from backchat.errors import BackchatError, Conflict, Forbidden, InvalidInput
from backchat.ports.storage import Change, Put, Record, RecordStore
from backchat.sealing.binary import from_text, to_text
from backchat.sealing.failures import CannotOpen
from backchat.sealing.keys import VaultKey, Wrap, accept, grant, new_key, public_key, unwrap, wrap
from backchat.sealing.tokens import Secret, Use
from backchat.services.aside import aside
from backchat.services.vault_records import KEYRING

SCOPES = ("push", "pull", "vault")
"""The scopes of keys that may open the vault. A key without scopes may as well."""

Reach = Literal["tokens", "recovery", "nobody"]
"""Who can open a vault key: a token that has not expired; failing that, a recovery key."""

PLACE = 150
"""Bytes of a holder, a wrap or a grant in a record, roughly."""
_LAST = (
    "nobody else has the vault key, or one of them, that this API key has: use the vault once with this one, and your"
    " others get it, or make a recovery key; revoked with abandon (--abandon), what is under that key stays closed for"
    " good"
)


@dataclass(frozen=True, slots=True)
class Holder:
    use: Use
    public: bytes = field(repr=False)
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class RingKey:
    """A vault key as it is kept: who has it, and how."""

    id: str
    created_at: datetime
    wraps: Mapping[str, Wrap] = field(default_factory=dict)
    grants: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    def has(self, holder: str) -> bool:
        return holder in self.wraps or holder in self.grants

    def opened(self, holder: Secret) -> VaultKey | None:
        """The key, if this holder has it. Raises CannotOpen for a wrap or a grant that is damaged."""
        if holder.id in self.wraps:
            return unwrap(self.wraps[holder.id], holder)
        granted = self.grants.get(holder.id)
        return None if granted is None else accept(granted, self.id, holder)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyring:
    """``version`` is that of the record, 0 of a ring that is not stored yet."""

    owner: str
    holders: Mapping[str, Holder] = field(default_factory=dict)
    keys: Sequence[RingKey] = ()
    version: int = 0

    def key(self, id: str) -> RingKey | None:
        return next((key for key in self.keys if key.id == id), None)

    @property
    def size(self) -> int:
        """In bytes, roughly: what all work on it takes its time by."""
        return PLACE * (len(self.holders) + sum([len(key.wraps) + len(key.grants) for key in self.keys]))


def keyring_put(ring: Keyring) -> Put:
    """Store a ring as the successor of the version that it carries."""
    doc: dict[str, Any] = {
        "owner": ring.owner,
        "holders": {
            id: {"use": h.use, "public": to_text(h.public), "until": None if h.until is None else stamp(h.until)}
            for id, h in ring.holders.items()
        },
        "keys": [
            {
                "id": key.id,
                "created": stamp(key.created_at),
                "wraps": {id: {"key": to_text(w.wrapped), "iv": to_text(w.iv)} for id, w in key.wraps.items()},
                "grants": {id: to_text(granted) for id, granted in key.grants.items()},
            }
            for key in ring.keys
        ],
    }
    return Put(KEYRING.name, ring.owner, doc, ring.version)


def keyring_of(record: Record) -> Keyring:
    d = record.doc
    return Keyring(
        owner=d["owner"],
        holders={
            id: Holder(h["use"], from_text(h["public"]), None if h["until"] is None else moment(h["until"]))
            for id, h in d["holders"].items()
        },
        keys=[
            RingKey(
                key["id"],
                moment(key["created"]),
                {id: Wrap(key["id"], from_text(w["key"]), from_text(w["iv"])) for id, w in key["wraps"].items()},
                {id: from_text(granted) for id, granted in key["grants"].items()},
            )
            for key in d["keys"]
        ],
        version=record.version,
    )


def may_hold(scopes: Collection[str]) -> bool:
    """Whether a key with these scopes is a holder."""
    return not scopes or any(scope in SCOPES for scope in scopes)


async def keyring(store: RecordStore, user: str) -> Keyring:
    """The user's ring, an empty one if there is none yet."""
    record = await store.get(KEYRING.name, user)
    if record is None:
        return Keyring(owner=user)
    places = [len(record.doc["holders"]), *[len(key["wraps"]) + len(key["grants"]) for key in record.doc["keys"]]]
    return await aside(PLACE * sum(places), partial(keyring_of, record))


async def storing(ring: Keyring, now: datetime) -> tuple[Keyring, Put]:
    """The ring as it is to be stored, without those that have expired; and what stores it."""

    def stored() -> tuple[Keyring, Put]:
        expired = [id for id, h in ring.holders.items() if h.until is not None and h.until <= now]
        left = without(ring, expired) if expired else ring
        return left, keyring_put(left)

    return await aside(ring.size, stored)


async def joining(
    store: RecordStore, user: str, token: Secret, until: datetime | None, now: datetime, giver: Secret | None = None
) -> list[Change]:
    """What makes a token that is being issued a holder, for the batch that stores it.

    The first holder of a user brings the first vault key. A later one gets all the keys of ``giver``, an older token or
    the recovery key of the user; without one it waits. Raises Forbidden if ``giver`` has none, or none that opens, and
    InvalidInput (``body.recoveryKey``) if it is a recovery key.
    """
    ring = with_holder(await keyring(store, user), token, until)

    def joined() -> Keyring:
        if giver is not None:
            keys = opened(ring, giver)
            if not keys:
                raise _gives_nothing(giver)
            return with_wraps(ring, token, keys)
        return ring if ring.keys else with_new_key(ring, token, now)

    _, put = await storing(await aside(ring.size, joined), now)
    return [put]


def _gives_nothing(giver: Secret) -> BackchatError:
    return unknown_recovery() if giver.use == "recovery" else Forbidden("this API key has no vault key to give")


def unknown_recovery() -> InvalidInput:
    """The same for one that is wrong, of another user, or replaced."""
    return InvalidInput("this is not the recovery key of this vault", field="body.recoveryKey")


async def leaving(store: RecordStore, user: str, holder: str, now: datetime, *, abandon: bool) -> list[Change]:
    """What takes all keys from a holder, for the batch that revokes it. Nothing if it holds none.

    Raises Conflict if nobody could open one of them any more, unless to ``abandon`` them is what is wanted.
    """
    ring = await keyring(store, user)
    if holder not in ring.holders:
        return []
    after = without(ring, [holder])
    if not abandon and loses(ring, after, now):
        raise Conflict(_LAST)
    _, put = await storing(after, now)
    return [put]


def opened(ring: Keyring, holder: Secret) -> dict[str, VaultKey]:
    """The keys that this holder has, by id, oldest first. A damaged one is left out: whoever needs it is told then."""
    found: dict[str, VaultKey] = {}
    for kept in ring.keys:
        try:
            key = kept.opened(holder)
        except CannotOpen:
            continue
        if key is not None:
            found[key.id] = key
    return found


def known(ring: Keyring, holder: str) -> list[KnownKey]:
    """The keys that this holder has, oldest first."""
    return [KnownKey(key.id, key.created_at, key is ring.keys[-1]) for key in ring.keys if key.has(holder)]


def lacking(ring: Keyring, keys: Collection[str]) -> set[str]:
    """The holders that have not all of these keys."""
    return {id for key in ring.keys if key.id in keys for id in ring.holders if not key.has(id)}


def reach(ring: Keyring, now: datetime) -> dict[str, Reach]:
    """Who can open each key, or let others have it, oldest key first."""
    tokens = {id for id, h in ring.holders.items() if h.use == "token" and (h.until is None or now < h.until)}
    recovery = {id for id, h in ring.holders.items() if h.use == "recovery"}

    def of(key: RingKey) -> Reach:
        if any(key.has(id) for id in tokens):
            return "tokens"
        return "recovery" if any(key.has(id) for id in recovery) else "nobody"

    return {key.id: of(key) for key in ring.keys}


def loses(ring: Keyring, after: Keyring, now: datetime) -> bool:
    """Whether there is a key that somebody can open, and nobody could when the ring is as it is ``after``."""
    before = reach(ring, now)
    return any(who == "nobody" and before[id] != "nobody" for id, who in reach(after, now).items())


def with_holder(ring: Keyring, holder: Secret, until: datetime | None) -> Keyring:
    """The ring with one more holder, which waits."""
    return replace(ring, holders={**ring.holders, holder.id: Holder(holder.use, public_key(holder), until)})


def without(ring: Keyring, gone: Collection[str]) -> Keyring:
    """The ring without these holders, and without what they had."""
    return replace(
        ring,
        holders={id: h for id, h in ring.holders.items() if id not in gone},
        keys=[
            replace(
                key,
                wraps={id: w for id, w in key.wraps.items() if id not in gone},
                grants={id: granted for id, granted in key.grants.items() if id not in gone},
            )
            for key in ring.keys
        ],
    )


def with_new_key(ring: Keyring, maker: Secret, now: datetime) -> Keyring:
    """The ring with a new current key that this holder has, and nobody else yet."""
    key = new_key()
    return replace(ring, keys=[*ring.keys, RingKey(key.id, now, {maker.id: wrap(key, maker)})])


def with_wraps(ring: Keyring, holder: Secret, keys: Mapping[str, VaultKey]) -> Keyring:
    """The ring in which this holder has these keys under its own secret, whatever it had of them before."""

    def wrapped(kept: RingKey) -> RingKey:
        if kept.id not in keys:
            return kept
        grants = {id: granted for id, granted in kept.grants.items() if id != holder.id}
        return replace(kept, wraps={**kept.wraps, holder.id: wrap(keys[kept.id], holder)}, grants=grants)

    return replace(ring, keys=[wrapped(kept) for kept in ring.keys])


def with_grants(ring: Keyring, keys: Mapping[str, VaultKey]) -> Keyring:
    """The ring in which every holder has these keys: a grant for those who have neither that nor a wrap."""

    def granted(kept: RingKey) -> RingKey:
        waiting = [(id, h.public) for id, h in ring.holders.items() if kept.id in keys and not kept.has(id)]
        return replace(kept, grants={**kept.grants, **{id: grant(keys[kept.id], id, public) for id, public in waiting}})

    return replace(ring, keys=[granted(kept) for kept in ring.keys])
