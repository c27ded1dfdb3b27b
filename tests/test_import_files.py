"""The file of an import: encodings, zip files, what is no export, and limits."""

from __future__ import annotations

import asyncio
import codecs
import io
import struct
import tracemalloc
import zipfile
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import ijson
import orjson
import pytest

from backchat.domain.limits import ImportLimits
from backchat.errors import InvalidInput
from backchat.ports.importing import Shape
from backchat.ports.storage import Change
from backchat.services.import_files import Meter, entries
from backchat.services.json_events import JsonEvents
from backchat.services.kinds import KINDS
from backchat.testing.memory_store import MemoryStore
from backchat_importers.backchat import Backchat
from backchat_importers.chatgpt import ChatGPT
from imports_desk import ANN, Desk, Item, Product, summary, talk

SMALL = ImportLimits(max_size=1 << 20, max_unpacked=300_000, max_conversation=100_000)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    made = Desk(MemoryStore(KINDS), limits=SMALL)
    async with made.imports:
        yield made


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return file.getvalue()


# ---- encodings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "utf-32-be"])
@pytest.mark.parametrize("packed", [False, True])
async def test_encodings(desk: Desk, encoding: str, packed: bool) -> None:
    text = desk.product.export(*[talk(str(n)) for n in range(3)]).decode()
    mark = {"utf-16-be": codecs.BOM_UTF16_BE, "utf-32-be": codecs.BOM_UTF32_BE}.get(encoding, b"")
    data = mark + text.encode(encoding)
    assert summary(await desk.take(zipped(("a.json", data)) if packed else data)) == ("done", 3, 0, 0)


@pytest.mark.parametrize("data", [codecs.BOM_UTF16_LE + b"[\0{", codecs.BOM_UTF16_LE + b"[\0\0\xd8[\0"])
async def test_what_is_not_in_the_encoding_that_it_says(desk: Desk, data: bytes) -> None:
    result = await desk.take(data)
    assert (result.status, result.problem) == (
        "failed",
        "the file is not in the encoding that its byte order mark says",
    )


# ---- whose it is ----------------------------------------------------------------------------------------------------


class Sniffer(Product):
    """Remembers what it was shown, and recognises its files by two keys."""

    def __init__(self) -> None:
        super().__init__("sniffer")
        self.shown: list[Shape] = []

    def recognises(self, shape: Shape) -> bool:
        self.shown.append(shape)
        return {"a", "b"} <= shape.keys


def shapes(data: bytes) -> list[tuple[bool, str, bool]]:
    sniffer = Sniffer()
    with pytest.raises(InvalidInput, match=r"not the export of a product|no JSON"):
        list(entries(io.BytesIO(data), [sniffer], Meter(SMALL)))
    return [(s.is_array, "".join(sorted(s.keys)), s.whole) for s in sniffer.shown]


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b'{"x": {"a": 1, "b": [{"a": 2}]}, "y": 1}', [(False, "x", False), (False, "xy", False), (False, "xy", True)]),
        (b'[{"x": [[]]}, {"a": 1, "b": 2}]', [(True, "x", False), (True, "x", True)]),
        (b"{}", [(False, "", True)]),
        (b" [] ", [(True, "", True)]),
        (b"[{}]", [(True, "", True)]),
        (b"[1, {}]", [(True, "", True)]),
        (b'[[{"a": 1}], {"b": 1}]', [(True, "", True)]),
        (b'{"x": 1}\n{"y": 1}', [(False, "x", False), (False, "x", True)]),
        (b'{"x": "\\ude00\\ud83d", "\\ud83dy": 1}',
         [(False, "x", False), (False, "x\ufffdy", False), (False, "x\ufffdy", True)]),
        (b'{"x": "\\\\ud83d\\\\", "y": "' + b"\\\\" * 60_000 + b'"}',
         [(False, "x", False), (False, "xy", False), (False, "xy", True)]),
        (b'{"x": 123456789012345678901234567890}', [(False, "x", False), (False, "x", True)]),
        (b"", []),
        (b"null", [(False, "", True)]),
        (b'{"x', []),
        (b"%PDF-1.7", []),
        (b'{"x": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", [(False, "x", False), (False, "x", True)]),
    ],
)  # fmt: skip
def test_what_importers_are_shown(data: bytes, shown: list[tuple[bool, str, bool]]) -> None:
    assert shapes(data) == shown


