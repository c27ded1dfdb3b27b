"""Conversations from files, and files from conversations."""

from __future__ import annotations

import asyncio
import hashlib
import io
import zipfile
from itertools import pairwise
from typing import Any
from urllib.parse import quote

import orjson
import pytest

from backchat.testing.conformance.drivers import DRIVERS
from backchat.testing.plugin import Serve
from backchat.testing.server import Box, events
from convos_box import FREE, MISSING, Convos, convos, tree

DONE = "Conversation(s) imported successfully"
MEGABYTE = {"imports": {"max_size": "1MiB", "wait": 20}}


@pytest.fixture
async def ann(serve: Serve) -> Convos:
    return await convos(await serve(FREE))


def chatgpt(title: str, *turns: str, id: str = "c") -> dict[str, Any]:
    """A conversation as ChatGPT exports it: user and assistant in turns."""
    mapping: dict[str, Any] = {"root": {"id": "root", "message": None, "parent": None, "children": []}}
    parent = "root"
    for n, text in enumerate(turns):
        message = {
            "id": f"{id}{n}",
            "author": {"role": "assistant" if n % 2 else "user"},
            "create_time": 1700000000.5 + n,
            "content": {"content_type": "text", "parts": [text]},
            "metadata": {"model_slug": "gpt-4o"} if n % 2 else {},
        }
        mapping[f"{id}{n}"] = {"id": f"{id}{n}", "message": message, "parent": parent, "children": []}
        parent = f"{id}{n}"
    return {"title": title, "conversation_id": id, "create_time": 1700000000.5, "mapping": mapping}


def file_of(*conversations: object) -> bytes:
    return orjson.dumps(list(conversations))


# ---- imports --------------------------------------------------------------------------------------------------------


async def test_a_file(ann: Convos) -> None:
    data = file_of(chatgpt("Birds", "Which is largest?", "The albatross", id="a"), chatgpt("Fish", "And fish?", id="b"))
    told = {"message": DONE, "imported": 2, "skipped": 0, "failed": 0, "errors": []}
    assert await ann.upload(data) == (201, told)
    assert sorted(await ann.listed()) == ["Birds", "Fish"]
    assert await ann.listed(search="albatross") == ["Birds"]
    assert await ann.upload(data) == (201, {**told, "imported": 0, "skipped": 2})
    assert len(await ann.listed()) == 2


async def test_what_is_wrong_is_told(ann: Convos) -> None:
    data = file_of(chatgpt("Birds", "a", id="a"), 5, chatgpt("Fish", "b", id="b"))
    status, told = await ann.upload(data)
    assert (status, told["imported"], told["failed"]) == (201, 2, 1)
    ((index, title, reason),) = [(e["index"], e["title"], e["reason"]) for e in told["errors"]]
    assert (index, title) == (1, None)
    assert reason
    for nothing in (b"hello", b"", b'{"what": 1}', b'[{"what": 1}]', b'[{"mapping": '):
        status, told = await ann.upload(nothing)
        assert (status, told["imported"], told["skipped"], len(told["errors"])) == (500, 0, 0, 1), nothing
        assert told["message"] == "Error processing file"
    assert await ann.upload(b"[]") == (201, {"message": DONE, "imported": 0, "skipped": 0, "failed": 0, "errors": []})


async def test_which_files_are_taken(serve: Serve) -> None:
    ann = await convos(await serve({**FREE, **MEGABYTE}))
    data = file_of(chatgpt("Birds", "a", id="a"))
    refused = (415, {"message": "Only JSON files are allowed"})
    assert await ann.upload(data, "chats.txt", "text/plain") == refused
    assert await ann.upload(data, "chats", "") == refused
    for name, mime in (
        ("chats.JSON", "text/plain"),
        ("chats", "application/json"),
        ("100%.json", "application/octet-stream"),
        (quote("100% näher.json"), ""),
        ("chats%2Ejson", ""),
        ("%FF%.jsonl", ""),
    ):
        assert (await ann.upload(data, name, mime))[0] == 201, name
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("folder/conversations-000.json", file_of(chatgpt("Fish", "b", id="b")))
        file.writestr("user.txt", "not a conversation")
    status, told = await ann.upload(packed.getvalue(), "export.zip", "application/zip")
    assert (status, told["imported"]) == (201, 1)
    large = (413, {"message": "File exceeds the maximum allowed size"})
    assert await ann.upload(b"[" + b" " * (2 << 20) + b"]") == large
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    status, told = await ann.ask("POST", "/api/convos/import", data=b"nothing", headers=form)
    assert (status, set(told)) == (400, {"message"})
    assert told["message"][0].isupper()
    status, told = await ann.ask("POST", "/api/convos/import", data={"other": "field"})
    assert status in (400, 415)
    assert set(told) == {"message"}
    assert sorted(await ann.listed()) == ["Birds", "Fish"]


