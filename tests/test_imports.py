"""Importing conversations: what becomes of them, and that nothing is imported twice or by halves."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backchat.domain.conversation import Conversation
from backchat.domain.limits import Retention
from backchat.domain.message import Foreign, Image, Message, Text
from backchat.domain.workspace import personal_workspace
from backchat.errors import StaleWrite
from backchat.ports.importing import SourceConversation, SourceMessage
from backchat.ports.storage import Change, Delete, Put, Query, Record
from backchat.services import import_writing
from backchat.services.access import Access, by_table
from backchat.services.conversations import Conversations
from backchat.services.files import file_bytes
from backchat.services.import_building import Origin, another, built
from backchat.services.import_trees import Node, ordered, said
from backchat.services.kinds import KINDS
from backchat.services.stored import conversation_put, message_put
from backchat.services.trees import Trees
from backchat.testing.memory_store import MemoryStore
from imports_desk import ANN, BEGIN, BOB, Desk, Product, message, summary, talk

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STEP = timedelta(milliseconds=1)
UUID, OTHER = "6b0fdb3e-0f2c-4d7c-9d3f-3f0f4f0a7a01", "6b0fdb3e-0f2c-4d7c-9d3f-3f0f4f0a7a02"


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    made = Desk(MemoryStore(KINDS))
    async with made.imports:
        yield made


# ---- what becomes of a conversation ---------------------------------------------------------------------------------


async def test_everything_of_a_source_is_kept(desk: Desk) -> None:
    source = talk(
        "abc",
        message("q", created_at=BEGIN, extra={"sender": "User"}, metadata={"m": 1}),
        message("a", "q", role="assistant", model="gpt", provider="openAI", updated_at=BEGIN + STEP, status="failed"),
        message("b", "q", "another", role="assistant", created_at=BEGIN + 9 * STEP),
        created_at=BEGIN - STEP,
        updated_at=BEGIN + 5 * STEP,
        archived_at=BEGIN + 6 * STEP,
        leaf="a",
        pinned=True,
        tags=("work", "work", "fun"),
        options={"endpoint": "openAI", "temperature": 0.5},
        metadata={"k": "v"},
    )
    assert summary(await desk.bring(source)) == ("done", 1, 0, 0)
    kept = await desk.only()
    q, a, b = await desk.messages(kept)
    assert kept == Conversation(
        id=kept.id,
        owner="ann",
        title="Talk abc",
        created_at=BEGIN - STEP,
        updated_at=BEGIN + 5 * STEP,
        channel="import",
        leaf=a.id,
        next_seq=4,
        messages=3,
        characters=len("text of qtext of aanother"),
        archived_at=BEGIN + 6 * STEP,
        pinned=True,
        tags=("work", "fun"),
        source="product:abc",
        options={"endpoint": "openAI", "temperature": 0.5},
        metadata={"k": "v"},
        workspace=personal_workspace("ann"),
        link=kept.link,
        version=1,
    )
    assert q == Message(
        id=q.id,
        conversation=kept.id,
        owner="ann",
        seq=1,
        role="user",
        parts=(Text("text of q"),),
        created_at=BEGIN,
        author="ann",
        metadata={"m": 1},
        extra={"sender": "User"},
        version=1,
    )
    assert (a.seq, a.parent, a.model, a.provider, a.status, a.author) == (2, q.id, "gpt", "openAI", "failed", None)
    assert (a.created_at, a.updated_at) == (BEGIN + STEP, BEGIN + STEP)
    assert (b.seq, b.parent, b.text) == (3, q.id, "another")


async def test_what_a_source_does_not_say(desk: Desk) -> None:
    await desk.bring(
        talk("a", message("m", created_at=BEGIN), message("n", "m"), title="   "),
        talk("b", title=None, untitled="Imported Claude Chat"),
        talk("c", title="c" * 2000),
        SourceConversation(id="d", messages=[], title="Empty"),
    )
    found = {c.title: c for c in await desk.conversations()}
    assert set(found) == {"Imported Chat", "Imported Claude Chat", "c" * 1024, "Empty"}
    untitled, empty = found["Imported Chat"], found["Empty"]
    assert (untitled.created_at, untitled.updated_at) == (BEGIN, BEGIN + STEP)
    assert untitled.leaf == (await desk.messages(untitled))[-1].id
    assert (empty.leaf, empty.messages, empty.created_at.year) == (None, 0, 2026)


async def test_a_message_in_the_making_ended_there(desk: Desk) -> None:
    await desk.bring(talk("a", message("m", status="running"), message("n", "m", status="waiting")))
    assert [m.status for m in await desk.messages(await desk.only())] == ["interrupted", "interrupted"]


async def test_retention_counts_from_the_import() -> None:
    desk = Desk(MemoryStore(KINDS), retention=Retention(conversations=timedelta(days=7)))
    async with desk.imports:
        await desk.bring(talk())
    kept = await desk.only()
    assert kept.expires_at is not None
    assert timedelta(days=7) <= kept.expires_at - NOW < timedelta(days=7, seconds=1)


async def test_tags_are_made_and_those_that_are_there_are_kept(desk: Desk) -> None:
    await desk.bring(*[talk(str(n), tags=("red", f"own {n % 2}")) for n in range(40)])
    await desk.bring(talk("more", tags=("blue", "red")))
    tags = await desk.store.find(Query(kind="tag", where=(("owner", ("ann",)),), order=("position",)))
    assert sorted(t.doc["tag"] for t in tags) == ["blue", "own 0", "own 1", "red"]
    assert tags[-1].doc["tag"] == "blue"


async def test_images_are_stored_with_their_messages(desk: Desk) -> None:
    data = bytes(range(256)) * 5000
    said = (
        message("m", parts=(Image("one", "image/png"), Image("gone", "image/gif"))),
        message("n", "m", parts=(Image("one", "image/png"),)),
    )
    await desk.bring(talk("a", *said, files={"one": data}))
    first, second = await desk.messages(await desk.only())
    kept, missing = first.parts
    assert isinstance(kept, Image)
    assert (await file_bytes(desk.store, [kept.file]))[kept.file] == data
    assert missing == Foreign({"type": "image", "file": "gone", "mime": "image/gif"})
    assert second.parts == (kept,)
    assert summary(await desk.bring(talk("a", *said, files={"one": data}))) == ("done", 0, 1, 0)
    third = message("o", "n", parts=(Image("one", "image/png"),))
    assert summary(await desk.bring(talk("a", *said, third, files={"one": data}))) == ("done", 1, 0, 0)
    assert (await desk.messages(await desk.only()))[2].parts == (kept,)


async def test_what_no_store_takes_is_put_into_a_form_that_it_does(desk: Desk) -> None:
    deep: Any = "the bottom"
    for _ in range(10_000):
        deep = {"in": [deep]}
    odd = {"half": "a\ud83d", "\udc00": 1, "large": 1 << 80, "nan": float("nan"), "list": (1, None, True)}
    said = message("m\ud83d", text="x\ud800y", parts=(Text("x\ud800y"), Foreign({"deep": deep})), extra=odd)
    assert summary(await desk.bring(talk("i\udfff", said, title="t\ud800", options=odd))) == ("done", 1, 0, 0)
    kept = await desk.only()
    (read,) = await desk.messages(kept)
    assert kept.title == "t\ufffd"
    assert read.text == "x\ufffdy"
    assert read.extra == kept.options
    assert read.extra == {"half": "a\ufffd", "\ufffd": 1, "large": str(1 << 80), "nan": None, "list": [1, None, True]}
    assert isinstance(read.parts[1], Foreign)
    assert b"the bottom" in orjson.dumps(read.parts[1].data)


async def test_dates_that_cannot_be_meant(desk: Desk) -> None:
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    far = datetime(9998, 12, 31, 23, 59, tzinfo=UTC)
    said = (
        message("a", created_at=first, updated_at=last),
        message("b", "a", created_at=last),
        message("c", "b", created_at=far),
        message("d", "c"),
    )
    assert summary(await desk.bring(talk("x", *said, created_at=first, updated_at=last, archived_at=last)))[0] == "done"
    dates = [m.created_at for m in await desk.messages(await desk.only())]
    begun = dates[0]
    assert begun < NOW + timedelta(seconds=1)  # the time of the import, and not that of a message to come
    assert dates == [begun, begun + STEP, far, far + STEP]


@pytest.mark.parametrize("created", [None, NOW, BEGIN])
async def test_what_has_no_dates_is_not_of_the_future(desk: Desk, created: datetime | None) -> None:
    chain = [message(str(n), str(n - 1)) for n in range(5000)]
    await desk.bring(talk("x", *chain, created_at=created))
    dates = [m.created_at for m in await desk.messages(await desk.only())]
    assert dates == [dates[0] + n * STEP for n in range(5000)]
    assert dates[-1] <= NOW + timedelta(seconds=1)
    assert created != BEGIN or dates[0] == BEGIN


# ---- trees ----------------------------------------------------------------------------------------------------------

few = st.sampled_from([*"abcdefgh", "", "not there"])
dates = st.one_of(st.none(), st.integers(0, 5).map(lambda n: BEGIN + n * STEP), st.datetimes(timezones=st.just(UTC)))
anything = st.lists(
    st.builds(message, few, st.one_of(st.none(), few), created_at=dates, text=st.text(max_size=3)), max_size=12
)


def checked(source: SourceConversation) -> list[Node]:
    """The order, which is one: each message once, after its parent and not before it in time.

    Parents are the first of their name. What says the same as another one of its name is left out.
    """
    every = ordered(source, NOW)
    assert len({n.name for n in every}) == len(every)
    assert sorted(map(repr, {said(n.message): 1 for n in every})) == sorted(
        map(repr, {said(m): 1 for m in source.messages})
    )
    assert len(every) == len({said(m) for m in source.messages})
    nodes = [n for n in every if n.name == n.message.id]
    places = {id(n): place for place, n in enumerate(nodes)}
    first: dict[str, SourceMessage] = {}
    for m in source.messages:
        first.setdefault(m.id, m)
    assert sorted(n.message.id for n in nodes) == sorted(first)
    for node in nodes:
        assert node.message is first[node.message.id]
        if node.parent is not None:
            assert node.parent.message.id == node.message.parent
            assert places[id(node.parent)] < places[id(node)]
            assert source.exact or node.parent.created_at < node.created_at
    for node in nodes:  # who has a parent there keeps it, but where a circle was opened
        if node.parent is None and node.message.parent in first:
            at: str | None = node.message.parent
            seen: set[str] = set()
            while at in first and at not in seen and at != node.message.id:
                seen.add(at)
                at = first[at].parent
            assert at == node.message.id
    return nodes


@settings(max_examples=150, deadline=None, database=None)
@given(anything, st.booleans(), dates)
def test_any_tree_is_put_in_order(messages: list[SourceMessage], exact: bool, created: datetime | None) -> None:
    source = SourceConversation(id="x", messages=messages, exact=exact, created_at=created)
    nodes = checked(source)
    if not exact:
        assert [n.created_at for n in nodes] == sorted(n.created_at for n in nodes)


def test_children_before_parents_and_a_long_chain() -> None:
    chain = [message(str(n), str(n - 1)) for n in range(20_000)]
    for order in (chain, chain[::-1]):
        nodes = checked(SourceConversation(id="x", messages=order))
        assert [n.message.id for n in nodes] == [m.id for m in chain]


def test_the_order_of_what_was_said_at_the_same_time_is_that_of_the_file() -> None:
    said = [message("r"), *[message(str(n), "r", created_at=BEGIN) for n in (5, 3, 4)], message("0", "3")]
    source = SourceConversation(id="x", messages=said, created_at=BEGIN - STEP)
    assert [n.message.id for n in checked(source)] == ["r", "5", "3", "4", "0"]
    exact = [message("b", created_at=BEGIN + STEP), message("a", created_at=BEGIN), message("c", "a")]
    nodes = checked(SourceConversation(id="x", messages=exact, exact=True))
    assert [(n.message.id, n.created_at) for n in nodes] == [("b", BEGIN + STEP), ("a", BEGIN), ("c", BEGIN)]


# ---- again ----------------------------------------------------------------------------------------------------------


async def everything(desk: Desk) -> list[Record]:
    found: list[Record] = []
    for kind in ("conversation", "message", "file", "file_chunk", "tag"):
        found += await desk.store.find(Query(kind=kind, limit=100_000))
    return found


@settings(max_examples=40, deadline=None, database=None)
@given(st.lists(st.tuples(st.sampled_from(["x", "y", None]), anything, dates), min_size=1, max_size=4), st.booleans())
def test_a_second_import_adds_nothing(
    talks: list[tuple[str | None, list[SourceMessage], datetime | None]], exact: bool
) -> None:
    async def run() -> None:
        desk = Desk(MemoryStore(KINDS))
        items = [
            SourceConversation(id=id, messages=said, created_at=created, tags=("t",), exact=exact and id is not None)
            for id, said, created in talks
        ]
        async with desk.imports:
            data = desk.product.export(*items)
            first = await desk.take(data)
            assert (first.status, first.imported + first.skipped, first.failed) == ("done", len(items), 0)
            before = await everything(desk)
            assert summary(await desk.take(data)) == ("done", 0, len(items), 0)
            assert await everything(desk) == before

    asyncio.run(run())


async def test_the_same_file_is_somebody_elses_too(desk: Desk) -> None:
    data = desk.product.export(talk("a"), talk(None))
    for who in (ANN, BOB):
        assert summary(await desk.take(data, who)) == ("done", 2, 0, 0)
    assert await desk.counts() == (4, 8)


async def test_another_product_may_have_the_same_ids() -> None:
    one, other = Product("one"), Product("other")
    desk = Desk(MemoryStore(KINDS), importers=(one, other))
    async with desk.imports:
        await desk.take(one.export(talk("a")))
        assert summary(await desk.take(other.export(talk("a"))))[1] == 1
    assert {c.source for c in await desk.conversations()} == {"one:a", "other:a"}


async def test_a_conversation_twice_in_one_file_is_one(desk: Desk) -> None:
    longer = talk("a", message("q", created_at=BEGIN), message("a", "q", role="assistant"), message("more", "a"))
    result = await desk.bring(*[talk("a")] * 20, longer, *[talk("a")] * 20)
    assert (result.status, result.imported + result.skipped) == ("done", 41)
    assert await desk.counts() == (1, 3)


async def test_a_newer_export_adds_what_is_new_and_leaves_what_was_changed_here(desk: Desk) -> None:
    q, a = message("q", created_at=BEGIN), message("a", "q", role="assistant", created_at=BEGIN + STEP)
    await desk.bring(talk("one", q, a))
    before = await desk.only()
    first, second = await desk.messages(before)
    await desk.store.apply([
        conversation_put(replace(before, title="Mine", pinned=True)),
        message_put(replace(second, parts=(Text("edited"),))),
    ])  # fmt: skip
    early = message("early", "q", created_at=BEGIN - STEP)
    more = message("m", "a", "more", created_at=BEGIN + 5 * STEP)
    assert summary(await desk.bring(talk("one", q, a, early, more, title="New"))) == ("done", 1, 0, 0)
    after = await desk.only()
    said = await desk.messages(after)
    assert [(m.seq, m.text) for m in said] == [(1, "text of q"), (2, "edited"), (3, "text of early"), (4, "more")]
    assert [m.parent for m in said] == [None, first.id, first.id, second.id]
    assert (after.id, after.title, after.pinned) == (before.id, "Mine", True)
    assert (after.leaf, after.next_seq, after.messages) == (said[3].id, 5, 4)
    assert after.updated_at == BEGIN + 5 * STEP
    assert after.characters == before.characters + len("text of early" + "more")


async def continued(desk: Desk, **more: Any) -> Conversation:
    """The only conversation, in which something was said here."""
    before = await desk.only()
    own = Message(
        id="own",
        conversation=before.id,
        owner="ann",
        seq=before.next_seq,
        role="user",
        parts=(Text("here"),),
        created_at=NOW,
        parent=before.leaf,
    )
    grown = replace(before, leaf="own", next_seq=own.seq + 1, messages=before.messages + 1, updated_at=NOW, **more)
    await desk.store.apply([conversation_put(grown), message_put(own)])
    return grown


async def test_where_it_went_on_here_it_stays(desk: Desk) -> None:
    await desk.bring(talk())
    await continued(desk)
    more = talk("one", message("q", created_at=BEGIN), message("a", "q", role="assistant"), message("m", "a"))
    assert summary(await desk.bring(more)) == ("done", 1, 0, 0)
    after = await desk.only()
    assert (after.leaf, after.messages, after.updated_at) == ("own", 4, NOW)
    assert [m.seq for m in await desk.messages(after)] == [1, 2, 3, 4]


async def test_while_a_reply_is_made_the_active_path_is_left_alone(desk: Desk) -> None:
    await desk.bring(talk())
    before = await desk.only()
    await desk.store.apply([conversation_put(replace(before, active_run="run"))])
    await desk.bring(talk("one", message("q", created_at=BEGIN), message("a", "q"), message("m", "a")))
    after = await desk.only()
    assert (after.leaf, after.active_run, after.messages) == (before.leaf, "run", 3)


async def deleted_here(desk: Desk, message: Message) -> None:
    nobody = unusable()
    conversations = Conversations(
        desk.store, Access(desk.store, by_table, desk.now), desk.now, str, nobody, nobody, nobody, lambda _: None
    )
    trees = Trees(store=desk.store, conversations=conversations, retention=Retention(), now=desk.now, new_id=str)
    await trees.remove(ANN, message.conversation, message.id)


def unusable() -> Any:
    async def nothing(*_: object) -> list[Any]:
        return []

    return nothing


async def test_parts_of_a_conversation_that_come_one_after_the_other_make_it_whole(desk: Desk) -> None:
    """As when a product exports one branch at a time."""
    q, a = message("q", created_at=BEGIN), message("a", "q", created_at=BEGIN + STEP)
    one, other = [message(f"{x}{n}", f"{x}{n - 1}" if n else "a") for x in "xy" for n in range(3)], message("z", "q")
    await desk.bring(talk("one", q, a, *one[:3]))
    assert summary(await desk.bring(talk("one", q, a, *one[3:]))) == ("done", 1, 0, 0)
    assert summary(await desk.bring(talk("one", q, other))) == ("done", 1, 0, 0)
    assert sorted(m.text for m in await desk.messages(await desk.only())) == sorted(
        m.parts[0].text for m in (q, a, *one, other) if isinstance(m.parts[0], Text)
    )


async def test_what_was_deleted_here_does_not_come_back(desk: Desk) -> None:
    q, a = message("q", created_at=BEGIN), message("a", "q", created_at=BEGIN + STEP)
    b, c = message("b", "a", created_at=BEGIN + 2 * STEP), message("c", "b", created_at=BEGIN + 3 * STEP)
    await desk.bring(talk("one", q, a, b))
    kept = await desk.only()
    first, second, third = await desk.messages(kept)
    for m in (second, third):
        await deleted_here(desk, m)
    assert summary(await desk.bring(talk("one", q, a, b))) == ("done", 0, 1, 0)
    assert summary(await desk.bring(talk("one", q, a))) == ("done", 0, 1, 0)  # an older one
    assert summary(await desk.bring(talk("one", q, a, b, c))) == ("done", 1, 0, 0)
    assert [(m.seq, m.text, m.parent) for m in await desk.messages(kept)] == [
        (1, "text of q", None),
        (4, "text of c", first.id),
    ]
    assert summary(await desk.bring(talk("one", q, a, b, c))) == ("done", 0, 1, 0)
    await desk.store.apply(
        [Delete("conversation", kept.id), *[Delete("message", m.id) for m in await desk.messages(kept)]]
    )
    assert summary(await desk.bring(talk("one", q, a, b, c))) == ("done", 1, 0, 0)
    assert len(await desk.messages(kept)) == 4


@settings(max_examples=40, deadline=None, database=None)
@given(st.integers(1, 8), st.sets(st.integers(0, 7)), st.integers(0, 4))
def test_after_any_deletions_a_newer_export_adds_what_is_new(count: int, deleted: set[int], new: int) -> None:
    async def run() -> None:
        desk = Desk(MemoryStore(KINDS))
        said = [message(str(n), str(n - 1), created_at=BEGIN + n * STEP) for n in range(count + new)]
        async with desk.imports:
            await desk.bring(talk("x", *said[:count]))
            kept = await desk.only()
            there = await desk.messages(kept)
            gone = [m for m in there if m.seq - 1 in deleted]
            for m in gone:
                await deleted_here(desk, m)
            for _ in range(2):
                await desk.bring(talk("x", *said))
                left = [m.text for m in await desk.messages(kept)]
                assert left == [f"text of {n}" for n in range(count + new) if n not in deleted or n >= count]

    asyncio.run(run())


async def test_a_temporary_conversation_stays_one(desk: Desk) -> None:
    desk.imports._retention = Retention(temporary=timedelta(days=2), conversations=timedelta(days=9))
    await desk.bring(talk())
    before = await desk.only()
    await desk.store.apply([conversation_put(replace(before, temporary=True, expires_at=NOW + timedelta(days=1)))])
    await desk.bring(talk("one", message("q", created_at=BEGIN), message("a", "q"), message("more", "a")))
    after = await desk.only()
    assert after.expires_at is not None
    assert (after.messages, after.expires_at.date()) == (3, (NOW + timedelta(days=2)).date())


async def test_messages_of_one_id_are_all_kept(desk: Desk) -> None:
    said = (
        message("r", created_at=BEGIN),
        message("m", "r", "one", created_at=BEGIN + STEP),
        message("m", "r", "two", created_at=BEGIN + 2 * STEP),
        message("m", "r", "two", created_at=BEGIN + 2 * STEP),
        message("m", "r", "three", created_at=BEGIN + 3 * STEP),
        message("n", "m", created_at=BEGIN + 4 * STEP),
    )
    for exact in (False, True):
        source = talk(UUID if exact else "x", *said, exact=exact)
        assert summary(await desk.bring(source)) == ("done", 1, 0, 0)
        assert summary(await desk.bring(source)) == ("done", 0, 1, 0)
        (kept,) = [c for c in await desk.conversations() if c.title == source.title]
        r, *others = await desk.messages(kept)
        assert [m.text for m in others] == ["one", "two", "three", "text of n"]
        assert [m.parent for m in others] == [r.id, r.id, r.id, others[0].id]


# ---- ids that others have -------------------------------------------------------------------------------------------


async def ids_of(desk: Desk, source: SourceConversation) -> tuple[Conversation, list[Message]]:
    """What ANN's import of it becomes, in a store of its own."""
    other = Desk(MemoryStore(KINDS), importers=(desk.product,))
    async with other.imports:
        await other.take(desk.product.export(source))
    kept = await other.only()
    return kept, await other.messages(kept)