@pytest.mark.parametrize("at", range(65_536 - 12, 65_536 + 2))
def test_an_escape_on_the_border_of_two_reads(at: int) -> None:
    begin = b'{"x": "'
    data = begin + b"." * (at - len(begin)) + b'\\ude00\\"\\\\", "y": 1}'
    assert [keys for _, keys, _ in shapes(data)] == ["x", "xy", "xy"]


async def test_the_first_that_recognises_it_reads_it() -> None:
    one, other = Product("one"), Product("other")
    desk = Desk(MemoryStore(KINDS), importers=(one, other))
    both = [{"other": 0, "one": 0}]
    one.items, other.items = [talk("1")], [talk("2")]
    async with desk.imports:
        await desk.take(orjson.dumps(both))
    assert (await desk.only()).source == "other:2"  # by the time its key was read, nobody else had said so


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "the file is no JSON, and no zip of JSON files"),
        (b"\0\0\0\0", "the file is no JSON, and no zip of JSON files"),
        (b"[{", "the file is no JSON, and no zip of JSON files"),
        (b'{"a": 1}', "the file is not the export of a product that is known here: product"),
        (b"PK\x03\x04 and nothing else", "the zip file is damaged"),
        (zipped(), "the file is not the export of a product that is known here: product"),
        (zipped(("a.json", b"{}"), ("b.txt", b"[]")), "the file is not the export of a product that is known here: "
         "product"),
    ],
)  # fmt: skip
async def test_what_is_no_export(desk: Desk, data: bytes, problem: str) -> None:
    result = await desk.take(data)
    assert (result.status, result.problem, result.failed) == ("failed", problem, 0)


async def test_a_file_that_breaks_off_keeps_what_came_before(desk: Desk) -> None:
    result = await desk.take(desk.product.export(*[talk(str(n)) for n in range(10)], padding=1000)[:-500])
    assert (result.status, result.imported, result.problem) == ("failed", 9, "the file breaks off")
    assert len(await desk.conversations()) == 9


# ---- zip files ------------------------------------------------------------------------------------------------------


async def test_a_zip_of_exports_and_other_things(desk: Desk) -> None:
    export = desk.product.export
    data = zipped(
        ("export/2025/conversations-000.json", export(talk("a"), talk("b"))),
        ("user.json", b'{"name": "Ann"}'),
        ("notes.json", b"no JSON"),
        ("__MACOSX/._conversations-000.json", export(talk("hidden"))),
        ("image.png", b"\x89PNG"),
        ("MORE.JSON", export(talk("c"))),
        ("lines.jsonl", export(talk("d"))),
        ("conversations.json.txt", export(talk("no"))),
    )
    result = await desk.take(data)
    assert summary(result) == ("done", 4, 0, 1)
    assert [(p.index, p.reason) for p in result.problems] == [
        (2, "notes.json: the file is no JSON, and no zip of JSON files")
    ]
    assert result.read == result.size == len(data)
    assert [c.title for c in await desk.conversations()] == [f"Talk {c}" for c in "abcd"]


async def test_members_that_are_damaged_leave_the_others_alone(desk: Desk) -> None:
    export = desk.product.export
    whole = export(talk("b"), talk("c"), padding=2000)
    data = zipped(
        ("first.json", export(talk("a"))),
        ("cut.json", whole[:-1000]),
        ("flipped.json", export(talk("d"), talk("e"), padding=90_000)),
        ("small.json", export(talk("g"))),
        ("last.json", export(talk("f"))),
        method=zipfile.ZIP_STORED,
    )
    flipped, small = data.index(b"flipped.json") + 120_000, data.index(b"small.json") + len("small.json")
    broken = bytearray(data)
    broken[flipped] ^= 1
    broken[small] ^= 1
    result = await desk.take(bytes(broken))
    assert (result.status, result.failed) == ("done", 3)
    assert [(p.index, p.title, p.reason) for p in result.problems] == [
        (2, None, "cut.json: the file breaks off"),
        (4, None, "flipped.json: the zip file is damaged"),
        (5, None, "small.json: the zip file is damaged"),
    ]
    assert [c.title[-1] for c in await desk.conversations()] == [*"abdf"]


async def test_an_encrypted_member(desk: Desk) -> None:
    data = bytearray(zipped(("a.json", desk.product.export(talk()))))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + offset] |= 1
    result = await desk.take(bytes(data))
    assert (result.status, result.imported, result.failed) == ("failed", 0, 1)
    assert "encrypted" in result.problems[0].reason


