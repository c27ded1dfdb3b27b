"""Forks and duplicates: which messages they take along, and what becomes of these."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backchat.domain.conversation import Conversation
from backchat.domain.document import Document
from backchat.domain.limits import Retention
from backchat.domain.message import File, Image, Message, Text, Usage
from backchat.domain.settings import ModelSettings
from backchat.domain.workspace import personal_workspace
from backchat.errors import DocumentsPending, InvalidInput, NotFound, NotOwned
from backchat.ports.providers import ImageData
from backchat.ports.storage import Change, Delete, Put, Query, RecordStore
from backchat.services import blobs
from backchat.services.belongings import belongings
from backchat.services.document_records import CHUNK, DOCUMENT, Piece, document_put, piece_put, scope_of, text_purges
from backchat.services.extents import Extent, begun_at, reached, rooted
from backchat.services.files import CHUNK as FILE_CHUNK_SIZE
from backchat.services.files import file_bytes, file_puts
from backchat.services.kinds import KINDS
from backchat.services.stored import conversation_put, message_put
from backchat.services.tag_records import Tag, tag_put
from backchat.testing.memory_store import MemoryStore
from rights_made import grant, member
from sqlite_files import opened
from trees_made import ANN, BEGINNING, BOB, WORKED, CountingStore, Grove, conversation_of, drawn, trees

EXTENTS: tuple[Extent, ...] = ("path", "branches", "level")


@pytest.fixture(params=["memory", "sqlite"])
async def grove(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Grove]:
    if request.param == "memory":
        yield Grove(MemoryStore(KINDS))
    else:
        async with opened(tmp_path / "test.db", KINDS) as store:
            yield Grove(store)


# ---- which messages -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("extent", "split", "wanted"),
    [
        ("path", None, "U0 A1 U2"),
        ("branches", None, "U0 A1 A1b U2 U2b"),
        ("level", None, "U0 R2 A1 A1b R2A U2 U2b U2c"),
        ("path", "A5", "U2 A3 U4 A5"),
        ("branches", "A5", "U2 A3 A3b U4 A5"),
        ("level", "A5", "U2 U2b U2c A3 A3b A3c U4 A5"),
    ],
)
async def test_the_example_of_the_contract(extent: Extent, split: str | None, wanted: str) -> None:
    grove = Grove(MemoryStore(KINDS))
    await grove.plant(drawn(WORKED))
    conversation, messages = await grove.forks.fork(ANN, "c", "U2", extent, split_for=split)
    names = {m.text[5:-1]: m for m in messages}
    assert sorted(names) == sorted(wanted.split())
    stored = await grove.trees.whole(ANN, conversation.id)
    assert stored == messages
    assert await grove.conversations.open(ANN, conversation.id) == conversation
    target = names[split or "U2"]
    assert (conversation.leaf, conversation.messages) == (target.id, len(names))
    assert conversation.characters == sum(len(m.text) for m in messages)
    parents = {m.id: m.parent for m in drawn(WORKED)}
    for name, message in names.items():
        above = parents[name]
        assert message.parent == (names[above].id if above in names else None)


def above(messages: Sequence[Message], id: str) -> list[str]:
    """The path from the root to a message, by the words of the contract."""
    message = next(m for m in messages if m.id == id)
    return [*(above(messages, message.parent) if message.parent else []), id]


def naive(messages: Sequence[Message], target: str, extent: Extent) -> set[str]:
    path = above(messages, target)
    if extent == "path":
        return set(path)
    if extent == "branches":
        return {*path, *[m.id for m in messages if m.parent in path[:-1]]}
    level = {m.id for m in messages if m.parent is None}
    found = set(level)
    while target not in found:
        level = {m.id for m in messages if m.parent in level}
        found |= level
    return found


@settings(max_examples=50, deadline=None)
@given(trees(least=1), st.data())
def test_an_extent_is_what_the_contract_says(messages: list[Message], data: st.DataObject) -> None:
    target = data.draw(st.sampled_from([m.id for m in messages]))
    for extent in EXTENTS:
        got = reached(messages, target, extent)
        assert {m.id for m in got} == naive(messages, target, extent)
        assert got == [m for m in messages if m in got]


@settings(max_examples=50, deadline=None)
@given(trees(least=1), st.data())
def test_a_split_begins_at_the_depth_of_the_message(messages: list[Message], data: st.DataObject) -> None:
    first, target = [data.draw(st.sampled_from([m.id for m in messages])) for _ in "ab"]
    depth = {m.id: len(above(messages, m.id)) for m in messages}
    if depth[target] < depth[first]:
        with pytest.raises(InvalidInput):
            begun_at(messages, first, target)
        return
    rest = begun_at(messages, first, target)
    assert {m.id for m in rest} == {id for id, deep in depth.items() if deep >= depth[first]}
    assert {m.id for m in rest if m.parent is None} == {id for id, deep in depth.items() if deep == depth[first]}
    assert {m.id: m.parent for m in rest if m.parent} == {
        m.id: m.parent for m in messages if depth[m.id] > depth[first]
    }


@settings(max_examples=50, deadline=None)
@given(trees(), st.data())
def test_who_lost_a_parent_is_a_root(messages: list[Message], data: st.DataObject) -> None:
    left = [m for m in messages if data.draw(st.booleans())]
    there = {m.id for m in left}
    again = [replace(m, seq=100 + m.seq, parent=None) for m in messages if m not in left and data.draw(st.booleans())]
    wanted = {m.id: m.parent if m.parent in there else None for m in left} | {m.id: None for m in again}
    assert {m.id: m.parent for m in rooted([*left, *again])} == wanted


def test_a_path_is_as_long_as_it_may_be() -> None:
    messages = chain(10_000)
    last = messages[-1].id
    assert len(reached(messages, last, "path")) == len(reached(messages, last, "level")) == 10_000
    assert len(reached(begun_at(messages, messages[9_000].id, last), last, "branches")) == 1_000


def chain(length: int) -> list[Message]:
    (one,) = drawn("U0")
    return [replace(one, id=f"m{n}", seq=n + 1, parent=f"m{n - 1}" if n else None) for n in range(length)]


# ---- what becomes of them -------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(trees(), st.data())
async def test_a_duplicate_is_the_same_tree(messages: list[Message], data: st.DataObject) -> None:
    leaf = data.draw(st.sampled_from([m.id for m in messages])) if messages else None
    store = CountingStore()
    grove = Grove(store)
    source = await grove.plant(messages, leaf=leaf)
    conversation, copies = await grove.forks.duplicate(ANN, "c")
    assert len(store.batches) == 2
    names = dict(zip([c.id for c in copies], [m.id for m in messages], strict=True))
    assert not names.keys() & set(names.values())
    assert [names.get(c.parent or "") for c in copies] == [m.parent for m in messages]
    assert [(c.parts, c.role, c.author) for c in copies] == [(m.parts, m.role, m.author) for m in messages]
    assert [c.seq for c in copies] == list(range(1, len(copies) + 1))
    assert names.get(conversation.leaf or "") == leaf
    created = {c.id: c.created_at for c in copies}
    for copy, original in zip(copies, messages, strict=True):
        earliest = created[copy.parent] + timedelta(milliseconds=1) if copy.parent else original.created_at
        assert copy.created_at == max(original.created_at, earliest)
    assert (conversation.messages, conversation.characters) == (source.messages, source.characters)
    assert conversation.next_seq == len(messages) + 1
    assert await grove.trees.whole(ANN, conversation.id) == copies
    assert await grove.conversations.open(ANN, "c") == source
    assert [(m.id, m.parts) for m in await grove.trees.whole(ANN, "c")] == [(m.id, m.parts) for m in messages]


async def test_a_copy_has_ended_well_and_belongs_to_no_run(grove: Grove) -> None:
    extra = {"error": True, "unfinished": True, "sender": "GPT-4o"}
    messages = drawn("U0\n  A1", run="r1", status="failed", extra=extra, metadata={"finish": "length"}, model="m")
    await grove.plant(messages)
    _, copies = await grove.forks.duplicate(ANN, "c")
    for copy in copies:
        assert (copy.status, copy.run, copy.extra) == ("complete", None, {"sender": "GPT-4o"})
        assert (copy.metadata, copy.model, copy.version) == ({"finish": "length"}, "m", 1)


async def test_authors_stay_who_they_were_in_copies_of_the_owner_s(grove: Grove) -> None:
    first, answer, second = drawn("U0\n  A1\n    U2")
    await grove.plant([replace(first, author="ann"), answer, replace(second, author="bob")])
    _, copies = await grove.forks.duplicate(ANN, "c")
    assert [m.author for m in copies] == ["ann", None, "bob"]


async def test_the_conversation_is_copied_with_its_settings(grove: Grove) -> None:
    settings = {
        "archived_at": BEGINNING,
        "pinned": True,
        "tags": ("a", "b"),
        "options": {"endpoint": "openAI", "temperature": 0.5},
        "metadata": {"of": "ann"},
        "channel": "web",
        "settings": ModelSettings(system="Be brief.", model="m"),
        "workspace": "team",
    }
    shared = {"grants": (grant("bob"),), "public": True, "completed": True}
    source = await grove.plant(drawn(WORKED), source="chatgpt:1", active_run="r1", **shared, **settings)
    await grove.store.apply([member("team", "ann")])
    at = grove.time
    for copied, _ in (
        await grove.forks.fork(ANN, "c", "U2", "path"),
        await grove.forks.duplicate(ANN, "c"),
    ):
        assert {name: getattr(copied, name) for name in settings} == settings
        assert (copied.title, copied.source, copied.active_run) == ("Trees", None, None)
        assert (copied.grants, copied.public, copied.completed) == ((), False, False)
        assert copied.link != source.link
        assert await grove.conversations.open(ANN, copied.id) == copied
        assert copied.created_at == copied.updated_at > at
        assert copied.id != "c"


@pytest.mark.parametrize(
    ("title", "given_title", "wanted"),
    [("Old", None, "Old"), (" ", None, "Imported Chat"), ("Old", " New ", " New "), ("", "x" * 99, "x" * 99)],
)
async def test_titles(title: str, given_title: str | None, wanted: str) -> None:
    grove = Grove(MemoryStore(KINDS))
    await grove.plant(drawn("U0"), title=title)
    conversation, _ = await grove.forks.duplicate(ANN, "c", title=given_title)
    assert conversation.title == wanted


async def test_a_copy_is_kept_from_now_on() -> None:
    day = timedelta(days=1)
    grove = Grove(MemoryStore(KINDS), Retention(temporary=day, conversations=7 * day))
    for temporary, span in ((True, day), (False, 7 * day)):
        id = f"c{temporary}"
        await grove.plant(
            [replace(m, id=f"{id}{m.id}", conversation=id) for m in drawn("U0")],
            id=id,
            leaf=None,
            temporary=temporary,
            expires_at=grove.time + timedelta(minutes=1),
        )
        copied, _ = await grove.forks.duplicate(ANN, id)
        assert copied.temporary is temporary
        assert copied.expires_at == copied.created_at + span


async def test_what_is_not_there_is_not_copied(grove: Grove) -> None:
    await grove.plant(drawn(WORKED))
    await grove.plant([replace(m, id="other", conversation="d") for m in drawn("U0")], id="d", leaf="other")
    for target, split in (("nope", None), ("other", None), ("U2", "nope"), ("nope", "U2")):
        with pytest.raises(NotFound, match="Message not found"):
            await grove.forks.fork(ANN, "c", target, "level", split_for=split)
    with pytest.raises(InvalidInput):
        await grove.forks.fork(ANN, "c", "A3", "path", split_for="U2")
    with pytest.raises(NotOwned):
        await grove.forks.fork(BOB, "c", "U2", "path")
    with pytest.raises(NotOwned):
        await grove.forks.duplicate(BOB, "c")
    with pytest.raises(NotFound):
        await grove.forks.duplicate(ANN, "nope")
    assert await grove.store.count(Query(kind="conversation")) == 2


async def test_an_empty_conversation_is_duplicated(grove: Grove) -> None:
    await grove.plant([])
    conversation, messages = await grove.forks.duplicate(ANN, "c")
    assert (messages, conversation.leaf, conversation.next_seq) == ([], None, 1)


# ---- images and documents -------------------------------------------------------------------------------------------


def pictured(data: bytes) -> tuple[Conversation, list[Message], list[Put]]:
    """A conversation whose last message shows an image, a file that another conversation has, and one that is gone."""
    images = (Image("f1", "image/png"), Image("foreign", "image/png"), Image("gone", "image/png"))
    messages = drawn("U0\n  A1\n    U2")
    messages[2] = replace(messages[2], parts=(*images, Text("See?")))
    place = conversation_of(messages, next_seq=3)
    return place, messages, file_puts("f1", place, ImageData("image/png", data), BEGINNING)


async def test_images_are_copied_with_their_bytes(grove: Grove) -> None:
    data = bytes(range(256)) * (FILE_CHUNK_SIZE // 256 * 2 + 5)
    place, messages, files = pictured(data)
    await grove.plant(messages)
    await grove.store.apply(files)
    other = file_puts("foreign", replace(place, id="d", owner="bob"), ImageData("image/png", b"secret"), BEGINNING)
    await grove.store.apply(other)
    for who in (ANN, BOB):
        source = await grove.conversations.open(ANN, "c")
        conversation, copies = await grove.forks.copy(who, source, messages[1:], target=None)
        assert (conversation.leaf, copies[0].parent) == (copies[1].id, None)
        shown = [p.file for p in copies[1].parts if isinstance(p, Image)]
        assert len({*shown, "f1", "foreign", "gone"}) == 6
        assert await file_bytes(grove.store, shown) == {shown[0]: data}
        record = await grove.store.get("file", shown[0])
        assert record is not None
        assert (record.doc["conversation"], record.doc["seq"], record.doc["owner"]) == (conversation.id, 2, who.user)
        await grove.trees.remove(who, conversation.id, copies[1].id)
        assert await file_bytes(grove.store, [*shown, "f1"]) == {"f1": data}


def document(status: Any = "indexed", id: str = "d1") -> Document:
    return Document(
        id=id,
        owner=ANN.user,
        filename="a.txt",
        mime="text/plain",
        size=3,
        sha256="f00",
        created_at=BEGINNING,
        updated_at=BEGINNING,
        conversation="c",
        status=status,
        chunks=1,
    )


async def shelve(grove: Grove, document: Document) -> None:
    scope = scope_of(conversation="c")
    piece = Piece(document=document.id, owner=ANN.user, scope=scope, n=0, text="abc", filename="a.txt", start=0, end=3)
    kept = await blobs.kept(grove.store, ANN.user, document.sha256, b"abc")
    await grove.store.apply([document_put(document), piece_put(piece), *kept])


async def test_documents_are_copied_with_the_conversation(grove: Grove) -> None:
    messages = drawn("U0\n  A1")
    messages[0] = replace(messages[0], parts=(Text("Read "), File("d1", "a.txt"), File("gone", "b.txt")))
    await grove.plant(messages)
    await shelve(grove, document())
    await shelve(grove, document("failed", "d2"))
    conversation, copies = await grove.forks.fork(ANN, "c", "A1", "path")
    where = (("scope", (scope_of(conversation=conversation.id),)),)
    found = await grove.store.find(Query(kind=DOCUMENT.name, where=where, order=("created",)))
    pieces = await grove.store.find(Query(kind=CHUNK.name, where=where))
    assert [(d.doc["filename"], d.doc["conversation"]) for d in found] == [("a.txt", conversation.id)] * 2
    assert [(p.doc["text"], p.doc["document"]) for p in pieces] == [("abc", d.id) for d in found]
    assert copies[0].parts == (Text("Read "), File(found[0].id, "a.txt"), File("gone", "b.txt"))
    assert {"d1", "d2"}.isdisjoint({d.id for d in found})
    blob = await grove.store.get(blobs.BLOB.name, blobs.blob_id(ANN.user, "f00"))
    assert blob is not None
    assert blob.doc["uses"] == 4


async def test_a_document_that_is_being_read_is_waited_for(grove: Grove) -> None:
    await grove.plant(drawn("U0"))
    await shelve(grove, document("processing"))
    with pytest.raises(DocumentsPending, match=r"a\.txt"):
        await grove.forks.duplicate(ANN, "c")
    assert await grove.store.count(Query(kind="conversation")) == 1


# ---- for another user -----------------------------------------------------------------------------------------------


async def test_another_user_gets_what_was_said_and_no_more() -> None:
    grove = Grove(MemoryStore(KINDS), Retention(temporary=timedelta(days=1)))
    extra = {"sender": "GPT-4o", "feedback": {"text": "hm"}, "files": [{"filepath": "/ann"}]}
    messages = drawn("U0\n  A1", extra=extra, metadata={"of": "ann"}, usage=Usage(3, 4), model="m")
    messages[0] = replace(messages[0], author=ANN.user, parts=(Text("Read "), File("d1", "a.txt")))
    source = await grove.plant(
        messages,
        archived_at=BEGINNING,
        pinned=True,
        temporary=True,
        tags=("a",),
        options={"promptPrefix": "Be secret."},
        metadata={"of": "ann"},
        settings=ModelSettings(system="Be secret."),
        workspace="team",
        grants=(grant("bob"),),
    )
    await shelve(grove, document("processing"))
    conversation, copies = await grove.forks.copy(BOB, source, messages, target="U0", title="Theirs")
    fresh = Conversation(
        id=conversation.id,
        owner="bob",
        title="Theirs",
        created_at=conversation.created_at,
        updated_at=conversation.created_at,
        leaf=copies[0].id,
        next_seq=3,
        messages=2,
        characters=len("Read \n[file: a.txt]I am A1."),
        workspace=personal_workspace("bob"),
        link=conversation.link,
        version=1,
    )
    assert conversation == fresh
    assert conversation.link != source.link
    assert copies[0].parts == (Text("Read "), Text("[file: a.txt]"))
    assert [(m.owner, m.author) for m in copies] == [("bob", "bob"), ("bob", None)]
    for m in copies:
        assert (m.extra, m.metadata, m.usage, m.model) == ({"sender": "GPT-4o"}, {}, None, "m")
    assert await grove.trees.whole(BOB, conversation.id) == copies
    assert await grove.store.count(Query(kind=DOCUMENT.name)) == 1


# ---- whole or not at all, and in one go -----------------------------------------------------------------------------


class Meddled(MemoryStore):
    """Lets somebody else write when the tree has been read for the first time, or before the first batch."""

    def __init__(self) -> None:
        super().__init__(KINDS)
        self.read: list[Sequence[Change]] = []
        self.written: list[Sequence[Change]] = []

    async def find(self, query: Query) -> Sequence[Any]:
        found = await super().find(query)
        if query.kind == "message" and self.read:
            await super().apply(self.read.pop())
        return found

    async def apply(self, changes: Sequence[Change]) -> None:
        if self.written:
            await super().apply(self.written.pop())
        await super().apply(changes)


async def test_a_copy_is_of_one_moment() -> None:
    store = Meddled()
    grove = Grove(store)
    messages = drawn("U0\n  A1")
    source = await grove.plant(messages)
    more = replace(messages[0], id="U2", seq=3, parent="A1")
    grown = replace(source, leaf="U2", next_seq=4, messages=3, characters=source.characters + len(more.text))
    store.read = [[conversation_put(grown), message_put(more)]]
    conversation, copies = await grove.forks.duplicate(ANN, "c")
    assert (len(copies), conversation.messages, conversation.leaf) == (3, 3, copies[2].id)


async def test_nothing_is_left_of_a_copy_of_what_is_deleted_meanwhile() -> None:
    store = Meddled()
    grove = Grove(store)
    source = await grove.plant(drawn(WORKED))
    store.written = [await removal(store, source)]
    with pytest.raises(NotFound, match="conversation not found"):
        await grove.forks.duplicate(ANN, "c")
    assert await store.count(Query(kind="conversation")) == await store.count(Query(kind="message")) == 0


async def test_no_half_of_a_document_is_copied_that_is_deleted_meanwhile() -> None:
    store = Meddled()
    grove = Grove(store)
    await grove.plant(drawn("U0"))
    await shelve(grove, document())
    store.written = [[Delete(DOCUMENT.name, "d1"), *text_purges(ANN.user, "d1")]]
    await grove.forks.duplicate(ANN, "c")
    assert await store.count(Query(kind=DOCUMENT.name)) == await store.count(Query(kind=CHUNK.name)) == 0


@pytest.mark.parametrize("late", [False, True], ids=["before it is read again", "before it is stored"])
@pytest.mark.parametrize("name", ["uno", None])
async def test_a_tag_that_is_renamed_or_deleted_meanwhile(late: bool, name: str | None) -> None:
    """What the copy has is what the source has, and in the list."""
    store = Meddled()
    grove = Grove(store)
    source = await grove.plant(drawn("U0"), tags=("one", "two"))
    tags = [
        Tag(id=f"t-{t}", owner="ann", tag=t, description=None, position=1, created_at=BEGINNING, updated_at=BEGINNING)
        for t in source.tags
    ]
    await store.apply([*map(tag_put, tags)])
    left = tuple([name, "two"] if name else ["two"])
    renamed = tag_put(replace(tags[0], tag=name or "", version=1))
    change = [conversation_put(replace(source, tags=left)), renamed if name else Delete("tag", "t-one", 1)]
    if late:
        store.written = [change]
    else:
        store.read = [change]
    conversation, _ = await grove.forks.duplicate(ANN, "c")
    assert (await grove.conversations.open(ANN, conversation.id)).tags == conversation.tags == left
    assert {r.doc["tag"] for r in await store.find(Query(kind="tag"))} == {*left}


async def test_a_tag_that_is_deleted_between_two_looks_stays_deleted() -> None:
    """The source was read with the tag on it, and the tag is gone when it is looked for."""

    class Between(MemoryStore):
        change: Sequence[Change] = ()

        async def find(self, query: Query) -> Sequence[Any]:
            if query.kind == "tag" and self.change:
                change, self.change = self.change, ()
                await self.apply(change)
            return await super().find(query)

    store = Between(KINDS)
    grove = Grove(store)
    source = await grove.plant(drawn("U0"), tags=("one",))
    one = Tag(id="t", owner="ann", tag="one", description=None, position=1, created_at=BEGINNING, updated_at=BEGINNING)
    await store.apply([tag_put(one)])
    store.change = [conversation_put(replace(source, tags=())), Delete("tag", "t", 1)]
    conversation, _ = await grove.forks.duplicate(ANN, "c")
    assert conversation.tags == ()
    assert await store.count(Query(kind="tag")) == 0


async def removal(store: RecordStore, conversation: Conversation) -> list[Change]:
    return [Delete("conversation", conversation.id, conversation.version), *await belongings(store, [conversation.id])]


async def test_many_messages_cost_their_pages_and_one_batch() -> None:
    store = CountingStore()
    grove = Grove(store)
    calls = []
    for n in (400, 2_400):
        id = f"c{n}"
        messages = [replace(m, id=f"{n}{m.id}", conversation=id, parent=None) for m in chain(n)]
        await grove.plant(messages, id=id)
        store.calls.clear()
        await grove.forks.duplicate(ANN, id)
        assert store.calls["apply"] == 1
        calls.append(store.calls.total())
    assert calls[1] - calls[0] <= 2_400 // 400


async def test_two_copies_at_once_are_two(grove: Grove) -> None:
    await grove.plant(drawn(WORKED))
    await shelve(grove, document())
    made = await asyncio.gather(*[grove.forks.duplicate(ANN, "c") for _ in range(5)])
    assert len({c.id for c, _ in made}) == 5
    blob = await grove.store.get(blobs.BLOB.name, blobs.blob_id(ANN.user, "f00"))
    assert blob is not None
    assert blob.doc["uses"] == 6
