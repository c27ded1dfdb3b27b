"""The conversations of a workspace at the service: lists against a naive one, and changes of settings and status."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archive_made import at, made, shelf
from backchat.domain.conversation import Conversation
from backchat.domain.settings import ModelSettings, Sampling
from backchat.domain.usage import Credits, Payer
from backchat.domain.workspace import Grant, Membership, Workspace, personal_workspace
from backchat.errors import Forbidden, InsufficientCredits, NotFound, NotOwned
from backchat.ports.storage import Change as Stored
from backchat.ports.storage import RecordStore
from backchat.services.accounts import Accounts
from backchat.services.archive import Wanted
from backchat.services.jobs import Jobs
from backchat.services.ledger import Ledger
from backchat.services.providers import Providers
from backchat.services.workspace_conversations import Change, WorkspaceConversations, status_of
from backchat.services.workspace_records import membership_put, workspace_put
from backchat.services.workspaces import Workspaces
from nodes import Node, node
from workspaces_made import ANN, BOB, CAT, EVE, PEOPLE, Racing, accounts, left, office, placed

TITLES = ["", "a", "b", "B", "tea", "Tea B", "10% off", "a_b", "ÄRGER", "straße", "\U0001f600"]
W = "there"
moments = st.integers(0, 3).map(at)
shapes = st.fixed_dictionaries(
    {
        "title": st.sampled_from(TITLES),
        "created_at": moments,
        "updated_at": moments,
        "archived_at": st.sampled_from([None, None, at(1)]),
        "completed": st.booleans(),
        "temporary": st.sampled_from([False] * 7 + [True]),
        "expires_at": st.sampled_from([None, None, None, at(999), at(1000), at(2000)]),
        "workspace": st.sampled_from([W, W, W, W, "elsewhere", None]),
        "owner": st.sampled_from(["ann", "ann", "ann", "bob"]),
        "to": st.sampled_from([(), ("ann",), ("cat", "ann"), ("cat",)]),
    }
)
stocks = st.lists(shapes, min_size=6, max_size=16)
wishes = st.fixed_dictionaries(
    {
        "order": st.sampled_from(["updated", "created", "title"]),
        "descending": st.booleans(),
        "status": st.sampled_from([None, None, "active", "completed", "archived"]),
        "search": st.sampled_from(["", "", "b", "B", "%", "_", "tea b", "STRASSE", "ärg", "nothing"]),
    }
)


def visible(wish: dict[str, Any], c: Conversation) -> bool:
    """What the list is to show ann, told without the code that is tried."""
    return (
        c.workspace == W
        and (c.owner == "ann" or any(g.user == "ann" for g in c.grants))
        and not c.temporary
        and (c.expires_at is None or c.expires_at >= at(1000))
        and (wish["status"] is None or status_of(c) == wish["status"])
        and wish["search"].casefold() in c.title.casefold()
    )


def rank(wish: dict[str, Any]) -> Callable[[Conversation], Any]:
    orders: dict[str, Callable[[Conversation], Any]] = {
        "updated": lambda c: (c.updated_at, c.id),
        "created": lambda c: (c.created_at, c.id),
        "title": lambda c: (c.title, c.id),
    }
    return orders[wish["order"]]


def stocked(n: int, shape: dict[str, Any]) -> tuple[list[Stored], Conversation]:
    shape = {**shape}
    to = [user for user in shape.pop("to") if user != shape["owner"]]
    grants = [
        Grant(id=f"{n}{user}", user=user, permission="view", shared_by=shape["owner"], created_at=at(0)) for user in to
    ]
    changes, conversation = made(f"c{n:02}", **shape, grants=tuple(grants))
    return [*changes], conversation


@asynccontextmanager
async def desk(folder: Path | None) -> AsyncIterator[tuple[RecordStore, WorkspaceConversations]]:
    """Over a store in memory, or in an SQLite file in the folder, with ann in two workspaces."""
    async with shelf(folder) as it:
        store, numbers = it.store, count(1)

        def new_id() -> str:
            return f"n{next(numbers):06}"

        access = it.conversations.access
        accounts = Accounts(store, now=it.now, new_id=new_id)
        jobs = Jobs(store, "worker", new_id)
        workspaces = Workspaces(store, access, accounts, it.conversations, jobs, now=it.now, new_id=new_id)
        for id in (W, "elsewhere"):
            workspace = Workspace(id=id, name=id, owner="bob", created_at=at(0), updated_at=at(0))
            member = Membership(workspace=id, user="ann", role="member", created_at=at(0))
            await store.apply([workspace_put(workspace), membership_put(member)])
        ledger = Ledger(store, Providers({}, "none"), Credits(), now=it.now, new_id=new_id)
        yield (
            store,
            WorkspaceConversations(
                store=store,
                workspaces=workspaces,
                conversations=it.conversations,
                ledger=ledger,
                now=it.now,
                new_id=new_id,
            ),
        )


async def compare(folder: Path | None, stock: list[dict[str, Any]], wishlist: list[dict[str, Any]]) -> None:
    async with desk(folder) as (store, lists):
        there = [stocked(n, shape) for n, shape in enumerate(stock)]
        await store.apply([change for changes, _ in there for change in changes])
        for wish in wishlist:
            fitting = [c for _, c in there if visible(wish, c)]
            expected = [c.id for c in sorted(fitting, key=rank(wish), reverse=wish["descending"])]
            for limit in (1, 2, 3, 20):
                for skip in (*range(0, len(expected) + limit, limit), 1, 50):
                    page, number = await lists.page(ANN, W, **wish, skip=skip, limit=limit)
                    assert ([c.id for c in page], number) == (expected[skip : skip + limit], len(expected)), (
                        skip,
                        limit,
                    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stocks, st.lists(wishes, min_size=1, max_size=3))
def test_in_memory(stock: list[dict[str, Any]], wishlist: list[dict[str, Any]]) -> None:
    asyncio.run(compare(None, stock, wishlist))


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stocks, st.lists(wishes, min_size=3, max_size=6))
def test_in_sqlite(stock: list[dict[str, Any]], wishlist: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(compare(Path(folder), stock, wishlist))


@pytest.mark.parametrize("in_sqlite", [False, True])
async def test_more_than_one_page_of_the_store(tmp_path: Path, in_sqlite: bool) -> None:
    """A search goes through all of them; every shared one is read."""
    async with desk(tmp_path if in_sqlite else None) as (store, lists):
        shape = {"owner": "ann", "to": (), "workspace": W, "created_at": at(0)}
        own = [stocked(n, {**shape, "title": f"t{n % 10}", "updated_at": at(n)}) for n in range(450)]
        more = {**shape, "owner": "bob", "to": ("ann",)}
        shared = [stocked(n, {**more, "title": "t7", "updated_at": at(2 * n - 1000.5)}) for n in range(500, 710)]
        await store.apply([change for changes, _ in [*own, *shared] for change in changes])
        everything = sorted([c for _, c in [*own, *shared]], key=lambda c: (c.updated_at, c.id), reverse=True)
        for search, expected in (("", everything), ("T7", [c for c in everything if c.title == "t7"])):
            for skip in (0, 100, 200, 240, 440):
                page, number = await lists.page(ANN, W, search=search, skip=skip, limit=60)
                assert [c.id for c in page] == [c.id for c in expected[skip : skip + 60]]
                assert number == len(expected)


# ---- verbs ----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def store() -> Racing:
    store = Racing()
    await accounts(store, *PEOPLE)
    return store


@pytest.fixture
async def one(store: Racing) -> AsyncIterator[Node]:
    async with node(store) as one:
        yield one


SETTINGS = ModelSettings(provider="scripted", model="m", system="Be brief.", sampling=Sampling(temperature=0.5))


async def test_creating(one: Node, store: Racing) -> None:
    id, it = await office(one, bob="member"), one.services.workspace_conversations
    wanted = Change(title=" Tea\n", settings=lambda _: SETTINGS, options={"stream": True}, status="completed")
    made = await it.create(BOB, id, wanted, channel="workspaces")
    assert (made.title, made.owner, made.workspace, made.channel) == ("Tea", "bob", id, "workspaces")
    assert (made.settings, made.options["stream"], status_of(made)) == (SETTINGS, True, "completed")
    assert await it.open(BOB, id, made.id) == made
    plain = await it.create(ANN, personal_workspace("ann"), Change(), channel="workspaces")
    assert (plain.title, plain.settings, status_of(plain)) == ("", ModelSettings(), "active")
    assert [c.id for c in await one.conversations.page(ANN, skip=0, limit=5)] == [plain.id]


async def test_where_nothing_can_be_created(one: Node, store: Racing) -> None:
    id, it = await office(one), one.services.workspace_conversations
    for who, workspace in ((EVE, id), (ANN, "nowhere"), (EVE, personal_workspace("ann"))):
        with pytest.raises(NotFound, match="workspace not found"):
            await it.create(who, workspace, Change(), channel="workspaces")
    assert await left(store, "conversation") == {}


async def test_no_credit_no_conversation(one: Node, store: Racing, monkeypatch: pytest.MonkeyPatch) -> None:
    id, asked = await office(one), list[Payer]()

    async def spent(payer: Payer) -> None:
        asked.append(payer)
        raise InsufficientCredits("all is spent")

    monkeypatch.setattr(one.services.ledger, "check", spent)
    with pytest.raises(InsufficientCredits):
        await one.services.workspace_conversations.create(ANN, id, Change(), channel="workspaces")
    assert (asked, await left(store, "conversation")) == ([Payer(user="ann", workspace=id)], {})
    with pytest.raises(NotFound):
        await one.services.workspace_conversations.create(EVE, id, Change(), channel="workspaces")
    assert len(asked) == 1, "the workspace comes before the credit"


@pytest.mark.parametrize("way", ["dissolved", "removed"])
async def test_nothing_is_left_in_a_workspace_that_ends_for_one(one: Node, store: Racing, way: str) -> None:
    id, it = await office(one, bob="member"), one.services.workspaces
    store.before("conversation", lambda: it.dissolve(ANN, id) if way == "dissolved" else it.remove(ANN, id, "bob"))
    with pytest.raises(NotFound, match="workspace not found"):
        await one.services.workspace_conversations.create(BOB, id, Change(), channel="workspaces")
    assert await one.jobs.settled([f"workspace {id}"], 5)
    assert await left(store, "conversation") == {}


async def test_who_is_let_in_by_a_plugin_begins_nothing(one: Node, store: Racing) -> None:
    id = await office(one)
    one.services.access._authorize = lambda *_: True
    assert (await one.services.workspaces.open(EVE, id))[1] == "member"
    with pytest.raises(Forbidden, match="members"):
        await one.services.workspace_conversations.create(EVE, id, Change(), channel="workspaces")
    assert await left(store, "conversation") == {}


async def test_opening_goes_by_the_workspace(one: Node, store: Racing) -> None:
    it, here, there = one.services.workspace_conversations, await office(one, bob="member"), await office(one)
    await placed(store, "here", workspace=here)
    await placed(store, "home")
    assert (await it.open(ANN, here, "here")).id == "here"
    assert (await it.open(ANN, personal_workspace("ann"), "home")).id == "home"
    for who, workspace, id in ((ANN, there, "here"), (ANN, here, "home"), (ANN, here, "nothing"), (BOB, here, "here")):
        with pytest.raises(NotFound, match="conversation not found"):
            await it.open(who, workspace, id)
    with pytest.raises(NotFound, match="workspace not found"):
        await it.open(BOB, there, "here")


async def test_the_list_of_one_who_comes_and_goes(one: Node, store: Racing) -> None:
    it, id = one.services.workspace_conversations, await office(one, bob="member")
    grant = Grant(id="g", user="bob", permission="view", shared_by="ann", created_at=at(0))
    await placed(store, "anns", workspace=id, grants=(grant,))
    await placed(store, "bobs", workspace=id, owner="bob", updated_at=at(1))
    await placed(store, "private", workspace=id)
    for _ in range(2):
        page, number = await it.page(BOB, id, skip=0, limit=10)
        assert ([c.id for c in page], number) == (["bobs", "anns"], 2)
        await one.services.workspaces.remove(ANN, id, "bob")
        with pytest.raises(NotOwned, match="workspace not found"):
            await it.page(BOB, id, skip=0, limit=10)
        await one.services.workspaces.add(ANN, id, "member", user="bob")


async def test_updating(one: Node, store: Racing) -> None:
    it, id = one.services.workspace_conversations, await office(one)
    first = await placed(store, "c", "tea", title="T", workspace=id, options={"endpoint": "x"})
    same = await it.update(ANN, "c", Change())
    assert (same.version, same.updated_at) == (1, first.updated_at)
    assert (await it.update(ANN, "c", Change(title="T", settings=lambda _: ModelSettings(), options={}))).version == 1
    changed = await it.update(ANN, "c", Change(settings=lambda _: SETTINGS, options={"stream": True}))
    assert (changed.title, changed.settings, changed.options) == ("T", SETTINGS, {"endpoint": "x", "stream": True})
    assert changed.updated_at > first.updated_at
    renamed = await it.update(ANN, "c", Change(title=" New "))
    assert (renamed.title, renamed.settings, renamed.updated_at > changed.updated_at) == ("New", SETTINGS, True)
    assert await one.conversations.open(ANN, "c") == renamed
    assert (await it.update(ANN, "c", Change(title=""))).title == ""


async def test_a_clock_that_goes_back_moves_nothing_down(one: Node, store: Racing) -> None:
    await placed(store, "c", updated_at=one.time + timedelta(days=1))
    changed = await one.services.workspace_conversations.update(ANN, "c", Change(title="x"))
    assert changed.updated_at == datetime(2026, 1, 2, tzinfo=one.time.tzinfo)


async def test_status(one: Node, store: Racing) -> None:
    it, id = one.services.workspace_conversations, await office(one)
    first = await placed(store, "c", "tea", workspace=id)
    archived = await it.update(ANN, "c", Change(status="archived"))
    assert (status_of(archived), archived.updated_at) == ("archived", first.updated_at)
    assert [c.id for c in (await one.services.archive.find(ANN, Wanted(archived=True))).conversations] == ["c"]
    again = await it.update(ANN, "c", Change(status="archived"))
    assert (again.archived_at, again.version) == (archived.archived_at, archived.version)
    done = await it.update(ANN, "c", Change(status="completed"))
    assert (status_of(done), done.archived_at, done.completed) == ("completed", None, True)
    away = await one.services.archive.put_away(ANN, "c", True)
    assert status_of(away) == "archived"
    assert status_of(await one.services.archive.put_away(ANN, "c", False)) == "completed"
    active = await it.update(ANN, "c", Change(status="active"))
    assert (status_of(active), active.archived_at, active.completed) == ("active", None, False)
    assert [c.id for c in (await one.services.archive.find(ANN, Wanted())).conversations] == ["c"]


async def test_only_the_owner_updates(one: Node, store: Racing) -> None:
    id = await office(one, bob="member", cat="admin")
    grant = Grant(id="g", user="bob", permission="edit", shared_by="ann", created_at=at(0))
    await placed(store, "c", workspace=id, grants=(grant,))
    for who, error in ((BOB, Forbidden), (CAT, NotOwned), (EVE, NotOwned)):
        with pytest.raises(error):
            await one.services.workspace_conversations.update(who, "c", Change(title="x"))
    assert (await one.conversations.open(ANN, "c")).title == ""


async def test_updates_at_the_same_time_are_all_kept(one: Node, store: Racing) -> None:
    await placed(store, "c")
    it = one.services.workspace_conversations
    await asyncio.gather(
        it.update(ANN, "c", Change(title="x")),
        it.update(ANN, "c", Change(status="completed")),
        it.update(ANN, "c", Change(settings=lambda _: SETTINGS)),
        one.services.archive.put_away(ANN, "c", True),
        *[it.update(ANN, "c", Change(options={f"o{n}": n})) for n in range(5)],
    )
    now = await one.conversations.open(ANN, "c")
    assert (now.title, now.settings, len(now.options)) == ("x", SETTINGS, 5)
    assert (now.completed, now.version) == (True, 10)