async def test_in_the_background(ann: Convos) -> None:
    data = file_of(*[chatgpt(f"Chat {n}", "a", "b", id=f"c{n}-") for n in range(40)])
    answer = await ann.box.client.post(
        "/api/convos/import?background=true", headers=ann.who, data={"file": io.BytesIO(data)}
    )
    assert answer.status == 415, "it has no name"
    status, begun = await ann.upload(data, query="?background=true")
    assert status == 202
    path = f"/api/convos/import/{begun['jobId']}"
    stream = await ann.box.client.get(path, headers={**ann.who, "Accept": "text/event-stream"})
    assert stream.content_type == "text/event-stream"
    told = await events(stream)
    assert {name for name, _, _ in told} == {"message"}
    steps = [data for _, _, data in told]
    assert [s["final"] for s in steps] == [False] * (len(steps) - 1) + [True]
    assert [s["read"] for s in steps] == sorted(s["read"] for s in steps)
    last = steps[-1]
    assert last == {
        "jobId": begun["jobId"],
        "status": "done",
        "name": "chats.json",
        "size": len(data),
        "read": len(data),
        "imported": 40,
        "skipped": 0,
        "failed": 0,
        "errors": [],
        "final": True,
    }
    assert await ann.ok("GET", path) == last
    assert await ann.ok("DELETE", path) == last, "it has ended already"
    assert len(await ann.walk()) == 40
    bob = await convos(ann.box, "bob")
    for method in ("GET", "DELETE"):
        assert (await bob.ask(method, path))[0] == 404
        assert (await ann.ask(method, f"/api/convos/import/{MISSING}"))[0] == 404


async def test_an_import_that_takes_longer_than_its_answer(serve: Serve) -> None:
    ann = await convos(await serve({**FREE, "imports": {"wait": 0}}))
    form = file_of(*[chatgpt(f"Chat {n}", "a", id=f"c{n}-") for n in range(20)])
    status, begun = await ann.upload(form)
    assert (status, "jobId" in begun) == (202, True)
    stream = {"Accept": "text/event-stream"}
    found = await events(
        await ann.box.client.get(f"/api/convos/import/{begun['jobId']}", headers={**ann.who, **stream})
    )
    assert found[-1][2]["imported"] == 20


async def test_an_imported_conversation_goes_on_in_the_other_dialects(ann: Convos) -> None:
    await ann.upload(file_of(chatgpt("Birds", "Which is largest?", "The albatross", id="a")))
    (item,) = (await ann.ok("GET", "/api/convos"))["conversations"]
    id = item["conversationId"]
    _, chatted = await DRIVERS["chat"].say(ann.box, ann.who, "And the smallest?", id)
    _, threaded = await DRIVERS["threads"].say(ann.box, ann.who, "And the fastest?", id)
    messages = await ann.messages(id)
    assert [m["text"] for m in messages] == [
        "Which is largest?",
        "The albatross",
        "And the smallest?",
        chatted,
        "And the fastest?",
        threaded,
    ]
    for parent, message in pairwise(messages):
        assert message["parentMessageId"] == parent["messageId"]
    whole = await ann.ok("GET", f"/api/convos/{id}")
    assert (item["endpoint"], whole["endpoint"]) == ("openAI", "openAI"), "where it came from"
    assert whole["updatedAt"] > whole["createdAt"] == "2023-11-14T22:13:20.500Z"


# ---- exports --------------------------------------------------------------------------------------------------------


def plain(messages: Any) -> list[Any]:
    """What has to be the same after a way through a file: everything but the ids."""
    place = {m["messageId"]: n for n, m in enumerate(messages)}
    without = ("messageId", "conversationId", "parentMessageId")
    return [({k: v for k, v in m.items() if k not in without}, place.get(m["parentMessageId"])) for m in messages]


