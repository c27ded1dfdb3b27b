"""backchat's own format, read back: good files and bad ones."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from backchat.domain.message import (
    File,
    Foreign,
    Image,
    Part,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
    Usage,
)
from backchat.errors import InvalidInput
from backchat.ports.importing import Shape, SourceConversation, Unreadable
from backchat.ports.storage import RecordStore
from backchat.services.kinds import KINDS
from backchat.services.unpacking import unpacked
from backchat.testing.memory_store import open_memory
from backchat_importers.backchat import Backchat
from kept import ANN, LATER, Kept, check_same, exports, gathered, read_back, talk


@pytest.fixture
async def memory() -> AsyncIterator[RecordStore]:
    async with open_memory(KINDS) as store:
        yield store


def shape(file: bytes) -> Shape:
    value = json.loads(file.splitlines()[0])
    return Shape(is_array=False, keys=frozenset(value), whole=True)


async def test_its_own_files_are_recognised_before_all_of_them_is_read(memory: RecordStore) -> None:
    await memory.apply(talk("c1", "a").changes)
    importer = Backchat()
    one = json.dumps(await exports(memory).portable(ANN, "c1")).encode()
    with zipfile.ZipFile(io.BytesIO(await gathered(memory, "zip"))) as archive:
        manifest = archive.read("manifest.json")
    for file in (one, await gathered(memory, "jsonl"), manifest):
        assert importer.recognises(shape(file))
    first = frozenset(list(json.loads(one))[:3])
    assert importer.recognises(Shape(is_array=False, keys=first))
    assert not importer.recognises(Shape(is_array=True, keys=frozenset(json.loads(one))))
    for foreign in ({"version", "history"}, {"format", "version"}, {"conversationId", "messages"}, {"mapping"}):
        assert not importer.recognises(Shape(is_array=False, keys=frozenset(foreign), whole=True))


async def test_a_file_that_somebody_has_laid_out_anew(memory: RecordStore) -> None:
    kept = talk("c1", "a", "b")
    await memory.apply(kept.changes)
    one = await exports(memory).portable(ANN, "c1")
    for file in (json.dumps(one, indent=2), json.dumps(one), f"\n{json.dumps(one)}\r\n\r\n"):
        (entry,) = read_back(file.encode())
        check_same(entry, kept)
    second = json.dumps(one | {"conversation": one["conversation"] | {"id": "c2"}})
    both = read_back(f"{json.dumps(one)}\n{second}\n".encode())
    assert [e.id for e in both if isinstance(e, SourceConversation)] == ["c1", "c2"]


async def lines_of_three(store: RecordStore) -> list[bytes]:
    for n in range(1, 4):
        await store.apply(talk(f"c{n}", "secret").changes)
    return (await gathered(store, "jsonl")).splitlines()


async def test_what_differs_from_the_manifest_is_told_at_the_end(memory: RecordStore) -> None:
    head, one, two, three, manifest = await lines_of_three(memory)
    changed = one.replace(b"secret", b"public")
    entries = read_back(b"\n".join([head, changed, three, manifest]))
    assert [type(e) for e in entries] == [SourceConversation, SourceConversation, Unreadable]
    assert isinstance(entries[-1], Unreadable)
    assert entries[-1].reason.startswith("2 conversations are not in the file as the manifest at its end says")
    again = [head, one, two, three, manifest]
    assert all(isinstance(e, SourceConversation) for e in read_back(b"\n".join(again + again))), "two in one file"


async def test_a_file_that_breaks_off(memory: RecordStore) -> None:
    lines = await lines_of_three(memory)
    for file, good in ((b"\n".join(lines[:3]), 2), (b"\n".join(lines[:3])[:-9], 1), (b"\n".join(lines)[:-9], 3)):
        entries = Backchat().read(io.BytesIO(file))
        assert [type(next(entries)) for _ in range(good)] == [SourceConversation] * good
        with pytest.raises(InvalidInput, match="breaks off"):
            next(entries)
    for nothing in (b"", b"\n \n", b"[1]", b"{", b"\xff\xfe", b"{}{}"):
        with pytest.raises(InvalidInput):
            list(Backchat().read(io.BytesIO(nothing)))


async def test_a_line_in_the_middle_that_is_no_json(memory: RecordStore) -> None:
    head, one, two, three, manifest = await lines_of_three(memory)
    entries = read_back(b"\n".join([head, one, two[:-5], three, manifest]))
    assert [type(e) for e in entries] == [SourceConversation, Unreadable, SourceConversation, Unreadable]
    assert entries[1] == Unreadable(None, "line 3 is no JSON object")


async def test_a_newer_version_is_refused(memory: RecordStore) -> None:
    lines = await lines_of_three(memory)
    (entry,) = read_back(lines[1].replace(b'"version":1', b'"version":2'))
    assert entry == Unreadable("Talk c1", "it was written by a newer backchat: version 2, and this one reads 1")
    with pytest.raises(InvalidInput, match="newer"):
        read_back(b"\n".join([lines[0].replace(b'"version":1', b'"version":2'), *lines[1:]]))


def at(value: Any, path: Sequence[str | int]) -> Any:
    for key in path:
        value = value[key]
    return value


FULL = talk("c1", "secret")
FULL_PARTS: tuple[Part, ...] = (
    Text("secret"),
    Reasoning("secret"),
    Image("i", "image/png"),
    File("d", "secret"),
    ToolCall("t", "secret", "{}"),
    ToolResult("t", "secret"),
    Foreign({"secret": 1}),
)


async def full(store: RecordStore) -> dict[str, Any]:
    """A conversation that has one of everything, as it is written."""
    message = replace(
        FULL.messages[0], parts=FULL_PARTS, updated_at=LATER, provider="p", model="m", usage=Usage(1, 1, 1, 1)
    )
    message = replace(message, metadata={"secret": 1}, extra={"secret": 1})
    conversation = replace(FULL.conversation, tags=("secret",), archived_at=LATER, source="s", options={"secret": 1})
    await store.apply(Kept(conversation, [message], {"i": b"secret"}).changes)
    return await exports(store).portable(ANN, "c1")


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    found = [path] if path else []
    inner: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return found + [p for key, v in inner for p in places(v, (*path, key))]


async def test_a_value_of_another_type_is_named_by_its_place_and_not_repeated(memory: RecordStore) -> None:
    good = await full(memory)
    wrong: list[Any] = ["secret", -1, 1.5, True, None, [], ["secret"], {}, {"secret": "secret"}]
    refused = set()
    for path in places(good):
        for bad in wrong:
            text = json.loads(json.dumps(good))
            at(text, path[:-1])[path[-1]] = bad
            entry = next(Backchat().read(io.BytesIO(json.dumps(text).encode())))
            if isinstance(entry, Unreadable):
                refused.add(path)
                assert "secret" not in entry.reason
                assert str(path[-1] if isinstance(path[-1], str) else path[-2]) in entry.reason or path[0] == "files"
    told = {("conversation", "assistant"), ("conversation", "source"), ("files", "i", "mime")}
    unchecked = {p for p in places(good) if p not in refused} - told
    assert {p[-1] for p in unchecked} == {"secret"}, "what the user's own objects hold"


async def test_whatever_is_missing_or_more(memory: RecordStore) -> None:
    good = await full(memory)
    for path in places(good):
        text = json.loads(json.dumps(good))
        del at(text, path[:-1])[path[-1]]
        assert len(read_back(json.dumps(text).encode())) == 1
        more = json.loads(json.dumps(good))
        place = at(more, path)
        if isinstance(place, dict) and "data" not in path and path[0] != "files":
            place["new"] = [1]
            assert isinstance(read_back(json.dumps(more).encode())[0], SourceConversation), path


async def test_parts_of_a_type_that_is_not_known_are_kept(memory: RecordStore) -> None:
    good = await full(memory)
    part = {"type": "hologram", "text": "x", "depth": [1]}
    good["messages"][0]["parts"].insert(1, part)
    read = unpacked(good)
    assert read.messages[0].parts == (FULL_PARTS[0], Foreign(part), *FULL_PARTS[1:])


@pytest.mark.parametrize("tokens", [-1, True, 1.5, "1"])
async def test_tokens_are_counted(memory: RecordStore, tokens: object) -> None:
    good = await full(memory)
    good["messages"][0]["usage"]["output_tokens"] = tokens
    with pytest.raises(InvalidInput, match=r"messages\[0\]\.usage\.output_tokens"):
        unpacked(good)


@pytest.mark.parametrize("place", [("conversation",), ("messages", 0)])
async def test_an_id_is_needed(memory: RecordStore, place: Sequence[str | int]) -> None:
    good = await full(memory)
    at(good, place)["id"] = ""
    with pytest.raises(InvalidInput, match="id is empty"):
        unpacked(good)


@pytest.mark.parametrize("time", ["2024-01-01T00:00:00", "yesterday", "0001-01-01T00:00:00+14:00", "2024-13-01", ""])
async def test_times_that_are_none(memory: RecordStore, time: str) -> None:
    good = await full(memory)
    good["messages"][0]["created_at"] = time
    with pytest.raises(InvalidInput, match=r"messages\[0\].created_at"):
        unpacked(good)
