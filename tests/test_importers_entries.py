"""How the importers read a file: one entry at a time, whatever is in it."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Iterator
from itertools import chain
from typing import Any

import pytest

from backchat.domain.message import ToolCall
from backchat.errors import InvalidInput
from backchat.ports.importing import SourceConversation, Unreadable
from backchat.services import json_events
from backchat.services.storable import DEEPEST, storable
from backchat_importers import entries as reading
from backchat_importers.chatgpt import ChatGPT
from backchat_importers.claude import Claude
from backchat_importers.entries import entries
from backchat_importers.librechat import LibreChat
from imports_made import big_chatgpt, dumped, gpt_conversation, gpt_node


def values(data: bytes, under: str | None = None) -> list[Any]:
    return [entry.value for entry in entries(io.BytesIO(data), under=under)]


class Streamed(io.RawIOBase):
    """A file that is made while it is read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._ready = pieces, bytearray()
        self.size = 0

    def read(self, size: int = -1) -> bytes:
        while len(self._ready) < size and (piece := next(self._pieces, b"")):
            self._ready += piece
        chunk = bytes(self._ready[:size])
        del self._ready[:size]
        self.size += len(chunk)
        return chunk


def test_arrays_objects_and_several_values() -> None:
    assert values(b' [1, {"a": [null, {"b": true}]}, "x"] ') == [1, {"a": [None, {"b": True}]}, "x"]
    assert values(b'{"a": {}}\n{"b": []}\n[{"c": 1}, 2]') == [{"a": {}}, {"b": []}, {"c": 1}, 2]


def test_what_an_object_has_by_a_name() -> None:
    data = b'{"x": {"history": [9]}, "y": [[8]], "history": [{"a": 1}, 2], "z": "history"}'
    assert values(data, "history") == [{"a": 1}, 2]
    assert values(b'[{"history": [1]}]', "history") == [{"history": [1]}]
    for data in (b'{"history": {"a": 1}}', b'{"x": {"history": [1]}}', b"{}"):
        with pytest.raises(InvalidInput, match="no array `history`"):
            values(data, "history")


def test_numbers_that_no_store_takes() -> None:
    assert values(b"[1e999, -1e999, 1.5, 9223372036854775807]") == [None, None, 1.5, 2**63 - 1]
    large, larger = values(b"[123456789012345678901234567890, 1" + b"0" * 400 + b"]")
    assert large == pytest.approx(1.2345678901234568e29)
    assert type(large) is float
    assert larger is None


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (rb"\ud83d\ude00", "\U0001f600"),
        (rb"cut \ud83d", "cut \ufffd"),
        (rb"\ude00 cut", "\ufffd cut"),
        (rb"\ud83d\u0041", "\ufffdA"),
        (rb"\uD83D\uD83D\uDE00\uDE00", "\ufffd\U0001f600\ufffd"),
        (rb"\\ud83d", "\\ud83d"),
        (rb"\\\\\ud83d\n", "\\\\\ufffd\n"),
        (rb"\\ud83d\ude00", "\\ud83d\ufffd"),
    ],
)
def test_halves_of_characters(monkeypatch: pytest.MonkeyPatch, written: bytes, read: str) -> None:
    """JavaScript cuts an emoji in two, and writes the half; wherever a chunk may end."""
    for size in (1, 2, 3, 5, 6, 7, 11, 12, 13, 1 << 16):
        monkeypatch.setattr(json_events, "CHUNK", size)
        for before in range(8):
            assert values(b'["' + b"." * before + written + b'"]') == ["." * before + read], size


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file breaks off"),
        (b'[{"mapping": {}}, {"mapping": ', "the file breaks off after 1 conversation"),
        (
            b'[{"mapping": {}}, {"mapping": {}}, {"quinoa": nonsense}]',
            "the file is no JSON in UTF-8 after 2 conversations",
        ),
        (b'["\xff"]', "the file is no JSON in UTF-8"),
        (b'["\xed\xa0\x80"]', "the file is no JSON in UTF-8"),
        (b"quinoa", "the file is no JSON in UTF-8"),
        (b'[{"mapping": {}}] quinoa', "the file is no JSON in UTF-8 after 1 conversation"),
    ],
)
def test_a_broken_file_is_told_where(data: bytes, message: str) -> None:
    read: list[object] = []
    with pytest.raises(InvalidInput) as caught:
        read.extend(ChatGPT().read(io.BytesIO(data)))
    assert str(caught.value) == message
    assert len(read) == sum(message.endswith(f"after {n} conversation{'s' * (n > 1)}") * n for n in (1, 2))


