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
from backchat.services.kinds import KINDS
from backchat.testing.memory_store import MemoryStore
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
        (b'{"x": "\\ude00\\ud83d", "\\ud83dy": 1}', [(False, "x", False), (False, " yx", False), (False, " yx", True)]),
        (b'{"x": "\\\\ud83d\\\\", "y": "' + b"\\\\" * 100_000 + b'"}',
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
    assert summary(result) == ("done", 4, 0, 0)
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


async def test_a_conversation_that_is_too_large_ends_the_file(desk: Desk) -> None:
    export = desk.product.export
    small, large = export(talk("a"), talk("b")), export(talk("c"), padding=300_000)
    result = await desk.take(small[:-1] + b"," + large[1:])
    assert (result.status, result.imported) == ("failed", 2)
    assert result.problem == "a conversation in the file is larger than 100000 bytes"
    assert summary(await desk.take(export(*[talk(str(n)) for n in range(10)], padding=50_000))) == ("done", 10, 0, 0)


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