def of_bob(kept: Conversation, said: Sequence[Message], place: str) -> list[Change]:
    """A conversation of his that has an id of hers."""
    his = replace(kept, owner="bob", version=0, id=kept.id if place == "conversation" else "his")
    taken = replace(said[0], owner="bob", conversation=his.id, version=0, parts=(Text("of bob"),))
    return [conversation_put(his), message_put(replace(taken, id=said[0].id if place == "message" else "his"))]


@pytest.mark.parametrize("place", ["conversation", "message"])
@pytest.mark.parametrize("exact", [False, True])
async def test_what_somebody_else_has_is_never_taken_for_ours(desk: Desk, place: str, exact: bool) -> None:
    source = talk(UUID, message(OTHER, created_at=BEGIN, text="my secret"), exact=exact)
    await desk.store.apply(of_bob(*await ids_of(desk, source), place))
    his = await everything(desk)
    assert summary(await desk.bring(source)) == ("done", 1, 0, 0)
    kept = await desk.only()
    assert [m.text for m in await desk.messages(kept)] == ["my secret"]
    assert [r for r in await everything(desk) if r in his] == his
    assert {m.owner for m in await desk.messages(kept)} == {"ann"}
    assert summary(await desk.bring(source)) == ("done", 0, 1, 0)
    longer = replace(source, messages=[*source.messages, message("more", OTHER)])
    assert summary(await desk.bring(longer)) == ("done", 1, 0, 0)
    first, second = await desk.messages(kept)
    assert second.parent == first.id