async def test_there_and_back(serve: Serve) -> None:
    box = await serve(FREE)
    ann, bob = await convos(box), await convos(box, "bob")
    made = await tree(ann, "The tree")
    content = [
        {"type": "think", "think": "hm"},
        {"type": "text", "text": "said"},
        {"type": "video_url", "video_url": {}},
    ]
    await ann.say("", made["id"], isCreatedByUser=False, content=content, feedback={"rating": "thumbsUp"}, model="m-1")
    await ann.ok("PUT", f"/api/tags/convo/{made['id']}", json={"tags": ["kept"]})
    await ann.arg("POST", "/api/convos/pin", conversationId=made["id"], pinned=True)
    before = await ann.messages(made["id"])
    for format in ("librechat", "backchat"):
        status, text = await ann.get(f"/api/convos/{made['id']}/export", format=format)
        assert status == 200
        status, told = await bob.upload(orjson.dumps(text))
        assert (status, told["imported"]) == (201, 1), told
        (item,) = (await bob.ok("GET", "/api/convos"))["conversations"]
        after = await bob.messages(item["conversationId"])
        assert plain(after) == plain(before), format
        whole = await bob.ok("GET", f"/api/convos/{item['conversationId']}")
        assert (whole["title"], whole["tags"], whole["pinned"]) == ("The tree", ["kept"], True), format
        await bob.ok("DELETE", "/api/convos/all")


async def test_the_file_of_a_conversation(ann: Convos) -> None:
    made = await tree(ann, "A/B: 100% \u201eb\u00f6se\u201c\u202e\r\nname")
    client = ann.box.client
    answer = await client.get(f"/api/convos/{made['id']}/export", headers=ann.who)
    assert answer.content_type == "application/json"
    disposition = answer.headers["Content-Disposition"]
    assert disposition == (
        'attachment; filename="A-B_ 100_ _b_se_name.json"; '
        "filename*=UTF-8''A-B%3A%20100%25%20%E2%80%9Eb%C3%B6se%E2%80%9Cname.json"
    )
    file = await answer.json()
    assert set(file) == {
        "conversationId", "endpoint", "title", "exportAt", "branches", "recursive", "options", "messages",
    }  # fmt: skip
    assert (file["branches"], file["recursive"], len(file["messages"])) == (True, False, 13)
    assert file["messages"] == await ann.messages(made["id"])
    answer = await client.get(f"/api/convos/{made['id']}/export?format=markdown", headers=ann.who)
    assert answer.headers["Content-Disposition"].endswith(".md")
    assert "R2A" in await answer.text()
    assert (await ann.get(f"/api/convos/{made['id']}/export", format="pdf"))[0] == 400
    bob = await convos(ann.box, "bob")
    for format in ("librechat", "markdown", "backchat"):
        assert (await bob.get(f"/api/convos/{made['id']}/export", format=format))[0] == 404


async def test_everything(ann: Convos) -> None:
    await ann.start(*[f"Chat {n}" for n in range(5)])
    await ann.say("hidden", isTemporary=True)
    bob = await convos(ann.box, "bob")
    answer = await ann.box.client.get("/api/convos/export", headers=ann.who)
    assert answer.content_type == "application/zip"
    assert 'filename="backchat-export.zip"' in answer.headers["Content-Disposition"]
    packed = await answer.read()
    with zipfile.ZipFile(io.BytesIO(packed)) as file:
        assert file.testzip() is None
        members = {name: file.read(name) for name in file.namelist()}
    manifest = orjson.loads(members.pop("manifest.json"))
    digests = {hashlib.sha256(data).hexdigest() for data in members.values()}
    assert {c["sha256"] for c in manifest["members"]} == digests
    assert len(digests) == 5
    status, told = await bob.upload(packed, "backchat-export.zip", "application/zip")
    assert (status, told["imported"], told["errors"]) == (201, 5, [])
    lines = await (await ann.box.client.get("/api/convos/export?format=jsonl", headers=ann.who)).read()
    assert len(lines.splitlines()) == 7
    carol = await convos(ann.box, "carol")
    status, told = await carol.upload(lines, "backchat-export.jsonl", "application/jsonl")
    assert (status, told["imported"], told["errors"]) == (201, 5, [])
    assert sorted(await bob.listed()) == sorted(await carol.listed()) == sorted(await ann.listed())
    empty = await convos(ann.box, "dave")
    status, _ = await empty.get("/api/convos/export", format="jsonl")
    assert status == 200


async def test_a_download_that_breaks_does_not_look_whole(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    ann = await convos(box)
    await ann.start("a")
    gate = asyncio.Event()

    async def broken(*_: object, **__: object) -> Any:
        yield b"PK"
        await gate.wait()
        raise OSError("the disk is gone")

    monkeypatch.setattr(type(box.services.exports), "everything", broken)
    answer = await box.client.get("/api/convos/export", headers=ann.who)
    assert answer.status == 200
    assert await answer.content.readany() == b"PK"
    gate.set()
    with pytest.raises(Exception, match=r"(?i)payload|closed|reset|disconnected"):
        await answer.content.read()
