"""Public links at the service: what they show, and when they are dead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from archive_made import made
from backchat.domain.message import Message, Text
from backchat.domain.workspace import Grant
from backchat.errors import Forbidden, NotFound, NotOwned
from backchat.ports.storage import Put
from backchat.services import publishing
from backchat.services.stored import conversation_of, conversation_put, message_put
from nodes import Node, node
from workspaces_made import ANN, BOB, CAT, EVE, PEOPLE, Racing, accounts, left, office, placed


@pytest.fixture
async def store() -> Racing:
    store = Racing()
    await accounts(store, *PEOPLE)
    return store


@pytest.fixture
async def one(store: Racing) -> AsyncIterator[Node]:
    async with node(store) as one:
        yield one


async def shown(one: Node, link: str) -> list[str] | None:
    """The texts behind a link; None if it is dead."""
    found = (await asyncio.gather(one.services.publishing.read(link), return_exceptions=True))[0]
    if isinstance(found, BaseException):
        assert (type(found), str(found)) == (NotFound, "link not found")
        return None
    return [m.text for m in found[1]]


async def test_on_and_off(one: Node, store: Racing) -> None:
    conversation = await placed(store, "c", "tea", "cake", workspace=await office(one))
    link = conversation.link
    assert await shown(one, link) is None
    for _ in range(2):
        public = await one.services.publishing.toggle(ANN, "c")
        assert (public.public, public.link) == (True, link)
        assert await one.conversations.open(ANN, "c") == public
        assert await shown(one, link) == ["tea", "cake"]
        assert (await one.services.publishing.toggle(ANN, "c")).public is False
        assert await shown(one, link) is None
        assert await left(store, "public_link") == {}


async def test_of_a_long_path_its_end(one: Node, store: Racing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "MOST", 2)
    conversation = await placed(store, "c", "tea", "cake", "milk", workspace=await office(one))
    await one.services.publishing.toggle(ANN, "c")
    assert await shown(one, conversation.link) == ["cake", "milk"]


async def test_only_the_active_path_and_only_users_and_models(one: Node, store: Racing) -> None:
    changes, conversation = made("c", "tea", title="T")
    at = conversation.created_at
    roles = {"m2": ("system", "c-1"), "m3": ("assistant", "m2"), "m4": ("tool", "m3"), "m5": ("assistant", "m4")}
    tree = {**roles, "m6": ("assistant", "c-1")}
    messages = [
        Message(
            id=id,
            conversation="c",
            owner="ann",
            seq=seq,
            role=role,  # type: ignore[arg-type]
            parts=(Text(id),),
            created_at=at,
            parent=parent,
        )
        for seq, (id, (role, parent)) in enumerate(tree.items(), 2)
    ]
    at_m5 = replace(conversation, leaf="m5", next_seq=7, version=1)
    await store.apply([*changes, *map(message_put, messages), conversation_put(at_m5)])
    await one.services.publishing.toggle(ANN, "c")
    assert await shown(one, conversation.link) == ["tea", "m3", "m5"]
    now = await one.conversations.open(ANN, "c")
    await store.apply([conversation_put(replace(now, leaf="m6"))])
    assert await shown(one, conversation.link) == ["tea", "m6"], "as it is now"


async def test_only_the_owner_publishes(one: Node, store: Racing) -> None:
    id = await office(one, bob="member", cat="admin")
    grant = Grant(id="g", user="bob", permission="edit", shared_by="ann", created_at=one.time)
    conversation = await placed(store, "c", "tea", workspace=id, grants=(grant,))
    for who, error in ((BOB, Forbidden), (CAT, NotOwned), (EVE, NotOwned)):
        with pytest.raises(error):
            await one.services.publishing.toggle(who, "c")
    assert await shown(one, conversation.link) is None


async def test_links_that_show_nothing(one: Node, store: Racing) -> None:
    for link in ("", "x", "\ud800", "c", "00000000-0000-4000-8000-000000000000"):
        assert await shown(one, link) is None, link


async def test_it_is_dead_while_the_owner_is_not_a_member(one: Node, store: Racing) -> None:
    id = await office(one, bob="member")
    conversation = await placed(store, "c", "tea", workspace=id, owner="bob")
    await one.services.publishing.toggle(BOB, "c")
    assert await shown(one, conversation.link) == ["tea"]
    await one.services.workspaces.remove(BOB, id, "bob")
    assert await shown(one, conversation.link) is None
    await one.services.workspaces.add(ANN, id, "member", user="bob")
    assert await shown(one, conversation.link) == ["tea"]
    await one.services.workspaces.dissolve(ANN, id)
    assert await shown(one, conversation.link) is None
    await one.jobs.settled([f"workspace {id}"], 5)
    assert await left(store, "public_link", "conversation") == {}


async def test_it_is_dead_when_its_time_is_over(one: Node, store: Racing) -> None:
    conversation = await placed(store, "c", "tea", expires_at=one.time + timedelta(seconds=1))
    await one.services.publishing.toggle(ANN, "c")
    assert await shown(one, conversation.link) == ["tea"]
    one.time += timedelta(seconds=1)
    assert await shown(one, conversation.link) is None


@pytest.mark.parametrize("way", ["discard", "erase", "forget"])
async def test_it_goes_with_the_conversation(one: Node, store: Racing, way: str) -> None:
    conversation = await placed(store, "c", "tea")
    other = await placed(store, "d", "cake", owner="bob")
    await one.services.publishing.toggle(ANN, "c")
    await one.services.publishing.toggle(BOB, "d")
    if way == "discard":
        await one.conversations.discard(ANN, "c")
    elif way == "erase":
        await one.services.archive.discard_all(ANN)
    else:
        await one.services.accounts.forget("ann")
    assert await shown(one, conversation.link) is None
    assert await left(store, "public_link") == {"public_link": [other.link]}
    assert await shown(one, other.link) == ["cake"]


async def test_a_record_that_tells_something_else_shows_nothing(one: Node, store: Racing) -> None:
    """The conversation has the last word: it must be public, by this link."""
    private = await placed(store, "c", "tea")
    await store.apply([Put("public_link", private.link, {"conversation": "c"})])
    assert await shown(one, private.link) is None
    await one.services.publishing.toggle(ANN, "c")
    await store.apply([Put("public_link", "another", {"conversation": "c"})])
    assert await shown(one, "another") is None
    await store.apply([Put("public_link", "nowhere", {"conversation": "gone"})])
    assert await shown(one, "nowhere") is None


@pytest.mark.parametrize("times", [2, 5])
async def test_toggles_at_the_same_time_are_as_many_toggles(one: Node, store: Racing, times: int) -> None:
    conversation = await placed(store, "c", "tea")
    results = await asyncio.gather(*[one.services.publishing.toggle(ANN, "c") for _ in range(times)])
    assert sorted(c.public for c in results) == sorted(n % 2 == 0 for n in range(times))
    assert (await one.conversations.open(ANN, "c")).public is (times % 2 == 1)
    assert await shown(one, conversation.link) == (["tea"] if times % 2 else None)
    assert bool(await left(store, "public_link")) is (times % 2 == 1)


async def test_publishing_what_is_deleted_at_this_moment(one: Node, store: Racing) -> None:
    await placed(store, "c", "tea")
    store.before("public_link", lambda: one.conversations.discard(ANN, "c"))
    with pytest.raises(NotFound):
        await one.services.publishing.toggle(ANN, "c")
    assert await left(store, "conversation", "public_link") == {}


async def test_one_from_before_there_were_links_gets_its_own_for_good(one: Node, store: Racing) -> None:
    put = conversation_put(await placed(store, "c", "tea"))
    doc = {k: v for k, v in put.doc.items() if k not in ("workspace", "completed", "link")}
    await store.apply([Put("conversation", "c", doc)])
    public = await one.services.publishing.toggle(ANN, "c")
    assert await shown(one, public.link) == ["tea"]
    record = await store.get("conversation", "c")
    assert record is not None
    assert conversation_of(record).link == public.link