@pytest.mark.parametrize("place", ["conversation", "message"])
async def test_when_all_ids_are_taken_it_is_not_imported_and_it_ends(desk: Desk, place: str) -> None:
    source = talk("one", message("m", created_at=BEGIN))
    kept, said = await ids_of(desk, source)
    if place == "message":
        taken = [said[0].id, *[another(said[0].id, kept.id, n) for n in (2, 3)]]
        his = replace(kept, owner="bob", version=0, id="his")
        await desk.store.apply([
            conversation_put(his),
            *[message_put(replace(said[0], id=id, conversation="his", seq=n, owner="bob", version=0))
              for n, id in enumerate(taken, 1)],
        ])  # fmt: skip
    else:
        names = built(source, Origin("ann", "product"), Retention(), NOW).names
        await desk.store.apply([conversation_put(replace(kept, owner="bob", version=0, id=id)) for id in names])
    result = await desk.bring(source, talk("two"))
    assert summary(result) == ("done", 1, 0, 1)
    assert result.problems[0].reason == "it cannot be stored: the ids that it could have are taken"


class Contended(MemoryStore):
    """Somebody is always ahead."""

    tries = 0

    async def apply(self, changes: Sequence[Change]) -> None:
        if any(c.kind == "conversation" for c in changes):
            self.tries += 1
            await asyncio.sleep(0)
            raise StaleWrite("somebody was ahead")
        await super().apply(changes)


