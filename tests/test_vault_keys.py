"""Vault keys: who has them, how others get them, and what is said to those who have none."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from backchat.errors import NotFound
from backchat.sealing.tokens import new_secret
from backchat.services.vault_keys import Bearer
from keyring_desk import (
    NOON,
    Counted,
    Desk,
    Hurried,
    before_there_were_rings,
    by_the_contract,
    has_the_same,
    refused,
    token_id,
)

HOUR = timedelta(hours=1)


@pytest.fixture
def desk() -> Desk:
    return Desk()


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
        assert "another API key" in await refused(need)
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
