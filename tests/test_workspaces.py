"""Workspaces and their members at the service: who may do what, and what becomes of it at the same moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from archive_made import at
from backchat.domain.identity import Identity
from backchat.domain.message import Usage
from backchat.domain.rights import Role
from backchat.domain.usage import Payer
from backchat.domain.workspace import Grant, personal_workspace
from backchat.errors import Forbidden, InvalidInput, NotFound, NotOwned
from backchat.ports.storage import Delete, Put
from backchat.services.workspaces import Member
from backchat.testing.provider import ScriptedProvider
from nodes import Node, node
from workspaces_made import ANN, BOB, CAT, DAN, EVE, PEOPLE, Racing, accounts, left, office, placed


@pytest.fixture
async def store() -> Racing:
    store = Racing()
    await accounts(store, *PEOPLE)
    return store


@pytest.fixture
async def one(store: Racing) -> AsyncIterator[Node]:
    async with node(store) as one:
        yield one


async def listed(one: Node, who: Identity, skip: int = 0, limit: int = 10) -> tuple[list[tuple[str, Role]], int]:
    page, count = await one.services.workspaces.page(who, skip=skip, limit=limit)
    return [(workspace.name, role) for workspace, role in page], count


async def members(one: Node, id: str, who: Identity = ANN) -> list[tuple[str, Role]]:
    page, count = await one.services.workspaces.members(who, id, skip=0, limit=100)
    assert count == len(page)
    return [(m.user.id, m.membership.role) for m in page]


async def test_everybody_has_a_personal_one(one: Node, store: Racing) -> None:
    assert await listed(one, ANN) == ([("Personal", "owner")], 1)
    home = personal_workspace("ann")
    workspace, role = await one.services.workspaces.open(BOB, personal_workspace("bob"))
    assert (workspace.name, workspace.owner, workspace.personal, role) == ("Personal", "bob", True, "owner")
    with pytest.raises(NotOwned, match="workspace not found"):
        await one.services.workspaces.open(BOB, home)
    with pytest.raises(InvalidInput, match="personal"):
        await one.services.workspaces.dissolve(ANN, home)
    assert (await one.services.workspaces.rename(ANN, home, "Mine")).name == "Mine"
    assert await listed(one, ANN) == ([("Mine", "owner")], 1)
    await one.services.workspaces.add(ANN, home, "member", user="bob")
    assert await members(one, home, BOB) == [("ann", "owner"), ("bob", "member")]
    assert await listed(one, BOB) == ([("Personal", "owner"), ("Mine", "member")], 2)


async def test_it_is_made_once(store: Racing) -> None:
    async with node(store) as one, node(store) as two:
        found = await asyncio.gather(*[listed(n, ANN) for n in (one, two) * 5])
    assert found == [([("Personal", "owner")], 1)] * 10
    assert set(await left(store, "workspace", "membership")) == {"workspace", "membership"}
    assert len((await left(store, "workspace"))["workspace"]) == 1


async def test_the_list_has_the_personal_one_first_and_then_the_oldest_membership(one: Node) -> None:
    for name in ("A", "B", "C"):
        id = (await one.services.workspaces.create(ANN, name)).id
        await one.services.workspaces.add(ANN, id, "admin", user="bob")
    all_of_bobs = [("Personal", "owner"), ("A", "admin"), ("B", "admin"), ("C", "admin")]
    assert await listed(one, BOB) == (all_of_bobs, 4)
    for skip in range(6):
        assert await listed(one, BOB, skip, 2) == (all_of_bobs[skip : skip + 2], 4)


@pytest.mark.parametrize("name", ["", " \n\t", "x" * 256])
async def test_names_that_are_none(one: Node, name: str) -> None:
    id = await office(one)
    verbs: list[Callable[[], Awaitable[object]]] = [
        lambda: one.services.workspaces.create(ANN, name),
        lambda: one.services.workspaces.rename(ANN, id, name),
    ]
    for verb in verbs:
        with pytest.raises(InvalidInput) as refused:
            await verb()
        assert refused.value.field == "body.name"
    assert await listed(one, ANN) == ([("Personal", "owner"), ("Office", "owner")], 2)


async def test_names_are_trimmed(one: Node) -> None:
    created = await one.services.workspaces.create(ANN, f" {'x' * 255}\n")
    assert created.name == "x" * 255
    found, role = await one.services.workspaces.open(ANN, created.id)
    assert (found, role) == (created, "owner")
    renamed = await one.services.workspaces.rename(ANN, created.id, " Shed ")
    assert (await one.services.workspaces.open(ANN, created.id))[0] == renamed
    assert (renamed.name, renamed.created_at) == ("Shed", created.created_at)
    assert renamed.updated_at > created.updated_at


async def test_what_each_role_may_do(one: Node) -> None:
    """Of the table of rights: every verb by everybody, the most harmless refusals first."""
    id = await office(one, bob="admin", cat="member", dan="member")
    it = one.services.workspaces
    verbs: dict[str, Callable[[Identity], Awaitable[object]]] = {
        "open": lambda who: it.open(who, id),
        "members": lambda who: it.members(who, id, skip=0, limit=1),
        "rename": lambda who: it.rename(who, id, "Other"),
        "add": lambda who: it.add(who, id, "member", user="dan"),
        "remove": lambda who: it.remove(who, id, "dan"),
        "dissolve": lambda who: it.dissolve(who, id),
    }
    verdicts: dict[str, list[str]] = {}
    for name, verb in verbs.items():
        for who in (EVE, CAT, BOB, ANN):
            try:
                await verb(who)
                verdict = "done"
                if name == "remove":
                    await it.add(ANN, id, "member", user="dan")
            except (Forbidden, NotFound) as error:
                verdict = error.code
            verdicts.setdefault(name, []).append(verdict)
    assert verdicts == {
        "open": ["not_owned", "done", "done", "done"],
        "members": ["not_owned", "done", "done", "done"],
        "rename": ["not_owned", "forbidden", "done", "done"],
        "add": ["not_owned", "forbidden", "done", "done"],
        "remove": ["not_owned", "forbidden", "done", "done"],
        "dissolve": ["not_owned", "forbidden", "forbidden", "done"],
    }
    for verb in verbs.values():
        with pytest.raises(NotFound, match=r"^workspace not found$"):
            await verb(ANN)


async def test_members_come_by_id_or_by_address(one: Node) -> None:
    id, it = await office(one, eve="member"), one.services.workspaces
    found, new = await it.add(ANN, id, "member", user="bob")
    assert (found.user.name, found.membership.role, new) == ("Bob", "member", True)
    cat, new = await it.add(ANN, id, "admin", email=" CAT@example.ORG")
    assert (cat.user.email, cat.membership.user, new) == ("cat@example.org", "cat", True)
    assert await members(one, id) == [("ann", "owner"), ("eve", "member"), ("bob", "member"), ("cat", "admin")]
    again, new = await it.add(CAT, id, "admin", user="bob")
    assert (again.membership.role, again.membership.created_at, new) == ("admin", found.membership.created_at, False)
    assert await members(one, id) == [("ann", "owner"), ("eve", "member"), ("bob", "admin"), ("cat", "admin")]
    page, count = await it.members(BOB, id, skip=1, limit=1)
    assert ([m.user.id for m in page], count) == (["eve"], 4)


async def test_the_same_role_again_writes_nothing(one: Node, store: Racing) -> None:
    id = await office(one, bob="member")
    written = len(store.commits)
    found, new = await one.services.workspaces.add(ANN, id, "member", email="bob@example.org")
    assert (found.membership.role, new, len(store.commits)) == ("member", False, written)


async def test_who_cannot_be_added(one: Node) -> None:
    id = await office(one, bob="admin")
    cases: list[tuple[Role, dict[str, str], str]] = [
        ("member", {"user": "nobody"}, "body.user_id"),
        ("member", {"user": ""}, "body.user_id"),
        ("member", {"user": "\ud800"}, "body.user_id"),
        ("member", {"email": "nobody@example.org"}, "body.email"),
        ("member", {"email": ""}, "body.email"),
        ("owner", {"user": "cat"}, "body.role"),
        ("member", {"user": "ann"}, "body.user_id"),
        ("admin", {"email": "ann@example.org"}, "body.email"),
    ]
    for role, given, field in cases:
        with pytest.raises(InvalidInput) as refused:
            await one.services.workspaces.add(BOB, id, role, **given)
        assert refused.value.field == field, given
    assert await members(one, id) == [("ann", "owner"), ("bob", "admin")]


async def test_a_caller_without_an_account_counts_from_their_first_request_on(one: Node) -> None:
    """The subject of a token: nobody created an account for it."""
    id, it, guest = await office(one), one.services.workspaces, Identity(user="urn:guest")
    with pytest.raises(InvalidInput, match="no such user"):
        await it.add(ANN, id, "member", user=guest.user)
    await it.page(guest, skip=0, limit=1)
    added: Member = (await it.add(ANN, id, "member", user=guest.user))[0]
    assert (added.user.id, added.user.name, added.user.email) == ("urn:guest", "urn:guest", None)
    assert await members(one, id, guest) == [("ann", "owner"), ("urn:guest", "member")]


async def test_leaving_and_removing(one: Node) -> None:
    id, it = await office(one, bob="admin", cat="member", dan="member"), one.services.workspaces
    await it.remove(CAT, id, "cat")
    await it.remove(BOB, id, "dan")
    await it.remove(BOB, id, "bob")
    for gone in (BOB, CAT, DAN):
        with pytest.raises(NotOwned, match="workspace not found"):
            await it.open(gone, id)
        with pytest.raises(NotFound, match="member not found"):
            await it.remove(ANN, id, gone.user)
    with pytest.raises(NotFound, match="member not found"):
        await it.remove(ANN, id, "\ud800")
    await it.add(ANN, id, "admin", user="bob")
    for who in (ANN, BOB):
        with pytest.raises(InvalidInput, match="owner"):
            await it.remove(who, id, "ann")
    assert await members(one, id) == [("ann", "owner"), ("bob", "admin")]


async def test_who_leaves_loses_everything_there_until_they_come_back(one: Node, store: Racing) -> None:
    id, it = await office(one, bob="member"), one.services.workspaces
    grant = Grant(id="g", user="bob", permission="edit", shared_by="ann", created_at=at(0))
    await placed(store, "anns", workspace=id, grants=(grant,))
    await placed(store, "bobs", workspace=id, owner="bob")
    for _ in range(2):
        assert (await one.conversations.open(BOB, "anns", "say")).owner == "ann"
        assert (await one.conversations.open(BOB, "bobs", "delete")).owner == "bob"
        await it.remove(BOB, id, "bob")
        for conversation in ("anns", "bobs"):
            with pytest.raises(NotOwned):
                await one.conversations.open(BOB, conversation)
        await it.add(ANN, id, "member", user="bob")


async def test_dissolving_takes_everything_along(store: Racing) -> None:
    """Conversations of members and of former ones, with shares and links, one of which is just being answered."""
    wait = asyncio.Event()
    async with node(store, ScriptedProvider(["Hel", wait])) as one:
        id = await office(one, bob="member", cat="member", dan="admin")
        other = await office(one, bob="member")
        grant = Grant(id="g", user="cat", permission="view", shared_by="bob", created_at=at(0))
        await placed(store, "anns", "tea", workspace=id)
        await placed(store, "bobs", workspace=id, owner="bob", grants=(grant,))
        await placed(store, "cats", workspace=id, owner="cat")
        await placed(store, "else", "cake", workspace=other, owner="bob")
        await placed(store, "home", owner="bob")
        await one.services.publishing.toggle(BOB, "bobs")
        await store.apply([Put("share", "s", {"conversation": "bobs", "owner": "bob", "target": "", "created": "1"})])
        await one.services.workspaces.remove(ANN, id, "cat")
        run = await one.say("hello", BOB, conversation="bobs")
        payer = Payer(user="bob", workspace=id)
        await one.services.ledger.check(payer)
        spent = one.services.ledger.entry(payer, "title", "x", "y", Usage(1, 2), id="u1")
        await store.apply([one.services.ledger.booked(spent)])

        await one.services.workspaces.dissolve(ANN, id)
        for who in (ANN, BOB, CAT, DAN):
            with pytest.raises(NotFound):
                await one.services.workspaces.open(who, id)
            with pytest.raises(NotOwned):
                await one.conversations.open(who, {ANN: "anns", CAT: "cats"}.get(who, "bobs"))
        assert await one.jobs.settled([f"workspace {id}"], 5)
        assert one.runs.live == {}
        assert await left(
            store, "conversation", "message", "run", "event", "share", "public_link", "job", "cancel"
        ) == {
            "conversation": ["else", "home"],
            "message": ["else-1"],
        }, run.id
        assert "u1" in (await left(store, "usage"))["usage"]
        assert [name for name, _ in (await listed(one, BOB))[0]] == ["Personal", "Office"]
        assert (await one.conversations.open(BOB, "else")).workspace == other


async def test_what_is_left_of_it_goes_when_the_process_dies(store: Racing) -> None:
    """The job was stored with the deletion: another process finds it."""
    async with node(store) as one:
        id = await office(one)
        for n in range(3):
            await placed(store, f"c{n}", workspace=id)
        await one.services.workspaces.dissolve(ANN, id)
        await one.jobs.__aexit__()
        assert (await left(store, "conversation", "job")).keys() == {"conversation", "job"}
    async with node(store) as two:
        await two.workers.recover()
        await two.jobs.settled([f"workspace {id}"], 5)
        assert await left(store, "conversation", "job") == {}


async def test_nobody_joins_a_workspace_that_goes(one: Node, store: Racing) -> None:
    id = await office(one, bob="admin")
    store.before("membership", lambda: one.services.workspaces.dissolve(ANN, id))
    with pytest.raises(NotFound, match="workspace not found"):
        await one.services.workspaces.add(BOB, id, "member", user="cat")
    assert await one.jobs.settled([f"workspace {id}"], 5)
    assert await listed(one, CAT) == ([("Personal", "owner")], 1)
    assert not [m for m in (await left(store, "membership"))["membership"] if m.startswith(id)]


async def test_nobody_joins_whose_account_goes(one: Node, store: Racing) -> None:
    id = await office(one)
    store.before("membership", lambda: one.services.accounts.forget("cat"))
    with pytest.raises(InvalidInput, match="no such user"):
        await one.services.workspaces.add(ANN, id, "member", user="cat")
    assert await members(one, id) == [("ann", "owner")]


async def test_changes_of_a_member_at_the_same_time(one: Node, store: Racing) -> None:
    id, it = await office(one, bob="member"), one.services.workspaces
    store.before("membership", lambda: it.remove(BOB, id, "bob"))
    found, new = await it.add(ANN, id, "admin", user="bob")
    assert (found.membership.role, new) == ("admin", True), "bob was none any more"
    results = await asyncio.gather(*[it.add(ANN, id, "member", user="cat") for _ in range(5)])
    assert sorted(new for _, new in results) == [False] * 4 + [True]
    gone = await asyncio.gather(*[it.remove(ANN, id, "cat") for _ in range(5)], return_exceptions=True)
    assert sorted(type(g).__name__ for g in gone) == ["NoneType"] + ["NotFound"] * 4
    assert await members(one, id) == [("ann", "owner"), ("bob", "admin")]


async def test_renaming_and_dissolving_at_the_same_time(one: Node, store: Racing) -> None:
    id = await office(one)
    store.before("workspace", lambda: one.services.workspaces.dissolve(ANN, id))
    with pytest.raises(NotFound, match="workspace not found"):
        await one.services.workspaces.rename(ANN, id, "Other")
    assert await left(store, "workspace") == {}


async def test_a_conversation_that_changes_while_it_is_cleared_away(one: Node, store: Racing) -> None:
    id = await office(one)
    await placed(store, "c", "tea", workspace=id)
    record = await store.get("conversation", "c")
    assert record is not None
    store.before("conversation", lambda: store.apply([Put("conversation", "c", record.doc)]), Delete)
    await one.services.workspaces.dissolve(ANN, id)
    assert await one.jobs.settled([f"workspace {id}"], 5)
    assert store.first is None
    assert await left(store, "conversation", "message", "job") == {}