async def test_it_is_not_tried_for_ever() -> None:
    store = Contended(KINDS)
    desk = Desk(store)
    async with desk.imports:
        result = await desk.bring(talk())
    assert (result.status, result.failed) == ("done", 1)
    assert 10 < store.tries < 100


async def test_it_is_not_tried_any_more_when_it_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_writing, "ATTEMPTS", 10_000)
    store = Contended(KINDS)
    desk = Desk(store)
    async with desk.imports:
        begun = await desk.imports.begin(
            ANN, io.BytesIO(desk.product.export(*map(talk, map(str, range(500))))), name="x"
        )
        while store.tries < 3:  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert (await desk.imports.cancel(ANN, begun.id)).status == "cancelled"
    assert store.tries < 5_000


async def test_the_export_of_a_conversation_that_is_still_here_is_that_one(desk: Desk) -> None:
    """By the ids of it and of its messages, whatever format the file has, and whoever made the conversation."""
    here = Conversation(
        id="thread-7",
        owner="ann",
        title="Made here",
        created_at=BEGIN,
        updated_at=BEGIN,
        leaf="m1",
        next_seq=2,
        messages=1,
    )
    said = Message(
        id="m1", conversation="thread-7", owner="ann", seq=1, role="user", parts=(Text("hello"),), created_at=BEGIN
    )
    await desk.store.apply([conversation_put(here), message_put(said)])
    old = message("m1", created_at=BEGIN, text="hello")
    assert summary(await desk.bring(talk("thread-7", old))) == ("done", 0, 1, 0)
    assert summary(await desk.bring(talk("thread-7", old, message("m2", "m1")))) == ("done", 1, 0, 0)
    after = await desk.only()
    assert [(m.id, m.parent) for m in await desk.messages(after)] == [("m1", None), ("m2", "m1")]
    assert (after.leaf, after.title) == ("m2", "Made here")
    assert summary(await desk.bring(talk("thread-7", old), who=BOB)) == ("done", 1, 0, 0)
    assert (await desk.only(BOB)).id != "thread-7"
    assert len(await desk.messages(after)) == 2


