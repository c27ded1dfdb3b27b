"""What somebody is to a conversation and to a workspace, and who answers what that allows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Any, get_args

import pytest

from backchat.domain.conversation import Conversation
from backchat.domain.identity import Identity
from backchat.domain.rights import RIGHTS, Action, Permission, Role, Standing, allowed
from backchat.domain.workspace import Workspace, personal_workspace
from backchat.errors import Forbidden, NotFound, NotOwned
from backchat.hookspecs import hookimpl
from backchat.plugins import Plugins
from backchat.services.access import Access, Authorize, by_table
from backchat.services.kinds import KINDS
from backchat.services.stored import conversation_put
from backchat.testing.memory_store import MemoryStore
from rights_made import grant, left, member
from trees_made import ANN, BEGINNING, BOB

HERS = Conversation(id="c", owner="ann", title="", created_at=BEGINNING, updated_at=BEGINNING, workspace="team")
TEAM = Workspace(id="team", name="Team", owner="ann", created_at=BEGINNING, updated_at=BEGINNING)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(KINDS)


def over(store: MemoryStore, authorize: Authorize = by_table) -> Access:
    return Access(store, authorize, lambda: BEGINNING)


ROLES: tuple[Role | None, ...] = (None, *get_args(Role))
SHARES: tuple[Permission | None, ...] = (None, *get_args(Permission))


@pytest.mark.parametrize(("owns", "role", "share"), list(product([False, True], ROLES, SHARES)))
async def test_what_somebody_is_to_a_conversation(
    store: MemoryStore, owns: bool, role: Role | None, share: Permission | None
) -> None:
    if role is not None:
        await store.apply([member("team", "bob", role)])
    grants = (grant("eve", "edit"), *([grant("bob", share)] if share is not None else []))
    conversation = replace(HERS, owner="bob" if owns else "ann", grants=grants)
    wanted: Standing
    if role is None:
        wanted = "stranger"
    elif owns:
        wanted = "owner"
    else:
        wanted = share or ("member" if role == "member" else "admin")
    assert await over(store).standing(BOB, conversation) == wanted


async def test_everybody_owns_their_personal_workspace_and_is_nobody_in_others(store: MemoryStore) -> None:
    access = over(store)
    assert await access.role(personal_workspace("ann"), "ann") == "owner"
    assert await access.role(personal_workspace("ann"), "bob") is None
    personal = replace(HERS, workspace=None, grants=(grant("bob", "edit"),))
    assert await access.standing(ANN, personal) == "owner"
    assert await access.standing(BOB, personal) == "stranger"
    await store.apply([member(personal_workspace("ann"), "bob")])
    assert await access.standing(BOB, personal) == "edit"


async def test_what_is_stored_holds_at_once(store: MemoryStore) -> None:
    access = over(store)
    await store.apply([conversation_put(HERS), member("team", "ann"), member("team", "bob")])
    shared = replace(HERS, grants=(grant("bob"),), version=1)
    steps: list[tuple[list[Any], Standing | None]] = [
        ([], None),
        ([conversation_put(shared)], "view"),
        ([left("team", "bob")], None),
        ([member("team", "bob")], "view"),
        ([conversation_put(replace(HERS, version=2))], None),
    ]
    for changes, standing in steps:
        await store.apply(changes)
        if standing is None:
            with pytest.raises(NotOwned):
                await access.open(BOB, "c")
        else:
            assert await access.standing(BOB, await access.open(BOB, "c")) == standing


async def test_what_is_over_is_nobodys(store: MemoryStore) -> None:
    await store.apply([conversation_put(replace(HERS, workspace=None, expires_at=BEGINNING))])
    assert (await over(store).open(ANN, "c", "delete")).id == "c"
    later = Access(store, by_table, lambda: BEGINNING + timedelta(milliseconds=1))
    with pytest.raises(NotFound):
        await later.open(ANN, "c")


@pytest.mark.parametrize("role", ROLES)
async def test_roles_in_a_workspace(store: MemoryStore, role: Role | None) -> None:
    if role is not None:
        await store.apply([member("team", "bob", role)])
    actions: tuple[Action, ...] = ("enter", "rename", "manage_members", "dissolve")
    for action in actions:
        if role is not None and allowed(action, role):
            assert await over(store).require_in(BOB, action, TEAM) == TEAM
        else:
            with pytest.raises(NotOwned if role is None else Forbidden):
                await over(store).require_in(BOB, action, TEAM)
    with pytest.raises(NotFound):
        await over(store).require_in(BOB, "enter", None)


async def test_where_somebody_is(store: MemoryStore) -> None:
    teams = [f"t{n:03}" for n in range(450)]
    await store.apply([*[member(team, "ann") for team in teams], member("theirs", "bob")])
    field, values = await over(store).reach(ANN)
    assert field == "workspace"
    assert set(values) == {None, personal_workspace("ann"), *teams}


def test_every_action_has_its_standings() -> None:
    assert set(RIGHTS) == set(get_args(Action))
    assert {standing for standings in RIGHTS.values() for standing in standings} == set(get_args(Standing)) - {
        "stranger"
    }


# ---- the hook -------------------------------------------------------------------------------------------------------


class Plugin:
    """``answer`` is asked; None leaves it to the others."""

    def __init__(self, answer: Callable[[Identity, Action, Standing, Any], bool | None]) -> None:
        self.answer = answer
        self.asked: list[tuple[str, Action, Standing, str]] = []

    @hookimpl
    def backchat_authorize(self, who: Identity, action: Action, standing: Standing, thing: Any) -> bool | None:
        self.asked.append((who.user, action, standing, thing.id))
        return self.answer(who, action, standing, thing)


async def test_a_plugin_decides(store: MemoryStore) -> None:
    """Admins may read and tidy up here, and nobody shares."""
    admins: Action
    plugin = Plugin(
        lambda who, action, standing, thing: (
            True
            if standing == "admin" and action in ("read", "delete")
            else False
            if action in ("share", "manage_members")
            else None
        )
    )
    access = over(store, Plugins([plugin]).authorize)
    await store.apply([conversation_put(HERS), member("team", "bob", "admin"), member("team", "ann", "owner")])
    for admins in ("read", "delete"):
        assert (await access.open(BOB, "c", admins)).id == "c"
    with pytest.raises(Forbidden):  # the table's answer, of one that may be read now
        await access.open(BOB, "c", "update")
    assert (await access.open(ANN, "c", "update")).id == "c"
    with pytest.raises(Forbidden):
        await access.open(ANN, "c", "share")
    for who in (ANN, BOB):
        assert await access.require_in(who, "rename", TEAM) == TEAM
        with pytest.raises(Forbidden):
            await access.require_in(who, "manage_members", TEAM)
    assert ("bob", "read", "admin", "c") in plugin.asked
    assert ("ann", "manage_members", "owner", "team") in plugin.asked


async def test_a_plugin_can_hide_things(store: MemoryStore) -> None:
    plugin = Plugin(lambda who, action, standing, thing: False if action in ("read", "enter") else None)
    access = over(store, Plugins([plugin]).authorize)
    await store.apply([conversation_put(HERS), member("team", "bob"), member("team", "ann", "owner")])
    with pytest.raises(NotOwned):
        await access.open(ANN, "c")
    with pytest.raises(NotOwned):
        await access.require_in(ANN, "rename", TEAM)


@pytest.mark.parametrize("silent", [0, 1, 3])
def test_the_table_comes_last(silent: int) -> None:
    plugins = [Plugin(lambda who, action, standing, thing: None) for _ in range(silent)]
    authorize = Plugins(plugins).authorize
    for action, standing in product(get_args(Action), get_args(Standing)):
        assert authorize(ANN, action, standing, HERS) is by_table(ANN, action, standing, HERS)
    assert all(len(plugin.asked) == len(RIGHTS) * len(get_args(Standing)) for plugin in plugins)


def test_the_first_plugin_with_an_answer_decides() -> None:
    silent = Plugin(lambda who, action, standing, thing: None)
    for verdict in (True, False):
        plugins = Plugins([Plugin(lambda who, action, standing, thing, v=verdict: v), silent])  # type: ignore[misc]
        assert plugins.authorize(BOB, "delete", "stranger", HERS) is verdict
        assert plugins.authorize(ANN, "delete", "owner", HERS) is verdict
