"""Claude's exports."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import pytest

from backchat.domain.message import Foreign, Reasoning, Text, ToolCall, ToolResult
from backchat.ports.importing import SourceConversation
from backchat_importers.claude import Claude
from imports_made import CLAUDE_ROOT, claude_conversation, dumped


def conversation(**more: Any) -> SourceConversation:
    (found,) = Claude().read(io.BytesIO(dumped([claude_conversation(**more)])))
    assert isinstance(found, SourceConversation)
    return found


def chain(*messages: dict[str, Any]) -> list[tuple[str, str | None]]:
    said = [{"sender": "human", "text": "x"} | m for m in messages]
    return [(m.id, m.parent) for m in conversation(chat_messages=said).messages]


def parts(*content: Any, **fields: Any) -> tuple[object, ...]:
    message = {"uuid": "m", "sender": "assistant", "content": list(content)} | fields
    found = conversation(chat_messages=[message]).messages
    return found[0].parts if found else ()


def test_the_tree() -> None:
    found = conversation()
    assert [(m.id, m.parent, m.role) for m in found.messages] == [
        ("c1", None, "user"),
        ("c2", "c1", "assistant"),
        ("c4", "c2", "user"),
        ("c5", "c4", "assistant"),
        ("c6", "c2", "user"),
    ]


def test_without_parents_they_follow_each_other() -> None:
    assert chain(
        {"uuid": "a"}, {"uuid": "b", "parent_message_uuid": None}, {"uuid": "c", "parent_message_uuid": "?"}
    ) == [
        ("a", None),
        ("b", "a"),
        ("c", "b"),
    ]


def test_a_second_beginning_and_parents_after_their_children() -> None:
    first, second = {"uuid": "a", "parent_message_uuid": CLAUDE_ROOT}, {"uuid": "b", "parent_message_uuid": CLAUDE_ROOT}
    assert chain(first, second) == [("a", None), ("b", None)]
    assert chain({"uuid": "b", "parent_message_uuid": "a"}, first) == [("b", "a"), ("a", None)]


def test_what_says_nothing_is_left_out_and_what_follows_it_stays() -> None:
    empty = {"text": "", "content": [{"type": "text", "text": ""}]}
    assert chain({"uuid": "a"}, empty | {"uuid": "b"}, empty | {"uuid": "c"}, {"uuid": "d"}, {"uuid": "e"}) == [
        ("a", None),
        ("d", "a"),
        ("e", "d"),
    ]
    circle = [empty | {"uuid": "x", "parent_message_uuid": "y"}, empty | {"uuid": "y", "parent_message_uuid": "x"}]
    assert chain(*circle, {"uuid": "z", "parent_message_uuid": "x"}) == [("z", None)]


def test_messages_without_names() -> None:
    assert chain({}, {}, {"uuid": 7}) == [("#0", None), ("#1", "#0"), ("7", "#1")]


def test_content_in_its_order() -> None:
    found = conversation().messages[1]
    assert found.parts == (
        Reasoning("Which cheese?"),
        ToolCall("call_1", "web_search", '{"query":"cheese"}'),
        ToolResult("call_1", 'Gouda\n{"type":"knowledge","url":"https://c"}'),
        Text("Gouda."),
        Foreign({"type": "flag", "flag": "spicy"}),
    )
    assert found.extra == {
        "sender": "Claude",
        "endpoint": "anthropic",
        "contentFields": {
            "0": {"summaries": [{"summary": "cheese"}]},
            "1": {"message": "Searching", "name": "web_search"},
            "2": {"citations": [{"uuid": "c1", "start_index": 0}]},
        },
    }


def test_answers_find_their_calls() -> None:
    calls = [{"type": "tool_use", "id": id, "name": name} for id, name in (("x", "a"), (None, "b"), (None, "c"))]
    answers = [
        {"type": "tool_result", "tool_use_id": id, "content": text} for id, text in ((None, "1"), ("call_2", "2"))
    ]
    found = parts(*calls, *answers, {"type": "tool_result", "content": [{"type": "text", "text": "3"}]})
    assert [p.call for p in found if isinstance(p, ToolResult)] == ["x", "call_2", "call_1"]
    alone = {"type": "tool_result", "content": {"a": 1}}
    assert parts(alone) == (ToolResult("call_0", '{"a":1}'),)


@pytest.mark.parametrize(
    ("content", "text", "expected"),
    [
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "c", (Text("a"), Text("b"))),
        ([], "old", (Text("old"),)),
        ([{"type": "thinking", "thinking": "hm"}], "old", (Reasoning("hm"), Text("old"))),
        (["plain", None, 5], "", (Text("plain"), Foreign({"type": "unknown", "value": 5}))),
        ([{"type": "text"}], "", (Foreign({"type": "text"}),)),
        ([{"type": "tool_use", "input": {}}], "", (Foreign({"type": "tool_use", "input": {}}),)),
    ],
)
def test_contents(content: list[Any], text: str, expected: tuple[object, ...]) -> None:
    assert parts(*content, text=text) == expected


def test_what_files_said() -> None:
    letter = {"file_name": "letter.txt", "extracted_content": "Dear Sir", "file_size": 8}
    assert parts({"type": "text", "text": "Read"}, attachments=[letter, {"extracted_content": "x"}]) == (
        Text("Read"),
        Text("\n\nletter.txt:\nDear Sir"),
        Text("\n\nx"),
    )
    found = conversation().messages[2]
    assert found.parts == (Text("letter.txt:\nDear Sir"),)
    assert found.extra["files"] == [{"filename": "letter.txt", "bytes": 12, "type": "txt"}, {"filename": "photo.png"}]
    photo = conversation(chat_messages=[{"uuid": "p", "sender": "human", "files": [{"file_name": "photo.png"}]}])
    assert [(m.id, m.parts) for m in photo.messages] == [("p", ())]


def test_the_conversation() -> None:
    found = conversation()
    assert (found.id, found.title, found.untitled) == ("cl-1", "Cheese", "Imported Claude Chat")
    assert found.created_at == found.updated_at == datetime(2025, 3, 1, 10, 0, tzinfo=UTC)
    assert found.options == {"endpoint": "anthropic", "summary": "About cheese"}
    assert [m.created_at for m in found.messages[:2]] == [datetime(2025, 3, 1, 10, 0, s, 500_000, UTC) for s in (1, 2)]
    assert [m.model for m in conversation(model="claude-x").messages[:2]] == [None, "claude-x"]
    assert not conversation(name="").title
    assert list(conversation(chat_messages=[]).messages) == []