class Meddling(MemoryStore):
    """Another process writes right before some of the batches with messages in them."""

    def __init__(self) -> None:
        super().__init__(KINDS)
        self.meddle: list[Sequence[Change]] = []

    async def apply(self, changes: Sequence[Change]) -> None:
        if self.meddle and any(isinstance(c, Put) and c.kind == "message" for c in changes):
            await super().apply(self.meddle.pop())
        await super().apply(changes)


async def test_what_another_process_writes_meanwhile_is_kept() -> None:
    store = Meddling()
    desk = Desk(store)
    async with desk.imports:
        await desk.bring(talk())
        kept = await desk.only()
        store.meddle = [
            [conversation_put(replace(kept, version=n, title=f"renamed {n}"))] for n in reversed(range(1, 4))
        ]
        longer = talk("one", message("q", created_at=BEGIN), message("a", "q"), message("m", "a"))
        assert summary(await desk.bring(longer)) == ("done", 1, 0, 0)
    after = await desk.only()
    assert (after.title, after.messages, after.version) == ("renamed 3", 3, 5)


# ---- exact ----------------------------------------------------------------------------------------------------------


async def test_an_exact_conversation_keeps_its_ids(desk: Desk) -> None:
    data, shown = b"png", (Image("file-1", "image/png"),)
    said = (message("m-1", created_at=BEGIN), message("m-2", "m-1", created_at=BEGIN - STEP, parts=shown))
    source = talk(UUID, *said, exact=True, title=" kept as it is ", files={"file-1": data}, channel="web")
    assert summary(await desk.bring(source)) == ("done", 1, 0, 0)
    kept = await desk.only()
    assert (kept.id, kept.title, kept.leaf, kept.channel) == (UUID, " kept as it is ", "m-2", "web")
    assert [(m.id, m.parent, m.created_at) for m in await desk.messages(kept)] == [
        ("m-1", None, BEGIN),
        ("m-2", "m-1", BEGIN - STEP),
    ]
    assert await file_bytes(desk.store, ["file-1"]) == {"file-1": data}
    assert summary(await desk.bring(source)) == ("done", 0, 1, 0)


