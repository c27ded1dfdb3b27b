"""Vault keys that nobody could open any more: not lost without a word."""

from __future__ import annotations

import pytest

from backchat.errors import Conflict
from backchat.services.vault_keys import Bearer
from keyring_desk import Desk, Hurried, has_the_same, refused, stored_ring, token_id


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def reaches(desk: Desk) -> list[str]:
    return list((await desk.accounts.vault_reach((await desk.user()).id)).values())


async def left_to_the_recovery_key(desk: Desk) -> tuple[str, Bearer]:
    """An older key is, and the recovery key's text; the bearer has the key after it only."""
    first = await desk.issued()
    recovery = (await desk.keys.make_recovery(first)).text
    await desk.accounts.revoke_key(token_id(first))
    bearer = await desk.issued()
    await desk.keys.rotate(bearer, abandon=True)
    assert await reaches(desk) == ["recovery", "tokens"]
    return recovery, bearer


async def test_a_new_recovery_key_does_not_lose_what_only_the_one_before_opens(desk: Desk) -> None:
    recovery, bearer = await left_to_the_recovery_key(desk)
    before = await stored_ring(desk)
    assert "recover with that one first" in await refused(desk.keys.make_recovery(bearer), Conflict)
    assert await stored_ring(desk) == before
    await desk.keys.recover(bearer, recovery)
    made = await desk.keys.make_recovery(bearer)
    await desk.accounts.revoke_key(token_id(bearer))
    assert await reaches(desk) == ["recovery", "recovery"]
    again = await desk.issued()
    await desk.keys.recover(again, made.text)
    assert await reaches(desk) == ["tokens", "tokens"]


async def test_a_recovery_key_that_is_lost_as_well_can_be_given_up(desk: Desk) -> None:
    _, bearer = await left_to_the_recovery_key(desk)
    made = await desk.keys.make_recovery(bearer, abandon=True)
    assert await reaches(desk) == ["nobody", "tokens"]
    await desk.keys.make_recovery(bearer)  # what is lost is nobody's to lose again
    await desk.keys.revoke(bearer, token_id(bearer))
    assert made.text not in str(await stored_ring(desk))
    assert await reaches(desk) == ["nobody", "recovery"]


async def test_the_last_token_that_has_the_key_is_not_revoked_by_the_way(desk: Desk) -> None:
    first, waiting, other = await desk.issued(), await desk.issued(), await desk.issued(scopes=["push"])
    for bearer in (first, waiting, await desk.jwt()):
        assert "abandon" in await refused(desk.keys.revoke(bearer, token_id(first)), Conflict)
    await refused(desk.accounts.revoke_key(token_id(first), abandon=False), Conflict)
    assert await desk.is_let_in(first)
    key = await desk.called(first)  # which leaves it to the others
    await desk.keys.revoke(waiting, token_id(first))
    await has_the_same(desk, other, key)
    await desk.keys.revoke(waiting, token_id(other))
    await desk.keys.revoke(waiting, token_id(waiting), abandon=True)
    assert await reaches(desk) == ["nobody"]


async def test_with_a_recovery_key_the_last_token_may_go(desk: Desk) -> None:
    first = await desk.issued()
    await desk.keys.make_recovery(first)
    await desk.keys.revoke(first, token_id(first))
    assert await reaches(desk) == ["recovery"]


async def test_an_older_key_counts_as_well(desk: Desk) -> None:
    first, second = await desk.issued(hours=1), await desk.issued()
    await desk.keys.rotate(first)
    late = await desk.issued()
    await desk.keys.attend(first)
    await desk.keys.revoke(first, token_id(second))
    await desk.keys.revoke(late, token_id(first))
    assert await reaches(desk) == ["tokens", "tokens"]
    assert "one of them" in await refused(desk.keys.revoke(late, token_id(late)), Conflict)


async def test_two_that_revoke_one_another_are_not_both_gone() -> None:
    store = Hurried()
    desk = Desk(store)
    first, second = await desk.issued(), await desk.issued()
    key = await desk.called(first)
    store.before(lambda: desk.keys.revoke(first, token_id(second)))
    await refused(desk.keys.revoke(second, token_id(first)), Conflict)
    await has_the_same(desk, first, key)