def test_entries_that_are_no_conversations_are_told_in_their_places() -> None:
    good = gpt_conversation(gpt_node("u", None, "user", "hello"))
    file = dumped([7, good, {"title": "Lost  one", "mapping": []}, {"name": "x" * 999}, good | {"id": "2"}])
    found = list(ChatGPT().read(io.BytesIO(file)))
    assert [type(entry) for entry in found] == [
        Unreadable,
        SourceConversation,
        Unreadable,
        Unreadable,
        SourceConversation,
    ]
    assert [(e.title, e.reason) for e in found if isinstance(e, Unreadable)] == [
        (None, "it is no JSON object"),
        ("Lost one", "it has no object `mapping`"),
        ("x" * 200, "it has no object `mapping`"),
    ]


def test_an_entry_of_very_many_parts_is_left_out_and_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_CONTAINERS", 1_000)
    good = dumped(gpt_conversation(gpt_node("u", None, "user", "hello")))
    wide = b'{"title": "Wide", "mapping": {"a": [' + b"[],{}," * 25_000 + b"0]}}"
    deep = b'{"title": "Deep", "mapping": {"a": ' + b"[" * 50_000 + b"]" * 50_000 + b', "b": {"c": [1, {}, 2]}}}'
    tracemalloc.start()
    try:
        found = list(ChatGPT().read(io.BytesIO(b"[" + b",".join([wide, good, deep, good]) + b"]")))
        assert tracemalloc.get_traced_memory()[1] < 6 << 20
    finally:
        tracemalloc.stop()
    assert [e.title for e in found] == ["Wide", "Tides", "Deep", "Tides"]
    reasons = [e.reason if isinstance(e, Unreadable) else None for e in found]
    assert reasons == ["it consists of too many parts", None, "it consists of too many parts", None]


def test_what_is_nested_deeply_is_kept_as_text() -> None:
    nested = b"[" * 5000 + b'"bottom"' + b"]" * 5000
    (found,) = ChatGPT().read(io.BytesIO(b'{"mapping": {}, "odd": ' + nested + b"}"))
    assert isinstance(found, SourceConversation)
    kept = storable(found.options)
    for _ in range(DEEPEST - 1):
        kept = kept["odd"] if type(kept) is dict else kept[0]
    assert type(kept[0]) is str
    assert "bottom" in kept[0]
    tool = b'{"type": "tool_call", "tool_call": {"name": "t", "args": ' + nested + b"}}"
    (found,) = LibreChat().read(
        io.BytesIO(b'{"conversationId": "c", "messages": [{"messageId": "m", "content": [' + tool + b"]}]}")
    )
    assert isinstance(found, SourceConversation)
    assert found.messages[0].parts == (ToolCall("call_0", "t", nested.decode()),)
    tool = b'{"type": "tool_use", "name": "t", "input": ' + nested + b"}"
    (found,) = Claude().read(io.BytesIO(b'{"chat_messages": [{"content": [' + tool + b"]}]}"))
    assert isinstance(found, SourceConversation)
    assert found.messages[0].parts == (ToolCall("call_0", "t", nested.decode()),)


@pytest.mark.parametrize("depth", [DEEPEST - 1, DEEPEST, DEEPEST + 1, 200, 253, 254, 300])
def test_what_is_stored_has_room_for_readers(depth: int) -> None:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    kept, levels = storable(value), 0
    while type(kept) is list:
        kept, levels = kept[0], levels + 1
    assert levels == min(depth, DEEPEST)
    assert kept == (1 if depth <= DEEPEST else "[" * (depth - DEEPEST) + "1" + "]" * (depth - DEEPEST))


def test_a_large_export_takes_little_memory() -> None:
    """What is kept while it is read is one conversation, and none of those before."""
    pieces = big_chatgpt(2 << 20)
    file: Any = Streamed(chain([next(pieces)], pieces))
    tracemalloc.start()
    try:
        count = sum(isinstance(c, SourceConversation) for c in ChatGPT().read(file))
        assert tracemalloc.get_traced_memory()[1] < 3 << 20
    finally:
        tracemalloc.stop()
    assert file.size >= 2 << 20
    assert count > 50
