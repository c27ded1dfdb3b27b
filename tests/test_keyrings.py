"""Keyrings, and what becomes of them when API keys and users come and go."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from backchat.errors import Forbidden, InvalidInput, NotFound
from backchat.ports.storage import Change, Put, Query
from backchat.sealing.keys import unwrap
from backchat.sealing.tokens import new_secret
from backchat.services.account_records import API_KEY, USER
from backchat.services.keyrings import (
    Keyring,
    keyring,
    keyring_put,
    lacking,
    may_hold,
    opened,
    reach,
    with_grants,
    with_holder,
    with_new_key,
    with_wraps,
    without,
)
from backchat.services.kinds import KINDS
from backchat.services.vault_records import KEYRING
from backchat.testing.memory_store import MemoryStore
from keyring_desk import NOON, Desk, token_id

A, B, C = [new_secret("token", id) for id in "abc"]
R = new_secret("recovery", "r")


def ring_of(*holders: str) -> Keyring:
    """One key, which A has; the others wait."""
    ring = with_new_key(with_holder(Keyring(owner="ann"), A, None), A, NOON)
    for one in (B, C, R):
        if one.id in holders:
            ring = with_holder(ring, one, NOON if one is C else None)
    return ring


def test_a_holder_that_waits_has_nothing_and_a_grant_gives_it_the_key() -> None:
    ring = ring_of("b")
    (key,) = opened(ring, A).values()
    assert opened(ring, B) == {}
    assert lacking(ring, [key.id]) == {"b"}
    given = with_grants(ring, opened(ring, A))
    assert opened(given, B) == {key.id: key}
    assert lacking(given, [key.id]) == set()
    assert set(given.keys[0].wraps) == {"a"}
    wrapped = with_wraps(given, B, opened(given, B))
    assert unwrap(wrapped.keys[0].wraps["b"], B) == key
    assert not wrapped.keys[0].grants


def test_a_key_is_given_to_those_only_who_have_it_not() -> None:
    ring = ring_of("b", "r")
    keys = opened(ring, A)
    given = with_grants(ring, keys)
    assert (set(given.keys[0].wraps), set(given.keys[0].grants)) == ({"a"}, {"b", "r"})
    assert with_grants(given, keys) == given
    assert with_grants(ring, {}) == ring


async def test_a_ring_is_read_as_it_was_stored() -> None:
    ring = with_grants(ring_of("b", "c", "r"), {})
    ring = with_new_key(with_grants(ring, opened(ring, A)), R, NOON + timedelta(seconds=1))
    store = MemoryStore(KINDS)
    await store.apply([keyring_put(ring)])
    found = await keyring(store, "ann")
    assert found == replace(ring, version=1)
    assert found.holders["c"].until == NOON
    assert found.holders["r"].use == "recovery"
    assert list(opened(found, R)) == [key.id for key in ring.keys]


async def test_a_user_without_a_ring_has_an_empty_one() -> None:
    assert await keyring(MemoryStore(KINDS), "ann") == Keyring(owner="ann")


def test_whoever_is_taken_out_has_nothing_left() -> None:
    ring = ring_of("b", "c")
    ring = with_grants(ring, opened(ring, A))
    left = without(ring, ["a", "b"])
    assert set(left.holders) == {"c"}
    assert (set(left.keys[0].wraps), set(left.keys[0].grants)) == (set(), {"c"})
    assert opened(left, A) == opened(left, B) == {}


def test_a_damaged_key_is_left_out_and_the_others_open() -> None:
    ring = with_new_key(ring_of(), A, NOON)
    old, new = opened(ring, A).values()
    broken = replace(ring.keys[0].wraps["a"], wrapped=bytes(48))
    damaged = replace(ring, keys=[replace(ring.keys[0], wraps={"a": broken}), ring.keys[1]])
    assert opened(damaged, A) == {new.id: new}
    assert opened(ring, A) == {old.id: old, new.id: new}


@pytest.mark.parametrize(
    ("scopes", "holds"),
    [((), True), (("push",), True), (("chat", "pull"), True), (("vault",), True), (("chat", "threads"), False)],
)
def test_who_may_be_a_holder(scopes: Sequence[str], holds: bool) -> None:
    assert may_hold(scopes) is holds


def test_who_can_open_a_key() -> None:
    ring = ring_of("c", "r")
    (id,) = opened(ring, A)
    assert reach(ring, NOON) == {id: "tokens"}
    given = with_grants(ring, opened(ring, A))
    assert reach(without(given, ["a"]), NOON - timedelta(seconds=1)) == {id: "tokens"}
    assert reach(without(given, ["a"]), NOON) == {id: "recovery"}
    assert reach(without(given, ["a", "r"]), NOON) == {id: "nobody"}
    assert reach(without(ring, ["a"]), NOON - timedelta(seconds=1)) == {id: "nobody"}, "they wait, all of them"


def test_what_is_shown_of_a_ring_holds_no_key() -> None:
    ring = ring_of("b")
    ring = with_grants(ring, opened(ring, A))
    (kept,) = ring.keys
    shown = repr(opened(ring, A)) + repr(ring) + repr(A)
    for secret in (A.secret, opened(ring, A)[kept.id].secret, kept.wraps["a"].wrapped):
        assert (secret if isinstance(secret, str) else repr(secret)) not in shown


# ---- API keys --------------------------------------------------------------------------------------------------------


async def test_the_first_key_of_a_user_brings_a_vault_key_and_later_ones_wait() -> None:
    desk = Desk()
    first = await desk.issued()
    ring = await desk.ring()
    assert first.token is not None
    assert list(opened(ring, first.token)) == [ring.keys[0].id]
    second = await desk.issued(hours=1)
    ring = await desk.ring()
    assert (len(ring.keys), set(ring.keys[0].wraps), ring.keys[0].grants) == (1, {token_id(first)}, {})
    assert ring.holders[token_id(second)].until == NOON + timedelta(hours=1)
    assert ring.holders[token_id(first)].until is None
    other = await desk.issued("bob")
    assert set((await desk.ring("bob")).keys[0].wraps) == {token_id(other)}
    assert set((await desk.ring()).holders) == {token_id(first), token_id(second)}


@pytest.mark.parametrize("scopes", [["push"], ["pull", "chat"], ["vault"], []])
async def test_keys_for_the_vault_are_holders(scopes: list[str]) -> None:
    desk = Desk()
    bearer = await desk.issued(scopes=scopes)
    assert set((await desk.ring()).keys[0].wraps) == {token_id(bearer)}


async def test_a_key_for_other_dialects_is_no_holder() -> None:
    desk = Desk()
    await desk.issued(scopes=["chat", "threads"])
    assert await desk.store.get(KEYRING.name, (await desk.user()).id) is None
    first = await desk.issued()
    await desk.issued(scopes=["chat"])
    assert set((await desk.ring()).holders) == {token_id(first)}


async def test_a_key_is_given_what_its_giver_has() -> None:
    desk = Desk()
    giver = await desk.issued()
    further = await desk.issued(giver=giver.token)
    assert giver.token is not None
    assert further.token is not None
    ring = await desk.ring()
    assert opened(ring, further.token) == opened(ring, giver.token)
    assert set(ring.keys[0].wraps) == {token_id(giver), token_id(further)}


async def test_a_giver_without_keys_gives_none_and_no_key_is_made() -> None:
    desk = Desk()
    await desk.issued()
    waiting = await desk.issued()
    stranger = await desk.issued("bob")
    before = await desk.accounts.keys()
    for giver in (waiting.token, stranger.token, new_secret("token", "nobody")):
        with pytest.raises(Forbidden):
            await desk.issued(giver=giver)
    with pytest.raises(InvalidInput) as caught:
        await desk.issued(giver=new_secret("recovery", "nobody"))
    assert caught.value.field == "body.recoveryKey"
    assert await desk.accounts.keys() == before


async def test_a_revoked_key_is_no_holder_from_the_same_batch_on() -> None:
    desk = Desk()
    first = await desk.issued()
    second = await desk.issued(giver=first.token)
    waiting = await desk.issued()
    stored = desk.store.stored  # type: ignore[attr-defined]
    await desk.accounts.revoke_key(token_id(first))
    assert desk.store.stored == stored + 1  # type: ignore[attr-defined]
    ring = await desk.ring()
    assert set(ring.holders) == {token_id(second), token_id(waiting)}
    assert set(ring.keys[0].wraps) == {token_id(second)}
    await desk.accounts.revoke_key(token_id(waiting))
    assert set((await desk.ring()).holders) == {token_id(second)}


async def test_revoking_a_key_without_the_vault_leaves_the_ring_alone() -> None:
    desk = Desk()
    await desk.issued()
    other = await desk.issued(scopes=["chat"])
    before = await desk.ring()
    await desk.accounts.revoke_key(token_id(other))
    assert await desk.ring() == before


async def test_who_is_left_to_open_a_vault() -> None:
    desk = Desk()
    user = (await desk.user()).id
    assert await desk.accounts.vault_reach(user) == {}
    first = await desk.issued(hours=2)
    (id,) = await desk.accounts.vault_reach(user)
    assert await desk.accounts.vault_reach(user) == {id: "tokens"}
    await desk.keys.make_recovery(first)
    await desk.issued()
    desk.time += timedelta(hours=2)
    assert await desk.accounts.vault_reach(user) == {id: "recovery"}


# ---- at the same time ------------------------------------------------------------------------------------------------


class Interrupted(MemoryStore):
    """Something else comes first, just before the next batch."""

    def __init__(self) -> None:
        super().__init__(KINDS)
        self.first: Callable[[], Awaitable[object]] | None = None

    async def apply(self, changes: Sequence[Change]) -> None:
        if self.first is not None:
            first, self.first = self.first, None
            await first()
        await super().apply(changes)


async def test_two_first_keys_at_once_bring_one_vault_key() -> None:
    store = Interrupted()
    desk = Desk(store)
    await desk.user()
    store.first = desk.issued
    late = await desk.issued()
    ring = await desk.ring()
    assert len(ring.keys) == 1
    assert len(ring.holders) == 2
    assert token_id(late) not in ring.keys[0].wraps


async def test_a_key_made_while_its_user_is_deleted_leaves_nothing() -> None:
    store = Interrupted()
    desk = Desk(store)
    await desk.issued()
    ann = await desk.user()
    store.first = lambda: desk.accounts.forget(ann.id)
    with pytest.raises(NotFound):
        await desk.accounts.create_key(ann, "late")
    for kind in KINDS:
        assert not await store.find(Query(kind=kind.name)), kind.name


async def test_a_key_for_a_user_who_has_no_account_is_none() -> None:
    """It would bring back an account that has been deleted."""
    desk = Desk()
    (subject,) = (await desk.accounts.users_of(["subject"])).values()
    with pytest.raises(NotFound):
        await desk.accounts.create_key(subject, "key")
    assert await desk.accounts.user("subject") is None


async def test_deleting_a_user_leaves_nothing_of_the_ring() -> None:
    desk = Desk()
    first = await desk.issued()
    await desk.issued()
    await desk.keys.make_recovery(first)
    bob = await desk.issued("bob")
    before = await desk.ring("bob")
    ann = await desk.user()
    await desk.accounts.forget(ann.id)
    assert await desk.store.get(KEYRING.name, ann.id) is None
    assert not await desk.store.find(Query(kind=API_KEY.name, where=(("user", (ann.id,)),)))
    assert await desk.ring("bob") == before
    await desk.called(bob)


async def test_a_request_that_was_let_in_before_the_deletion_brings_no_ring_back() -> None:
    """Whatever it does with keys: it is told that its token has ended, or is quiet."""
    desk = Desk()
    first, old = await desk.issued(), await desk.issued()
    recovery = (await desk.keys.make_recovery(first)).text
    ann = await desk.user()
    await desk.accounts.forget(ann.id)
    for bearer in (first, old):
        await desk.keys.attend(bearer)
        for refused in (
            desk.keys.current(bearer),
            desk.keys.wrapped(bearer),
            desk.keys.rotate(bearer, abandon=True),
            desk.keys.make_recovery(bearer),
            desk.keys.issue(bearer, "late"),
        ):
            with pytest.raises(Forbidden):
                await refused
        with pytest.raises(InvalidInput):
            await desk.keys.recover(bearer, recovery)
    for kind in (KEYRING, API_KEY, USER):
        assert not await desk.store.find(Query(kind=kind.name)), kind.name


@pytest.mark.parametrize("verb", ["attend", "current", "rotate"])
async def test_a_deletion_in_the_middle_brings_no_ring_back(verb: str) -> None:
    store = Interrupted()
    desk = Desk(store)
    ann, bearer = await desk.user(), await desk.issued()
    record = await store.get(KEYRING.name, ann.id)
    assert record is not None
    await store.apply([Put(KEYRING.name, ann.id, keyring_put(Keyring(owner=ann.id)).doc, record.version)])
    store.first = lambda: desk.accounts.forget(ann.id)
    if verb == "attend":
        await desk.keys.attend(bearer)
    else:
        with pytest.raises(Forbidden):
            await getattr(desk.keys, verb)(bearer)
    assert await store.get(KEYRING.name, ann.id) is None


@pytest.mark.parametrize("verb", ["attend", "current", "rotate"])
async def test_a_revocation_in_the_middle_leaves_no_holder(verb: str) -> None:
    """A token that was issued before there were rings, and is revoked while it becomes a holder."""
    store = Interrupted()
    desk = Desk(store)
    bearer = await desk.issued()
    await desk.store_ring(replace(await desk.ring(), holders={}, keys=[]))
    store.first = lambda: desk.accounts.revoke_key(token_id(bearer))
    if verb == "attend":
        await desk.keys.attend(bearer)
    else:
        with pytest.raises(Forbidden):
            await getattr(desk.keys, verb)(bearer)
    ring = await desk.ring()
    assert (ring.holders, list(ring.keys)) == ({}, [])


async def test_many_at_once_are_all_holders() -> None:
    desk = Desk()
    await desk.user()
    made = await asyncio.gather(*[desk.issued() for _ in range(10)])
    ring = await desk.ring()
    assert set(ring.holders) == {token_id(bearer) for bearer in made}
    assert len(ring.keys) == 1
