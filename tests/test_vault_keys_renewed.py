"""Vault keys that come after others, and the recovery key."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from backchat.errors import Conflict, InvalidInput
from backchat.sealing.tokens import parse
from backchat.services.keyrings import RingKey, opened
from backchat.services.vault_keys import Bearer
from keyring_desk import (
    Desk,
    Hurried,
    by_the_contract,
    has_the_same,
    refused,
    stored_ring,
    token_id,
)

HOUR = timedelta(hours=1)


@pytest.fixture
def desk() -> Desk:
    return Desk()


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
    assert "another API key" in await refused(desk.keys.rotate(waiting))
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
    told = await refused(desk.keys.wrapped(waiting, old.id))
    assert f"sealed under {old.id}, which no API key or recovery key has any more" in told
    assert "abandon" not in told, "that has been done"


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
