"""Logins: what their tokens are good for, how long, and what ends them. See also contracts/test_auth.py."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import jwt
import pytest
from argon2 import PasswordHasher

from backchat.domain.identity import Identity
from backchat.domain.limits import SessionTimes
from backchat.errors import InvalidCredentials, StaleWrite
from backchat.ports.storage import Change, Delete, Put, Query, Record
from backchat.services.accounts import Accounts
from backchat.services.kinds import KINDS
from backchat.services.passwords import Passwords
from backchat.services.sessions import Login, Sessions
from backchat.testing.memory_store import MemoryStore

NOON = datetime(2026, 3, 1, 12, 0, 0, 750000, tzinfo=UTC)
TIMES = SessionTimes(access=timedelta(minutes=15), refresh=timedelta(days=7))
WORDS = "twelve words"


class Shelf(MemoryStore):
    """Gives way before it reads and writes, as a store does that works on files, and counts what it is asked.

    ``before_writing`` is what others do just before a write, one for each of the next ones.
    """

    def __init__(self) -> None:
        super().__init__(KINDS)
        self.asked: list[tuple[str, str]] = []
        self.before_writing: list[Callable[[], Awaitable[None]]] = []

    async def get(self, kind: str, id: str) -> Record | None:
        await asyncio.sleep(0)
        self.asked.append((kind, id))
        return await super().get(kind, id)

    async def apply(self, changes: Sequence[Change]) -> None:
        await asyncio.sleep(0)
        if self.before_writing:
            await self.before_writing.pop(0)()
        await super().apply(changes)

    async def all(self, kind: str) -> Sequence[Record]:
        return await self.find(Query(kind=kind))


class Hasher(PasswordHasher):
    """Quick, and counts."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.checked = 0

    def verify(self, *args: Any, **kwargs: Any) -> Any:
        self.checked += 1
        return super().verify(*args, **kwargs)


class Desk:
    """The sessions of one process."""

    def __init__(self, store: Shelf | None = None, name: str = "one", times: SessionTimes = TIMES) -> None:
        ids = count()
        self.time, self.store, self.hasher = NOON, store or Shelf(), Hasher()

        def new_id() -> str:
            return f"{name}-{next(ids)}"

        self.accounts = Accounts(self.store, now=self.now, new_id=new_id, passwords=Passwords(self.hasher))
        self.sessions = Sessions(self.store, self.accounts, times, now=self.now, new_id=new_id)

    def now(self) -> datetime:
        return self.time

    async def log_in(self, login: str = "Ann") -> Login:
        found = await self.sessions.log_in(login, WORDS)
        assert found is not None
        return found

    async def refusal(self, token: str) -> str:
        with pytest.raises(InvalidCredentials) as caught:
            await self.sessions.session(token)
        return str(caught.value)


@pytest.fixture
async def desk() -> Desk:
    made = Desk()
    await made.accounts.create_user("Ann", email="ann@example.org", password=WORDS)
    await made.accounts.create_user("Bob", password=WORDS, role="admin")
    return made


ANN = Identity(user="one-0", name="Ann")
BOB = Identity(user="one-1", name="Bob", role="admin")


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    head, body, signature = token.split(".")
    first, second = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in (head, body))
    return first, second, signature


