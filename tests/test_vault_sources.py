"""What ``backchat vault push`` reads: any product's files, the vault's own, and what pull has written."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backchat.cli.harmless import lines, one_line
from backchat.cli.vault_files import body, file_name, written
from backchat.cli.vault_sources import Outgoing, Passed, Source, Wish, sources_at
from backchat.client.vault import Entry
from backchat.domain.message import File, Foreign, Image, Part, Reasoning, Text, ToolCall, ToolResult
from backchat.domain.vault import SealedContent, VaultMessage
from backchat.plugins import Plugins
from backchat.ports.importing import SourceConversation, SourceMessage
from backchat_importers.backchat import Backchat
from imports_made import good_files

IMPORTERS = list(Plugins(from_entry_points=True).importers.values())
NOW = datetime(2026, 1, 1, tzinfo=UTC)
HELLO = {"role": "user", "content": "Hello"}


def read(data: Any, **wish: Any) -> list[Outgoing | Passed]:
    given = data if isinstance(data, bytes) else json.dumps(data).encode()
    return list(Source("there", given).read(IMPORTERS, Wish(**wish), NOW))


def pushes(data: Any, **wish: Any) -> list[Outgoing]:
    found = read(data, **wish)
    assert all(isinstance(each, Outgoing) for each in found), found
    return [each for each in found if isinstance(each, Outgoing)]


def said(push: Outgoing) -> list[tuple[str, str]]:
    return [(m.role, m.content) for m in push.messages]


# ---- other products -------------------------------------------------------------------------------------------------


def test_chatgpt() -> None:
    (push,) = pushes(good_files()["chatgpt"]["everything"])
    assert (push.chat, push.platform, push.label, push.base) == ("gpt-1", "chatgpt", "Tides", None)
    assert push.details == {"title": "Tides", "model": "o3"}
    assert said(push)[0] == ("user", "See this\n[image_asset_pointer]\nTides?")
    assert said(push)[2] == ("user", "Plot them\n[file t.csv]")
    assert "An orphan" not in str(said(push)), "another branch"
    assert "The Moon pulls." not in str(said(push)), "reasoning"
    assert [m.timestamp for m in push.messages[:2]] == ["2024-06-10T06:13:20.000Z", "2024-06-10T06:13:29.500Z"]


def test_claude() -> None:
    (push,) = pushes(good_files()["claude"]["everything"])
    assert (push.chat, push.platform) == ("cl-1", "claude")
    assert said(push)[:4] == [
        ("user", "Which cheese?"),
        ("assistant", '[calls web_search: {"query":"cheese"}]'),
        ("tool", 'Gouda\n{"type":"knowledge","url":"https://c"}'),
        ("assistant", "Gouda.\n[flag]"),
    ]
    assert {m.timestamp for m in push.messages[1:4]} == {"2025-03-01T10:00:02.500Z"}, "of the message they were"


@pytest.mark.parametrize(
    ("product", "kind"), [(product, kind) for product, files in good_files().items() for kind in files]
)
def test_every_file_that_an_import_takes(product: str, kind: str) -> None:
    found = read(good_files()[product][kind])
    empty = Passed("", "there", "has no conversations in it")
    assert not [each for each in found if isinstance(each, Passed) and each.failed and each != empty]
    assert {each.platform for each in found if isinstance(each, Outgoing)} <= {product}
    assert all(each.chat and each.messages for each in found if isinstance(each, Outgoing))
    again = read(good_files()[product][kind])
    assert again == found, "pushed again it is the same"


def test_what_is_in_a_zip() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("conversations.json", good_files()["chatgpt"]["one"])
        archive.writestr("own/push.jsonl", json.dumps({"chatId": "c", "messages": [HELLO]}))
        archive.writestr("broken.json", '[{"mapping": {}')
        archive.writestr("photo.png", b"x")
    found = read(file.getvalue())
    assert [(each.chat, each.platform) for each in found if isinstance(each, Outgoing)] == [
        ("gpt-1", "chatgpt"),
        ("c", None),
    ]
    (broken,) = [each for each in found if isinstance(each, Passed)]
    assert broken.reason.startswith("broken.json: ")


def test_a_conversation_that_says_nothing_is_left_out_and_no_failure() -> None:
    found = read(good_files()["claude"]["untitled"])
    assert [each for each in found if isinstance(each, Passed)] == [
        Passed("Cheese", "there", "has no messages", failed=False)
    ]


class One:
    """An importer of one conversation, in whose place a file says nothing."""

    name = "product"

    def __init__(self, source: SourceConversation) -> None:
        self._source = source

    def recognises(self, shape: object) -> bool:
        return True

    def read(self, file: object) -> list[SourceConversation]:
        return [self._source]


def one(source: SourceConversation, **wish: Any) -> Outgoing | Passed:
    (found,) = Source("there", b"{}").read([One(source)], Wish(**wish), NOW)  # type: ignore[list-item]
    return found


def message(*parts: Part, **more: Any) -> SourceMessage:
    return SourceMessage(**{"id": "m", "role": "assistant"} | more, parts=parts)


def texts(*parts: Part, **more: Any) -> list[tuple[str, str]]:
    found = one(SourceConversation(id="c", messages=[message(*parts, **more)]))
    assert isinstance(found, Outgoing)
    return said(found)


def test_what_is_no_text() -> None:
    assert texts(Text("a"), Reasoning("hm"), Text("b\n")) == [("assistant", "a\nb\n")]
    assert texts(Image("i", "image/png"), File("d", "a.pdf"), Foreign({"x": 1}), Foreign({"type": "map"})) == [
        ("assistant", "[image image/png]\n[file a.pdf]\n[something else]\n[map]")
    ]
    assert texts(Text("a"), ToolCall("1", "f", "{}"), ToolResult("1", ""), ToolResult("2", "y"), Text("b")) == [
        ("assistant", "a\n[calls f: {}]"),
        ("tool", ""),
        ("tool", "y"),
        ("assistant", "b"),
    ]
    assert texts(ToolResult("1", "x"), role="tool") == [("tool", "x")]
    assert texts(Text("half \ud83d")) == [("assistant", "half \ufffd")]
    assert one(SourceConversation(id="c", messages=[message(Reasoning("hm"))], title="T")) == Passed(
        "T", "there", "has no messages", failed=False
    )


def test_the_active_path() -> None:
    tree = [
        message(Text("u"), id="u", role="user"),
        message(Text("old"), id="a", parent="u"),
        message(Text("new"), id="b", parent="u"),
    ]
    shown = SourceConversation(id="c", messages=tree, leaf="a")
    newest = SourceConversation(id="c", messages=tree, leaf="gone")
    assert [m.content for m in getattr(one(shown), "messages", [])] == ["u", "old"]
    assert [m.content for m in getattr(one(newest), "messages", [])] == ["u", "new"]


def test_a_time_that_nobody_told_is_not_made_up() -> None:
    found = one(SourceConversation(id="c", messages=[message(Text("a"))], created_at=NOW))
    assert isinstance(found, Outgoing)
    assert found.messages[0].timestamp is None


def test_what_is_too_long_for_the_vault_is_cut() -> None:
    tags = ("a" * 65, " b ", "b", *[f"t{n}" for n in range(40)])
    found = one(SourceConversation(id="c", messages=[message(Text("a"))], title="x y\n" * 300, tags=tags))
    assert isinstance(found, Outgoing)
    assert len(found.details["title"]) == 500
    assert found.details["title"].startswith("x y x y")
    assert found.details["tags"] == ["b", *[f"t{n}" for n in range(31)]]


def test_without_an_id_it_needs_one() -> None:
    nameless = SourceConversation(id=None, messages=[message(Text("a"))])
    assert one(nameless) == Passed("untitled", "there", "has no id of its own: push it alone, with --chat")
    assert getattr(one(nameless, chat="mine"), "chat", None) == "mine"


def test_the_options_win() -> None:
    wish = {
        "platform": "p",
        "category": "k",
        "tags": ("t", "geography"),
        "topic": "o",
        "title": "T",
        "model": "m",
        "chat": "c",
        "base": 4,
    }
    (push,) = pushes(good_files()["librechat"]["flat"], **wish)
    assert (push.chat, push.platform, push.base) == ("c", "p", 4)
    assert push.details == {
        "title": "T",
        "category": "k",
        "topic": "o",
        "model": "m",
        "tags": ["geography", "t"],
    }


# ---- the vault's own ------------------------------------------------------------------------------------------------


def test_a_body_of_push_is_taken_as_it_is() -> None:
    messages = [
        {"role": "tool", "content": "", "timestamp": "2024-05-06t07:08:60.123456789+02:00", "extra": 1},
        {"role": "user", "content": " a\r\n\u0000", "timestamp": None},
    ]
    told = {"title": "", "category": "k", "topic": None, "tags": [" x ", "x"], "model": "m"}
    value = {"chatId": " c ", "platform": "LM-Studio", "messages": messages, "baseVersion": 0, "more": 1} | told
    for laid_out in (json.dumps(value), json.dumps(value, indent=1), "\n" + json.dumps(value) + "\n\n"):
        (push,) = pushes(laid_out.encode())
        assert (push.chat, push.platform, push.base) == (" c ", "LM-Studio", 0)
        assert push.details == told
        assert list(push.messages) == [
            VaultMessage("tool", "", "2024-05-06t07:08:60.123456789+02:00"),
            VaultMessage("user", " a\r\n\u0000"),
        ]


def test_what_is_not_given_is_not_touched() -> None:
    (push,) = pushes({"messages": [HELLO], "chatId": "c"})
    assert (push.platform, push.base, push.details) == (None, None, {})


def test_bodies_on_lines() -> None:
    good = [json.dumps({"chatId": f"c{n}", "messages": [HELLO]}) for n in range(2)]
    found = read("\n".join([good[0], "{", "[]", good[1]]).encode())
    assert [each.chat if isinstance(each, Outgoing) else each.reason for each in found] == [
        "c0",
        "line 2 is no JSON",
        "has no messages",
        "c1",
    ]


def test_a_line_that_cannot_be_read_is_named() -> None:
    good, bad = {"chatId": "c", "messages": [HELLO]}, {"chatId": "d", "title": "T", "messages": [{"role": "x"}]}
    found = read("\n\n".join(map(json.dumps, [bad, good, bad])).encode())
    assert [(each.label, getattr(each, "reason", "")) for each in found] == [
        ("T", "line 1: messages.0.role is none of user, assistant, system, tool"),
        ("c", ""),
        ("T", "line 5: messages.0.role is none of user, assistant, system, tool"),
    ]


def test_messages_alone() -> None:
    (push,) = pushes([HELLO, {"role": "assistant", "content": "Hi", "timestamp": "2024-05-06T07:08:09Z"}], chat="c")
    assert (push.chat, push.platform) == ("c", None)
    assert list(push.messages) == [
        VaultMessage("user", "Hello"),
        VaultMessage("assistant", "Hi", "2024-05-06T07:08:09Z"),
    ]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"chatId": 7, "messages": [HELLO]}, "chatId is no text"),
        ({"chatId": "", "messages": [HELLO]}, "chatId is empty"),
        ({"chatId": "c", "messages": {}}, "messages is no array"),
        ({"chatId": "c", "messages": ["x"]}, "messages.0 is no object"),
        ({"chatId": "c", "messages": [{"role": "marker", "content": "x"}]}, "messages.0.role is none of user, "),
        ({"chatId": "c", "messages": [HELLO, {"role": "user"}]}, "messages.1.content is missing"),
        ({"chatId": "c", "messages": [HELLO | {"timestamp": 1}]}, "messages.0.timestamp is no text"),
        ({"chatId": "c", "messages": [HELLO], "tags": "x"}, "tags is no array of texts"),
        ({"chatId": "c", "messages": [HELLO], "tags": [1]}, "tags is no array of texts"),
        ({"chatId": "c", "messages": [HELLO], "baseVersion": "1"}, "baseVersion is no number from 0"),
        ({"chatId": "c", "messages": [HELLO], "encryptedContent": "AA=="}, "it is sealed already"),
        ([{"role": "user", "content": ["marker"]}], "messages.0.content is no text"),
    ],
)
def test_a_body_that_is_none(value: Any, reason: str) -> None:
    (found,) = read(value)
    assert isinstance(found, Passed)
    assert found.failed
    assert found.reason.startswith(reason)
    assert "marker" not in found.reason


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (unknown,) = read({"nothing": "known"})
    assert "is not the export of a product that is known here" in getattr(unknown, "reason", "")
    assert [getattr(each, "reason", "") for each in read(b'{"chatId": "c", "messages": [')] == [
        "the file is no JSON, or breaks off"
    ]
    (gone,) = Source(str(tmp_path / "gone")).read(IMPORTERS, Wish(), NOW)
    assert gone == Passed("", str(tmp_path / "gone"), "cannot be read: No such file or directory")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (b"", "is empty"),
        (b"[]", "has no conversations in it"),
        (b" \n", "the file is no JSON, and no zip of JSON files"),
    ],
)
def test_a_file_with_nothing_in_it(given: bytes, reason: str) -> None:
    assert read(given) == [Passed("", "there", reason)]


def test_a_directory_is_its_json_files(tmp_path: Path) -> None:
    for name in ("b.json", "a.JSON", ".c.json", "notes.txt"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "d.json").mkdir()
    assert [source.name for source in sources_at(str(tmp_path))] == [f"{tmp_path}/a.JSON", f"{tmp_path}/b.json"]
    (none,) = sources_at(str(tmp_path / "d.json"))
    assert list(none.read(IMPORTERS, Wish(), NOW)) == [Passed("", none.name, "is a directory without .json files")]


def test_the_row_is_called_as_the_options_say() -> None:
    assert [push.label for push in pushes([HELLO], chat="mine")] == ["mine"]
    assert [push.label for push in pushes({"chatId": "c", "messages": [HELLO]}, title="T")] == ["T"]


def test_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.json", json.dumps({"chatId": "c", "messages": [HELLO]}))
    writer = Thread(target=pipe.write_bytes, args=(file.getvalue(),))
    writer.start()
    (found,) = Source(str(pipe)).read(IMPORTERS, Wish(), NOW)
    writer.join()
    assert getattr(found, "chat", None) == "c"


# ---- what pull has written ------------------------------------------------------------------------------------------


def entry(**more: Any) -> Entry:
    told: dict[str, Any] = {
        "id": 7,
        "chat": "c",
        "title": "T",
        "platform": "p",
        "category": None,
        "topic": None,
        "tags": (),
        "model": None,
        "messages": 1,
        "version": 3,
        "content_hash": None,
        "key": None,
        "created_at": NOW,
        "updated_at": NOW,
        "sealed": SealedContent(b"", b""),
    }
    return Entry(**told | more)


words = st.text(max_size=8)
some = st.none() | st.text(min_size=1, max_size=8)
entries = st.builds(
    entry,
    chat=st.text(min_size=1, max_size=8),
    title=st.text(min_size=1, max_size=8) | st.just("Untitled"),
    platform=st.text(min_size=1, max_size=8).map(str.lower),
    category=some,
    topic=some,
    tags=st.lists(st.text(min_size=1, max_size=8), max_size=3, unique=True).map(tuple),
    model=some,
)
timestamps = st.none() | st.sampled_from(
    ["2024-05-06T07:08:09.123456789+02:00", "2016-12-31T23:59:60Z", "0000-01-01T00:00:00Z", "9999-12-31t23:59:59-23:00"]
)
conversations = st.lists(
    st.builds(VaultMessage, st.sampled_from(["user", "assistant", "system", "tool"]), words, timestamps),
    min_size=1,
    max_size=6,
)


def given_details(e: Entry) -> dict[str, Any]:
    told = {"title": e.title, "category": e.category, "topic": e.topic, "model": e.model, "tags": list(e.tags)}
    return {k: v for k, v in told.items() if v and (k, v) != ("title", "Untitled")}


@given(entries, conversations)
def test_what_pull_has_written_is_pushed_as_the_same(e: Entry, messages: Sequence[VaultMessage]) -> None:
    for file in (written(e, messages), json.dumps(body(e, messages)).encode()):
        (push,) = pushes(file)
        assert (push.chat, push.platform, push.base) == (e.chat, e.platform, None)
        assert list(push.messages) == list(messages)
        assert {k: v for k, v in push.details.items() if v} == given_details(e)


@given(entries, conversations)
def test_what_pull_has_written_is_a_conversation_for_an_import(e: Entry, messages: Sequence[VaultMessage]) -> None:
    (found,) = Backchat().read(io.BytesIO(written(e, messages)))
    assert isinstance(found, SourceConversation)
    assert found.exact
    assert [getattr(m.parts[0], "text", None) for m in found.messages] == [m.content for m in messages]
    assert len({m.id for m in found.messages}) == len(messages)
    assert found.leaf == found.messages[-1].id
    assert "tool" not in [m.role for m in found.messages], "no call that they could be the answer to"


def test_an_import_finds_a_chat_again_and_a_changed_message_is_a_branch() -> None:
    def ids(*contents: str, **more: Any) -> tuple[str | None, list[str]]:
        (found,) = Backchat().read(io.BytesIO(written(entry(**more), [VaultMessage("user", c) for c in contents])))
        assert isinstance(found, SourceConversation)
        return found.id, [m.id for m in found.messages]

    chat, first = ids("a", "a", "b")
    assert ids("a", "a", "b", "c", title="Other", version=9)[0] == chat
    assert ids("a", "a", "b", "c")[1][:3] == first
    assert [x == y for x, y in zip(ids("a", "x", "b")[1], first, strict=True)] == [True, False, False]
    assert len({ids("a", chat="c")[0], ids("a", platform="q")[0], ids("a", chat="d")[0]}) == 3


def test_somebody_elses_metadata_is_none_of_a_vault() -> None:
    value = json.loads(written(entry(), [VaultMessage("user", "a")]))
    marks: list[Any] = ["x", {"chatId": 7}, {"tags": "abc"}, {"tags": [1]}, {"baseVersion": True}, {"title": []}]
    for mark in marks:
        value["conversation"]["metadata"] = {"vault": mark}
        (push,) = pushes(value)
        assert (push.chat, push.platform) == (value["conversation"]["id"], "backchat")


NAMES = [
    "../../etc/passwd",
    "/etc/passwd",
    "..",
    ".",
    "a/b",
    "a\\b",
    "a b",
    "a.b",
    "C:",
    "\u202e",
    "-rf",
    "x" * 300,
    "\n",
]


def test_names_of_files_hold_no_path_and_are_never_the_same() -> None:
    made = [file_name(entry(platform=p, chat=c)) for p in NAMES for c in [*NAMES, "A B", "a:b"]]
    assert len({name.lower() for name in made}) == len(made)
    for name in made:
        assert name.isascii()
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
        assert name[0] not in "-."
        assert name.count(".") == 1
        assert len(name) < 150
    assert file_name(entry(version=1, title="x")) == file_name(entry(version=2, title="y"))


# ---- text of others on a terminal -----------------------------------------------------------------------------------


def test_harmless() -> None:
    assert one_line("a\x1b[2J\nb\u202e") == "a\ufffd[2J\ufffdb\ufffd"
    assert lines("a\tb\r\n\x1b]0;x\x07\x7f\x9b\u202e\u2066") == [
        "a\tb\u240d",
        "\u241b]0;x\u2407\u2421\ufffd\ufffd\ufffd",
    ]
    assert lines("Käse \U0001f9c0 \u4f60 e\u0301") == ["Käse \U0001f9c0 \u4f60 e\u0301"]
    unseen = "\u200e\u200f\u061c\u206a\u200b\ufeff\U000e0041\ud800\xad\u2028\ue000"
    assert lines(f"a{unseen}") == [one_line(f"a{unseen}")] == ["a" + "\ufffd" * len(unseen)]
