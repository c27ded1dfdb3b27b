"""Users, their settings, passwords and keys."""

from __future__ import annotations

import asyncio
import hashlib
import re
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import count

import pytest
from argon2 import PasswordHasher

from backchat.domain.identity import Identity
from backchat.errors import Conflict, InvalidInput, NotFound, StaleWrite
from backchat.ports.storage import Change, Put, Query
from backchat.services.account_records import API_KEY, USER, key_doc
from backchat.services.accounts import PAGE, Accounts
from backchat.services.passwords import AT_ONCE, Passwords
from backchat.services.vault_records import KEYRING
from backchat.testing.memory_store import MemoryStore

NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
KINDS = [USER, API_KEY, KEYRING]
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(KINDS)


def over(store: MemoryStore, hasher: PasswordHasher = QUICK, start: int = 0) -> Accounts:
    ids, seconds = count(start), count()
    return Accounts(
        store,
        now=lambda: NOON + timedelta(seconds=next(seconds)),
        new_id=lambda: f"00000000-{next(ids):04}",
        passwords=Passwords(hasher),
    )


@pytest.fixture
def accounts(store: MemoryStore) -> Accounts:
    return over(store)


# Users


async def test_a_user_is_read_as_it_was_created(accounts: Accounts) -> None:
    made = await accounts.create_user(" Ann B. ", email="Ann@Example.org", password="twelve words", role="admin")
    assert (made.name, made.email, made.role, made.settings) == ("Ann B.", "Ann@Example.org", "admin", {})
    assert made.created_at == NOON.replace(microsecond=123000)
    assert await accounts.user(made.id) == made
    assert await accounts.user_by_name("ann b.") == made
    assert await accounts.users() == [made]


@pytest.mark.parametrize("name", ["ann", "ANN", " Ann ", "Ａｎｎ"])
async def test_a_user_name_is_taken_without_regard_to_case(accounts: Accounts, name: str) -> None:
    await accounts.create_user("Ann", email="ann@example.org")
    with pytest.raises(Conflict) as caught:
        await accounts.create_user(name, email="other@example.org")
    assert caught.value.field == "name"
    assert len(await accounts.users()) == 1


async def test_an_address_is_taken_without_regard_to_case(accounts: Accounts) -> None:
    await accounts.create_user("Ann", email="ann@example.org")
    with pytest.raises(Conflict) as caught:
        await accounts.create_user("Bob", email="ANN@Example.ORG")
    assert caught.value.field == "email"
    assert await accounts.user_by_name("Bob") is None


async def test_two_users_without_address_are_no_conflict(accounts: Accounts) -> None:
    await accounts.create_user("Ann")
    await accounts.create_user("Bob")
    assert [u.name for u in await accounts.users()] == ["Ann", "Bob"]