def b64json(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


# What a login gives


@pytest.mark.parametrize("login", ["Ann", "ann", "ann@example.org", " Ann@Example.ORG "])
async def test_a_login_by_name_and_by_address(desk: Desk, login: str) -> None:
    found = await desk.log_in(login)
    assert found.user.id == ANN.user
    assert await desk.sessions.session(found.access) == ANN


async def test_a_token_says_what_clients_read_in_it(desk: Desk) -> None:
    header, claims, _ = parts((await desk.log_in()).access)
    assert header.pop("kid")
    assert header == {"alg": "HS256", "typ": "JWT"}
    assert claims.pop("sid")
    assert claims == {
        "id": ANN.user,
        "username": "Ann",
        "provider": "local",
        "email": "ann@example.org",
        "iss": "backchat",
        "iat": int(NOON.timestamp()),
        "exp": int(NOON.timestamp()) + 900,
    }
    assert parts((await desk.log_in("bob")).access)[1]["email"] is None


@pytest.mark.parametrize("login", ["Ann", "ann@example.org", "nobody", "nobody@example.org", "", "\ud800", "a\x00"])
async def test_no_login_and_no_less_work_for_nobody(desk: Desk, login: str) -> None:
    before = desk.hasher.checked
    assert await desk.sessions.log_in(login, "other words") is None
    assert desk.hasher.checked == before + 1
    assert not await desk.store.all("session")


async def test_the_store_does_not_know_the_tokens(desk: Desk) -> None:
    login = await desk.log_in()
    id, _, secret = login.refresh.partition(".")
    assert len(base64.urlsafe_b64decode(secret + "=")) == 32
    (record,) = await desk.store.all("session")
    kept = json.dumps([record.id, record.doc])
    assert secret not in kept
    assert login.access not in kept
    assert login.access.rpartition(".")[2] not in kept
    assert record.id == id
    assert hashlib.sha256(secret.encode()).hexdigest() in kept
    for secret in (login.access, login.refresh):
        assert secret not in repr(login)


async def test_every_login_is_a_session_of_its_own(desk: Desk) -> None:
    logins = await asyncio.gather(*[desk.log_in() for _ in range(5)])
    assert len({login.refresh for login in logins}) == len({login.access for login in logins}) == 5
    await desk.sessions.log_out(logins[0].refresh, None)
    assert await desk.refusal(logins[0].access) == "Unauthorized"
    assert [await desk.sessions.session(login.access) for login in logins[1:]] == [ANN] * 4


async def test_a_new_password_ends_every_login(desk: Desk) -> None:
    old = await desk.log_in()
    await desk.accounts.set_password(ANN.user, "battery staple")
    assert await desk.refusal(old.access) == "Unauthorized"
    assert await desk.sessions.log_in("Ann", WORDS) is None
    new = await desk.sessions.log_in("Ann", "battery staple")
    assert new is not None
    assert await desk.sessions.session(new.access) == ANN


# What a token is good for


async def test_a_token_that_was_tampered_with(desk: Desk) -> None:
    """Whatever is wrong with a forged token, and even if it has expired, it is told no more than this."""
    login, other = await desk.log_in(), await desk.log_in("Bob")
    head, body, signature = login.access.split(".")
    header, claims, _ = parts(login.access)
    (record,) = await desk.store.all("signing_key")
    secret = bytes.fromhex(record.doc["secret"])

    def signed(claims: dict[str, Any], key: bytes | str, algorithm: str = "HS256") -> str:
        return jwt.encode(claims, key, algorithm, {"kid": header["kid"]})

    assert await desk.sessions.session(signed(claims, secret)) == ANN  # it is the key that makes the difference
    forged = [
        f"{head}.{b64json({**claims, 'id': BOB.user})}.{signature}",
        f"{head}.{b64json({**claims, 'exp': claims['exp'] + 1})}.{signature}",
        f"{head}.{b64json({**claims, 'exp': 0})}.{signature}",
        f"{head}.{b64json({**claims, 'sid': other.refresh.partition('.')[0]})}.{signature}",
        f"{head}.{body}.{parts(other.access)[2]}",
        f"{head}.{body}.{signature[::-1]}",
        f"{b64json({**header, 'alg': 'none'})}.{body}.{signature}",
        f"{b64json({**header, 'alg': 'none'})}.{body}.e30",
        f"{b64json({**header, 'alg': 'HS512'})}.{body}.{signature}",
        f"{b64json({**header, 'alg': ['HS256']})}.{body}.{signature}",
        f"{b64json({**header, 'more': 1})}.{body}.{signature}",
        signed(claims, secret[::-1]),
        signed(claims, record.doc["secret"]),
        signed(claims, b"\x00" * 32),
        signed({**claims, "exp": 0}, b"\x00" * 32),
        signed(claims, secret * 2, "HS512"),
    ]
    for token in forged:
        assert await desk.refusal(token) == "invalid signature"
    for name in ("sid", "exp"):
        assert await desk.refusal(signed({k: v for k, v in claims.items() if k != name}, secret))
    for token in (f"{head}.e.{signature}", f"{head}.{body}.{signature}=", f"{head}.{body}.", f"{head}.W10.{signature}"):
        assert await desk.refusal(token) == "jwt malformed"
    assert await desk.sessions.session(f"{head}.{body * 99}.{signature}") is None  # none of ours is so long
    assert await desk.sessions.session(login.access) == ANN


async def test_no_clock_counts_but_the_servers(desk: Desk) -> None:
    for year in (2000, 2100):
        desk.time = NOON.replace(year=year)
        assert await desk.sessions.session((await desk.log_in()).access) == ANN


async def test_a_token_ends_in_its_second(desk: Desk) -> None:
    login = await desk.log_in()
    desk.time = NOON.replace(microsecond=0) + TIMES.access - timedelta(milliseconds=1)
    assert await desk.sessions.session(login.access) == ANN
    desk.time += timedelta(milliseconds=1)
    assert await desk.refusal(login.access) == "jwt expired"


async def test_a_request_costs_one_look_at_the_session(desk: Desk) -> None:
    login = await desk.log_in()
    await desk.sessions.session(login.access)
    desk.store.asked.clear()
    await desk.sessions.session(login.access)
    assert desk.store.asked == [("session", login.refresh.partition(".")[0])]
    desk.store.asked.clear()
    with pytest.raises(InvalidCredentials):
        await desk.sessions.session(login.access[:-9] + "AAAAAAAAA")
    assert await desk.sessions.session("a.b.c") is None
    assert desk.store.asked == []


# Renewal


async def test_a_login_lasts_as_long_as_was_said_at_its_start(desk: Desk) -> None:
    login = await desk.log_in()
    assert login.refresh_until == NOON + TIMES.refresh
    desk.time = NOON + TIMES.refresh - timedelta(seconds=60)
    renewed = await desk.sessions.renew(login.refresh)
    assert renewed is not None
    assert (renewed.refresh, renewed.refresh_until) == (login.refresh, login.refresh_until)
    assert await desk.refusal(login.access) == "jwt expired"
    assert await desk.sessions.session(renewed.access) == ANN
    assert parts(renewed.access)[1]["exp"] == int(login.refresh_until.timestamp())
    desk.time = login.refresh_until
    assert await desk.sessions.renew(login.refresh) is None
    assert await desk.refusal(renewed.access) == "jwt expired"


async def test_two_windows_renew_at_once(desk: Desk) -> None:
    login = await desk.log_in()
    renewed = await asyncio.gather(*[desk.sessions.renew(login.refresh) for _ in range(5)])
    assert [await desk.sessions.session(r.access) for r in renewed if r] == [ANN] * 5
    assert [r.version for r in await desk.store.all("session")] == [1]  # nothing had to be written


async def test_what_renews_nothing(desk: Desk) -> None:
    login, other = await desk.log_in(), await desk.log_in("Bob")
    id, _, secret = login.refresh.partition(".")
    (digest, *_) = [r.doc["digest"] for r in await desk.store.all("session") if r.id == id]
    hostile = ["", ".", id, f"{id}.", f".{secret}", f"{id}.{secret}\n", f"{id}.\ud800", "\ud800.a", "a" * 99_999]
    swapped = [f"{id}.{other.refresh.partition('.')[2]}", f"{id}.{digest}", f"{id}.{secret[:-1]}", f"{id}.{secret}A"]
    for refresh in (*hostile, *swapped, f"x{id}.{secret}", login.access):
        assert await desk.sessions.renew(refresh) is None
        await desk.sessions.log_out(refresh, None)
    assert await desk.sessions.session(login.access) == ANN


async def test_a_renewal_brings_what_has_changed_in_the_account(desk: Desk) -> None:
    login = await desk.log_in()
    record = await desk.store.get("user", ANN.user)
    assert record is not None
    await desk.store.apply([Put("user", ANN.user, {**record.doc, "name": "Anne", "role": "admin"})])
    assert await desk.sessions.session(login.access) == ANN
    renewed = await desk.sessions.renew(login.refresh)
    assert renewed is not None
    assert parts(renewed.access)[1]["username"] == "Anne"
    anne = Identity(user=ANN.user, name="Anne", role="admin")
    assert await desk.sessions.session(renewed.access) == anne
    await desk.store.apply([Put("user", ANN.user, record.doc)])
    await asyncio.gather(*[desk.sessions.renew(login.refresh) for _ in range(3)])
    assert await desk.sessions.session(renewed.access) == ANN


# Ends


async def test_a_logout_by_either_token(desk: Desk) -> None:
    for way in ("refresh", "access", "expired", "both"):
        login, other = await desk.log_in(), await desk.log_in()
        began = desk.time
        if way == "expired":
            desk.time += TIMES.access
        refresh = login.refresh if way in ("refresh", "both") else None
        await desk.sessions.log_out(refresh, None if way == "refresh" else login.access)
        desk.time = began
        assert await desk.refusal(login.access) == "Unauthorized"
        assert await desk.sessions.renew(login.refresh) is None
        assert await desk.sessions.session(other.access) == ANN
        await desk.sessions.log_out(login.refresh, login.access)  # again


async def test_a_logout_ends_the_sessions_of_both_tokens(desk: Desk) -> None:
    first, second = await desk.log_in(), await desk.log_in("Bob")
    await desk.sessions.log_out(first.refresh, second.access)
    assert [await desk.refusal(login.access) for login in (first, second)] == ["Unauthorized"] * 2


async def test_nobody_ends_the_session_of_another(desk: Desk) -> None:
    login = await desk.log_in()
    header, claims, signature = parts(login.access)
    forged = jwt.encode(claims, b"\x00" * 32, "HS256", {"kid": header["kid"]})
    for access in (forged, f"{b64json({**header, 'alg': 'none'})}.{b64json(claims)}.", "a.b.c", "", signature):
        await desk.sessions.log_out(None, access)
    await desk.sessions.log_out(None, None)
    assert await desk.sessions.session(login.access) == ANN


async def test_a_deleted_account_is_out_at_once(desk: Desk) -> None:
    login, other = await desk.log_in(), await desk.log_in("Bob")
    await desk.accounts.forget(ANN.user)
    assert await desk.refusal(login.access) == "Unauthorized"
    assert await desk.sessions.renew(login.refresh) is None
    assert await desk.sessions.log_in("Ann", WORDS) is None
    assert await desk.sessions.session(other.access) == BOB
    assert [r.doc["owner"] for r in await desk.store.all("session")] == [BOB.user]


async def test_a_deletion_waits_for_nothing_before_it_ends_sessions(desk: Desk) -> None:
    """It may have to wait for replies that are being made; nobody comes in meanwhile."""
    login, first = await desk.log_in(), asyncio.Event()

    async def nothing() -> None: ...

    async def wait() -> None:
        first.set()
        await asyncio.Event().wait()

    desk.store.before_writing += [nothing, wait]
    deletion = asyncio.create_task(desk.accounts.forget(ANN.user))
    try:
        await first.wait()
        assert await desk.refusal(login.access) == "Unauthorized"
    finally:
        deletion.cancel()
        await asyncio.wait([deletion])


async def test_an_account_that_is_deleted_during_a_login(desk: Desk) -> None:
    """Its session would be nobody's: it is not begun."""

    async def delete() -> None:
        await desk.store.apply([Delete("user", ANN.user)])

    desk.store.before_writing.append(delete)
    assert await desk.sessions.log_in("Ann", WORDS) is None
    assert not await desk.store.all("session")


async def test_nothing_is_renewed_for_nobody(desk: Desk) -> None:
    login = await desk.log_in()
    await desk.store.apply([Delete("user", ANN.user)])
    assert await desk.sessions.renew(login.refresh) is None


async def test_a_session_that_ends_during_its_renewal(desk: Desk) -> None:
    login = await desk.log_in()
    id = login.refresh.partition(".")[0]
    record = await desk.store.get("user", ANN.user)
    assert record is not None
    await desk.store.apply([Put("user", ANN.user, {**record.doc, "role": "admin"})])

    async def end() -> None:
        await desk.store.apply([Delete("session", id)])

    desk.store.before_writing.append(end)
    assert await desk.sessions.renew(login.refresh) is None
    assert not await desk.store.all("session")


async def test_sessions_that_have_expired_are_removed_by_a_login(desk: Desk) -> None:
    first = await desk.log_in()
    desk.time += timedelta(days=1)
    second = await desk.log_in("Bob")
    desk.time = NOON + TIMES.refresh + timedelta(milliseconds=1)
    third = await desk.log_in()
    left = {r.id for r in await desk.store.all("session")}
    assert left == {login.refresh.partition(".")[0] for login in (second, third)}
    assert first.refresh.partition(".")[0] not in left
    assert await desk.sessions.renew(second.refresh)


async def test_a_store_that_was_written_to_by_others_is_asked_again(desk: Desk) -> None:
    async def stale() -> None:
        raise StaleWrite("somebody wrote first")

    desk.store.before_writing += [stale] * 4
    login = await desk.log_in()
    assert await desk.sessions.session(login.access) == ANN


# Processes


async def test_processes_that_start_at_once_agree_on_the_key() -> None:
    store = Shelf()
    desks = [Desk(store, name) for name in ("one", "two", "three")]
    await desks[0].accounts.create_user("Ann", password=WORDS)
    logins = await asyncio.gather(*[desk.log_in() for desk in desks])
    assert len(await store.all("signing_key")) == 1
    late = Desk(store, "late")
    for desk in (*desks, late):
        assert [await desk.sessions.session(login.access) for login in logins] == [ANN] * 3
    await late.sessions.log_out(logins[0].refresh, None)
    assert await desks[0].refusal(logins[0].access) == "Unauthorized"


async def test_another_server_has_another_key(desk: Desk) -> None:
    other = Desk()
    await other.accounts.create_user("Ann", email="ann@example.org", password=WORDS)
    assert await desk.refusal((await other.log_in()).access) == "invalid signature"
