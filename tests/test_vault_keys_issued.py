"""API tokens that are issued, listed and revoked with others, and what that does to vault keys."""

from __future__ import annotations

from datetime import timedelta

import pytest

from backchat.domain.identity import Identity
from backchat.errors import InvalidInput, NotFound
from backchat.services.vault_keys import Bearer
from keyring_desk import (
    NOON,
    Counted,
    Desk,
    before_there_were_rings,
    has_the_same,
    refused,
    stored_ring,
    token_id,
)

HOUR = timedelta(hours=1)


@pytest.fixture
def desk() -> Desk:
    return Desk()


# ---- issuing ---------------------------------------------------------------------------------------------------------


async def test_a_token_issued_with_another_has_its_keys_at_once(desk: Desk) -> None:
    first = await desk.issued(platform="ollama", hours=9, scopes=["push", "chat"])
    old = await desk.keys.current(first)
    await desk.keys.rotate(first)
    key, token, _ = await desk.keys.issue(first, " laptop ", platform=" Phone ")
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


async def test_a_jwt_alone_issues_nothing_and_with_the_recovery_key_it_does(desk: Desk) -> None:
    """It is good for an hour, and would make what is good for ever."""
    for user in ("nobody", "ann"):
        jwt = await desk.jwt(user)
        for _ in range(2):  # before there is a first token, and after
            assert "recovery key" in await refused(desk.keys.issue(jwt, "key"))
            await desk.issued(user)
    assert len(await desk.accounts.keys()) == 4
    stranger = Bearer(Identity(user="subject", name="Sue"), None)
    await refused(desk.keys.issue(stranger, "key"))
    first = (await desk.ring()).holders
    assert await desk.accounts.user("subject") is None
    bearer = await desk.issued("cat")
    recovery = (await desk.keys.make_recovery(bearer)).text
    assert await desk.keys.current(await desk.further(await desk.jwt("cat"), recovery=recovery))
    assert (await desk.ring()).holders == first


async def test_it_is_told_whether_a_token_that_is_issued_has_the_current_key(desk: Desk) -> None:
    first = await desk.issued()
    waiting = await desk.issued()
    recovery = (await desk.keys.make_recovery(first)).text
    assert (await desk.keys.issue(waiting, "key"))[2] is False
    assert (await desk.keys.issue(waiting, "key", recovery=recovery))[2] is True
    assert (await desk.keys.issue(first, "key"))[2] is True
    assert (await desk.keys.issue(first, "key", scopes=["chat"]))[2] is False


async def test_a_token_for_other_dialects_is_issued_without_keys(desk: Desk) -> None:
    first = await desk.issued()
    before = await desk.ring()
    key, _, _ = await desk.keys.issue(first, "chat", scopes=["chat"])
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
        key, _, _ = await desk.keys.issue(caller, "new", scopes=wanted)
        assert key.scopes == tuple(wanted)
        await desk.keys.revoke(caller, token_id(target))
        assert not await desk.is_let_in(target)
    else:
        await refused(desk.keys.issue(caller, "new", scopes=wanted))
        await refused(desk.keys.revoke(caller, token_id(target)))
        assert await desk.is_let_in(target)
    assert len(await desk.accounts.keys()) == 2 + allowed


async def test_a_login_with_scopes_issues_within_them(desk: Desk) -> None:
    recovery = (await desk.keys.make_recovery(await desk.issued())).text
    jwt = await desk.jwt(scopes=frozenset({"pull", "chat"}))
    assert (await desk.further(jwt, recovery=recovery)).who.scopes == {"pull", "chat"}
    await refused(desk.keys.issue(jwt, "new", scopes=[], recovery=recovery))


async def test_a_token_issues_for_no_longer_than_itself(desk: Desk) -> None:
    first = await desk.issued(hours=2)
    key, _, _ = await desk.keys.issue(first, "same", expires=NOON + 2 * HOUR)
    assert key.expires_at == NOON + 2 * HOUR
    key, _, _ = await desk.keys.issue(first, "shorter", expires=NOON + HOUR)
    assert key.expires_at == NOON + HOUR
    await refused(desk.keys.issue(first, "longer", expires=NOON + 2 * HOUR + timedelta(milliseconds=1)))
    unlimited = await desk.issued()
    key, _, _ = await desk.keys.issue(unlimited, "any", expires=NOON + 9 * HOUR)
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
    await desk.keys.revoke(first, token_id(first), abandon=True)
    assert not await desk.is_let_in(first)
