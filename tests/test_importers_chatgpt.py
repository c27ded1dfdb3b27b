"""ChatGPT's exports: which nodes are messages, what they follow, and what they say."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import pytest

from backchat.domain.message import Foreign, Reasoning, Text
from backchat.ports.importing import SourceConversation, SourceMessage
from backchat_importers.chatgpt import ChatGPT
from imports_made import EVENING, chatgpt_answers, dumped, gpt_conversation, gpt_node

AT = datetime.fromtimestamp(EVENING, UTC)


def conversation(value: dict[str, Any]) -> SourceConversation:
    (found,) = ChatGPT().read(io.BytesIO(dumped([value])))
    assert isinstance(found, SourceConversation)
    return found


def told(*nodes: dict[str, Any], **more: Any) -> dict[str, SourceMessage]:
    return {m.id: m for m in conversation(gpt_conversation(*nodes, **more)).messages}


def parts(content: Any, **more: Any) -> tuple[object, ...]:
    found = told(gpt_node("m", None, "assistant", content, **more))
    return found["m"].parts if found else ()


def thinking(id: str, parent: str | None, *thoughts: str) -> dict[str, Any]:
    content = {"content_type": "thoughts", "thoughts": [{"summary": "", "content": t} for t in thoughts]}
    return gpt_node(id, parent, "assistant", content)


def test_the_tree_without_the_nodes_that_are_no_messages() -> None:
    found = conversation(chatgpt_answers())
    assert [(m.id, m.parent, m.role) for m in found.messages] == [
        ("u1", None, "user"),
        ("a1", "u1", "assistant"),
        ("a1b", None, "assistant"),
        ("u2", "a1", "user"),
        ("code", "u2", "assistant"),
        ("out", "code", "assistant"),
        ("quote", "out", "assistant"),
        ("odd", "quote", "assistant"),
        ("a2", "odd", "assistant"),
    ]
    assert found.leaf == "a2"


def test_what_was_hidden_is_kept() -> None:
    (hidden,) = conversation(chatgpt_answers()).options["hidden"]
    assert (hidden["id"], hidden["role"], hidden["content"]["user_profile"]) == ("ctx", "user", "A sailor")
    old = gpt_node("s", None, "system", "", metadata={"user_context_message_data": {"about_user_message": "A sailor"}})
    (hidden,) = conversation(gpt_conversation(old)).options["hidden"]
    assert hidden == {"id": "s", "role": "system", "content": {"about_user_message": "A sailor"}}


def test_a_system_message_that_says_something_stays() -> None:
    found = told(gpt_node("s", None, "system", "Be brief"), gpt_node("u", "s", "user", "hi"))
    assert found["s"].role == "system"
    assert found["u"].parent == "s"


def test_branches_below_a_node_that_is_left_out_are_branches() -> None:
    found = told(
        gpt_node("u", None, "user", "hi"),
        gpt_node("gone", "u", None),
        gpt_node("gone too", "gone", "assistant", {}),
        *(gpt_node(f"a{n}", "gone too", "assistant", f"{n}") for n in range(3)),
    )
    assert [m.parent for m in found.values()] == [None, "u", "u", "u"]


def test_a_circle_of_nodes_ends() -> None:
    found = told(
        gpt_node("x", "y", None),
        gpt_node("y", "x", None),
        gpt_node("a", "x", "assistant", "lost"),
        gpt_node("b", "b", "assistant", "itself"),
        current_node="y",
    )
    assert found["a"].parent is None
    assert found["b"].parent == "b"


def test_ten_thousand_nodes_that_are_left_out() -> None:
    gone = [gpt_node(f"g{n}", f"g{n - 1}" if n else "u", None) for n in range(10_000)]
    nodes = [gpt_node("u", None, "user", "hi"), *gone]
    nodes += [gpt_node(f"a{n}", "g9999", "assistant", "yes") for n in range(1_000)]
    mapping = {node["id"]: node for node in reversed(nodes)}
    found = conversation(gpt_conversation(mapping=mapping))
    assert {m.parent for m in found.messages if m.id != "u"} == {"u"}


def test_parents_that_only_their_parents_know() -> None:
    value = gpt_conversation(gpt_node("u", None, "user", "hi"), gpt_node("a", "u", "assistant", "yes"))
    del value["mapping"]["a"]["parent"], value["mapping"]["u"]["parent"]
    value["mapping"]["u"]["children"].append("u")
    assert [m.parent for m in conversation(value).messages] == [None, "u"]


def test_thoughts_are_the_answers() -> None:
    found = conversation(chatgpt_answers()).messages[1]
    assert found.parts[0] == Reasoning("Recalling\nThe Moon pulls.\n\nSo does the Sun.")
    assert found.extra["reasoning_recap"] == "Thought for 8 seconds"


def test_every_thought_is_kept_once() -> None:
    found = told(
        gpt_node("u", None, "user", "hi"),
        thinking("t1", "u", "one"),
        thinking("t2", "t1", "two"),
        gpt_node("a", "t2", "assistant", "yes"),
        gpt_node("b", "t2", "assistant", "no"),
        thinking("t3", "a", "three"),
        gpt_node("u2", "t3", "user", "and?"),
        thinking("t4", "u2", "four"),
    )
    assert found["a"].parts == (Reasoning("one"), Reasoning("two"), Text("yes"))
    assert found["b"].parts == (Text("no"),)
    assert found["b"].parent == "u"
    assert (found["t3"].parts, found["t3"].parent, found["t3"].role) == ((Reasoning("three"),), "a", "assistant")
    assert found["u2"].parent == "t3"
    assert found["t4"].parts == (Reasoning("four"),)
    assert set(found) == {"u", "a", "b", "t3", "u2", "t4"}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("plain", (Text("plain"),)),
        ({"content_type": "text", "parts": ["one", "", "two"]}, (Text("one two"),)),
        ({"content_type": "text", "parts": ["", None]}, ()),
        ({"parts": ["untyped"]}, (Text("untyped"),)),
        ({}, ()),
        ({"content_type": "text", "parts": "odd"}, (Foreign({"content_type": "text", "parts": "odd"}),)),
        ({"content_type": "code", "language": "unknown", "text": "ls"}, (Text("```\nls\n```"),)),
        ({"content_type": "code", "language": "python", "text": "a"}, (Text("```python\na\n```"),)),
        ({"content_type": "code", "text": "````"}, (Text("`````\n````\n`````"),)),
        ({"content_type": "execution_output", "text": "a\nb"}, (Text("Execution Output:\n> a\n> b"),)),
        (
            {"content_type": "multimodal_text", "parts": ["a", "b", {"content_type": "image_asset_pointer"}, "c", 5]},
            (Text("a b"), Text("c"), Foreign({"type": "unknown", "value": 5})),
        ),
        (
            {
                "content_type": "multimodal_text",
                "parts": [{"content_type": "audio_transcription", "text": "hi", "x": 1}],
            },
            (Text("hi"), Foreign({"content_type": "audio_transcription", "x": 1})),
        ),
        (
            {"content_type": "tether_quote", "text": "quoted", "url": "https://q"},
            (Text("quoted"), Foreign({"content_type": "tether_quote", "url": "https://q"})),
        ),
        ({"content_type": "new", "thing": {"a": 1}}, (Foreign({"content_type": "new", "thing": {"a": 1}}),)),
    ],
)
def test_contents(content: Any, expected: tuple[object, ...]) -> None:
    assert parts(content) == expected


def citation(start: Any, end: Any, title: str | None = "T", kind: str = "webpage") -> dict[str, Any]:
    return {"start_ix": start, "end_ix": end, "metadata": {"type": kind, "title": title, "url": "https://u"}}


@pytest.mark.parametrize(
    ("text", "citations", "shown"),
    [
        ("ab[1]cd[2]", [citation(2, 5, "A"), citation(7, 10, "B")], "ab ([A](https://u))cd ([B](https://u))"),
        ("ab[1]cd[2]", [citation(7, 10, "B"), citation(2, 5, "A")], "ab ([A](https://u))cd ([B](https://u))"),
        ("\U0001f30a[1].", [citation(2, 5)], "\U0001f30a ([T](https://u))."),
        ("ab[1]", [citation(2, 5, None)], "ab ([https://u](https://u))"),
        ("ab[1]", [citation(2, 5, kind="file")], "ab[1]"),
        ("ab[1]", [citation(5, 2), citation("2", 5), citation(2, None), citation(-1, 3), citation(3, 99), 5], "ab[1]"),
        ("ab[1]", [citation(2, 5), citation(3, 4)], "ab ([T](https://u))"),
    ],
)
def test_sources_are_links(text: str, citations: list[Any], shown: str) -> None:
    assert parts(text, metadata={"citations": citations}) == (Text(shown),)


def test_sources_of_newer_exports_are_links() -> None:
    mark, file = "\ue200cite\ue202turn0search1\ue201", "\ue200filecite\ue202x\ue201"
    references = [
        {"matched_text": mark, "alt": "([T](https://u))"},
        {"matched_text": file, "alt": ""},
        {"matched_text": "twice", "alt": "wrong"},
        {"matched_text": None},
        5,
    ]
    text = f"Tides come twice{mark} a day{file}. \ue200unknown\ue201"
    shown = "Tides come twice ([T](https://u)) a day. \ue200unknown\ue201"
    assert parts(text, metadata={"content_references": references}) == (Text(shown),)
    assert parts(text, metadata={"content_references": "odd"}) == (Text(text),)


def test_users_are_not_cited_and_are_no_models() -> None:
    node = gpt_node("m", None, "user", "ab[1]", metadata={"citations": [citation(2, 5)], "model_slug": "gpt-4o"})
    assert (told(node)["m"].parts, told(node)["m"].model) == ((Text("ab[1]"),), None)


def test_what_else_a_message_has() -> None:
    found = {m.id: m for m in conversation(chatgpt_answers()).messages}
    assert [found[id].extra["sender"] for id in ("u1", "a1", "code", "out")] == ["user", "GPT-4o", "o3", "assistant"]
    assert [found[id].model for id in ("u1", "a1", "code")] == [None, "gpt-4o", "o3"]
    assert found["u2"].extra["files"] == [{"file_id": "file-3", "filename": "t.csv"}]
    assert (found["code"].extra["recipient"], found["out"].extra["author"]) == ("python", "python")
    assert (found["a2"].status, found["a2"].extra["weight"]) == ("interrupted", 0)
    assert found["a1"].extra["metadata"]["finish_details"] == {"type": "stop"}
    assert "metadata" not in found["u1"].extra
    stopped = gpt_node("m", None, "assistant", "Ha", metadata={"finish_details": {"type": "interrupted"}})
    assert told(stopped)["m"].status == "interrupted"


def test_a_question_of_files_alone_is_one() -> None:
    node = gpt_node("m", None, "user", "", metadata={"attachments": [{"id": "f", "name": "a.png", "size": 5}]})
    assert told(node)["m"].extra["files"] == [{"file_id": "f", "filename": "a.png", "bytes": 5}]


def test_the_conversation() -> None:
    found = conversation(
        gpt_conversation(
            is_archived=True, is_starred=True, gizmo_id="g-1", title="", current_node="nowhere", async_status=4
        )
    )
    assert (found.id, found.title, found.leaf, found.pinned) == ("gpt-1", None, None, True)
    assert found.created_at == AT
    assert found.archived_at == found.updated_at == datetime.fromtimestamp(EVENING + 60, UTC)
    assert found.options == {
        "endpoint": "openAI",
        "model": "gpt-4o",
        "default_model_slug": "gpt-4o",
        "gizmo_id": "g-1",
        "async_status": 4,
    }


@pytest.mark.parametrize("title", [None, 5, [], ""])
def test_odd_titles_and_dates(title: Any) -> None:
    node = gpt_node("m", None, "user", "hi", at=None)
    found = conversation(gpt_conversation(node, title=title, create_time=None, update_time="soon"))
    assert (found.title, found.created_at, found.updated_at, found.archived_at) == (None, None, None, None)
    assert found.messages[0].created_at is None


def test_what_a_shard_leaves_out() -> None:
    """Large exports come in many files, of conversations with hardly anything but their messages."""
    node = {"message": {"author": {"role": "user"}, "content": {"content_type": "text", "parts": ["hi"]}}}
    found = conversation({"id": "x", "mapping": {"n": node}})
    assert (found.id, found.leaf) == ("x", None)
    (message,) = found.messages
    assert (message.id, message.role, message.parts, message.parent) == ("n", "user", (Text("hi"),), None)