@pytest.mark.parametrize("taken", ["conversation", "message", "file"])
async def test_an_exact_conversation_whose_ids_are_taken_gets_others_and_keeps_them(desk: Desk, taken: str) -> None:
    there = talk(
        UUID if taken == "conversation" else OTHER,
        message("m-1" if taken == "message" else "m-0", parts=(Image("f-1" if taken == "file" else "f-0", "a/b"),)),
        exact=True,
        files={"f-1": b"1", "f-0": b"0"},
    )
    source = talk(UUID, message("m-1", parts=(Image("f-1", "a/b"),)), exact=True, files={"f-1": b"own"})
    await desk.bring(there, who=BOB)
    before = [r for r in await everything(desk) if r.kind != "tag"]
    assert summary(await desk.bring(source)) == ("done", 1, 0, 0)
    kept = await desk.only()
    (said,) = await desk.messages(kept)
    (image,) = said.parts
    assert isinstance(image, Image)
    assert not {kept.id, said.id, image.file} & {{"conversation": UUID, "message": "m-1", "file": "f-1"}[taken]}
    assert (await file_bytes(desk.store, [image.file]))[image.file] == b"own"
    assert [r for r in await everything(desk) if r in before] == before
    await desk.store.apply([Delete(r.kind, r.id) for r in before])  # its own ids are free now
    assert summary(await desk.bring(source)) == ("done", 0, 1, 0)


@pytest.mark.parametrize("id", ["a/b", "", "\ud800", "x" * 200, "a b", "new"])
async def test_an_exact_id_that_can_be_none_here(desk: Desk, id: str) -> None:
    for source in (
        talk(id, exact=True, title="a"),
        talk(UUID, message("m" if id == "new" else id), exact=True, title="b"),
    ):
        assert summary(await desk.bring(source)) == ("done", 1, 0, 0)
        assert summary(await desk.bring(source)) == ("done", 0, 1, 0)
    odd, fine = await desk.conversations()
    assert odd.id != id
    assert fine.id == UUID
    assert [m.id for m in await desk.messages(fine)] == [fine.leaf] != [id]
    await desk.bring(talk(OTHER, exact=True, channel="x" * 200, title="c"), talk("d", channel="a b", title="d"))
    assert {c.channel for c in await desk.conversations()} == {"import"}
