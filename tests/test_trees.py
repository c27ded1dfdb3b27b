"""The message tree: what can be changed anywhere in it, and what the conversation knows of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backchat.domain.limits import Retention
from backchat.domain.message import Image, Message, Reasoning, Text, ToolCall
from backchat.errors import Conflict, InvalidInput, NotFound, NotOwned, RunInProgress
from backchat.ports.providers import ImageData
from backchat.ports.storage import Change, Delete, Query
from backchat.services.files import file_bytes, file_puts
from backchat.services.kinds import KINDS
from backchat.services.trees import NewMessage
from backchat.testing.memory_store import MemoryStore
from backchat.testing.provider import ScriptedProvider
from nodes import Node, SlowStore, node
from sqlite_files import opened
from trees_made import ANN, BEGINNING, BOB, WORKED, CountingStore, Grove, conversation_of, drawn, trees

LOOK = {"type": "function", "function": {"name": "look", "description": "", "parameters": {"type": "object"}}}


@pytest.fixture(params=["memory", "sqlite"])
async def grove(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Grove]:
    if request.param == "memory":
        yield Grove(MemoryStore(KINDS))
    else:
        async with opened(tmp_path / "test.db", KINDS) as store:
            yield Grove(store)


def new(text: str, **more: Any) -> NewMessage:
    return NewMessage(parts=(Text(text),), **more)


async def ids(grove: Grove | Node, conversation: str = "c") -> list[str]:
    services = grove if isinstance(grove, Grove) else grove.services
    return [m.id for m in await services.trees.whole(ANN, conversation)]


# ---- whole and open -------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(trees(most=8))
async def test_the_whole_tree_is_read_as_it_was_stored(messages: list[Message]) -> None:
    grove = Grove(MemoryStore(KINDS))
    await grove.plant(messages)
    whole = await grove.trees.whole(ANN, "c")
    assert whole == [replace(m, version=1) for m in messages]
    assert [await grove.trees.open(ANN, "c", m.id) for m in messages] == whole


async def test_a_tree_of_many_pages_is_read_whole(grove: Grove) -> None:
    (one,) = drawn("U0")
    wanted = [f"m{n:04}" for n in range(1203, 0, -1)]
    await grove.plant([replace(one, id=id, seq=n) for n, id in enumerate(wanted, 1)])
    assert await ids(grove) == wanted


async def test_a_message_is_found_in_its_own_conversation_only(grove: Grove) -> None:
    await grove.plant(drawn("U0"))
    await grove.plant([replace(m, id="other", conversation="d") for m in drawn("U0")], id="d")
    for message in ("other", "nope"):
        for verb in (
            grove.trees.open(ANN, "c", message),
            grove.trees.edit(ANN, "c", message, "x"),
            grove.trees.annotate(ANN, "c", message, {"a": 1}),
            grove.trees.remove(ANN, "c", message),
        ):
            with pytest.raises(NotFound, match=r"^Message not found$"):
                await verb
    for stranger in (
        grove.trees.whole(BOB, "c"),
        grove.trees.open(BOB, "c", "U0"),
        grove.trees.put(BOB, "c", new("x", id="U0")),
        grove.trees.edit(BOB, "c", "U0", "x"),
        grove.trees.annotate(BOB, "c", "U0", {"a": 1}),
        grove.trees.remove(BOB, "c", "U0"),
    ):
        with pytest.raises(NotOwned):
            await stranger
    assert [m.text for m in await grove.trees.whole(ANN, "c")] == ["I am U0."]


async def test_a_conversation_whose_time_is_over_has_no_tree(grove: Grove) -> None:
    await grove.plant(drawn("U0"), expires_at=BEGINNING)
    for verb in (
        grove.trees.whole(ANN, "c"),
        grove.trees.open(ANN, "c", "U0"),
        grove.trees.put(ANN, "c", new("x")),
        grove.trees.edit(ANN, "c", "U0", "x"),
        grove.trees.remove(ANN, "c", "U0"),
    ):
        with pytest.raises(NotFound, match="conversation not found"):
            await verb


# ---- put and begin --------------------------------------------------------------------------------------------------


async def test_a_new_message_ends_the_active_path(grove: Grove) -> None:
    await grove.plant(drawn("U0\n  A1"), title="")
    extra = {"sender": "User"}
    made = await grove.trees.put(ANN, "c", new("Why not?", id="mine", parent="U0", extra=extra, metadata={"a": 1}))
    assert (made.seq, made.author, made.role, made.extra, made.metadata) == (3, "ann", "user", extra, {"a": 1})
    assert await grove.trees.open(ANN, "c", "mine") == made
    conversation = await grove.conversations.open(ANN, "c")
    assert (conversation.leaf, conversation.next_seq, conversation.messages) == ("mine", 4, 3)
    assert (conversation.title, conversation.updated_at) == ("Why not?", made.created_at)
    assert [m.id for m in await grove.conversations.whole(ANN, "c")] == ["U0", "mine"]
    reply = await grove.trees.put(ANN, "c", new("Because.", role="assistant", parent="mine", model="m", provider="p"))
    assert (reply.author, reply.model, reply.provider) == (None, "m", "p")
    assert [m.text for m in await grove.conversations.whole(ANN, "c")] == ["I am U0.", "Why not?", "Because."]


async def test_a_message_of_the_same_id_is_stored_anew_where_it_is(grove: Grove) -> None:
    await grove.plant(drawn("U0\n  A1\n    U2", model="m", extra={"sender": "User", "feedback": 1}))
    before = await grove.trees.open(ANN, "c", "A1")
    again = NewMessage(id="A1", parent="U2", role="assistant", parts=(Text("Longer than it was."),), extra={"x": 1})
    made = await grove.trees.put(ANN, "c", again)
    assert made == await grove.trees.open(ANN, "c", "A1")
    assert made == replace(
        before,
        parts=again.parts,
        extra={"sender": "User", "feedback": 1, "x": 1},
        updated_at=made.updated_at,
        version=before.version + 1,
    )
    assert made.updated_at is not None
    assert made.updated_at > before.created_at
    conversation = await grove.conversations.open(ANN, "c")
    assert (conversation.messages, conversation.next_seq, conversation.leaf) == (3, 4, "U2")
    assert conversation.characters == sum(len(m.text) for m in await grove.trees.whole(ANN, "c"))
    assert conversation.updated_at > BEGINNING


@pytest.mark.parametrize("parent", ["nope", "other"])
async def test_a_parent_is_in_the_conversation(grove: Grove, parent: str) -> None:
    await grove.plant(drawn("U0"))
    await grove.plant([replace(m, id="other", conversation="d") for m in drawn("U0")], id="d")
    with pytest.raises(InvalidInput) as refused:
        await grove.trees.put(ANN, "c", new("x", parent=parent))
    assert refused.value.field == "body.parentMessageId"
    with pytest.raises(InvalidInput):
        await grove.trees.begin(ANN, new("x", parent=parent), temporary=False, channel="web")
    assert await ids(grove) == ["U0"]


async def test_an_id_is_taken_whoever_has_it(grove: Grove) -> None:
    await grove.plant(drawn("U0"))
    mine = [replace(m, id="mine", conversation="d") for m in drawn("U0")]
    theirs = [replace(m, id="theirs", conversation="e", owner="bob") for m in drawn("U0")]
    await grove.plant(mine, id="d")
    await grove.plant(theirs, id="e", owner="bob")
    told = set()
    for id in ("mine", "theirs"):
        for verb in (
            grove.trees.put(ANN, "c", new("x", id=id)),
            grove.trees.begin(ANN, new("x", id=id), temporary=False, channel="web"),
        ):
            with pytest.raises(Conflict) as refused:
                await verb
            told.add((type(refused.value), str(refused.value), refused.value.field))
    assert told == {(Conflict, "this message id is taken", "body.messageId")}
    assert await grove.store.count(Query(kind="message")) == await grove.store.count(Query(kind="conversation")) == 3


@pytest.mark.parametrize("role", ["user", "assistant"])
async def test_a_conversation_begins_with_a_message(role: Any) -> None:
    day = timedelta(days=1)
    grove = Grove(MemoryStore(KINDS), Retention(temporary=day))
    first = await grove.trees.begin(ANN, new("Hello you", id="m1", role=role), temporary=True, channel="convos")
    conversation = await grove.conversations.open(ANN, first.conversation)
    assert await grove.trees.whole(ANN, conversation.id) == [first]
    assert (conversation.leaf, conversation.messages, conversation.characters) == ("m1", 1, 9)
    assert (conversation.channel, conversation.temporary, conversation.owner) == ("convos", True, "ann")
    assert conversation.title == ("Hello you" if role == "user" else "")
    assert conversation.expires_at is not None
    assert conversation.created_at + day <= conversation.expires_at <= grove.time + day


async def test_what_a_user_says_extends_the_time_of_a_conversation() -> None:
    day = timedelta(days=1)
    grove = Grove(MemoryStore(KINDS), Retention(temporary=None, conversations=day))
    await grove.plant(drawn("U0"), expires_at=grove.time + timedelta(hours=1))
    kept = await grove.conversations.open(ANN, "c")
    await grove.trees.put(ANN, "c", new("x", role="assistant"))
    assert (await grove.conversations.open(ANN, "c")).expires_at == kept.expires_at
    said = await grove.trees.put(ANN, "c", new("x"))
    assert (await grove.conversations.open(ANN, "c")).expires_at == said.created_at + day


# ---- edit and annotate ----------------------------------------------------------------------------------------------

PICTURE = Image("f1", "image/png")
CALL = ToolCall("c1", "look", "{}")


@pytest.mark.parametrize(
    ("parts", "index", "wanted"),
    [
        ((Text("a"),), None, (Text("new"),)),
        ((PICTURE, Text("a"), CALL, Text("b")), None, (PICTURE, Text("new"), CALL)),
        ((PICTURE,), None, (PICTURE, Text("new"))),
        ((Reasoning("a"), Text("b"), Text("c")), 0, (Reasoning("new"), Text("b"), Text("c"))),
        ((Reasoning("a"), Text("b"), Text("c")), 2, (Reasoning("a"), Text("b"), Text("new"))),
    ],
)
async def test_texts_are_edited(grove: Grove, parts: Any, index: int | None, wanted: Any) -> None:
    messages = drawn("U0\n  A1\n    U2", model="old")
    messages[1] = replace(messages[1], parts=parts)
    await grove.plant(messages)
    made = await grove.trees.edit(ANN, "c", "A1", "new", model="better", index=index)
    assert (made.parts, made.model) == (wanted, "better")
    assert made.updated_at is not None
    assert await grove.trees.open(ANN, "c", "A1") == made
    conversation = await grove.conversations.open(ANN, "c")
    assert conversation.characters == sum(len(m.text) for m in await grove.trees.whole(ANN, "c"))
    assert (conversation.messages, conversation.leaf) == (3, "U2")
    assert (await grove.trees.edit(ANN, "c", "A1", "newer")).model == "better"


@pytest.mark.parametrize(
    ("index", "told"),
    [(-1, "Invalid index"), (2, "Content part not found"), (1, "Cannot update non-text content")],
)
async def test_only_text_is_edited(grove: Grove, index: int, told: str) -> None:
    messages = drawn("U0")
    messages[0] = replace(messages[0], parts=(Text("a"), CALL))
    await grove.plant(messages)
    with pytest.raises(InvalidInput, match=f"^{told}$"):
        await grove.trees.edit(ANN, "c", "U0", "new", index=index)
    assert (await grove.trees.open(ANN, "c", "U0")).parts == (Text("a"), CALL)


async def test_extras_are_set_and_removed(grove: Grove) -> None:
    await grove.plant(drawn("U0", extra={"sender": "User", "feedback": {"rating": "thumbsUp"}}))
    made = await grove.trees.annotate(ANN, "c", "U0", {"feedback": None, "tokenCount": 4, "gone": None})
    assert made.extra == {"sender": "User", "tokenCount": 4}
    assert await grove.trees.open(ANN, "c", "U0") == made


# ---- remove ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("leaf", "removed", "ends"),
    [
        ("A5", "A5", "U4"),
        ("A5", "U4", "A5"),
        ("A5", "R2A", "A5"),
        ("U0", "U0", "R2A"),
        ("R2A", "R2A", "R2"),
    ],
)
async def test_an_active_path_ends_before_what_is_removed(grove: Grove, leaf: str, removed: str, ends: str) -> None:
    await grove.plant(drawn(WORKED), leaf=leaf)
    await grove.trees.remove(ANN, "c", removed)
    left = [m.id for m in drawn(WORKED) if m.id != removed]
    whole = await grove.trees.whole(ANN, "c")
    assert [m.id for m in whole] == left
    conversation = await grove.conversations.open(ANN, "c")
    assert (conversation.leaf, conversation.messages) == (ends, len(left))
    assert conversation.characters == sum(len(m.text) for m in whole)
    assert conversation.next_seq == len(left) + 2
    parents = {m.id: m.parent for m in drawn(WORKED)}
    assert {m.id: m.parent for m in whole} == {id: parents[id] if parents[id] != removed else None for id in left}
    assert [await grove.trees.open(ANN, "c", id) for id in left] == whole


async def test_a_path_ends_somewhere_after_every_removal(grove: Grove) -> None:
    await grove.plant(drawn("U0\n  A1\n  A1b\n    U2"))
    ends = []
    for id in ("A1b", "U2", "A1", "U0"):
        await grove.trees.remove(ANN, "c", id)
        ends.append((await grove.conversations.open(ANN, "c")).leaf)
    assert ends == ["U2", "A1", "U0", None]
    assert (await grove.conversations.open(ANN, "c")).characters == 0


@pytest.mark.parametrize("removed", ["U0", "A1", "U2", "A3", "U4", "A5", "A1b"])
async def test_children_can_be_given_the_parent_of_what_is_removed(grove: Grove, removed: str) -> None:
    planted = drawn(WORKED)
    parents = {m.id: m.parent for m in planted}
    await grove.plant(planted, leaf="A5")
    before = [m.id for m in await grove.conversations.whole(ANN, "c")]
    await grove.trees.remove(ANN, "c", removed, splice=True)
    whole = await grove.trees.whole(ANN, "c")
    wanted = {id: parents[removed] if parent == removed else parent for id, parent in parents.items() if id != removed}
    assert {m.id: m.parent for m in whole} == wanted
    assert [m.id for m in await grove.conversations.whole(ANN, "c")] == [id for id in before if id != removed]
    texts = {m.id: m.text for m in planted}
    assert {m.id: m.text for m in whole} == {id: text for id, text in texts.items() if id != removed}


@pytest.mark.parametrize("order", [("U0", "A1b"), ("A1b", "U0")])
async def test_what_was_put_aside_stays_aside_when_all_that_is_shown_is_spliced_out(
    grove: Grove, order: Sequence[str]
) -> None:
    await grove.plant(drawn("U0\n  A1\n  A1b"), leaf="A1b")
    for removed in order:
        await grove.trees.remove(ANN, "c", removed, splice=True)
    assert list(await grove.conversations.whole(ANN, "c")) == []
    assert [m.id for m in await grove.trees.whole(ANN, "c")] == ["A1"]
    said = await grove.trees.put(ANN, "c", NewMessage(parts=(Text("hello"),)))
    assert [m.id for m in await grove.conversations.whole(ANN, "c")] == [said.id]


async def test_children_beyond_a_page_are_given_the_parent_too_in_one_batch() -> None:
    store = CountingStore()
    grove = Grove(store)
    await grove.plant(drawn("U0\n  A1\n" + "\n".join([f"    U{n}" for n in range(2, 1202)])))
    before = len(store.batches)
    await grove.trees.remove(ANN, "c", "A1", splice=True)
    assert len(store.batches) == before + 1
    assert {m.parent for m in await grove.trees.whole(ANN, "c")} == {None, "U0"}


class Overtaken(SlowStore):
    """Does something else just before it deletes a message."""

    def __init__(self) -> None:
        super().__init__()
        self.before: Callable[[], Awaitable[object]] | None = None

    async def apply(self, changes: Sequence[Change]) -> None:
        if self.before is not None and any(isinstance(c, Delete) and c.kind == "message" for c in changes):
            before, self.before = self.before, None
            await before()
        await super().apply(changes)


async def test_a_removal_can_be_refused_while_a_reply_is_made() -> None:
    gate = asyncio.Event()
    store = Overtaken()
    async with node(store, ScriptedProvider(["Yes"], ["Again", gate])) as one:
        trees = one.services.trees
        run = await one.say("really?")
        await one.runs.result(ANN, run.id)
        store.before = lambda: one.say("hm", conversation=run.conversation)
        for message in (run.input, run.answer):
            with pytest.raises(RunInProgress):
                await trees.remove(ANN, run.conversation, message, splice=True, busy="refuse")
        assert store.before is None
        assert [text for _, text, _ in await one.texts(run.conversation)] == ["really?", "Yes", "hm"]
        await trees.remove(ANN, run.conversation, run.answer, splice=True)
        gate.set()
        while (await one.conversations.open(ANN, run.conversation)).active_run is not None:
            await one.runs.idle(await one.conversations.open(ANN, run.conversation))
        await trees.remove(ANN, run.conversation, run.input, splice=True, busy="refuse")
        assert [text for _, text, _ in await one.texts(run.conversation)] == ["hm", "Again"]


@pytest.mark.parametrize("where", ["here", "elsewhere"])
async def test_a_parent_that_was_deleted_is_none_though_its_id_is_used_again(grove: Grove, where: str) -> None:
    await grove.plant(drawn("U0\n  A1"))
    await grove.trees.remove(ANN, "c", "U0")
    if where == "here":
        await grove.trees.put(ANN, "c", new("again", id="U0", parent="A1"))
    else:
        await grove.trees.begin(ANN, new("again", id="U0"), temporary=False, channel="web")
    assert (await grove.trees.open(ANN, "c", "A1")).parent is None
    assert (await grove.trees.whole(ANN, "c"))[0].parent is None
    await grove.trees.remove(ANN, "c", "A1")
    assert (await grove.conversations.open(ANN, "c")).leaf == ("U0" if where == "here" else None)


async def test_images_go_with_the_message_that_showed_them(grove: Grove) -> None:
    messages = drawn("U0\n  A1")
    messages = [replace(m, parts=(Image(f"f{m.seq}", "image/png"), Text("See"))) for m in messages]
    await grove.plant(messages)
    for m in messages:
        place = conversation_of(messages, next_seq=m.seq)
        await grove.store.apply(file_puts(f"f{m.seq}", place, ImageData("image/png", b"123"), BEGINNING))
    kept = NewMessage(id="A1", parts=(Text("Look"), Image("f2", "image/png")))
    assert (await grove.trees.put(ANN, "c", kept)).parts == kept.parts
    await grove.trees.edit(ANN, "c", "A1", "Other")
    assert await file_bytes(grove.store, ["f1", "f2"]) == {"f1": b"123", "f2": b"123"}
    for stolen in ("f1", "nope"):
        with pytest.raises(InvalidInput):
            await grove.trees.put(ANN, "c", NewMessage(id="A1", parts=(Image(stolen, "image/png"),)))
        with pytest.raises(InvalidInput):
            await grove.trees.put(ANN, "c", NewMessage(parts=(Image(stolen, "image/png"),)))
    await grove.trees.put(ANN, "c", new("No picture", id="A1"))
    assert await file_bytes(grove.store, ["f1", "f2"]) == {"f1": b"123"}
    await grove.trees.remove(ANN, "c", "U0")
    assert await grove.store.count(Query(kind="file")) == await grove.store.count(Query(kind="file_chunk")) == 0


# ---- against a model ------------------------------------------------------------------------------------------------


@dataclass
class Model:
    """What a tree is, in the plainest words: rows of id, parent and text in order, and where the active path ends."""

    rows: dict[str, tuple[str | None, str]] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    leaf: str | None = None
    stored: int = 0

    def parent(self, id: str) -> str | None:
        order = list(self.rows)
        parent = self.rows[id][0]
        return parent if parent in order and order.index(parent) < order.index(id) else None

    def put(self, id: str, parent: str | None, text: str) -> None:
        if id in self.rows:
            self.rows[id] = (self.rows[id][0], text)
        else:
            self.rows[id], self.leaf = (parent, text), id
            self.stored += 1

    def remove(self, id: str) -> None:
        parent = self.parent(id)
        del self.rows[id]
        self.gone.append(id)
        if self.leaf == id:
            self.leaf = parent or next(reversed(self.rows), None)

    def path(self) -> list[str]:
        found: list[str] = []
        at = self.leaf
        while at is not None:
            found.insert(0, at)
            at = self.parent(at)
        return found


@settings(max_examples=60, deadline=None)
@given(st.data())
async def test_changes_in_any_order_keep_the_tree_whole(data: st.DataObject) -> None:
    grove, model = Grove(MemoryStore(KINDS)), Model()
    await grove.plant([])
    for n in range(data.draw(st.integers(1, 12))):
        text = data.draw(st.sampled_from(["", "a", "abc", "été"]))
        some = st.sampled_from(list(model.rows)) if model.rows else st.nothing()
        what = data.draw(st.sampled_from(["new", "back", "put", "edit", "remove"] if model.rows else ["new"]))
        if what in ("new", "back"):
            parent = data.draw(st.none() | some)
            id = data.draw(st.sampled_from(model.gone)) if what == "back" and model.gone else f"m{n}"
            await grove.trees.put(ANN, "c", new(text, id=id, parent=parent))
            model.gone = [gone for gone in model.gone if gone != id]
            model.put(id, parent, text)
        else:
            id = data.draw(some)
            if what == "put":
                await grove.trees.put(ANN, "c", new(text, id=id, parent=data.draw(some)))
                model.put(id, None, text)
            elif what == "edit":
                await grove.trees.edit(ANN, "c", id, text)
                model.put(id, None, text)
            else:
                await grove.trees.remove(ANN, "c", id)
                model.remove(id)
        whole = await grove.trees.whole(ANN, "c")
        assert [(m.id, m.parent, m.text) for m in whole] == [
            (id, model.parent(id), text) for id, (_, text) in model.rows.items()
        ]
        assert [await grove.trees.open(ANN, "c", m.id) for m in whole] == whole
        conversation = await grove.conversations.open(ANN, "c")
        assert (conversation.leaf, conversation.messages, conversation.next_seq, conversation.characters) == (
            model.leaf,
            len(model.rows),
            model.stored + 1,
            sum(len(text) for _, text in model.rows.values()),
        )
        assert [m.id for m in await grove.conversations.whole(ANN, "c")] == model.path()


async def test_nothing_is_lost_when_many_write_at_once() -> None:
    store = SlowStore()
    grove = Grove(store)
    await grove.plant(drawn("U0\n  A1\n  A1b"))
    writers = [
        *[grove.trees.put(ANN, "c", new(f"say {n}", parent="U0")) for n in range(6)],
        *[grove.trees.put(ANN, "c", new("mine", id="mine", parent="A1")) for _ in range(2)],
        *[grove.trees.annotate(ANN, "c", "A1", {f"x{n}": n}) for n in range(3)],
        grove.trees.edit(ANN, "c", "A1", "edited"),
        grove.trees.remove(ANN, "c", "A1b"),
    ]
    await asyncio.gather(*writers)
    whole = await grove.trees.whole(ANN, "c")
    assert len({m.seq for m in whole}) == len(whole) == 9
    assert {m.text for m in whole} == {"I am U0.", "edited", "mine", *[f"say {n}" for n in range(6)]}
    assert next(m.extra for m in whole if m.id == "A1") == {"x0": 0, "x1": 1, "x2": 2}
    conversation = await grove.conversations.open(ANN, "c")
    assert (conversation.messages, conversation.next_seq) == (9, 11)
    assert conversation.characters == sum(len(m.text) for m in whole)


# ---- beside replies -------------------------------------------------------------------------------------------------


async def test_a_message_and_a_reply_at_the_same_time_are_both_kept() -> None:
    gate = asyncio.Event()
    async with node(SlowStore(), ScriptedProvider(["Yes", gate])) as one:
        run = await one.say("really?")
        put = await one.services.trees.put(ANN, run.conversation, new("Another way", parent=run.input))
        await one.services.trees.edit(ANN, run.conversation, run.input, "Really?")
        with pytest.raises(RunInProgress):
            await one.services.trees.put(ANN, run.conversation, new("x", id=run.answer))
        with pytest.raises(NotFound):
            await one.services.trees.remove(ANN, run.conversation, run.answer)
        later = [one.services.trees.put(ANN, run.conversation, new(f"{n}", parent=put.id)) for n in range(4)]
        gate.set()
        await asyncio.gather(*later)
        await one.runs.result(ANN, run.id)
        whole = await one.services.trees.whole(ANN, run.conversation)
        assert {(m.text, m.parent) for m in whole} == {
            ("Really?", None),
            ("Another way", run.input),
            ("Yes", run.input),
            *[(f"{n}", put.id) for n in range(4)],
        }
        conversation = await one.conversations.open(ANN, run.conversation)
        assert (conversation.messages, conversation.active_run) == (7, None)
        assert conversation.characters == sum(len(m.text) for m in whole)


async def test_a_reply_to_what_is_removed_meanwhile_is_a_root() -> None:
    gate = asyncio.Event()
    async with node(SlowStore(), ScriptedProvider(["Yes", gate])) as one:
        run = await one.say("really?")
        await one.services.trees.remove(ANN, run.conversation, run.input)
        gate.set()
        await one.runs.result(ANN, run.id)
        (answer,) = await one.services.trees.whole(ANN, run.conversation)
        assert (answer.id, answer.parent) == (run.answer, None)
        again = await one.say("hm", conversation=run.conversation)
        await one.runs.result(ANN, again.id)
        assert await one.texts(run.conversation) == [
            ("assistant", "Yes", "complete"),
            ("user", "hm", "complete"),
            ("assistant", "Yes", "complete"),
        ]


@pytest.mark.parametrize("how", ["remove", "put"])
async def test_a_reply_that_waits_with_a_message_ends_with_it(how: str) -> None:
    async with node(SlowStore(), ScriptedProvider(["Hm. ", CALL], ["Blue."])) as one:
        run = await one.say("look up", tools=[LOOK], takes_tools=True)
        waiting, asked = await one.runs.result(ANN, run.id)
        assert asked is not None
        assert (waiting.status, asked.status) == ("waiting", "waiting")
        if how == "remove":
            await one.services.trees.remove(ANN, run.conversation, asked.id)
        else:
            made = await one.services.trees.put(ANN, run.conversation, new("Hm.", id=asked.id, role="assistant"))
            assert made.status == "complete"
        assert await ids(one, run.conversation) == ([run.input] if how == "remove" else [run.input, asked.id])
        assert (await one.runs.open(ANN, run.id)).status == "cancelled"
        conversation = await one.conversations.open(ANN, run.conversation)
        assert conversation.active_run is None
        assert conversation.leaf == (run.input if how == "remove" else asked.id)
        with pytest.raises(InvalidInput):
            await one.turns.answer(ANN, run.conversation, run.id, [("c1", "blue")])


async def test_a_reply_that_waits_goes_on_after_changes_of_its_words_and_elsewhere() -> None:
    async with node(SlowStore(), ScriptedProvider(["Hm. ", CALL], ["Blue."])) as one:
        run = await one.say("look up", tools=[LOOK], takes_tools=True)
        _, asked = await one.runs.result(ANN, run.id)
        assert asked is not None
        await one.services.trees.edit(ANN, run.conversation, asked.id, "Well.")
        put = await one.services.trees.put(ANN, run.conversation, new("beside", parent=run.input))
        await one.services.trees.remove(ANN, run.conversation, put.id)
        await one.turns.answer(ANN, run.conversation, run.id, [("c1", "blue")])
        await one.runs.result(ANN, run.id)
        assert [(m.role, m.text) for m in await one.conversations.whole(ANN, run.conversation)] == [
            ("user", "look up"),
            ("assistant", "Well."),
            ("tool", ""),
            ("assistant", "Blue."),
        ]


# ---- search ---------------------------------------------------------------------------------------------------------


async def scatter(grove: Grove) -> None:
    """Twelve messages with the word, in four conversations of which two are in no list; ties among their dates."""
    for c, more in (
        ("shown", {}),
        ("hidden", {"temporary": True}),
        ("over", {"expires_at": BEGINNING}),
        ("archived", {"archived_at": BEGINNING}),
    ):
        messages = [
            replace(drawn("U0")[0], id=f"{c}{n}", conversation=c, seq=n, parts=(Text(f"The Zebra {n}"),))
            for n in range(1, 4)
        ]
        await grove.plant(messages, id=c, leaf=None, **more)
    foreign = [replace(drawn("U0")[0], id="foreign", conversation="f", owner="bob", parts=(Text("zebra"),))]
    await grove.plant(foreign, id="f", owner="bob")


async def pages(grove: Grove, words: str, limit: int) -> list[list[str]]:
    found: list[list[str]] = []
    after = None
    while True:
        hits, after = await grove.trees.search(ANN, words, limit=limit, after=after)
        assert [h.conversation.id for h in hits] == [h.message.conversation for h in hits]
        found.append([h.message.id for h in hits])
        if after is None:
            return found


@pytest.mark.parametrize("limit", [1, 2, 4, 6, 50])
async def test_words_are_found_in_what_lists_show_and_pages_are_full(grove: Grove, limit: int) -> None:
    await scatter(grove)
    found = await pages(grove, "zeb", limit)
    wanted = [f"{c}{n}" for c in ("shown", "archived") for n in (3, 2, 1)]
    assert [id for page in found for id in page] == wanted
    assert [len(page) for page in found[:-1]] == [limit] * (len(found) - 1)
    assert found[-1]


async def test_hits_that_are_not_shown_do_not_cost_a_look_each() -> None:
    store = CountingStore()
    grove = Grove(store)
    for c, temporary, count in (("hidden", True, 2000), ("shown", False, 3)):
        said = replace(
            drawn("U0")[0], conversation=c, parts=(Text("zebra"),), created_at=BEGINNING + timedelta(days=temporary)
        )
        messages = [replace(said, id=f"{c}{n:04}", seq=n) for n in range(1, count + 1)]
        await grove.plant(messages, id=c, leaf=None, temporary=temporary)
    store.calls.clear()
    found, after = await grove.trees.search(ANN, "zebra", limit=2)
    assert [h.message.id for h in found] == ["shown0003", "shown0002"]
    assert store.calls["find"] <= 2 * 8
    found, after = await grove.trees.search(ANN, "zebra", limit=2, after=after)
    assert [h.message.id for h in found] == ["shown0001"]
    assert after is None


async def test_the_newest_is_found_first(grove: Grove) -> None:
    await grove.plant(drawn(WORKED))
    assert await pages(grove, "i am", 100) == [[m.id for m in reversed(drawn(WORKED))]]


@pytest.mark.parametrize("words", ["", " ", "...", "zebra lion"])
async def test_what_is_no_word_of_a_message_finds_nothing(grove: Grove, words: str) -> None:
    await scatter(grove)
    assert await grove.trees.search(ANN, words, limit=5) == ([], None)


async def test_a_search_knows_of_every_change_at_once(grove: Grove) -> None:
    await grove.plant(drawn("U0"))

    async def found(*words: str) -> Sequence[list[str]]:
        return [page for word in words for page in await pages(grove, word, 5)]

    await grove.trees.put(ANN, "c", new("a giraffe", id="m1"))
    assert await found("giraffe", "okapi") == [["m1"], []]
    await grove.trees.edit(ANN, "c", "m1", "an okapi")
    assert await found("giraffe", "okapi") == [[], ["m1"]]
    await grove.trees.remove(ANN, "c", "m1")
    assert await found("giraffe", "okapi") == [[], []]
