"""Sharing a conversation with members of its workspace, at the service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from backchat.domain.identity import Identity
from backchat.domain.workspace import Grant, personal_workspace
from backchat.errors import BackchatError, Forbidden, InvalidInput, NotFound, NotOwned
from backchat.ports.storage import Query
from backchat.services import grants
from backchat.services.stored import conversation_put
from nodes import Node, node
from workspaces_made import ANN, BOB, CAT, DAN, EVE, PEOPLE, Racing, accounts, office, placed

C = "anns"


@pytest.fixture
async def store() -> Racing:
    store = Racing()
    await accounts(store, *PEOPLE)
    return store


@pytest.fixture
async def one(store: Racing) -> AsyncIterator[Node]:
    async with node(store) as one:
        yield one


@pytest.fixture
async def workspace(one: Node, store: Racing) -> str:
    """Ann's, with a conversation of hers; dan is an admin of it, bob and cat are members, eve is not."""
    id = await office(one, dan="admin", bob="member", cat="member")
    await placed(store, C, "tea", workspace=id)
    return id


async def shared(one: Node, who: Identity = ANN, conversation: str = C) -> list[tuple[str, str]]:
    return [(g.user.id, g.grant.permission) for g in await one.services.grants.of(who, conversation)]


async def refusal(verb: object) -> tuple[str, str | None, str]:
    with pytest.raises(BackchatError) as refused:
        await verb  # type: ignore[misc]
    return refused.value.code, refused.value.field, str(refused.value)


async def test_what_a_share_opens(one: Node, workspace: str) -> None:
    given, new = await one.services.grants.give(ANN, C, "view", user="bob")
    assert (given.grant.user, given.grant.permission, given.grant.shared_by) == ("bob", "view", "ann")
    assert (given.user.email, new) == ("bob@example.org", True)
    assert (await one.conversations.open(BOB, C, "read")).id == C
    for action in ("say", "update", "share", "delete"):
        with pytest.raises(Forbidden):
            await one.conversations.open(BOB, C, action)
    for other in (CAT, DAN, EVE):
        with pytest.raises(NotOwned):
            await one.conversations.open(other, C)
    more, new = await one.services.grants.give(ANN, C, "edit", email="BOB@example.org ")
    assert (more.grant, new) == (replace(given.grant, permission="edit"), False)
    await one.conversations.open(BOB, C, "say")
    assert await shared(one) == [("bob", "edit")]
    await one.services.grants.revoke(ANN, C, user="bob")
    with pytest.raises(NotOwned):
        await one.conversations.open(BOB, C)


async def test_the_same_again_writes_nothing(one: Node, workspace: str, store: Racing) -> None:
    given, _ = await one.services.grants.give(ANN, C, "view", user="bob")
    written = len(store.commits)
    again, new = await one.services.grants.give(ANN, C, "view", email="bob@example.org")
    assert (again, new, len(store.commits)) == (given, False, written)


async def test_shares_are_listed_in_their_order(one: Node, workspace: str) -> None:
    for user in ("cat", "dan", "bob"):
        await one.services.grants.give(ANN, C, "view", user=user)
    await one.services.grants.give(ANN, C, "edit", user="dan")
    assert await shared(one) == [("cat", "view"), ("dan", "edit"), ("bob", "view")]
    times = [g.grant.created_at for g in await one.services.grants.of(ANN, C)]
    assert times == sorted(times)


async def test_who_it_cannot_be_shared_with(one: Node, workspace: str) -> None:
    """An unknown user and one who is no member read alike."""
    give = one.services.grants.give
    by_id = {await refusal(give(ANN, C, "view", user=user)) for user in ("eve", "nobody", "", "\ud800")}
    by_email = {await refusal(give(ANN, C, "view", email=f"{name}@example.org")) for name in ("eve", "nobody")}
    assert by_id == {("invalid_input", "body.user_id", "there is no such user in this workspace")}
    assert by_email == {("invalid_input", "body.email", "there is no such user in this workspace")}
    code, field, text = await refusal(give(ANN, C, "view", user="ann"))
    assert (code, field) == ("invalid_input", "body.user_id")
    assert "owner" in text
    assert (await refusal(give(ANN, C, "view", email="ann@example.org")))[1] == "body.email"
    assert await shared(one) == []


async def test_only_the_owner_shares(one: Node, workspace: str) -> None:
    it = one.services.grants
    given, _ = await it.give(ANN, C, "edit", user="bob")
    await it.give(ANN, C, "view", user="cat")
    for who, error in ((BOB, Forbidden), (CAT, Forbidden), (DAN, NotOwned), (EVE, NotOwned)):
        for verb in (
            it.give(who, C, "view", user="dan"),
            it.of(who, C),
            it.revoke(who, C, user="dan"),
            it.revoke(who, C, grant="nothing"),
        ):
            with pytest.raises(error) as refused:
                await verb
            assert type(refused.value) is error
    with pytest.raises(Forbidden):
        await it.revoke(CAT, C, grant=given.grant.id)
    assert await shared(one) == [("bob", "edit"), ("cat", "view")]


