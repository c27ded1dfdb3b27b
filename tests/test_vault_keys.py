"""Vault keys: who has them, how others get them, and what is said to those who have none."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from backchat.domain.identity import Identity
from backchat.errors import BackchatError, Conflict, Forbidden, InvalidInput, NotFound
from backchat.ports.storage import Change
from backchat.sealing.keys import VaultKey, Wrap
from backchat.sealing.tokens import Secret, new_secret, parse
from backchat.services.keyrings import RingKey, opened
from backchat.services.kinds import KINDS
from backchat.services.vault_keys import Bearer
from backchat.testing.memory_store import MemoryStore
from keyring_desk import NOON, Counted, Desk, token_id

HOUR = timedelta(hours=1)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def by_the_contract(wrap: Wrap, secret: Secret) -> bytes:
    """The vault key in a wrap, as sections 1 and 2 of the contract say it, with nothing of ours."""
    info, about = {
        "token": ("backspace-kek-v1", "backspace:wrap:v1"),
        "recovery": ("backspace-recovery-v1", "backspace:recovery:v1"),
    }[secret.use]
    extracted = hmac.new(secret.id.encode(), secret.secret.encode(), hashlib.sha256).digest()
    kek = hmac.new(extracted, info.encode() + b"\x01", hashlib.sha256).digest()
    return AESGCM(kek).decrypt(wrap.iv, wrap.wrapped, f"{about}:{secret.id}:{wrap.key}".encode())


async def refused(call: Awaitable[object], error: type[BackchatError] = Forbidden) -> str:
    with pytest.raises(error) as caught:
        await call
    assert type(caught.value) is error
    return str(caught.value)


async def has_the_same(desk: Desk, bearer: Bearer, key: VaultKey) -> None:
    """The bearer has this key by every way there is."""
    await desk.keys.attend(bearer)
    assert await desk.keys.find(bearer, key.id) == key
    assert bearer.token is not None
    assert by_the_contract(await desk.keys.wrapped(bearer, key.id), bearer.token) == key.secret


async def before_there_were_rings(desk: Desk, *bearers: Bearer) -> None:
    """As if their tokens were issued by a version without the vault."""
    await desk.store_ring(replace(await desk.ring(), holders={}, keys=[]))
    assert bearers


# ---- the first key, and those that wait ------------------------------------------------------------------------------


async def test_the_first_token_has_the_key_from_its_issue_on(desk: Desk) -> None:
    bearer = await desk.issued(platform="LM-Studio")
    (made,) = (await desk.ring()).keys
    key = await desk.called(bearer)
    assert (key.id, len(key.secret)) == (made.id, 32)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", key.id)
    wrap = await desk.keys.wrapped(bearer)
    assert (wrap.key, len(wrap.wrapped), len(wrap.iv)) == (key.id, 48, 12)
    await has_the_same(desk, bearer, key)


async def test_a_token_issued_alone_waits_for_a_request_of_one_that_has_the_key(desk: Desk) -> None:
    first, second = await desk.issued(), await desk.issued()
    for need in (desk.keys.current(second), desk.keys.wrapped(second)):
        await desk.keys.attend(second)
        assert "another API token" in await refused(need)
    (kept,) = (await desk.ring()).keys
    assert await desk.keys.find(second, kept.id) is None
    assert await desk.keys.tokens(second) == [(await key_of(desk, first), True), (await key_of(desk, second), False)]
    key = await desk.called(first)
    assert await desk.keys.tokens(second) == [(await key_of(desk, first), True), (await key_of(desk, second), True)]
    (kept,) = (await desk.ring()).keys
    assert set(kept.grants) == {token_id(second)}, "the server has no secret of it to wrap with"
    await has_the_same(desk, second, key)
    (kept,) = (await desk.ring()).keys
    assert (set(kept.wraps), kept.grants) == ({token_id(first), token_id(second)}, {})


async def key_of(desk: Desk, bearer: Bearer) -> object:
    return await desk.accounts.api_key(token_id(bearer))


async def test_a_key_that_was_left_in_the_middle_of_a_request_is_used_and_wrapped(desk: Desk) -> None:
    """Between attend and what needs the key."""
    first, second = await desk.issued(), await desk.issued()
    await desk.keys.attend(second)
    key = await desk.called(first)
    assert await desk.keys.current(second) == key
    assert second.token is not None
    assert by_the_contract(await desk.keys.wrapped(second), second.token) == key.secret
    assert (await desk.ring()).keys[0].grants == {}


async def test_tokens_from_before_the_vault_become_holders_with_their_next_request(desk: Desk) -> None:
    first, second = await desk.issued(), await desk.issued()
    await before_there_were_rings(desk, first, second)
    await desk.keys.attend(first)
    await desk.keys.attend(second)
    ring = await desk.ring()
    assert set(ring.holders) == {token_id(first), token_id(second)}
    assert list(ring.keys) == [], "nobody needs one yet"
    assert await desk.keys.tokens(first) == [(await key_of(desk, first), False), (await key_of(desk, second), False)]
    key = await desk.called(second)
    await has_the_same(desk, first, key)
    assert len((await desk.ring()).keys) == 1


@pytest.mark.parametrize("need", ["current", "wrapped", "rotate", "make_recovery"])
async def test_the_key_is_made_when_it_is_first_needed(desk: Desk, need: str) -> None:
    bearer = await desk.issued(hours=5)
    await before_there_were_rings(desk, bearer)
    await getattr(desk.keys, need)(bearer)
    ring = await desk.ring()
    assert len(ring.keys) == 1
    assert ring.holders[token_id(bearer)].until == NOON + 5 * HOUR
    await has_the_same(desk, bearer, await desk.keys.current(bearer))


async def test_two_that_need_the_first_key_at_once_get_the_same() -> None:
    store = Hurried()
    desk = Desk(store)
    first, second = await desk.issued(), await desk.issued()
    await before_there_were_rings(desk, first, second)
    for bearer in (first, second):
        await desk.keys.attend(bearer)
    store.before(lambda: desk.keys.current(first))
    assert await desk.keys.current(second) == await desk.keys.current(first)
    assert len((await desk.ring()).keys) == 1


async def test_nothing_to_do_is_one_read_and_no_write(desk: Desk) -> None:
    first = await desk.issued()
    others = [await desk.issued() for _ in range(3)]
    await desk.keys.make_recovery(first)
    await desk.keys.rotate(first)
    for bearer in (first, *others, first):
        await desk.keys.attend(bearer)
    store = desk.store
    assert isinstance(store, Counted)
    before, store.asked = store.stored, []
    for bearer in (first, *others):
        await desk.keys.attend(bearer)
    assert store.asked == ["vault_keyring"] * 4
    assert store.stored == before
    store.asked = []
    await desk.keys.attend(await desk.jwt())
    assert "vault_keyring" not in store.asked


async def test_a_waiting_token_asks_again_without_a_write(desk: Desk) -> None:
    await desk.issued()
    waiting = await desk.issued()
    store = desk.store
    assert isinstance(store, Counted)
    before = store.stored
    for _ in range(3):
        await desk.keys.attend(waiting)
        await refused(desk.keys.current(waiting))
    assert store.stored == before


# ---- who gets none ---------------------------------------------------------------------------------------------------


async def test_revoked_and_expired_tokens_get_nothing(desk: Desk) -> None:
    first = await desk.issued()
    revoked, alive = await desk.issued(), await desk.issued(hours=2)
    await desk.issued(hours=1)
    await desk.accounts.revoke_key(token_id(revoked))
    desk.time += HOUR
    await desk.keys.attend(first)
    ring = await desk.ring()
    assert set(ring.holders) == {token_id(first), token_id(alive)}
    assert set(ring.keys[0].grants) == {token_id(alive)}


async def test_a_holder_whose_key_is_gone_or_revoked_behind_the_ring_gets_nothing(desk: Desk) -> None:
    """However it came to be: the records of the keys are what counts."""
    first, gone, revoked = await desk.issued(), await desk.issued(), await desk.issued()
    ring = await desk.ring()
    await desk.accounts.revoke_key(token_id(revoked))
    found = await desk.ring()
    stray = new_secret("token", "stray")
    there = {**ring.holders, stray.id: replace(ring.holders[token_id(gone)])}
    await desk.store_ring(replace(ring, holders=there, version=found.version))
    await desk.keys.attend(first)
    ring = await desk.ring()
    assert set(ring.holders) == {token_id(first), token_id(gone)}
    assert set(ring.keys[0].grants) == {token_id(gone)}


async def test_a_token_for_other_dialects_gets_none_and_is_told_why(desk: Desk) -> None:
    await desk.issued()
    other = await desk.issued(scopes=["chat"])
    await desk.keys.attend(other)
    assert "scopes push, pull and vault" in await refused(desk.keys.current(other))
    assert token_id(other) not in (await desk.ring()).holders
    await refused(desk.keys.rotate(other, abandon=True))


@pytest.mark.parametrize("scope", ["push", "pull", "vault"])
async def test_one_scope_of_the_vault_is_enough(desk: Desk, scope: str) -> None:
    first = await desk.issued()
    limited = await desk.issued(scopes=["chat", scope])
    await has_the_same(desk, limited, await desk.called(first))


async def test_without_a_token_there_is_no_key_and_the_reason_is_told(desk: Desk) -> None:
    await desk.issued()
    jwt = await desk.jwt()
    await desk.keys.attend(jwt)
    (kept,) = (await desk.ring()).keys
    needs: Sequence[Callable[[Bearer], Awaitable[object]]] = [
        desk.keys.current,
        desk.keys.wrapped,
        lambda b: desk.keys.wrapped(b, kept.id),
        lambda b: desk.keys.wrapped(b, "none"),
        desk.keys.rotate,
        lambda b: desk.keys.rotate(b, abandon=True),
        desk.keys.make_recovery,
    ]
    for need in needs:
        assert "JWT" in await refused(need(jwt))
    assert await desk.keys.find(jwt, kept.id) is None


async def test_without_a_token_no_first_key_is_made(desk: Desk) -> None:
    await refused(desk.keys.current(await desk.jwt("bob")))
    assert list((await desk.ring("bob")).keys) == []


async def test_when_nobody_is_left_the_ways_out_are_told(desk: Desk) -> None:
    first, waiting = await desk.issued(hours=1), await desk.issued()
    desk.time += HOUR
    said = await refused(desk.keys.current(waiting))
    assert "rotate" in said
    assert "recover it" not in said, "there is no recovery key"
    assert not await desk.is_let_in(first)
    first, waiting = await desk.issued("bob"), await desk.issued("bob")
    await desk.keys.make_recovery(first)
    await desk.keys.revoke(first, token_id(first))
    said = await refused(desk.keys.current(waiting))
    assert "recover it with the recovery key" in said
    assert "rotate" in said


async def test_a_key_of_no_such_id_is_not_found(desk: Desk) -> None:
    first, waiting = await desk.issued(), await desk.issued()
    other = await desk.called(await desk.issued("bob"))
    for bearer in (first, waiting):
        for id in ("none", "", "\ud800", other.id):
            await refused(desk.keys.wrapped(bearer, id), NotFound)
            assert await desk.keys.find(bearer, id) is None
    (kept,) = (await desk.ring()).keys
    await refused(desk.keys.wrapped(waiting, kept.id))


async def test_asking_for_a_key_by_id_makes_none(desk: Desk) -> None:
    bearer = await desk.issued()
    await before_there_were_rings(desk, bearer)
    await refused(desk.keys.wrapped(bearer, "none"), NotFound)
    assert list((await desk.ring()).keys) == []


# ---- damage ----------------------------------------------------------------------------------------------------------


def flipped(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


async def damaged(desk: Desk, bearer: Bearer) -> None:
    """What the bearer has of the current key, broken."""
    ring, id = await desk.ring(), token_id(bearer)
    kept = ring.keys[-1]
    wraps = {h: replace(w, wrapped=flipped(w.wrapped)) if h == id else w for h, w in kept.wraps.items()}
    grants = {h: flipped(g) if h == id else g for h, g in kept.grants.items()}
    assert (wraps, grants) != (kept.wraps, kept.grants)
    await desk.store_ring(replace(ring, keys=[*ring.keys[:-1], replace(kept, wraps=wraps, grants=grants)]))


async def test_what_is_damaged_is_told_where_the_key_is_needed_and_not_before(desk: Desk) -> None:
    first, second = await desk.issued(), await desk.issued()
    key = await desk.called(first)
    await damaged(desk, second)
    await desk.keys.attend(second)
    left = await refused(desk.keys.current(second))
    assert await refused(desk.keys.wrapped(second)) == left
    await damaged(desk, first)
    await desk.keys.attend(first)
    kept = await refused(desk.keys.current(first))
    assert await refused(desk.keys.wrapped(first)) == kept
    assert await refused(desk.keys.rotate(first)) == kept
    assert "left" in left
    assert "damaged" in left
    assert "damaged" in kept
    assert kept != left
    assert await desk.keys.find(first, key.id) is None


async def test_a_recovery_key_mends_what_is_damaged(desk: Desk) -> None:
    first, second = await desk.issued(), await desk.issued()
    recovery = (await desk.keys.make_recovery(first)).text
    key = await desk.called(first)
    for bearer in (first, second):
        await damaged(desk, bearer)
        assert await desk.keys.recover(bearer, recovery) == key.id
        await has_the_same(desk, bearer, key)


async def test_a_recovery_key_gives_what_it_opens_and_the_rest_is_told(desk: Desk) -> None:
    first = await desk.issued()
    old, recovery = await desk.keys.current(first), await desk.keys.make_recovery(first)
    await desk.keys.rotate(first)
    await damaged(desk, Bearer(first.who, recovery))
    fresh = await desk.issued()
    assert "another API token" in await refused(desk.keys.recover(fresh, recovery.text))
    await has_the_same(desk, fresh, old)


async def test_one_damaged_key_keeps_no_other_from_being_given(desk: Desk) -> None:
    first = await desk.issued()
    await damaged(desk, first)
    await desk.keys.rotate(first, abandon=True)
    second = await desk.issued()
    new = await desk.called(first)
    await has_the_same(desk, second, new)
    further = await desk.further(first)
    assert await desk.called(further) == new


# ---- rotation --------------------------------------------------------------------------------------------------------


async def test_a_rotation_is_for_all_holders(desk: Desk) -> None:
    first, second, waiting = await desk.issued(), await desk.issued(), await desk.issued()
    old = await desk.called(first)
    await has_the_same(desk, second, old)
    id = await desk.keys.rotate(second)
    new = await desk.called(second)
    assert new.id == id != old.id
    assert new.secret != old.secret
    for bearer in (first, second, waiting):
        assert await desk.called(bearer) == new
        await has_the_same(desk, bearer, old)
        await has_the_same(desk, bearer, new)
        assert (await desk.keys.wrapped(bearer)).key == new.id
    late = await desk.issued()
    await desk.keys.attend(first)
    for key in (old, new):
        await has_the_same(desk, late, key)


async def test_a_rotation_gives_nothing_to_those_who_have_ended(desk: Desk) -> None:
    first, expiring, revoked = await desk.issued(), await desk.issued(hours=1), await desk.issued()
    old = await desk.called(first)
    for bearer in (expiring, revoked):
        await has_the_same(desk, bearer, old)
    await desk.keys.revoke(first, token_id(revoked))
    desk.time += HOUR
    await desk.keys.rotate(first)
    ring = await desk.ring()
    assert set(ring.holders) == {token_id(first)}
    for kept in ring.keys:
        assert (set(kept.wraps), kept.grants) == ({token_id(first)}, {})
    assert expiring.token is not None
    assert opened(ring, expiring.token) == {}


async def test_whoever_waits_cannot_rotate(desk: Desk) -> None:
    first, waiting = await desk.issued(), await desk.issued()
    old = await desk.keys.current(first)
    assert "another API token" in await refused(desk.keys.rotate(waiting))
    assert "revoke" in await refused(desk.keys.rotate(waiting, abandon=True), Conflict)
    assert await desk.called(first) == old


async def test_a_key_that_nobody_has_can_be_abandoned(desk: Desk) -> None:
    first, waiting, another = await desk.issued(), await desk.issued(), await desk.issued()
    old = await desk.keys.current(first)
    await desk.accounts.revoke_key(token_id(first))
    await refused(desk.keys.rotate(waiting))
    id = await desk.keys.rotate(waiting, abandon=True)
    new = await desk.called(waiting)
    assert new.id == id
    assert await desk.called(another) == new
    assert await desk.keys.find(waiting, old.id) is None
    assert "nor a recovery key" in await refused(desk.keys.wrapped(waiting, old.id))


async def test_one_that_has_been_left_the_key_counts_as_one_that_has_it(desk: Desk) -> None:
    first, left = await desk.issued(), await desk.issued()
    await desk.keys.attend(first)
    await desk.accounts.revoke_key(token_id(first))
    waiting = await desk.issued()
    await refused(desk.keys.rotate(waiting, abandon=True), Conflict)
    await has_the_same(desk, waiting, await desk.called(left))


async def test_an_expired_holder_keeps_nobody_from_abandoning(desk: Desk) -> None:
    first, waiting = await desk.issued(hours=1), await desk.issued()
    await desk.keys.current(first)
    desk.time += HOUR
    assert await desk.keys.rotate(waiting, abandon=True)


async def test_abandon_is_a_rotation_for_whoever_has_the_key(desk: Desk) -> None:
    first, second = await desk.issued(), await desk.issued()
    old = await desk.called(first)
    await desk.keys.rotate(first, abandon=True)
    await has_the_same(desk, second, old)


async def test_an_abandoned_key_comes_back_with_the_recovery_key(desk: Desk) -> None:
    """A wrap of the old key, a grant of the new one: it opens both."""
    first, waiting, another = await desk.issued(), await desk.issued(), await desk.issued()
    old = await desk.keys.current(first)
    recovery = await desk.keys.make_recovery(first)
    await desk.accounts.revoke_key(token_id(first))
    new = await desk.keys.rotate(waiting, abandon=True)
    ring = await desk.ring()
    assert [recovery.id in kept.wraps for kept in ring.keys] == [True, False]
    assert [recovery.id in kept.grants for kept in ring.keys] == [False, True]
    assert await desk.keys.recover(another, recovery.text) == new
    for bearer in (waiting, another):
        await has_the_same(desk, bearer, old)
    for kept in (await desk.ring()).keys:
        assert by_the_contract(kept.wraps[recovery.id], recovery) == await secret_of(desk, another, kept)


async def secret_of(desk: Desk, bearer: Bearer, kept: RingKey) -> bytes:
    key = await desk.keys.find(bearer, kept.id)
    assert key is not None
    return key.secret


async def test_two_rotations_at_once_are_two_keys(desk: Desk) -> None:
    store = Hurried()
    desk = Desk(store)
    first, second = await desk.issued(), await desk.issued()
    await desk.called(first)
    await desk.called(second)
    store.before(lambda: desk.keys.rotate(first))
    id = await desk.keys.rotate(second)
    ring = await desk.ring()
    assert len({kept.id for kept in ring.keys}) == 3
    assert ring.keys[-1].id == id
    for kept in ring.keys:
        assert await secret_of(desk, first, kept) == await secret_of(desk, second, kept)


# ---- the recovery key ------------------------------------------------------------------------------------------------


async def test_a_recovery_key_is_of_the_form_of_the_contract_and_opens_all_keys(desk: Desk) -> None:
    first = await desk.issued()
    await desk.keys.rotate(first)
    recovery = await desk.keys.make_recovery(first)
    assert re.fullmatch(r"bsr_[A-Za-z0-9-]{1,64}_[A-Za-z0-9_-]{43,}", recovery.text)
    assert parse(recovery.text) == recovery
    ring = await desk.ring()
    assert len(ring.keys) == 2
    for kept in ring.keys:
        assert by_the_contract(kept.wraps[recovery.id], recovery) == await secret_of(desk, first, kept)
    assert recovery.secret not in str(await stored_ring(desk))


async def stored_ring(desk: Desk) -> object:
    record = await desk.store.get("vault_keyring", (await desk.user()).id)
    assert record is not None
    return record.doc


async def test_all_tokens_lost_the_recovery_key_gives_the_keys_to_a_new_one(desk: Desk) -> None:
    first = await desk.issued()
    old = await desk.keys.current(first)
    new = await desk.keys.rotate(first)
    recovery = (await desk.keys.make_recovery(first)).text
    await desk.accounts.revoke_key(token_id(first))
    fresh, waiting = await desk.issued(), await desk.issued()
    await refused(desk.keys.current(fresh))
    assert await desk.keys.recover(fresh, recovery) == new
    for bearer in (fresh, waiting):
        assert (await desk.called(bearer)).id == new
        await has_the_same(desk, bearer, old)
    assert await desk.keys.recover(waiting, recovery) == new, "it is good for more than once"


async def test_without_a_token_the_recovery_key_helps_those_that_wait(desk: Desk) -> None:
    first, waiting = await desk.issued(), await desk.issued()
    recovery = (await desk.keys.make_recovery(first)).text
    key = await desk.keys.current(first)
    await desk.accounts.revoke_key(token_id(first))
    jwt = await desk.jwt()
    assert await desk.keys.recover(jwt, recovery) == key.id
    await has_the_same(desk, waiting, key)
    assert set((await desk.ring()).holders) == {token_id(waiting), recovery.split("_")[1]}


async def test_a_new_recovery_key_replaces_the_one_before(desk: Desk) -> None:
    first = await desk.issued()
    old, new = await desk.keys.make_recovery(first), await desk.keys.make_recovery(first)
    assert old.text != new.text
    ring = await desk.ring()
    assert set(ring.holders) == {token_id(first), new.id}
    assert set(ring.keys[0].wraps) == {token_id(first), new.id}
    await refused(desk.keys.recover(first, old.text), InvalidInput)
    await desk.keys.recover(first, new.text)


async def test_what_is_not_the_recovery_key_is_refused_in_the_same_words(desk: Desk) -> None:
    first, bob, left = await desk.issued(), await desk.issued("bob"), await desk.issued()
    await desk.keys.attend(first)
    replaced = await desk.keys.make_recovery(first)
    right = await desk.keys.make_recovery(first)
    others = await desk.keys.make_recovery(bob)
    assert first.token is not None
    assert left.token is not None
    wrong = [
        replaced.text,
        others.text,
        f"bsr_{right.id}_{others.secret}",
        f"bsr_{right.id}_{right.secret[:-1]}",
        f"bsr_{right.id}_{right.secret}x",
        right.text.swapcase(),
        f"bsk_{right.id}_{right.secret}",
        first.token.text,
        f"bsr_{first.token.id}_{first.token.secret}",
        f"bsr_{left.token.id}_{left.token.secret}",
        f"{right.text}\n",
        "",
        "\ud800",
        "x" * 100_000,
    ]
    before = await stored_ring(desk)
    said = set()
    for bearer in (first, await desk.jwt()):
        for text in wrong:
            for call in (desk.keys.recover(bearer, text), desk.keys.issue(bearer, "new", recovery=text)):
                with pytest.raises(InvalidInput) as caught:
                    await call
                said.add((str(caught.value), caught.value.field))
    assert said == {("this is not the recovery key of this vault", "body.recoveryKey")}
    assert await stored_ring(desk) == before
    assert len(await desk.accounts.keys(first.who.user)) == 2
    await refused(desk.keys.recover(await desk.issued("cat"), right.text), InvalidInput)


async def test_whoever_waits_cannot_make_a_recovery_key(desk: Desk) -> None:
    await desk.issued()
    waiting = await desk.issued()
    await refused(desk.keys.make_recovery(waiting))
    assert {holder.use for holder in (await desk.ring()).holders.values()} == {"token"}


async def test_a_recovery_key_is_left_the_keys_that_its_maker_has_not(desk: Desk) -> None:
    """After a key was given up, somebody who has it comes back: everybody gets it, the recovery key as well."""
    first, waiting = await desk.issued(), await desk.issued()
    old = await desk.keys.current(first)
    before = await desk.keys.make_recovery(first)
    await desk.accounts.revoke_key(token_id(first))
    await desk.keys.rotate(waiting, abandon=True)
    another = await desk.further(await desk.jwt(), recovery=before.text)
    recovery = await desk.keys.make_recovery(waiting)
    ring = await desk.ring()
    assert set(opened(ring, recovery)) == {ring.keys[1].id}
    await desk.keys.attend(another)
    assert opened(await desk.ring(), recovery)[old.id] == old


# ---- issuing ---------------------------------------------------------------------------------------------------------


async def test_a_token_issued_with_another_has_its_keys_at_once(desk: Desk) -> None:
    first = await desk.issued(platform="ollama", hours=9, scopes=["push", "chat"])
    old = await desk.keys.current(first)
    await desk.keys.rotate(first)
    key, token = await desk.keys.issue(first, " laptop ", platform=" Phone ")
    assert (key.user, key.user_name, key.name, key.platform) == (first.who.user, "ann", "laptop", "Phone")
    assert (key.scopes, key.expires_at) == (("push", "chat"), NOON + 9 * HOUR)
    assert (key, True) in await desk.keys.tokens(first)
    further = await desk.caller(token)
    (kept, current) = (await desk.ring()).keys
    assert token_id(further) in kept.wraps
    assert token_id(further) in current.wraps
    assert await desk.keys.find(further, old.id) == old


async def test_a_token_issued_with_the_first_that_has_no_key_yet(desk: Desk) -> None:
    first = await desk.issued()
    await before_there_were_rings(desk, first)
    further = await desk.further(first)
    assert await desk.keys.current(further) == await desk.keys.current(first)
    assert len((await desk.ring()).keys) == 1


async def test_a_token_issued_with_one_that_waits_waits_as_well(desk: Desk) -> None:
    first, waiting = await desk.issued(), await desk.issued()
    further = await desk.further(waiting)
    await refused(desk.keys.current(further))
    await has_the_same(desk, further, await desk.called(first))


async def test_a_token_issued_with_the_recovery_key(desk: Desk) -> None:
    first = await desk.issued()
    key = await desk.keys.current(first)
    recovery = (await desk.keys.make_recovery(first)).text
    await desk.accounts.revoke_key(token_id(first))
    waiting = await desk.issued()
    for bearer in (waiting, await desk.jwt()):
        further = await desk.further(bearer, recovery=recovery)
        assert await desk.keys.current(further) == key


async def test_a_token_issued_without_one(desk: Desk) -> None:
    """A login issues the first one, which brings the key, and a second one, which waits."""
    jwt = await desk.jwt()
    first = await desk.further(jwt)
    second = await desk.further(jwt)
    key = await desk.keys.current(first)
    await refused(desk.keys.current(second))
    await has_the_same(desk, second, await desk.called(first))
    assert (await desk.called(second)) == key
    assert (await desk.accounts.keys(jwt.who.user))[0].expires_at is None


async def test_whom_a_jwt_names_gets_an_account_with_the_first_token(desk: Desk) -> None:
    jwt = Bearer(Identity(user="subject", name="Sue", scopes=frozenset({"vault"})), None)
    further = await desk.further(jwt)
    assert (further.who.user, further.who.name, further.who.scopes) == ("subject", "Sue", frozenset({"vault"}))
    assert await desk.keys.current(further)
    again = await desk.further(jwt, scopes=["push"])
    assert again.who.user == "subject"


async def test_a_token_for_other_dialects_is_issued_without_keys(desk: Desk) -> None:
    first = await desk.issued()
    before = await desk.ring()
    key, _ = await desk.keys.issue(first, "chat", scopes=["chat"])
    assert key.scopes == ("chat",)
    assert await desk.ring() == before
    assert (key, False) in await desk.keys.tokens(first)
    await before_there_were_rings(desk, first)
    await desk.keys.issue(first, "chat", scopes=["chat"])
    assert list((await desk.ring()).keys) == []


@pytest.mark.parametrize(
    ("own", "wanted", "allowed"),
    [
        ([], [], True),
        ([], ["anything"], True),
        (["push"], [], False),
        (["push"], ["push"], True),
        (["push"], ["pull"], False),
        (["push"], ["push", "pull"], False),
        (["push", "pull"], ["pull"], True),
        (["push", "pull"], ["vault"], False),
        (["vault"], ["push", "pull"], True),
        (["vault"], ["chat"], False),
        (["vault"], [], False),
        (["vault", "chat"], ["chat", "push"], True),
    ],
)
async def test_a_token_issues_and_revokes_what_may_do_no_more(
    desk: Desk, own: list[str], wanted: list[str], allowed: bool
) -> None:
    caller = await desk.issued(scopes=own)
    target = await desk.issued(scopes=wanted)
    if allowed:
        key, _ = await desk.keys.issue(caller, "new", scopes=wanted)
        assert key.scopes == tuple(wanted)
        await desk.keys.revoke(caller, token_id(target))
        assert not await desk.is_let_in(target)
    else:
        await refused(desk.keys.issue(caller, "new", scopes=wanted))
        await refused(desk.keys.revoke(caller, token_id(target)))
        assert await desk.is_let_in(target)
    assert len(await desk.accounts.keys()) == 2 + allowed


async def test_a_login_with_scopes_issues_within_them(desk: Desk) -> None:
    jwt = await desk.jwt(scopes=frozenset({"pull", "chat"}))
    assert (await desk.further(jwt)).who.scopes == {"pull", "chat"}
    await refused(desk.keys.issue(jwt, "new", scopes=[]))


async def test_a_token_issues_for_no_longer_than_itself(desk: Desk) -> None:
    first = await desk.issued(hours=2)
    key, _ = await desk.keys.issue(first, "same", expires=NOON + 2 * HOUR)
    assert key.expires_at == NOON + 2 * HOUR
    key, _ = await desk.keys.issue(first, "shorter", expires=NOON + HOUR)
    assert key.expires_at == NOON + HOUR
    await refused(desk.keys.issue(first, "longer", expires=NOON + 2 * HOUR + timedelta(milliseconds=1)))
    unlimited = await desk.issued()
    key, _ = await desk.keys.issue(unlimited, "any", expires=NOON + 9 * HOUR)
    assert key.expires_at == NOON + 9 * HOUR


@pytest.mark.parametrize(
    ("field", "more"),
    [
        ("body.name", {"name": " "}),
        ("body.platform", {"platform": "a\nb"}),
        ("body.scopes", {"scopes": ["Push"]}),
        ("body.expiresAt", {"expires": NOON}),
    ],
)
async def test_what_is_no_token(desk: Desk, field: str, more: dict[str, object]) -> None:
    first = await desk.issued()
    given = {"name": "new", **more}
    with pytest.raises(InvalidInput) as caught:
        await desk.keys.issue(first, given.pop("name"), **given)  # type: ignore[arg-type]
    assert caught.value.field == field
    assert len(await desk.accounts.keys()) == 1


async def test_a_token_that_has_ended_meanwhile_issues_none(desk: Desk) -> None:
    await desk.issued()
    revoked, expired = await desk.issued(), await desk.issued(hours=1)
    await desk.accounts.revoke_key(token_id(revoked))
    desk.time += HOUR
    for bearer in (revoked, expired):
        await refused(desk.keys.issue(bearer, "new"))
    assert len(await desk.accounts.keys()) == 3


# ---- the list, and revoking ------------------------------------------------------------------------------------------


async def test_the_list_has_the_users_own_live_tokens(desk: Desk) -> None:
    first = await desk.issued()
    revoked, expired, waiting = await desk.issued(), await desk.issued(hours=1), await desk.issued()
    other = await desk.issued(scopes=["chat"])
    await desk.issued("bob")
    await desk.keys.revoke(first, token_id(revoked))
    desk.time += HOUR
    for bearer in (first, await desk.jwt()):
        listed = [(key.id, has) for key, has in await desk.keys.tokens(bearer)]
        assert listed == [(token_id(first), True), (token_id(waiting), False), (token_id(other), False)]
    assert token_id(expired) not in [key.id for key, _ in await desk.keys.tokens(first)]
    await desk.keys.rotate(first)
    assert [has for _, has in await desk.keys.tokens(first)] == [True, True, False]


async def test_a_revoked_token_has_nothing_and_new_content_is_kept_from_it_by_a_rotation(desk: Desk) -> None:
    first = await desk.issued()
    second = await desk.further(first)
    await desk.keys.revoke(first, token_id(second))
    assert not await desk.is_let_in(second)
    assert token_id(second) not in str(await stored_ring(desk))
    await desk.keys.rotate(first)
    assert token_id(second) not in str(await stored_ring(desk))
    await desk.keys.attend(second)  # a request that was let in before
    await refused(desk.keys.current(second))
    assert token_id(second) not in str(await stored_ring(desk))


async def test_revoking_what_is_not_ones_own_is_not_found(desk: Desk) -> None:
    first, bob = await desk.issued(), await desk.issued("bob")
    for id in (token_id(bob), "none", ""):
        await refused(desk.keys.revoke(first, id), NotFound)
    assert isinstance(desk.store, Counted)
    desk.store.asked = []
    for id in ("a\x00b", "\ud800"):
        await refused(desk.keys.revoke(first, id), NotFound)
    assert desk.store.asked == [], "not every store can be asked for those"
    assert await desk.is_let_in(bob)
    await desk.keys.revoke(first, token_id(first))
    assert not await desk.is_let_in(first)


class Hurried(MemoryStore):
    """Something else comes first, just before the next batch."""

    def __init__(self) -> None:
        super().__init__(KINDS)
        self._first: Callable[[], Awaitable[object]] | None = None

    def before(self, first: Callable[[], Awaitable[object]]) -> None:
        self._first = first

    async def apply(self, changes: Sequence[Change]) -> None:
        if self._first is not None:
            first, self._first = self._first, None
            await first()
        await super().apply(changes)


@pytest.mark.parametrize("verb", ["attend", "recover", "rotate", "issue", "make_recovery"])
async def test_a_holder_that_is_revoked_in_the_middle_gets_nothing(verb: str) -> None:
    store = Hurried()
    desk = Desk(store)
    first, waiting = await desk.issued(), await desk.issued()
    recovery = (await desk.keys.make_recovery(first)).text
    more = {"recover": [recovery], "issue": ["new"]}.get(verb, [])
    store.before(lambda: desk.accounts.revoke_key(token_id(waiting)))
    await getattr(desk.keys, verb)(first, *more)
    assert token_id(waiting) not in str(await stored_ring(desk))
    assert not await desk.is_let_in(waiting)


async def test_two_requests_of_one_token_at_once_leave_the_keys_once() -> None:
    store = Hurried()
    desk = Desk(store)
    first, waiting = await desk.issued(), await desk.issued()
    store.before(lambda: desk.keys.attend(first))
    await desk.keys.attend(first)
    store.before(lambda: desk.keys.attend(waiting))
    await desk.keys.attend(waiting)
    ring = await desk.ring()
    assert (set(ring.keys[0].wraps), ring.keys[0].grants) == ({token_id(first), token_id(waiting)}, {})
    await has_the_same(desk, waiting, await desk.keys.current(first))


async def test_a_giver_that_is_revoked_in_the_middle_gives_nothing() -> None:
    store = Hurried()
    desk = Desk(store)
    first, second = await desk.issued(), await desk.issued()
    await desk.called(first)
    store.before(lambda: desk.accounts.revoke_key(token_id(first)))
    await refused(desk.keys.issue(first, "new"))
    assert len(await desk.accounts.keys()) == 2
    assert set((await desk.ring()).holders) == {token_id(second)}


async def test_a_recovery_key_that_is_replaced_in_the_middle_gives_nothing() -> None:
    store = Hurried()
    desk = Desk(store)
    first, waiting = await desk.issued(), await desk.issued()
    recovery = (await desk.keys.make_recovery(first)).text
    store.before(lambda: desk.keys.make_recovery(first))
    await refused(desk.keys.recover(waiting, recovery), InvalidInput)
    assert token_id(waiting) not in (await desk.ring()).keys[0].wraps
