"""Logins: short-lived access tokens (JWT, HS256), and the refresh tokens that they can be renewed with."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from backchat.domain.identity import ApiKey, Identity, User
from backchat.domain.limits import SessionTimes
from backchat.domain.times import moment, stamp
from backchat.errors import InvalidCredentials
from backchat.ports.storage import Change, Delete, Purge, Put, Range, RecordStore, Require
from backchat.services.access_tokens import AccessTokens, claims_to_be_ours
from backchat.services.account_records import USER
from backchat.services.accounts import Accounts
from backchat.services.retrying import retrying
from backchat.services.session_records import SESSION, SIGNING, Session, session_doc, session_of

SECRET_BYTES = 32

_SIGNING_ID = "access"
_REFRESH = re.compile(r"([A-Za-z0-9-]{1,64})\.([A-Za-z0-9_-]{1,128})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """``refresh`` is good until ``refresh_until``; the access token for as long as the configuration says."""

    user: User
    access: str = field(repr=False)
    refresh: str = field(repr=False)
    refresh_until: datetime


class Sessions:
    """It is also the ``KeyDirectory`` that authenticators look keys and sessions up in.

    A refresh token is ``<id of the session>.<secret>`` and stays the same until its session ends, so that two windows
    of one browser can renew at the same time, unless whoever renews wants another one. A session is read on every
    request, and ends with the next one.
    """

    def __init__(
        self,
        store: RecordStore,
        accounts: Accounts,
        times: SessionTimes,
        *,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
    ) -> None:
        self._store, self._accounts, self._times = store, accounts, times
        self._clock, self._new_id = now, new_id
        self._tokens: AccessTokens | None = None

    def _now(self) -> datetime:
        return moment(stamp(self._clock()))  # as exact as it is stored

    async def log_in(self, login: str, password: str) -> Login | None:
        """None if the address or name and the password open no account. Sessions that have expired are removed."""
        user = await self._accounts.verify_password(login, password)
        if user is None:
            return None
        now, secret = self._now(), secrets.token_urlsafe(SECRET_BYTES)
        session = Session(
            id=self._new_id(),
            owner=user.id,
            name=user.name,
            role=user.role,
            digest=_digest(secret),
            created_at=now,
            expires_at=now + self._times.refresh,
        )
        begun: list[Change] = [
            Purge(SESSION.name, ranges=(Range("expires", high=stamp(now)),)),
            Require(USER.name, user.id),
            Put(SESSION.name, session.id, session_doc(session), 0),
        ]

        async def attempt() -> bool:
            if await self._accounts.user(user.id) is None:
                return False
            await self._store.apply(begun)
            return True

        return await self._login(user, session, secret, now) if await retrying(attempt) else None

    async def renew(self, refresh: str, *, rotate: bool = False) -> Login | None:
        """A new access token for a refresh token; None if that is unknown, has expired or was ended.

        ``rotate``: a new refresh token as well, with its time from now on; the given one is unknown from then on. Of
        several who give it at the same time, one gets an answer.
        """

        async def attempt() -> Login | None:
            now, found = self._now(), await self._opened(refresh)
            if found is None:
                return None
            session, secret = found
            user = await self._accounts.user(session.owner)
            if user is None or now >= session.expires_at:
                return None
            current = replace(session, name=user.name, role=user.role)
            if rotate:
                secret = secrets.token_urlsafe(SECRET_BYTES)
                current = replace(current, digest=_digest(secret), expires_at=now + self._times.refresh)
            if current != session:
                await self._store.apply([Put(SESSION.name, session.id, session_doc(current), session.version)])
            return await self._login(user, current, secret, now)

        return await retrying(attempt)

    async def log_out(self, refresh: str | None, access: str | None) -> None:
        """End the session of either token, and its access tokens with it; quiet if there is none.

        An access token that has expired ends its session too: that it was given out is enough.
        """
        ended: set[str] = set()
        if refresh is not None and (found := await self._opened(refresh)) is not None:
            ended.add(found[0].id)
        if access is not None:
            try:
                if claims_to_be_ours(access):
                    ended.add((await self._signing()).read(access).session)
            except InvalidCredentials:
                pass
        if ended:
            await self._store.apply([Delete(SESSION.name, id) for id in sorted(ended)])

    async def is_good(self, token: str) -> bool:
        """Whether an access token, or a refresh token, is one of this server and has not ended."""
        try:
            if await self.session(token) is not None:
                return True
        except InvalidCredentials:
            return False
        found = await self._opened(token)
        return found is not None and self._now() < found[0].expires_at

    async def api_key(self, id: str) -> ApiKey | None:
        return await self._accounts.api_key(id)

    async def session(self, token: str) -> Identity | None:
        """See ``backchat.ports.auth.KeyDirectory``. The words of its refusals are those that clients of JWTs know."""
        if not claims_to_be_ours(token):
            return None
        grant = (await self._signing()).read(token)
        if self._now() >= grant.expires_at:  # which is never later than the end of the session
            raise InvalidCredentials("jwt expired")
        record = await self._store.get(SESSION.name, grant.session)
        if record is None:
            raise InvalidCredentials("Unauthorized")
        session = session_of(record)
        return Identity(user=session.owner, name=session.name, role=session.role)

    async def _opened(self, refresh: str) -> tuple[Session, str] | None:
        """The session that a refresh token opens, with the token's secret, whether or not it has expired."""
        parts = _REFRESH.fullmatch(refresh)
        record = await self._store.get(SESSION.name, parts[1]) if parts else None
        if parts is None or record is None:
            return None
        session, secret = session_of(record), parts[2]
        return (session, secret) if hmac.compare_digest(session.digest, _digest(secret)) else None

    async def _login(self, user: User, session: Session, secret: str, now: datetime) -> Login:
        until = min(now + self._times.access, session.expires_at)
        access = (await self._signing()).issue(user, session.id, now, until)
        refresh = f"{session.id}.{secret}"
        return Login(user=user, access=access, refresh=refresh, refresh_until=session.expires_at)

    async def _signing(self) -> AccessTokens:
        if self._tokens is None:
            secret = await retrying(self._secret)
            self._tokens = await asyncio.to_thread(AccessTokens, secret)
        return self._tokens

    async def _secret(self) -> bytes:
        """The one secret of all processes on this store: of two that make it at once, the second one finds it made."""
        record = await self._store.get(SIGNING.name, _SIGNING_ID)
        if record is not None:
            return bytes.fromhex(record.doc["secret"])
        secret = secrets.token_bytes(SECRET_BYTES)
        doc = {"secret": secret.hex(), "created": stamp(self._now())}
        await self._store.apply([Put(SIGNING.name, _SIGNING_ID, doc, 0)])
        return secret


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
