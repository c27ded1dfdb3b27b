"""Conversations as files: what is written is what there is, and reads back as the same."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import random
import re
import zipfile
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backchat.domain.assistant import Assistant
from backchat.domain.message import (
    Image,
    Reasoning,
    Text,
    Usage,
)
from backchat.errors import NotFound
from backchat.ports.importing import SourceConversation
from backchat.ports.storage import Delete, Query, Record, RecordStore
from backchat.services.assistant_records import assistant_put
from backchat.services.belongings import belongings
from backchat.services.bundles import Bundles, ExportFormat
from backchat.services.kinds import KINDS
from backchat.services.stored import conversation_put, message_put
from backchat.services.unpacking import unpacked
from backchat.testing.memory_store import MemoryStore, open_memory
from kept import ANN, BEGINNING, BOB, LATER, Kept, called, check_same, exports, gathered, read_back, talk, trees
from sqlite_files import opened


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RecordStore]:
    async with open_memory(KINDS) if request.param == "memory" else opened(tmp_path / "a.db", KINDS) as store:
        yield store


@pytest.fixture
async def memory() -> AsyncIterator[RecordStore]:
    async with open_memory(KINDS) as store:
        yield store


# ---- one conversation ------------------------------------------------------------------------------------------------

count = iter(range(1, 1 << 30))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kept=trees())
async def test_what_is_written_reads_back_as_the_same(store: RecordStore, kept: Kept) -> None:
    kept = called(kept, f"c{next(count)}")
    await store.apply(kept.changes)
    portable = await exports(store).portable(ANN, kept.conversation.id)
    check_same(unpacked(json.loads(json.dumps(portable))), kept)


async def test_the_form(memory: RecordStore) -> None:
    """As docs/formats.md has it."""
    kept = talk("c1", "Hello", "Hi!", tags=("a", "b"), source="chatgpt:x", metadata={"k": 1})
    answer = replace(
        kept.messages[1], parts=(Reasoning("hm"), Text("Hi!")), model="m", usage=Usage(1, 2, 3, 4), updated_at=LATER
    )
    await memory.apply(replace(kept, messages=[kept.messages[0], answer]).changes)
    assert await exports(memory).portable(ANN, "c1") == {
        "format": "backchat-conversation",
        "version": 1,
        "conversation": {
            "id": "c1",
            "title": "Talk c1",
            "created_at": "2024-01-01T00:00:00.000Z",
            "updated_at": "2024-01-01T00:00:00.000Z",
            "archived_at": None,
            "pinned": False,
            "tags": ["a", "b"],
            "channel": "web",
            "source": "chatgpt:x",
            "assistant": None,
            "leaf": "c1-2",
            "completed": False,
            "settings": {},
            "options": {},
            "metadata": {"k": 1},
        },
        "messages": [
            {
                "id": "c1-1",
                "parent": None,
                "role": "user",
                "status": "complete",
                "created_at": "2024-01-01T00:00:01.000Z",
                "parts": [{"type": "text", "text": "Hello"}],
            },
            {
                "id": "c1-2",
                "parent": "c1-1",
                "role": "assistant",
                "status": "complete",
                "created_at": "2024-01-01T00:00:02.000Z",
                "parts": [{"type": "reasoning", "text": "hm"}, {"type": "text", "text": "Hi!"}],
                "updated_at": "2025-12-01T00:00:00.000Z",
                "model": "m",
                "usage": {"input_tokens": 1, "output_tokens": 2, "cached_tokens": 3, "reasoning_tokens": 4},
            },
        ],
        "files": {},
    }


async def test_images_come_with_their_bytes_and_once(store: RecordStore) -> None:
    big = bytes(range(256)) * 10_000
    kept = talk("c1", "Look", "Nice", "Again")
    first, second, third = kept.messages
    shown = [
        replace(first, parts=(Text("Look"), Image("i1", "image/png"), Image("i2", "image/gif"))),
        second,
        replace(third, parts=(Image("i1", "image/png"), Image("lost", "image/png"))),
    ]
    kept = Kept(kept.conversation, shown, {"i1": big, "i2": b"gif"})
    await store.apply(replace(kept, messages=shown[:2]).changes)
    await store.apply([message_put(shown[2])])
    portable = await exports(store).portable(ANN, "c1")
    assert {id: file["mime"] for id, file in portable["files"].items()} == {"i1": "image/png", "i2": "image/gif"}
    check_same(unpacked(portable), kept)


async def test_the_assistant_is_named(memory: RecordStore) -> None:
    assistant = Assistant(id="a1", owner="ann", name="Tutor", created_at=BEGINNING, updated_at=BEGINNING)
    await memory.apply([assistant_put(assistant), *talk("c1", "x", assistant="a1").changes])
    await memory.apply(talk("c2", "x", assistant="gone").changes)
    service = exports(memory)
    assert (await service.portable(ANN, "c1"))["conversation"]["assistant"] == "Tutor"
    assert (await service.portable(ANN, "c2"))["conversation"]["assistant"] is None


async def test_only_ones_own_and_only_while_there_is_time(memory: RecordStore) -> None:
    await memory.apply(talk("c1", "x").changes)
    await memory.apply(talk("c2", "x", expires_at=LATER - timedelta(seconds=1)).changes)
    await memory.apply(talk("c3", "x", expires_at=LATER, temporary=True).changes)
    service = exports(memory)
    for work in (service.portable, service.markdown):
        for who, id in ((BOB, "c1"), (ANN, "c2"), (ANN, "nope")):
            with pytest.raises(NotFound):
                await work(who, id)
        assert await work(ANN, "c3")


async def test_a_parent_that_is_stored_again_after_its_children_is_none(memory: RecordStore) -> None:
    kept = talk("c1", "a", "b", "c")
    again = replace(kept.messages[0], seq=9)
    await memory.apply(Kept(replace(kept.conversation, next_seq=10), [*kept.messages[1:], again], {}).changes)
    portable = await exports(memory).portable(ANN, "c1")
    assert [(m["id"], m["parent"]) for m in portable["messages"]] == [("c1-2", None), ("c1-3", "c1-2"), ("c1-1", None)]


class Watched(MemoryStore):
    """A store that lets something happen before it answers a query, and counts what it answers with."""

    def __init__(self) -> None:
        super().__init__(KINDS)
        self.sizes: list[int] = []
        self.before: Callable[[Query], Any] | None = None

    async def find(self, query: Query) -> Sequence[Record]:
        if self.before is not None:
            await self.before(query)
        found = await super().find(query)
        self.sizes.append(len(found))
        return found


async def test_it_is_of_one_moment_whatever_happens_meanwhile() -> None:
    """Whoever writes all the time only makes it read larger pages."""
    kept = talk("c1", *[f"old {n}" for n in range(500)])
    watched, rounds = Watched(), 0
    await watched.apply(kept.changes)

    async def edit(query: Query) -> None:
        """All messages are written anew, in one batch with their conversation, before each page but a first one."""
        nonlocal rounds
        if query.kind == "message" and query.after is not None:
            rounds += 1
            parts = (Text(f"new {rounds}"),)
            messages = [replace(m, parts=parts, version=rounds) for m in kept.messages]
            put = conversation_put(replace(kept.conversation, title=f"round {rounds}", version=rounds))
            await watched.apply([put, *map(message_put, messages)])

    watched.before = edit
    portable = await exports(watched).portable(ANN, "c1")
    assert rounds > 0
    assert {m["parts"][0]["text"] for m in portable["messages"]} == {f"new {rounds}"}
    assert portable["conversation"]["title"] == f"round {rounds}"
    assert len(portable["messages"]) == 500


@pytest.mark.parametrize("count", [0, 3, 500])
async def test_it_ends_though_somebody_writes_all_the_time(count: int) -> None:
    """Before every look at the conversation and at its messages there is another title."""
    kept = talk("c1", *[f"text {n}" for n in range(count)])
    rounds = 0

    class Restless(MemoryStore):
        async def get(self, kind: str, id: str) -> Record | None:
            nonlocal rounds
            if kind == "conversation":
                rounds += 1
                await self.apply([conversation_put(replace(kept.conversation, title=f"{rounds}", version=rounds))])
            return await super().get(kind, id)

    store = Restless(KINDS)
    await store.apply(kept.changes)
    async with asyncio.timeout(10):
        portable = await exports(store).portable(ANN, "c1")
    assert [m["parts"][0]["text"] for m in portable["messages"]] == [f"text {n}" for n in range(count)]
    assert int(portable["conversation"]["title"]) in (rounds, rounds - 1)


async def test_messages_are_read_in_pages() -> None:
    watched = Watched()
    await watched.apply(talk("c1", *["x"] * 1000).changes)
    portable = await exports(watched).portable(ANN, "c1")
    assert [m["id"] for m in portable["messages"]] == [f"c1-{n}" for n in range(1, 1001)]
    assert max(watched.sizes) == 200


# ---- everything ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["zip", "jsonl"])
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kept=st.lists(trees(), max_size=4))
async def test_everything_reads_back_as_the_same(store: RecordStore, format: ExportFormat, kept: list[Kept]) -> None:
    owner = f"u{next(count)}"
    mine = [called(k, f"c{next(count)}") for k in kept]
    mine = [
        Kept(
            replace(k.conversation, owner=owner, created_at=k.conversation.created_at),
            [replace(m, owner=owner) for m in k.messages],
            k.files,
        )
        for k in mine
    ]
    for k in mine:
        await store.apply(k.changes)
    entries = read_back(await gathered(store, format, replace(ANN, user=owner)))
    oldest = sorted(mine, key=lambda k: (k.conversation.created_at, k.conversation.id))
    assert len(entries) == len(oldest)
    for entry, k in zip(entries, oldest, strict=True):
        check_same(entry, k)


async def test_whose_and_which(store: RecordStore) -> None:
    day = timedelta(days=1)
    for kept in (
        talk("c3", "x", created_at=BEGINNING + 2 * day, archived_at=LATER),
        talk("c2", "x", created_at=BEGINNING + day),
        talk("c1", created_at=BEGINNING),
        talk("hidden", "x", temporary=True),
        talk("over", "x", expires_at=LATER - day),
        talk("other", "x", owner="bob"),
    ):
        await store.apply(kept.changes)
    told: list[int] = []
    service = exports(store)
    lines = b"".join([p async for p in service.everything(ANN, "jsonl", done=told.append)]).splitlines()
    ids = [json.loads(line)["conversation"]["id"] for line in lines[1:-1]]
    assert (ids, told) == (["c1", "c2", "c3"], [1, 2, 3])
    assert await Bundles(store, service.conversations.access, service.now).count(ANN) == 3
    assert read_back(await gathered(store, "zip", BOB))[0].title == "Talk other"


async def test_the_manifest_of_lines(memory: RecordStore) -> None:
    for id, said in (("c1", ["a", "b"]), ("c2", [])):
        await memory.apply(talk(id, *said).changes)
    file = await gathered(memory, "jsonl")
    assert (file[-1:], file.count(b"\n")) == (b"\n", 4)
    head, *lines, last = file.splitlines()
    assert json.loads(head) == {"format": "backchat-export", "version": 1, "created_at": "2025-12-01T00:00:00.000Z"}
    assert json.loads(last) == {
        "manifest": [
            {"id": id, "sha256": hashlib.sha256(line).hexdigest(), "messages": messages}
            for id, line, messages in zip(("c1", "c2"), lines, (2, 0), strict=True)
        ]
    }


async def test_the_manifest_of_a_zip(memory: RecordStore) -> None:
    for id, said in (("c1", ["a", "b"]), ("../../c2", [])):
        await memory.apply(talk(id, *said).changes)
    with zipfile.ZipFile(io.BytesIO(await gathered(memory, "zip"))) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        members = manifest.pop("members")
        assert manifest == {
            "format": "backchat-manifest",
            "version": 1,
            "created_at": "2025-12-01T00:00:00.000Z",
            "count": 2,
        }
        assert archive.namelist() == [*[m["name"] for m in members], "manifest.json"]
        assert [(m["id"], m["messages"]) for m in members] == [("../../c2", 0), ("c1", 2)]
        for member in members:
            content = archive.read(member["name"])
            assert (member["bytes"], member["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
            assert re.fullmatch(r"conversations/[0-9a-z]+\.json", member["name"])
        assert {(i.compress_type, i.external_attr >> 16) for i in archive.infolist()} == {(8, 0o600)}
        assert archive.getinfo("conversations/c1.json").date_time == (2024, 1, 1, 0, 0, 0)


async def test_what_is_deleted_meanwhile_is_left_out() -> None:
    watched = Watched()
    for n in range(1, 6):
        await watched.apply(talk(f"c{n}", "x", created_at=BEGINNING + timedelta(days=n)).changes)

    async def delete(query: Query) -> None:
        """The conversation whose messages are asked for, and the one after it."""
        if query.kind == "message" and ("conversation", ("c2",)) in query.where:
            gone = ("c2", "c3")
            await watched.apply([*[Delete("conversation", id) for id in gone], *await belongings(watched, gone)])

    watched.before = delete
    told: list[int] = []
    pieces = [p async for p in exports(watched).everything(ANN, "jsonl", done=told.append)]
    ids = [entry.id for entry in read_back(b"".join(pieces)) if isinstance(entry, SourceConversation)]
    assert (ids, told[-1]) == (["c1", "c4", "c5"], 3)


async def test_hundreds_of_conversations_of_the_same_moment(store: RecordStore) -> None:
    """More than a page of them, and some are touched while it goes on."""
    kept = [talk(f"c{n:03}", "x") for n in range(230)]
    await store.apply([change for k in kept for change in k.changes])
    ids: list[str] = []
    async for piece in exports(store).everything(ANN, "jsonl"):
        found = re.findall(r'"conversation":\{"id":"(\w+)"', piece.decode())
        ids += found
        if found and len(ids) in (60, 170):
            for n in (len(ids) - 50, len(ids) + 50):
                await store.apply([conversation_put(replace(kept[n].conversation, updated_at=LATER, version=1))])
    assert ids == [k.conversation.id for k in kept]


async def test_a_large_conversation_is_written_in_pieces(store: RecordStore) -> None:
    """Some megabytes, which wait on the disk until they are whole, leave in pieces of some hundred kilobytes."""
    noise = random.Random(1)
    kept = talk("c1", *[noise.randbytes(50_000).hex() for _ in range(90)])
    await store.apply(kept.changes)
    for format in get_args(ExportFormat):
        pieces = [p async for p in exports(store).everything(ANN, format)]
        assert max(map(len, pieces)) < 1 << 20
        check_same(read_back(b"".join(pieces))[0], kept)


@pytest.mark.parametrize("format", ["zip", "jsonl"])
async def test_an_export_that_is_given_up_leaves_nothing_behind(memory: RecordStore, format: ExportFormat) -> None:
    """A warning, such as one about a file that nobody closed, fails a test."""
    noise = random.Random(1)
    await memory.apply(talk("c1", *[noise.randbytes(50_000).hex() for _ in range(10)]).changes)
    pieces = exports(memory).everything(ANN, format)
    await anext(aiter(pieces))
    await pieces.aclose()  # type: ignore[attr-defined]
