"""LibreChat's exports, and what becomes of everything in them."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import pytest

from backchat.domain.message import Foreign, Reasoning, Text, ToolCall, ToolResult
from backchat.ports.importing import SourceConversation, SourceMessage, Unreadable
from backchat_importers.librechat import LibreChat
from imports_made import ZERO, dumped, librechat_deep, librechat_flat, librechat_message, librechat_tree

# fmt: off
ODD_DATES: list[Any] = [
    None, 0, -5, True, 10**18 * 9, 9 * 10**12, [], {}, {"$date": []}, "", "soon", "NaN", "Infinity", "1e400",
    "2024-02-30", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00",
]
# fmt: on


def read(value: Any) -> list[SourceConversation | Unreadable]:
    return list(LibreChat().read(io.BytesIO(value if type(value) is bytes else dumped(value))))


def conversation(value: Any) -> SourceConversation:
    (found,) = read(value)
    assert isinstance(found, SourceConversation)
    return found


def message(**fields: Any) -> SourceMessage:
    (found,) = conversation(librechat_flat(messages=[{"messageId": "m"} | fields])).messages
    return found


def links(found: SourceConversation) -> list[tuple[str, str | None]]:
    return [(m.id, m.parent) for m in found.messages]


TREE = [("u1", None), ("a1", "u1"), ("a1b", "u1"), ("u2", "a1b"), ("a2", "u2")]


def test_a_list_of_messages_and_a_tree_of_them_are_the_same() -> None:
    flat = conversation(librechat_flat())
    assert links(flat) == TREE
    for under in ("messages", "messagesTree"):
        assert conversation(librechat_tree(under)) == flat


def test_a_tree_is_one_without_being_called_so() -> None:
    tree = librechat_tree(recursive=False)
    tree["messages"][0]["parentMessageId"] = ZERO
    assert links(conversation(tree)) == TREE


def test_children_before_their_parents_stay_where_they_belong() -> None:
    flat = librechat_flat()
    flat["messages"].reverse()
    assert sorted(links(conversation(flat))) == sorted(TREE)


def test_ten_thousand_levels() -> None:
    found = conversation(librechat_deep(10_000))
    assert links(found) == [(f"m{n}", f"m{n - 1}" if n else None) for n in range(10_000)]
    assert {m.role for m in found.messages[::2]} == {"user"}


def test_a_message_that_says_nothing_keeps_its_children() -> None:
    tree = librechat_tree()
    del tree["messages"][0]["text"]
    found = conversation(tree)
    assert links(found) == TREE
    assert found.messages[0].parts == ()


def test_the_conversation() -> None:
    found = conversation(
        librechat_flat(createdAt="2024-06-01T00:00:00Z", updatedAt="2024-06-02T02:00:00+02:00", spec="s")
    )
    assert (found.id, found.title, found.pinned, found.tags) == ("lc-1", "Rivers", True, ("geography",))
    assert found.created_at == datetime(2024, 6, 1, tzinfo=UTC)
    assert found.updated_at == found.archived_at == datetime(2024, 6, 2, tzinfo=UTC)
    assert found.options == {
        "endpoint": "myGateway",
        "model": "gpt-4o-2024-05-13",
        "temperature": 0.3,
        "promptPrefix": "Answer briefly.",
        "maxContextTokens": "4095",
        "brandNewOption": {"deep": [1, 2]},
        "spec": "s",
    }


def test_when_it_was_archived() -> None:
    at = "2024-07-01T00:00:00.000Z"
    options = {"isArchived": True, "archivedAt": at}
    assert conversation(librechat_flat(options=options)).archived_at == datetime(2024, 7, 1, tzinfo=UTC)
    assert conversation(librechat_flat(options={})).archived_at is None
    assert conversation(librechat_flat()).archived_at == datetime(2024, 6, 10, 7, 5, tzinfo=UTC)
    unknown = conversation(librechat_flat(messages=[], exportAt="10:21"))
    assert unknown.archived_at is not None


def test_the_endpoint_of_the_file_is_not_replaced() -> None:
    assert conversation(librechat_flat(endpoint="ours")).options["endpoint"] == "ours"
    assert conversation(librechat_flat(endpoint=None)).options["endpoint"] == "myGateway"


def test_content_in_its_order() -> None:
    found = conversation(librechat_flat()).messages[1]
    assert found.parts == (
        Reasoning("The user wants rivers."),
        Text("Looking it up."),
        ToolCall("call_9", "search", '{"q":"longest river"}'),
        ToolResult("call_9", "Nile, 6650 km"),
        Text("The Nile."),
        Foreign({"type": "image_file", "image_file": {"file_id": "f-1", "filepath": "/images/nile.png"}}),
        Foreign({"type": "hologram", "frames": 3}),
    )
    assert found.extra == {
        "sender": "GPT-4o",
        "endpoint": "openAI",
        "tokenCount": 31,
        "feedback": {"rating": "thumbsUp"},
        "contentFields": {
            "1": {"text": {"annotations": [{"type": "file_citation"}]}},
            "2": {"tool_call": {"type": "tool_call", "progress": 1}},
            "3": {"agentId": "agent_7"},
        },
    }


@pytest.mark.parametrize(
    ("fields", "parts"),
    [
        ({"text": "said"}, (Text("said"),)),
        ({"text": "said", "content": []}, (Text("said"),)),
        ({"text": "said", "content": [{"type": "text", "text": "shown"}]}, (Text("shown"),)),
        ({"text": "said", "content": [{"type": "think", "think": "hm"}]}, (Reasoning("hm"), Text("said"))),
        ({"text": {"value": "said"}, "content": "x"}, (Text("x"),)),
        ({"text": {"value": "said"}}, (Text("said"),)),
        ({"content": ["plain", None, 5]}, (Text("plain"), Foreign({"type": "unknown", "value": 5}))),
        ({"content": [{"type": "text", "text": 5}]}, (Foreign({"type": "text", "text": 5}),)),
        ({"content": {"type": "text", "text": "one"}}, (Text("one"),)),
        (
            {
                "content": [
                    {"type": "tool_call", "tool_call": {"function": {"name": "f", "arguments": "{}", "output": 4}}}
                ]
            },
            (ToolCall("call_0", "f", "{}"), ToolResult("call_0", "4")),
        ),
        (
            {
                "content": [
                    {"type": "tool_call", "tool_call": {"id": "c", "name": "f", "args": {"a": 1}, "output": None}}
                ]
            },
            (ToolCall("c", "f", '{"a":1}'),),
        ),
        ({"content": [{"type": "tool_call", "tool_call": {}}]}, (Foreign({"type": "tool_call", "tool_call": {}}),)),
    ],
)
def test_text_and_content(fields: dict[str, Any], parts: tuple[object, ...]) -> None:
    assert message(**fields).parts == parts


def test_who_said_it_and_how_it_ended() -> None:
    roles = [m.role for m in conversation(librechat_flat()).messages]
    assert roles == ["user", "assistant", "assistant", "user", "assistant"]
    states = [m.status for m in conversation(librechat_flat()).messages]
    assert states == ["complete", "complete", "interrupted", "complete", "failed"]
    assert [message(sender="User").role, message(sender="Bot").role, message(isCreatedByUser=True).role] == [
        "user",
        "assistant",
        "user",
    ]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2024-06-10T07:00:00.123Z", datetime(2024, 6, 10, 7, 0, 0, 123_000, UTC)),
        ("2024-06-10T09:00:00+02:00", datetime(2024, 6, 10, 7, 0, tzinfo=UTC)),
        ("2024-06-10 07:00:00", datetime(2024, 6, 10, 7, 0, tzinfo=UTC)),
        (1_718_002_800, datetime(2024, 6, 10, 7, 0, tzinfo=UTC)),
        (1_718_002_800.5, datetime(2024, 6, 10, 7, 0, 0, 500_000, UTC)),
        (1_718_002_800_250, datetime(2024, 6, 10, 7, 0, 0, 250_000, UTC)),
        ("1718002800.5", datetime(2024, 6, 10, 7, 0, 0, 500_000, UTC)),
        ({"$date": "2024-06-10T07:00:00Z"}, datetime(2024, 6, 10, 7, 0, tzinfo=UTC)),
        ({"$date": {"$numberLong": "1718002800000"}}, datetime(2024, 6, 10, 7, 0, tzinfo=UTC)),
        *[(odd, None) for odd in ODD_DATES],
    ],
)
def test_dates(written: Any, read: datetime | None) -> None:
    found = message(createdAt=written, updatedAt=written)
    assert (found.created_at, found.updated_at) == (read, read)


def test_several_in_a_file() -> None:
    two = [librechat_flat(), librechat_tree(conversationId=12)]
    assert [c.id for c in read(two) if isinstance(c, SourceConversation)] == ["lc-1", "12"]
    lines = b"\n".join(map(dumped, two))
    assert read(lines) == read(two)


def test_what_is_none() -> None:
    bad = {"conversationId": "x", "title": "Broken", "messages": {"m": 1}}
    broken, empty = read([bad, librechat_flat(messages=[None, 5, "x"])])
    assert broken == Unreadable("Broken", "it has no array `messages` or `messagesTree`")
    assert isinstance(empty, SourceConversation)
    assert list(empty.messages) == []


def test_messages_without_names_are_told_apart() -> None:
    nodes = [librechat_message("x", None, "a", messageId=None, children=[{"text": "b"}, {"text": "c"}]), {"text": "d"}]
    found = conversation(librechat_flat(messages=nodes, recursive=True))
    assert links(found) == [("#0", None), ("#1", "#0"), ("#2", "#0"), ("#3", None)]