async def test_every_way_to_revoke(one: Node, workspace: str) -> None:
    it = one.services.grants
    given, _ = await it.give(ANN, C, "view", user="bob")
    for who in (ANN, BOB):
        for n in range(3):
            way = [{"grant": given.grant.id}, {"user": "bob"}, {"email": "bob@EXAMPLE.org"}][n]
            await it.revoke(who, C, **way)
            assert await shared(one) == []
            with pytest.raises(NotFound, match="share not found" if who is ANN else "conversation not found"):
                await it.revoke(who, C, **way)
            given, _ = await it.give(ANN, C, "view", user="bob")
    for way in ({"grant": "x"}, {"user": "nobody"}, {"user": "\ud800"}, {"email": "nobody@example.org"}):
        with pytest.raises(NotFound, match="share not found"):
            await it.revoke(ANN, C, **way)
    assert await shared(one) == [("bob", "view")]


async def test_the_share_of_who_has_left_is_listed_and_holds_again_later(one: Node, workspace: str) -> None:
    await one.services.grants.give(ANN, C, "edit", user="bob")
    await one.services.grants.give(ANN, C, "view", user="cat")
    await one.services.workspaces.remove(ANN, workspace, "bob")
    assert await shared(one) == [("bob", "edit"), ("cat", "view")]
    with pytest.raises(NotOwned):
        await one.services.grants.revoke(BOB, C, user="bob")
    with pytest.raises(InvalidInput):
        await one.services.grants.give(ANN, C, "view", user="bob")
    await one.services.workspaces.add(ANN, workspace, "member", user="bob")
    assert await shared(one) == [("bob", "edit"), ("cat", "view")]


async def test_in_a_personal_workspace(one: Node, store: Racing) -> None:
    """Conversations of other dialects are there, also those from before there were workspaces."""
    await placed(store, "old", "tea")
    await one.services.workspaces.add(ANN, personal_workspace("ann"), "member", user="bob")
    await one.services.grants.give(ANN, "old", "view", user="bob")
    assert (await one.conversations.open(BOB, "old")).grants[0].user == "bob"
    await placed(store, "guests", owner="bob", workspace=personal_workspace("ann"))
    await one.services.grants.give(BOB, "guests", "view", user="ann")
    assert await shared(one, BOB, "guests") == [("ann", "view")]


async def test_many_at_once(one: Node, workspace: str) -> None:
    it = one.services.grants
    made = await asyncio.gather(*[it.give(ANN, C, "view", user=user) for user in ("bob", "cat", "dan") * 3])
    assert sum(new for _, new in made) == 3
    assert sorted(await shared(one)) == [("bob", "view"), ("cat", "view"), ("dan", "view")]
    gone = await asyncio.gather(*[it.revoke(ANN, C, user="bob") for _ in range(3)], return_exceptions=True)
    assert sorted(type(g).__name__ for g in gone) == ["NoneType", "NotFound", "NotFound"]
    assert sorted(await shared(one)) == [("cat", "view"), ("dan", "view")]


async def test_nobody_gets_a_share_who_leaves_at_this_moment(one: Node, workspace: str, store: Racing) -> None:
    store.before("conversation", lambda: one.services.workspaces.remove(ANN, workspace, "bob"))
    with pytest.raises(InvalidInput, match="no such user in this workspace"):
        await one.services.grants.give(ANN, C, "view", user="bob")
    assert not await store.find(Query(kind="conversation", where=(("readers", ("bob",)),)))


async def test_there_is_a_limit(one: Node, workspace: str, store: Racing, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who have left make room."""
    monkeypatch.setattr(grants, "MOST", 3)
    conversation = await one.conversations.open(ANN, C)
    gone = [
        Grant(id=f"g{n}", user=f"gone{n}", permission="view", shared_by="ann", created_at=conversation.created_at)
        for n in range(2)
    ]
    await store.apply([conversation_put(replace(conversation, grants=tuple(gone)))])
    for user in ("bob", "cat", "dan"):
        await one.services.grants.give(ANN, C, "view", user=user)
    assert (await one.conversations.open(ANN, C)).grants[0].user == "bob"
    await one.services.workspaces.add(ANN, workspace, "member", user="eve")
    with pytest.raises(InvalidInput, match="at most 3 users"):
        await one.services.grants.give(ANN, C, "view", user="eve")
    _, new = await one.services.grants.give(ANN, C, "edit", user="cat")
    assert not new
    assert await shared(one) == [("bob", "view"), ("cat", "edit"), ("dan", "view")]