async def test_an_id_that_is_taken_is_no_conflict_of_names(store: MemoryStore) -> None:
    await over(store).create_user("Ann")
    with pytest.raises(StaleWrite):
        await over(store).create_user("Bob")


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "a\nb", "a\x00b", "a\ud800", "ann@example.org", "a\u202eb"])
async def test_what_is_no_user_name(accounts: Accounts, name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        await accounts.create_user(name)
    assert caught.value.field == "name"
    assert await accounts.user_by_name(name) is None


@pytest.mark.parametrize("email", ["", "ann", "@", "a@", "@b", "a@b@c", "a b@c", "a\x00@b", "x" * 250 + "@b.cd"])
async def test_what_is_no_address(accounts: Accounts, email: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        await accounts.create_user("Ann", email=email)
    assert caught.value.field == "email"


async def test_ensure_user_creates_once(accounts: Accounts) -> None:
    made = await accounts.ensure_user("Ann")
    assert await accounts.ensure_user("ANN") == made
    assert len(await accounts.users()) == 1


async def test_ensure_user_at_once_in_two_processes(store: MemoryStore) -> None:
    """Both look before either has written."""

    class Late(MemoryStore):
        looked = 0

        async def find(self, query: Query) -> Sequence[object]:  # type: ignore[override]
            found = await store.find(query)
            self.looked += 1
            if self.looked == 1:
                await over(store, start=100).create_user("ann")
            return found

        async def apply(self, changes: Sequence[Change]) -> None:
            await store.apply(changes)

    found = await over(Late(KINDS)).ensure_user("Ann")
    assert found.id == "00000000-0100"
    assert len(await store.find(Query(kind="user"))) == 1


async def test_a_long_list_is_whole_and_in_order(accounts: Accounts) -> None:
    names = [f"user {n}" for n in range(2 * PAGE + 1)]
    for name in names:
        await accounts.create_user(name)
    assert [u.name for u in await accounts.users()] == names


async def test_emptiness(accounts: Accounts, store: MemoryStore) -> None:
    assert await accounts.is_empty()
    ann = await accounts.create_user("Ann")
    assert not await accounts.is_empty()
    key, _ = await accounts.create_key(ann, "only a key")
    fresh = MemoryStore(KINDS)
    await fresh.apply([Put(API_KEY.name, key.id, key_doc(key), 0)])
    assert not await over(fresh).is_empty()


# Settings


async def test_settings_are_set_replaced_and_removed(accounts: Accounts) -> None:
    ann = await accounts.create_user("Ann", password="twelve words")
    who = Identity(user=ann.id)
    assert await accounts.settings_of(who) == {}
    await accounts.set_setting(who, "provider", "local")
    await accounts.set_setting(who, "mood", "serious")
    await accounts.set_setting(who, "mood", "friendly")
    assert await accounts.settings_of(who) == {"provider": "local", "mood": "friendly"}
    await accounts.set_setting(who, "provider", None)
    await accounts.set_setting(who, "provider", None)
    assert await accounts.settings_of(who) == {"mood": "friendly"}
    assert await accounts.user(ann.id) == replace(ann, settings={"mood": "friendly"}, version=5)


async def test_a_tokens_subject_gets_an_account_with_its_first_setting(accounts: Accounts) -> None:
    who = Identity(user="subject-1", name="ann", role="admin")
    await accounts.set_setting(who, "mood", None)
    assert await accounts.user("subject-1") is None
    await accounts.set_setting(who, "mood", "serious")
    user = await accounts.user("subject-1")
    assert user is not None
    assert (user.name, user.role, user.password_hash, user.settings) == ("ann", "user", None, {"mood": "serious"})


async def test_a_tokens_subject_takes_nobodys_name(accounts: Accounts) -> None:
    """A foreign issuer's names are shown, but are not those of this server's accounts."""
    for subject in ("subject-1", "subject-2"):
        await accounts.set_setting(Identity(user=subject, name="ann"), "mood", "serious")
    await accounts.set_setting(Identity(user="subject-1", name="ann"), "mood", "normal")
    assert await accounts.user_by_name("ann") is None
    ann = await accounts.create_user("ann", password="twelve words")
    assert await accounts.user_by_name("ann") == ann
    assert await accounts.verify_password("ann", "twelve words") == ann
    assert len(await accounts.users()) == 3


async def test_settings_set_at_once_are_all_kept(store: MemoryStore) -> None:
    """A write that comes between the reading and the writing of another is not lost."""
    who = Identity(user="subject-1")

    class Busy(MemoryStore):
        interrupted = 0

        async def get(self, kind: str, id: str) -> object:  # type: ignore[override]
            found = await store.get(kind, id)
            if self.interrupted < 3:
                self.interrupted += 1
                await over(store).set_setting(who, f"other_{'abc'[self.interrupted - 1]}", "kept")
            return found

        async def apply(self, changes: Sequence[Change]) -> None:
            await store.apply(changes)

    await over(Busy(KINDS)).set_setting(who, "mood", "serious")
    assert await over(store).settings_of(who) == {
        "other_a": "kept",
        "other_b": "kept",
        "other_c": "kept",
        "mood": "serious",
    }


async def test_a_setting_has_a_plain_name(accounts: Accounts) -> None:
    with pytest.raises(InvalidInput):
        await accounts.set_setting(Identity(user="a"), "a.b", "x")


# Passwords


async def test_a_password_opens_by_name_and_by_address(accounts: Accounts) -> None:
    ann = await accounts.create_user("Ann", email="ann@example.org", password="twelve words")
    bob = await accounts.create_user("Bob", password="other words")
    for login in ("Ann", "ann", " ANN ", "ann@example.org", "Ann@EXAMPLE.org"):
        assert await accounts.verify_password(login, "twelve words") == ann
    assert await accounts.verify_password("bob", "other words") == bob


@pytest.mark.parametrize(
    ("login", "password"),
    [
        ("ann", "twelve word"),
        ("ann", "Twelve words"),
        ("ann", "twelve words "),
        ("ann", ""),
        ("ann", "\x00"),
        ("ann", "\ud800"),
        ("ann", "x" * 5000),
        ("bob", "twelve words"),
        ("carl", "twelve words"),
        ("carl", ""),
        ("", "twelve words"),
        ("ann\x00", "twelve words"),
        ("\ud800", "twelve words"),
        ("ann@example.com", "twelve words"),
        ("None", "twelve words"),
    ],
)
async def test_what_opens_nothing(accounts: Accounts, login: str, password: str) -> None:
    await accounts.create_user("Ann", email="ann@example.org", password="twelve words")
    await accounts.create_user("Bob", password="other words")
    await accounts.create_user("Carl")
    assert await accounts.verify_password(login, password) is None


async def test_accents_may_be_typed_either_way(accounts: Accounts) -> None:
    await accounts.create_user("Ann", password="caf\u00e9 cr\u00e8me")
    assert await accounts.verify_password("Ann", "cafe\u0301 cre\u0300me")


@pytest.mark.parametrize("password", ["", "short77", "x" * 1025, "é" * 513])
async def test_what_is_no_password(accounts: Accounts, password: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        await accounts.create_user("Ann", password=password)
    assert caught.value.field == "password"
    assert not password or password not in str(caught.value)
    assert await accounts.is_empty()


async def test_a_password_is_stored_as_an_argon2_hash_only(accounts: Accounts, store: MemoryStore) -> None:
    made = await accounts.create_user("Ann", password="twelve words")
    assert made.password_hash is not None
    assert made.password_hash.startswith("$argon2id$")
    assert made.password_hash not in repr(made)
    assert "twelve words" not in str(await store.find(Query(kind="user")))


async def test_an_old_hash_is_renewed_at_login(store: MemoryStore) -> None:
    old = await over(store).create_user("Ann", password="twelve words")
    costlier = PasswordHasher(time_cost=2, memory_cost=16, parallelism=1)
    accounts = over(store, costlier)
    assert await accounts.verify_password("Ann", "not the words") is None
    assert await accounts.user(old.id) == old
    seen = await accounts.verify_password("Ann", "twelve words")
    stored = await accounts.user(old.id)
    assert stored is not None
    assert seen == stored
    assert stored.password_hash is not None
    assert "m=16,t=2" in stored.password_hash
    assert await accounts.verify_password("Ann", "twelve words") == stored


class CountingHasher(PasswordHasher):
    """Counts what it does and how many threads do it at once."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.verified: list[str | bytes] = []
        self.at_once = self.most = self.longest = 0
        self._lock = threading.Lock()
        self.threads: set[int] = set()

    def verify(self, hash: str | bytes, password: str | bytes) -> bool:  # type: ignore[override]
        with self._lock:
            self.verified.append(hash)
            self.longest = max(self.longest, len(password))
            self.threads.add(threading.get_ident())
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        try:
            return super().verify(hash, password)
        finally:
            with self._lock:
                self.at_once -= 1


async def test_nobodys_login_costs_what_a_real_one_does(store: MemoryStore) -> None:
    hasher = CountingHasher()
    accounts = over(store, hasher)
    await accounts.create_user("Ann", password="twelve words")
    await accounts.create_user("Bob")
    for login in ("Ann", "Bob", "Carl", "carl@example.org"):
        assert await accounts.verify_password(login, "wrong words") is None
    real, *others = [str(h) for h in hasher.verified]
    assert len(others) == 3
    for nobodys in others:  # the same work: the same costs, lengths and kind
        assert re.sub(r"[^$]+\$[^$]+$", "", nobodys) == re.sub(r"[^$]+\$[^$]+$", "", real)
        assert [len(part) for part in nobodys.split("$")] == [len(part) for part in real.split("$")]


async def test_what_is_too_long_for_a_password_is_not_hashed(store: MemoryStore) -> None:
    hasher = CountingHasher()
    accounts = over(store, hasher)
    await accounts.create_user("Ann", password="x" * 1024)
    assert await accounts.verify_password("Ann", "x" * 1024)
    assert await accounts.verify_password("Ann", "x" * 10_000_000) is None
    assert hasher.longest == 1024


async def test_few_hash_at_once_and_not_on_the_loop(store: MemoryStore) -> None:
    hasher = CountingHasher()
    accounts = over(store, hasher)
    await accounts.create_user("Ann", password="twelve words")
    await asyncio.gather(*[accounts.verify_password("Ann", "twelve words") for _ in range(40)])
    assert len(hasher.verified) == 40
    assert 1 <= hasher.most <= AT_ONCE
    assert threading.get_ident() not in hasher.threads


async def test_callers_that_give_up_do_not_let_more_in() -> None:
    entered, leave = threading.Semaphore(0), threading.Event()

    class Slow(PasswordHasher):
        def verify(self, hash: str | bytes, password: str | bytes) -> bool:  # type: ignore[override]
            entered.release()
            leave.wait(30)
            return True

    passwords = Passwords(Slow())
    callers = [asyncio.create_task(passwords.matches("x", "y")) for _ in range(AT_ONCE)]
    for _ in range(AT_ONCE):
        await asyncio.to_thread(entered.acquire)
    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    late = asyncio.create_task(passwords.matches("x", "y"))
    for _ in range(100):
        await asyncio.sleep(0)
    assert not entered.acquire(blocking=False)
    leave.set()
    assert await late


def test_the_default_costs_are_those_of_the_rfc() -> None:
    """RFC 9106, section 4: 64 MiB, three passes, four lanes."""
    assert "m=65536,t=3,p=4$" in Passwords()._nobodys


# Keys


async def test_a_key_is_read_as_it_was_created(accounts: Accounts) -> None:
    ann = await accounts.create_user("Ann")
    berlin = timezone(timedelta(hours=2))
    made, token = await accounts.create_key(
        ann,
        " laptop ",
        platform="cli",
        scopes=["vault", "chat", "vault"],
        expires=datetime(2026, 5, 1, 2, tzinfo=berlin),
    )
    assert (made.user, made.user_name, made.name, made.platform) == (ann.id, "Ann", "laptop", "cli")
    assert (made.scopes, made.revoked_at) == (("vault", "chat"), None)
    assert made.expires_at == datetime(2026, 5, 1, tzinfo=UTC)
    assert await accounts.api_key(made.id) == made
    found = re.fullmatch(r"bsk_([A-Za-z0-9]+)_([A-Za-z0-9]{43})", token)
    assert found is not None
    assert found[1] == made.id
    assert made.digest == hashlib.sha256(found[2].encode()).hexdigest()


async def test_a_secret_is_stored_nowhere_and_never_the_same(accounts: Accounts, store: MemoryStore) -> None:
    ann = await accounts.create_user("Ann")
    made = [await accounts.create_key(ann, "key") for _ in range(50)]
    secrets = {token.rpartition("_")[2] for _, token in made}
    assert len(secrets) == 50
    assert len(set("".join(secrets))) == 62  # every letter and digit is used: 43 of 62 are 256 bits
    everything = str(await store.find(Query(kind="api_key")))
    assert not [s for s in secrets if s in everything]


async def test_keys_of_one_user_and_of_all(accounts: Accounts) -> None:
    ann, bob = await accounts.create_user("Ann"), await accounts.create_user("Bob")
    first, _ = await accounts.create_key(ann, "first")
    second, _ = await accounts.create_key(bob, "second")
    third, _ = await accounts.create_key(ann, "third")
    revoked = await accounts.revoke_key(first.id)
    assert await accounts.keys(ann.id) == [revoked, third]
    assert await accounts.keys() == [revoked, second, third]
    assert await accounts.keys("nobody") == []


async def test_a_revoked_key_stays_revoked_since_then(accounts: Accounts) -> None:
    key, _ = await accounts.create_key(await accounts.create_user("Ann"), "laptop")
    revoked = await accounts.revoke_key(key.id)
    assert revoked.revoked_at is not None
    assert revoked.revoked_at > key.created_at
    assert await accounts.revoke_key(key.id) == revoked == await accounts.api_key(key.id)


async def test_revoking_what_is_not_there(accounts: Accounts) -> None:
    with pytest.raises(NotFound):
        await accounts.revoke_key("none")


async def test_revoking_is_not_lost_to_another_write(store: MemoryStore) -> None:
    accounts = over(store)
    key, _ = await accounts.create_key(await accounts.create_user("Ann"), "laptop")

    class Busy(MemoryStore):
        async def get(self, kind: str, id: str) -> object:  # type: ignore[override]
            found = await store.get(kind, id)
            if kind == "api_key" and found is not None and found.version == 1:
                await store.apply([Put("api_key", id, found.doc, 1)])
            return found

        async def apply(self, changes: Sequence[Change]) -> None:
            await store.apply(changes)

    revoked = await over(Busy(KINDS)).revoke_key(key.id)
    assert revoked.version == 3
    assert await accounts.api_key(key.id) == revoked


@pytest.mark.parametrize(
    ("field", "more"),
    [
        ("name", {"name": " "}),
        ("name", {"name": "x" * 101}),
        ("platform", {"platform": "a\nb"}),
        ("scopes", {"scopes": ["Chat"]}),
        ("scopes", {"scopes": [""]}),
        ("scopes", {"scopes": ["a b"]}),
        ("expires", {"expires": NOON - timedelta(days=1)}),
    ],
)
async def test_what_is_no_key(accounts: Accounts, field: str, more: dict[str, object]) -> None:
    ann = await accounts.create_user("Ann")
    given: dict[str, object] = {"name": "laptop", **more}
    with pytest.raises(InvalidInput) as caught:
        await accounts.create_key(ann, given.pop("name"), **given)  # type: ignore[arg-type]
    assert caught.value.field == field
    assert await accounts.keys() == []
