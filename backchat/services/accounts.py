"""Users and API keys: who exists, what they chose for themselves, and which keys speak for them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal

from backchat.domain.identity import ApiKey, Identity, User
from backchat.domain.times import moment, stamp
from backchat.errors import Conflict, Forbidden, InvalidInput, NotFound, StaleWrite
from backchat.ports.storage import Change, Purge, Put, Query, Record, RecordStore, Require
from backchat.sealing.tokens import Secret, new_secret
from backchat.services.account_records import folded, key_doc, key_of, unclaimed_doc, user_doc, user_of
from backchat.services.belongings import forget
from backchat.services.issuing import label, made_key
from backchat.services.keyless import ENDED
from backchat.services.keyrings import Reach, joining, keyring, leaving, may_hold, reach
from backchat.services.paging import all_found
from backchat.services.passwords import Passwords
from backchat.services.retrying import retrying
from backchat.services.session_records import SESSION
from backchat.services.storable import askable
from backchat.services.vault_records import ENTRY

EMAIL_MAX = 254
PAGE = 200

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_SETTING = re.compile(r"[a-z][a-z_]*")

Role = Literal["admin", "user"]


class Accounts:
    """The accounts of one server.

    User names and e-mail addresses are unique without regard to case. A caller whose token names a user that nobody
    created (a JWT's subject) needs no account; one appears with the first setting, and claims no user name.
    """

    def __init__(
        self,
        store: RecordStore,
        *,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
        passwords: Passwords | None = None,
    ) -> None:
        self._store, self._clock, self._new_id = store, now, new_id
        self._passwords = passwords or Passwords()

    def _now(self) -> datetime:
        return moment(stamp(self._clock()))  # as exact as it is stored

    async def create_user(
        self, name: str, *, email: str | None = None, password: str | None = None, role: Role = "user"
    ) -> User:
        """Create an account. Without a password it is reached by API keys and tokens only.

        A name is 1-100 printable characters without ``@``; a password 8 characters to 1024 bytes. Raises InvalidInput,
        and Conflict when the name or the address is taken.
        """
        name = label(name, "name")
        if "@" in name:
            raise InvalidInput("a user name holds no @", field="name")
        if email is not None:
            email = email.strip()
            if len(email) > EMAIL_MAX or not email.isprintable() or not _EMAIL.fullmatch(email):
                raise InvalidInput("this is not an e-mail address", field="email")
        hashed = None if password is None else await self._passwords.hash(password)
        user = User(
            id=self._new_id(),
            name=name,
            email=email,
            password_hash=hashed,
            role=role,
            settings={},
            created_at=self._now(),
        )
        try:
            await self._store.apply([Put("user", user.id, user_doc(user), 0)])
        except StaleWrite:
            if await self.user_by_name(name) is not None:
                raise Conflict("this user name is taken", field="name") from None
            if email is not None and await self._found("email_folded", email) is not None:
                raise Conflict("this e-mail address is taken", field="email") from None
            raise
        return replace(user, version=1)

    async def user(self, id: str) -> User | None:
        record = await self._store.get("user", id)
        return user_of(record) if record else None

    async def user_by_name(self, name: str) -> User | None:
        record = await self._found("name_folded", name)
        return user_of(record) if record else None

    async def user_by_email(self, email: str) -> User | None:
        record = await self._found("email_folded", email)
        return user_of(record) if record else None

    async def users_of(self, ids: Sequence[str]) -> Mapping[str, User]:
        """Users by their ids. Whoever needed no account so far has their id for a name, and no address."""
        found: dict[str, User] = {}
        for first in range(0, len(ids), PAGE):
            part = tuple(ids[first : first + PAGE])
            there = await self._store.find(Query(kind="user", where=(("id", part),), limit=PAGE))
            found |= {record.id: user_of(record) for record in there}
        return {id: found.get(id) or self._nameless(id) for id in ids}

    def _nameless(self, id: str) -> User:
        return user_of(Record("user", id, unclaimed_doc(Identity(user=id), self._now()), 0))

    async def set_password(self, user: str, password: str) -> None:
        """Give the account of that id a password, and end its logins. Raises NotFound, and InvalidInput."""
        hashed = await self._passwords.hash(password)

        async def attempt() -> None:
            record = await self._store.get("user", user)
            if record is None:
                raise NotFound("user not found")
            changed = Put("user", user, {**record.doc, "password_hash": hashed}, record.version)
            await self._store.apply([changed, Purge(SESSION.name, (("owner", (user,)),))])

        await retrying(attempt)

    async def ensure_user(self, name: str) -> User:
        """The user of that name; created, without a password, if there is none. Raises InvalidInput for a bad name."""
        found = await self.user_by_name(name)
        if found is not None:
            return found
        try:
            return await self.create_user(name)
        except Conflict:
            found = await self.user_by_name(name)
            if found is None:
                raise
            return found

    async def users(self) -> Sequence[User]:
        """All accounts, oldest first."""
        return [user_of(r) for r in await all_found(self._store, Query(kind="user", order=("created",), limit=PAGE))]

    async def forget(self, user: str) -> None:
        """Delete the user of that id with everything that is theirs; nothing of it is left in the store's files."""
        await forget(self._store, user)

    async def settings_of(self, who: Identity) -> Mapping[str, str]:
        """The caller's own defaults; empty when nothing was set."""
        record = await self._store.get("user", who.user)
        return dict(record.doc["settings"]) if record else {}

    async def set_setting(self, who: Identity, key: str, value: str | None) -> None:
        """Set one of the caller's defaults (``provider``, ``mood``); None removes it."""
        if not _SETTING.fullmatch(key):
            raise InvalidInput("unknown setting", field=key)

        async def attempt() -> None:
            record = await self._store.get("user", who.user)
            if record is None:
                if value is None:
                    return
                doc: Mapping[str, Any] = unclaimed_doc(who, self._now())
            else:
                doc = record.doc
            settings = {k: v for k, v in doc["settings"].items() if k != key}
            if value is not None:
                settings[key] = value
            if settings != doc["settings"]:
                changed = {**doc, "settings": settings}
                await self._store.apply([Put("user", who.user, changed, record.version if record else 0)])

        await retrying(attempt)

    async def verify_password(self, login: str, password: str) -> User | None:
        """The account that an e-mail address or a user name and its password open; None if they do not.

        Takes as long for a login that nobody has. A hash made with older parameters is renewed.
        """
        record = await self._found("email_folded" if "@" in login else "name_folded", login)
        stored = record.doc["password_hash"] if record else None
        if not await self._passwords.matches(stored, password) or record is None:
            return None
        if self._passwords.outdated(record.doc["password_hash"]):
            renewed = {**record.doc, "password_hash": await self._passwords.hash(password)}
            try:
                await self._store.apply([Put("user", record.id, renewed, record.version)])
            except StaleWrite:  # somebody changed the account meanwhile; the next login renews the hash
                return await self.user(record.id)
            record = replace(record, doc=renewed, version=record.version + 1)
        return user_of(record)

    async def is_known(self, login: str) -> bool:
        """Whether an e-mail address or a user name is somebody's."""
        return await self._found("email_folded" if "@" in login else "name_folded", login) is not None

    async def create_key(
        self,
        user: User,
        name: str,
        *,
        platform: str | None = None,
        scopes: Sequence[str] = (),
        expires: datetime | None = None,
        giver: Secret | None = None,
        issuer: str | None = None,
    ) -> tuple[ApiKey, str]:
        """Create a key; the second value, ``bsk_<id>_<secret>``, exists nowhere else and cannot be had again.

        ``scopes`` limits the key (see ``Identity``); ``expires`` is an aware time in the future; ``giver`` is a token
        or the recovery key of the user, whose vault keys it gets (see ``keyrings.joining``); ``issuer`` is the id of
        the key that it is issued with. Raises InvalidInput, Forbidden if ``giver`` has nothing to give or ``issuer``
        has ended, and NotFound if there is no such account, any more.
        """

        async def attempt() -> tuple[ApiKey, str]:
            now, token = self._now(), new_secret("token", self._new_id().replace("-", ""))
            key = made_key(user, name, token, now, platform=platform, scopes=scopes, expires=expires)
            changes = [*await self._standing(user, issuer), Put("api_key", key.id, key_doc(key), 0)]
            if may_hold(key.scopes):
                changes += await joining(self._store, user.id, token, key.expires_at, now, giver)
            await self._store.apply(changes)
            return replace(key, version=1), token.text

        return await retrying(attempt)

    async def _standing(self, user: User, issuer: str | None) -> list[Change]:
        """What a new key hangs on: of a deletion of its user, or a revocation of its issuer, at the same time it would
        be left.
        """
        live = await self.live_key(issuer) if issuer is not None else None
        if issuer is not None and live is None:
            raise Forbidden(ENDED)
        if await self.user(user.id) is None:
            raise NotFound("user not found")
        return [Require("user", user.id), *([live[1]] if live is not None else [])]

    async def live_key(self, id: str) -> tuple[ApiKey, Change] | None:
        """A key that has not ended; and, for a batch that hangs on that, its record, to be stored again as it is: of
        that batch, and one that revokes or deletes the key at the same time, one is stale.
        """
        key = await self.api_key(id)
        if key is None or not key.is_live(self._now()):
            return None
        return key, Put("api_key", key.id, key_doc(key), key.version)

    async def api_key(self, id: str) -> ApiKey | None:
        record = await self._store.get("api_key", id)
        return key_of(record) if record else None

    async def keys(self, user: str | None = None) -> Sequence[ApiKey]:
        """The keys of one user, by id, or all; oldest first, revoked and expired ones included."""
        where = (("user", (user,)),) if user is not None else ()
        found = await all_found(self._store, Query(kind="api_key", where=where, order=("created",), limit=PAGE))
        return [key_of(r) for r in found]

    async def revoke_key(self, id: str, *, abandon: bool = True) -> ApiKey:
        """End a key for good, from the next request on; no vault key is left to it.

        Quiet when it is revoked already; NotFound if there is none. Without ``abandon``, Conflict if there is a vault
        key that nobody could open any more.
        """

        async def attempt() -> ApiKey:
            key = await self.api_key(id)
            if key is None:
                raise NotFound("API key not found")
            if key.revoked_at is not None:
                return key
            now = self._now()
            revoked = replace(key, revoked_at=now)
            left = await leaving(self._store, key.user, id, now, abandon=abandon)
            await self._store.apply([Put("api_key", id, key_doc(revoked), key.version), *left])
            return replace(revoked, version=key.version + 1)

        return await retrying(attempt)

    async def vault_reach(self, user: str) -> Mapping[str, Reach]:
        """Who can open each vault key of a user, by the keys' ids."""
        return reach(await keyring(self._store, user), self._now())

    async def has_vault(self, user: str) -> bool:
        """Whether there is anything in the vault of a user."""
        return bool(await self._store.find(Query(kind=ENTRY.name, where=(("owner", (user,)),), limit=1)))

    async def is_empty(self) -> bool:
        """Whether there is neither a user nor a key."""
        found = [await self._store.find(Query(kind=kind, limit=1)) for kind in ("user", "api_key")]
        return not any(found)

    async def _found(self, field: str, value: str) -> Record | None:
        wanted = folded(value)
        if not askable(wanted):
            return None
        found = await self._store.find(Query(kind="user", where=((field, (wanted,)),), limit=1))
        return found[0] if found else None
