"""Links that show a conversation to anybody: what they show, for how long, and copies of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest

from backchat.domain.identity import Identity
from backchat.domain.limits import Retention
from backchat.domain.message import Text
from backchat.errors import Conflict, InvalidInput, NotFound
from backchat.ports.storage import Delete, Query
from backchat.services.share_records import Share
from backchat.services.shares import Order, Shared
from backchat.services.trees import NewMessage
from backchat.testing.memory_store import MemoryStore
from backchat.testing.provider import ScriptedProvider
from nodes import ANN, BOB, Node, SlowStore

CAT, EVE = "What do cats dream of?", Identity(user="eve")


class World(Node):
    """Its clock stands still unless a test moves it."""

    def __init__(self) -> None:
        super().__init__(SlowStore(), ScriptedProvider(), retention=Retention(conversations=timedelta(days=1)))
        self.shares, self.trees = self.services.shares, self.services.trees

    def now(self) -> datetime:
        return self.time

    async def talk(self, *texts: str, who: Identity = ANN, temporary: bool = False) -> tuple[str, list[str]]:
        """A conversation of one branch; its id and those of its messages."""
        first = await self.trees.begin(who, said(texts[0]), temporary=temporary, channel="web")
        ids = [first.id]
        for text in texts[1:]:
            ids.append(await self.add(first.conversation, text, ids[-1], who))
        return first.conversation, ids

    async def add(self, conversation: str, text: str, parent: str | None, who: Identity = ANN) -> str:
        return (await self.trees.put(who, conversation, said(text, parent))).id

    async def links(self) -> int:
        return await self.store.count(Query(kind="share"))


def said(text: str, parent: str | None = None) -> NewMessage:
    return NewMessage(parts=(Text(text),), parent=parent)


def texts(shown: Shared) -> list[str]:
    return [m.text for m in shown.messages]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    await made.jobs.__aexit__()


async def test_what_came_later_is_not_shown_until_it_is_refreshed(world: World) -> None:
    id, (first, _) = await world.talk("one", "two")
    share = await world.shares.create(ANN, id)
    await world.add(id, "three", first)
    await world.conversations.rename(ANN, id, "Private")
    shown = await world.shares.read(share.id)
    assert (texts(shown), shown.conversation.title) == (["one", "two"], "one")
    world.time += timedelta(seconds=1)
    fresh = await world.shares.refresh(ANN, share.id)
    again = await world.shares.read(share.id)
    assert (texts(again), again.conversation.title) == (["one", "two", "three"], "Private")
    assert again.revision != shown.revision
    assert (fresh.id, fresh.created_at, again.share) == (share.id, share.created_at, fresh)
    assert fresh.updated_at > share.updated_at


async def test_a_target_shows_the_path_to_it_and_no_other_branch(world: World) -> None:
    id, (one, two, _) = await world.talk("one", "two", "three")
    other = await world.add(id, "other", one)
    deeper = await world.add(id, "deeper", other)
    share = await world.shares.create(ANN, id, target=deeper)
    assert texts(await world.shares.read(share.id)) == ["one", "other", "deeper"]
    kept = await world.shares.refresh(ANN, share.id)
    assert kept.target == deeper
    assert texts(await world.shares.read(share.id)) == ["one", "other", "deeper"]
    await world.shares.refresh(ANN, share.id, target=two)
    assert texts(await world.shares.read(share.id)) == ["one", "two"]


async def test_an_id_tells_nothing(world: World) -> None:
    ids = []
    for n in range(40):
        conversation, _ = await world.talk(f"{n}")
        ids.append((await world.shares.create(ANN, conversation)).id)
    assert len(set(ids)) == 40
    assert all(len(id) >= 22 and id.replace("-", "").replace("_", "").isalnum() and id.isascii() for id in ids)
    assert ids not in (sorted(ids), sorted(ids, reverse=True))
    assert len({id[:3] for id in ids}) > 30


async def test_one_link_for_each_target(world: World) -> None:
    id, (one, two) = await world.talk("one", "two")
    first = await world.shares.create(ANN, id)
    with pytest.raises(Conflict):
        await world.shares.create(ANN, id)
    world.time += timedelta(seconds=1)
    second = await world.shares.create(ANN, id, target=one)
    with pytest.raises(Conflict):
        await world.shares.create(ANN, id, target=one)
    with pytest.raises(Conflict):
        await world.shares.refresh(ANN, first.id, target=one)
    assert (await world.shares.refresh(ANN, second.id, target=two)).target == two
    newest = await world.shares.of(ANN, id)
    assert newest is not None
    assert newest.id == second.id


async def test_of_two_at_once_one_is_made(world: World) -> None:
    id, _ = await world.talk("one")
    made = await asyncio.gather(*[world.shares.create(ANN, id) for _ in range(5)], return_exceptions=True)
    assert [type(m) for m in made if not isinstance(m, Share)] == [Conflict] * 4
    assert await world.links() == 1


async def test_only_the_owner_shares_and_anybody_reads(world: World) -> None:
    id, _ = await world.talk("one")
    elsewhere, (other,) = await world.talk("two", who=BOB)
    share = await world.shares.create(ANN, id)
    for refused in (
        world.shares.create(BOB, id),
        world.shares.create(ANN, id, target=other),
        world.shares.create(ANN, id, target="nothing"),
        world.shares.create(ANN, "nothing"),
        world.shares.of(BOB, id),
        world.shares.refresh(BOB, share.id),
        world.shares.refresh(ANN, share.id, target=other),
        world.shares.refresh(ANN, "nothing"),
        world.shares.delete(BOB, share.id),
        world.shares.delete(ANN, "nothing"),
        world.shares.read("nothing"),
        world.shares.continue_(BOB, "nothing"),
    ):
        with pytest.raises(NotFound):
            await refused
    assert texts(await world.shares.read(share.id)) == ["one"]
    assert await world.shares.shared(ANN, [id, elsewhere, "nothing"]) == {id}
    assert await world.shares.shared(BOB, [id]) == frozenset()
    assert await world.shares.shared(ANN, []) == frozenset()
    await world.shares.delete(ANN, share.id)
    with pytest.raises(NotFound):
        await world.shares.read(share.id)
    assert await world.shares.of(ANN, id) is None
    assert await world.shares.shared(ANN, [id]) == frozenset()


async def test_nothing_said_is_nothing_to_share(world: World) -> None:
    empty = await world.conversations.create(ANN, channel="web")
    with pytest.raises(NotFound, match="nothing to share"):
        await world.shares.create(ANN, empty.id)


async def test_a_link_goes_with_its_conversation(world: World) -> None:
    id, _ = await world.talk("one")
    share = await world.shares.create(ANN, id)
    await world.conversations.discard(ANN, id)
    with pytest.raises(NotFound, match="link not found"):
        await world.shares.read(share.id)
    assert await world.links() == 0


async def test_a_conversation_that_is_deleted_meanwhile_is_not_shared(world: World) -> None:
    id, _ = await world.talk("one")
    world.store.hold = asyncio.Event()
    creation = asyncio.create_task(world.shares.create(ANN, id))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not creation.done()
    await MemoryStore.apply(world.store, [Delete("conversation", id)])
    world.store.hold.set()
    with pytest.raises(NotFound):
        await creation
    assert await world.links() == 0


async def test_it_is_gone_a_millisecond_after_the_deadline(world: World) -> None:
    id, _ = await world.talk("one", temporary=True)
    share = await world.shares.create(ANN, id)
    world.time += timedelta(days=1)
    assert texts(await world.shares.read(share.id)) == ["one"]
    assert await world.shares.of(ANN, id) == share
    assert (await world.shares.find(ANN))[0] == [share]
    world.time += timedelta(milliseconds=1)
    for refused in (
        world.shares.read(share.id),
        world.shares.continue_(BOB, share.id),
        world.shares.of(ANN, id),
        world.shares.refresh(ANN, share.id),
        world.shares.delete(ANN, share.id),
        world.shares.create(ANN, id, target=None),
    ):
        with pytest.raises(NotFound):
            await refused
    assert await world.shares.find(ANN) == ([], None)


async def test_what_is_corrected_or_deleted_is_not_shown_as_it_was(world: World) -> None:
    id, (_, two, three) = await world.talk("one", "my number is 12345", "three")
    whole, path = await world.shares.create(ANN, id), await world.shares.create(ANN, id, target=three)
    before = await world.shares.read(whole.id)
    await world.trees.edit(ANN, id, two, "my number is secret")
    edited = await world.shares.read(whole.id)
    assert texts(edited) == ["one", "my number is secret", "three"]
    assert edited.revision != before.revision
    assert (await world.shares.read(whole.id)).revision == edited.revision
    await world.trees.remove(ANN, id, two)
    shown = await world.shares.read(whole.id)
    assert [(m.text, m.parent) for m in shown.messages] == [("one", None), ("three", None)]
    assert texts(await world.shares.read(path.id)) == ["three"]
    await world.trees.remove(ANN, id, three)
    with pytest.raises(NotFound):
        await world.shares.read(path.id)
    assert texts(await world.shares.read(whole.id)) == ["one"]


@pytest.mark.parametrize("order", ["created", "title"])
@pytest.mark.parametrize("descending", [False, True])
async def test_pages_hold_every_link_once(world: World, order: Order, descending: bool) -> None:
    made = []
    for n in range(11):
        id, _ = await world.talk(f"title {n % 3}")
        world.time += timedelta(seconds=n % 2)
        made.append(await world.shares.create(ANN, id))
    id, _ = await world.talk("title of bob", who=BOB)
    await world.shares.create(BOB, id)
    found, place = await world.shares.find(ANN, order=order, descending=descending, limit=4)
    pages = [found]
    while place is not None:
        found, place = await world.shares.find(ANN, order=order, descending=descending, after=place, limit=4)
        pages.append(found)
    assert [len(page) for page in pages] == [4, 4, 3]
    key = {"created": lambda s: (s.created_at, s.id), "title": lambda s: (s.title, s.id)}[order]
    assert [s for page in pages for s in page] == sorted(made, key=key, reverse=descending)
    _, place = await world.shares.find(ANN, order=order, descending=descending, limit=4)
    for wrong in (("created", "title")[order == "created"], descending), (order, not descending):
        with pytest.raises(InvalidInput) as caught:
            await world.shares.find(ANN, order=wrong[0], descending=wrong[1], after=place)
        assert caught.value.field == "query.cursor"


async def test_a_page_is_full_though_the_time_of_some_is_over(world: World) -> None:
    kept = []
    for n in range(12):
        id, (first,) = await world.talk(f"{n:02d}")
        share = await world.shares.create(ANN, id)
        if n % 3 == 0:
            kept.append((id, first, share))
    world.time += timedelta(hours=1)
    for id, first, _ in kept:
        await world.add(id, "still here", first)
    world.time += timedelta(hours=23, milliseconds=1)
    found, place = await world.shares.find(ANN, order="title", descending=False, limit=3)
    assert [s.title for s in found] == ["00", "03", "06"]
    rest, end = await world.shares.find(ANN, order="title", descending=False, after=place, limit=3)
    assert ([s.title for s in rest], end) == (["09"], None)


async def test_the_words_of_a_title_find_its_link(world: World) -> None:
    for text in (CAT, "Dogs bark", "Cats purr"):
        id, _ = await world.talk(text)
        await world.shares.create(ANN, id)
    found, _ = await world.shares.find(ANN, words="cat", order="title", descending=False)
    assert [s.title for s in found] == ["Cats purr", CAT]
    assert [s.title for s in (await world.shares.find(ANN, words="dream cats"))[0]] == [CAT]
    assert len((await world.shares.find(ANN, words="  "))[0]) == 3


async def test_anybody_can_go_on_with_a_copy(world: World) -> None:
    id, (one, _, _) = await world.talk("one", "two", "three")
    share = await world.shares.create(ANN, id)
    await world.add(id, "later", one)
    shown = await world.shares.read(share.id)
    conversation, messages = await world.shares.continue_(BOB, share.id, revision=shown.revision)
    assert (conversation.owner, conversation.title) == ("bob", "one")
    assert [m.text for m in messages] == ["one", "two", "three"]
    assert {m.id for m in messages}.isdisjoint({m.id for m in shown.messages})
    assert [m.text for m in await world.conversations.whole(BOB, conversation.id)] == ["one", "two", "three"]
    await world.add(conversation.id, "bob's", messages[-1].id, BOB)
    await world.conversations.discard(ANN, id)
    assert len(await world.conversations.whole(BOB, conversation.id)) == 4


async def test_a_copy_up_to_a_message(world: World) -> None:
    id, (one, two, _) = await world.talk("one", "two", "three")
    await world.add(id, "other", one)
    await world.add(id, "deeper", two)
    share = await world.shares.create(ANN, id)
    assert texts(await world.shares.read(share.id)) == ["one", "two", "three", "other", "deeper"]
    conversation, messages = await world.shares.continue_(BOB, share.id, target=3)
    assert [m.text for m in messages] == ["one", "other"]
    assert conversation.leaf == messages[-1].id
    conversation, messages = await world.shares.continue_(ANN, share.id)
    assert len(messages) == 5
    for wrong in (-1, 5):
        with pytest.raises(InvalidInput):
            await world.shares.continue_(BOB, share.id, target=wrong)


async def test_what_changed_is_not_copied_unseen(world: World) -> None:
    id, (one, _) = await world.talk("one", "two")
    share = await world.shares.create(ANN, id)
    seen = (await world.shares.read(share.id)).revision
    await world.trees.edit(ANN, id, one, "1")
    with pytest.raises(Conflict):
        await world.shares.continue_(BOB, share.id, revision=seen)
    await world.shares.continue_(BOB, share.id, revision=(await world.shares.read(share.id)).revision)


async def test_a_copy_ends_where_the_link_does(world: World) -> None:
    """The active path of the source may have gone elsewhere since."""
    id, (one, _) = await world.talk("one", "two")
    share = await world.shares.create(ANN, id)
    await world.add(id, "later", one)
    conversation, messages = await world.shares.continue_(BOB, share.id)
    assert [m.text for m in messages if m.id == conversation.leaf] == ["two"]


async def test_a_long_conversation_is_read_page_by_page(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backchat.services.shares.PAGE", 3)
    for length in (5, 6):
        id, _ = await world.talk(*[str(n) for n in range(length)])
        share = await world.shares.create(ANN, id)
        assert texts(await world.shares.read(share.id)) == [str(n) for n in range(length)]