async def test_what_a_zip_unpacks_to_is_limited(desk: Desk) -> None:
    export = desk.product.export
    bombs = [(f"{n}.json", b'{"x": "' + b" " * 90_000 + b'"}') for n in range(10)]  # of nobody's
    result = await desk.take(zipped(("a.json", export(talk("a"))), *bombs, ("z.json", export(talk("z")))))
    assert (result.status, result.imported) == ("failed", 1)
    assert result.problem == "the zip file unpacks to more than 300000 bytes"
    shards = [(f"{n}.json", export(talk(str(n)), padding=90_000)) for n in range(10)]
    result = await desk.take(zipped(*shards))
    assert (result.status, result.problem) == ("failed", "the zip file unpacks to more than 300000 bytes")
    assert 0 < result.imported < 4


def many(count: int) -> bytes:
    return zipped(*[("x", b"") for _ in range(count)], method=zipfile.ZIP_STORED)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("disguise", ["none", "64", "comment"])
def test_a_zip_with_too_long_a_directory_is_not_loaded(disguise: str) -> None:
    data = many(1000)
    size = data[-22:]
    body = data[:-22] + b"PK\x01\x02" * (3 << 20)
    large = len(body) - struct.unpack("<L", size[16:20])[0]
    end = size[:12] + struct.pack("<L", large) + size[16:]
    if disguise == "64":
        record = b"PK\x06\x06" + bytes(36) + struct.pack("<QQ", large, 0)
        end = record + b"PK\x06\x07" + bytes(4) + struct.pack("<QL", len(body), 1) + size
    elif disguise == "comment":
        end = end[:20] + struct.pack("<H", 22) + size
    tracemalloc.start()
    try:
        with pytest.raises(Exception, match="the zip file has too many files in it"):
            list(entries(io.BytesIO(body + end), [Product()], Meter(SMALL)))
        assert tracemalloc.get_traced_memory()[1] < 2 * len(body)
    finally:
        tracemalloc.stop()


# ---- size -----------------------------------------------------------------------------------------------------------


async def test_it_ends_the_file_of_an_importer_that_cannot_go_on(desk: Desk) -> None:
    export = desk.product.export
    small, large = export(talk("a"), talk("b")), export(talk("c"), padding=300_000)
    result = await desk.take(small[:-1] + b"," + large[1:])
    assert (result.status, result.imported) == ("failed", 2)
    assert result.problem == "a conversation in the file is larger than 100000 bytes"
    assert summary(await desk.take(export(*[talk(str(n)) for n in range(10)], padding=50_000))) == ("done", 10, 0, 0)


def large(chatgpt_id: str, size: int) -> bytes:
    entry = {"title": f"Large {chatgpt_id}", "mapping": {"m": {"message": {"content": {"parts": ["x" * size]}}}}}
    return orjson.dumps(entry | {"conversation_id": chatgpt_id})


def small(id: str) -> bytes:
    said = {"author": {"role": "user"}, "content": {"content_type": "text", "parts": [f"text of {id}"]}}
    return orjson.dumps({"title": id, "conversation_id": id, "mapping": {"m": {"message": said}}})


@pytest.mark.parametrize("packed", [False, True])
async def test_a_conversation_that_is_too_large_is_left_out(packed: bool) -> None:
    deep = b'{"title": "Deep", "mapping": {"m": ' + b"[" * 300_000 + b"]" * 300_000 + b"}}"
    data = b"[" + b",".join([small("a"), large("l", 400_000), small("b"), deep, small("c")]) + b"]"
    desk = Desk(MemoryStore(KINDS), importers=[ChatGPT()], limits=replace(SMALL, max_unpacked=10 << 20))
    async with desk.imports:
        result = await desk.take(zipped(("a.json", data)) if packed else data)
    assert summary(result) == ("done", 3, 0, 2)
    why = "a conversation in the file is larger than 100000 bytes"
    assert [(p.index, p.title, p.reason) for p in result.problems] == [(1, "Large l", why), (3, "Deep", why)]
    assert [c.title for c in await desk.conversations()] == ["a", "b", "c"]


def line(id: str, padding: int = 0) -> bytes:
    about: dict[str, object] = {
        "id": id,
        "title": id,
        "created_at": "2025-01-01T00:00:00Z",
        "updated_at": "2025-01-01T00:00:00Z",
    }
    about["metadata"] = {"padding": "x" * padding}
    return orjson.dumps({"format": "backchat-conversation", "version": 1, "conversation": about, "messages": []})


async def test_a_line_that_is_too_large_is_left_out_and_manifests_may_be() -> None:
    head = b'{"format": "backchat-export", "version": 1, "created_at": "2025-01-01T00:00:00Z"}'
    manifest = b'{"manifest":' + orjson.dumps([{"sha256": "0" * 64}] * 5000) + b"}"
    data = b"\n".join([head, line("a"), line("l", 500_000), line("b"), line("m", 300_000), line("c"), manifest, b""])
    desk = Desk(
        MemoryStore(KINDS), importers=[Backchat()], limits=replace(SMALL, max_size=10 << 20, max_unpacked=10 << 20)
    )
    async with desk.imports:
        result = await desk.take(data)
        assert summary(result) == ("done", 3, 0, 2)
        assert {p.reason for p in result.problems} == {"a conversation in the file is larger than 100000 bytes"}
        assert [c.title for c in await desk.conversations()] == ["a", "b", "c"]
        file = b'{"format":"backchat-manifest","version":1,"created_at":"x","members":[' + b"1," * 200_000 + b"1]}\n"
        result = await desk.take(zipped(("a.json", line("d")), ("manifest.json", file)))
        assert (result.imported, result.failed) == (1, 0)


# ---- time -----------------------------------------------------------------------------------------------------------


class Counted(io.BytesIO):
    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.given = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.given += len(data)
        return data


@pytest.mark.parametrize(
    "endless", [b'{"x": "' + b"." * (1 << 20), b'{"x": ' + b"1" * (1 << 20), b'{"x": [' + b"1," * (1 << 19)]
)
def test_not_much_is_read_of_a_file_that_nobody_knows(endless: bytes) -> None:
    file = Counted(endless)
    with pytest.raises(InvalidInput, match="not the export of a product"):
        list(entries(file, [Sniffer()], Meter(SMALL)))
    assert file.given < 300_000


def test_importers_are_asked_for_new_keys_only_and_not_for_ever() -> None:
    again = b"{" + b'"x": 1, "y": 2, ' * 1000 + b'"z": 3}'
    assert [keys for _, keys, _ in shapes(again)] == ["x", "xy", "xyz", "xyz"]
    sniffer = Sniffer()
    many = b"{" + b", ".join(b'"k%d": 1' % n for n in range(5000)) + b"}"
    with pytest.raises(InvalidInput):
        list(entries(io.BytesIO(many), [sniffer], Meter(SMALL)))
    assert len(sniffer.shown) == 200


def test_a_text_is_not_looked_at_again_with_each_piece_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parser begins anew at the begin of a text whenever it gets more of it."""
    sent: list[int] = []
    events = JsonEvents(io.BytesIO(b'["' + b"x" * (4 << 20) + b'", ' + b"1, " * 400_000 + b"2]"))
    pushed = events._pushed

    def counted(data: bytes, *, last: bool) -> str | None:
        sent.append(len(data))
        return pushed(data, last=last)

    monkeypatch.setattr(events, "_pushed", counted)
    while not events.ended:
        events.read()
    assert len(sent) < 8 + 25  # it gets twice as much each time, and then as little as before
    assert sent[-3] == 1 << 16


class Sink(MemoryStore):
    """Takes everything and keeps the records of imports only; counts conversations."""

    def __init__(self) -> None:
        super().__init__(KINDS)
        self.conversations = 0

    async def apply(self, changes: Sequence[Change]) -> None:
        self.conversations += sum(c.kind == "conversation" for c in changes)
        kept = [c for c in changes if c.kind == "import"]
        await super().apply(kept)


class Bulk:
    """Every entry is a conversation of one long message."""

    name = "bulk"

    def recognises(self, shape: Shape) -> bool:
        return "text" in shape.keys

    def read(self, file: BinaryIO) -> Iterator[Item]:
        for n, entry in enumerate(ijson.items(file, "item")):
            yield replace(talk(str(n)), metadata={"text": entry["text"]})


def written(path: Path, size: int, each: int) -> int:
    """Write so many bytes; returns how many entries."""
    entry = b'{"text": "' + b"x" * each + b'"}'
    count = size // len(entry)
    with path.open("wb") as file:
        file.write(b"[" + entry)
        for _ in range(count - 1):
            file.write(b"," + entry)
        file.write(b"]")
    return count


async def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path, store = tmp_path / "large.json", Sink()
    count = await asyncio.to_thread(written, path, 30 << 20, 50_000)
    desk = Desk(store, importers=(Bulk(),))
    async with desk.imports:
        file = await asyncio.to_thread(path.open, "rb")
        tracemalloc.start()
        try:
            begun = await desk.imports.begin(ANN, file, name="large.json")
            result = await desk.imports.ended(ANN, begun.id, 60)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert summary(result) == ("done", count, 0, 0)
    assert store.conversations == count
    assert peak < 20 << 20
