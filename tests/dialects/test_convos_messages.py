"""Messages: the tree as clients store and read it."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import FormData

from backchat.testing.plugin import Serve
from backchat.testing.server import Box
from convos_box import MISSING, ROOT, Convos, convos, tree


@pytest.fixture
async def ann(box: Box) -> Convos:
    return await convos(box)


PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
RATING = {"error": "feedback must be null, or have a rating that is one of thumbsUp, thumbsDown"}
CONTENT: list[dict[str, Any]] = [
    {"type": "think", "think": "Where is Oslo?"},
    {"type": "text", "text": "Let me see. "},
    {
        "type": "tool_call",
        "tool_call": {"id": "c1", "type": "tool_call", "name": "map", "args": "{}", "output": "north", "progress": 1},
    },
    {"type": "tool_call", "tool_call": {"id": "c2", "type": "tool_call", "name": "map", "args": '{"zoom": 2}'}},
    {"type": "agent_update", "agent_update": {"runId": "r", "index": 3}},
    {"type": "text", "text": "It is in the north."},
]


async def test_a_message(ann: Convos) -> None:
    first = await ann.say("Where is Oslo?")
    assert first == {
        "_id": first["_id"],
        "__v": 0,
        "messageId": first["messageId"],
        "conversationId": first["conversationId"],
        "parentMessageId": ROOT,
        "user": first["user"],
        "isCreatedByUser": True,
        "sender": "User",
        "text": "Where is Oslo?",
        "error": False,
        "unfinished": False,
        "createdAt": first["createdAt"],
        "updatedAt": first["createdAt"],
    }
    (listed,) = await ann.messages(first["conversationId"])
    assert listed == {name: v for name, v in first.items() if name not in ("_id", "__v", "user")}


async def test_what_an_answer_is_made_of(ann: Convos) -> None:
    first = await ann.say("Where is Oslo?")
    id = first["conversationId"]
    sent = {
        "messageId": "2b9d9e10-96a5-4a0e-8f5f-5b5b9d6d8a01",
        "parentMessageId": first["messageId"],
        "isCreatedByUser": False,
        "sender": "GPT-4o",
        "model": "gpt-4o",
        "endpoint": "openAI",
        "content": CONTENT,
        "unfinished": True,
        "tokenCount": 17,
        "finish_reason": "length",
        "iconURL": "https://example.org/i.png",
        "metadata": {"key": [1, {"deep": None}]},
        "files": [{"file_id": "f1", "filename": "notes.pdf"}],
        "attachments": [{"type": "web_search", "toolCallId": "c1"}],
        "somethingNew": {"kept": True},
        "clientId": "secret",
    }
    made = await ann.ok("POST", f"/api/messages/{id}", json=sent)
    shown = {**sent, "text": "Let me see. \nIt is in the north."}
    assert {name: made[name] for name in shown} == shown
    assert (made["error"], made["conversationId"]) == (False, id)
    (_, listed) = await ann.messages(id)
    assert "clientId" not in listed
    assert listed["content"] == CONTENT
    again = await ann.ok("POST", f"/api/messages/{id}", json=listed)
    assert {**again, "updatedAt": ""} == {**made, "updatedAt": ""}, "storing what was read changes nothing"
    assert await ann.listed(search="north") == ["Where is Oslo?"]


async def test_what_other_dialects_attached_is_kept(serve: Serve) -> None:
    box = await serve({"dialects": ["chat", "threads", "convos"]})
    ann = await convos(box)
    picture = {"text": "What is this?", "image_base64": PICTURE, "image_mime": "image/png"}
    chat = await ann.ok("POST", "/api/chat", json=picture)
    shown = (await ann.messages(chat["conversation_id"]))[0]
    assert [p["type"] for p in shown["content"]] == ["text", "image_file"]
    form = FormData(default_to_multipart=True)
    form.add_field("content", "Read this")
    form.add_field("send_to_llm", "false")
    form.add_field("files", b"The harbour opens at nine.", filename="notes.txt")
    thread = await ann.ok("POST", "/api/threads/messages", data=form)
    letter = (await ann.messages(thread["thread_id"]))[0]
    assert [f["filename"] for f in letter["files"]] == ["notes.txt"]
    for message in (shown, letter):
        again = await ann.ok("POST", f"/api/messages/{message['conversationId']}", json=message)
        assert {**message, "updatedAt": ""}.items() <= {**again, "updatedAt": ""}.items()
    other = {**letter, "text": "other words", "files": [*letter["files"], {"file_id": "elsewhere"}]}
    again = await ann.ok("POST", f"/api/messages/{letter['conversationId']}", json=other)
    assert sorted(f["file_id"] for f in again["files"]) == sorted(["elsewhere", letter["files"][0]["file_id"]])
    stranger = {"content": shown["content"], "isCreatedByUser": True}
    copied = await ann.ok("POST", "/api/messages/new", json=stranger)
    assert copied["content"] == shown["content"], "kept as it came; it shows no picture of another conversation"


async def test_storing_anew(ann: Convos) -> None:
    made = await tree(ann)
    before = await ann.messages(made["id"])
    body = {"messageId": made["A1"]["messageId"], "text": "other words", "isCreatedByUser": False, "error": True}
    changed = await ann.ok("POST", f"/api/messages/{made['id']}", json=body)
    after = await ann.messages(made["id"])
    assert [m["messageId"] for m in after] == [m["messageId"] for m in before], "it stays in its place"
    assert (after[1]["text"], after[1]["error"]) == ("other words", True)
    assert after[1]["parentMessageId"] == before[1]["parentMessageId"]
    assert changed["updatedAt"] > changed["createdAt"] == before[1]["createdAt"]
    assert [after[0], *after[2:]] == [before[0], *before[2:]]


async def test_new_ones(ann: Convos) -> None:
    assert await ann.messages("new") == []
    assert await ann.get(f"/api/messages/new/{MISSING}") == (200, [])
    first = await ann.say("hello", conversationId="new", parentMessageId=ROOT)
    await ann.say("hello again", first["conversationId"], conversationId=first["conversationId"])
    assert len(await ann.messages(first["conversationId"])) == 2


async def test_what_is_refused(ann: Convos) -> None:
    first = await ann.say("hello")
    id, message = first["conversationId"], first["messageId"]
    (other,) = await ann.start("other")
    path = f"/api/messages/{id}"
    mismatch = {"error": "Conversation ID mismatch"}
    none = {"error": "Conversation not found"}
    cases: list[tuple[str, str, Any, int, Any]] = [
        ("POST", path, {"text": "a", "conversationId": MISSING}, 400, mismatch),
        ("POST", path, {"text": "a", "message": {"conversationId": MISSING}}, 400, mismatch),
        ("POST", "/api/messages/new", {"text": "a", "conversationId": MISSING}, 400, mismatch),
        ("POST", path, {}, 400, {"error": "text is required"}),
        ("POST", path, {"text": 5}, 400, {"error": "text must be a string"}),
        ("POST", path, {"content": "a"}, 400, {"error": "content must be a list of parts"}),
        ("POST", path, {"text": "a", "messageId": "a b"}, 400, None),
        ("POST", path, {"text": "a", "parentMessageId": MISSING}, 400, None),
        ("POST", f"/api/messages/{MISSING}", {"text": "a"}, 404, none),
        ("POST", "/api/messages/mine", {"text": "a"}, 400, {"error": "Message not saved"}),
        ("POST", f"/api/messages/{other}", {"text": "a", "messageId": message}, 409, None),
        ("GET", f"/api/messages/{MISSING}", None, 404, none),
        ("GET", f"/api/messages/{MISSING}/{message}", None, 404, none),
        ("PUT", f"{path}/{message}", {"text": "a", "conversationId": other}, 400, mismatch),
        ("PUT", f"{path}/{message}", {"text": "a", "message": {"conversationId": other}}, 400, mismatch),
        ("PUT", f"{path}/{message}/feedback", {"feedback": None, "conversationId": other}, 400, mismatch),
        ("PUT", f"{path}/{message}/feedback", {"feedback": {"rating": "good"}}, 400, RATING),
        ("PUT", f"{path}/{message}/feedback", {"feedback": {"text": "good"}}, 400, RATING),
        ("PUT", f"{path}/{message}/feedback", {"feedback": "thumbsUp"}, 400, RATING),
        ("DELETE", f"{path}/{message}", {"conversationId": other}, 400, mismatch),
        ("DELETE", f"{path}/{message}", {"message": {"conversationId": other}}, 400, mismatch),
        ("PUT", f"{path}/{message}", {}, 400, {"error": "text is required"}),
        ("PUT", f"{path}/{message}", {"text": "a", "index": -1}, 400, {"error": "Invalid index"}),
        ("PUT", f"{path}/{message}", {"text": "a", "index": "0"}, 400, {"error": "Invalid index"}),
        ("PUT", f"{path}/{message}", {"text": "a", "index": 1}, 400, {"error": "Content part not found"}),
        ("PUT", f"{path}/{MISSING}", {"text": "a"}, 404, {"error": "Message not found"}),
        ("PUT", f"/api/messages/{other}/{message}", {"text": "a"}, 404, {"error": "Message not found"}),
        ("PUT", f"{path}/{MISSING}/feedback", {"feedback": None}, 404, {"error": "Message not found"}),
        ("DELETE", f"{path}/{MISSING}", None, 404, {"error": "Message not found"}),
    ]
    before = await ann.messages(id)
    for method, where, body, status, told in cases:
        found, answer = await ann.ask(method, where, **({} if body is None else {"json": body}))
        assert found == status, (method, where, body, answer)
        assert answer == told or (told is None and set(answer) == {"error"}), (method, where, body, answer)
    assert await ann.messages(id) == before
    deep: Any = {}
    for _ in range(100):
        deep = {"a": deep}
    status, told = await ann.ask("POST", path, json={"text": "a", "extra": deep})
    assert (status, set(told)) == (400, {"error"})


async def test_edits(ann: Convos) -> None:
    first = await ann.say("mistyped")
    id, message = first["conversationId"], first["messageId"]
    status, told = await ann.ask("PUT", f"/api/messages/{id}/{message}", json={"text": "typed", "model": "gpt-4o"})
    assert status == 200
    assert told == {
        "messageId": message,
        "conversationId": id,
        "parentMessageId": ROOT,
        "sender": "User",
        "text": "typed",
        "isCreatedByUser": True,
        "model": "gpt-4o",
        "updatedAt": told["updatedAt"],
    }
    assert (await ann.messages(id))[0]["text"] == "typed"
    answer = await ann.ok("POST", f"/api/messages/{id}", json={"content": CONTENT, "isCreatedByUser": False})
    for index, kind in ((0, "think"), (5, "text")):
        path = f"/api/messages/{id}/{answer['messageId']}"
        told = await ann.ok("PUT", path, json={"text": "changed", "index": index})
        assert told["content"][index] == {"type": kind, kind: "changed"}


async def test_feedback(ann: Convos) -> None:
    first = await ann.say("hello")
    path = f"/api/messages/{first['conversationId']}/{first['messageId']}/feedback"
    praise = {"rating": "thumbsUp", "text": "good"}
    told = {"messageId": first["messageId"], "conversationId": first["conversationId"]}
    assert await ann.ok("PUT", path, json={"feedback": praise}) == {**told, "feedback": praise}
    assert (await ann.messages(first["conversationId"]))[0]["feedback"] == praise
    assert await ann.ok("PUT", path, json={"feedback": None}) == {**told, "feedback": None}
    assert "feedback" not in (await ann.messages(first["conversationId"]))[0]


async def test_deleting(ann: Convos) -> None:
    made = await tree(ann)
    gone = made["A1"]["messageId"]
    path = f"/api/messages/{made['id']}/{gone}"
    assert await ann.ask("DELETE", path, json={"conversationId": made["id"]}) == (204, "")
    assert await ann.get(path) == (200, [])
    left = await ann.messages(made["id"])
    assert len(left) == 12
    roots = [m["text"] for m in left if m["parentMessageId"] == ROOT]
    assert roots == ["U0", "U2", "U2b", "R2"], "its children stay"
    status, copy = await ann.ask("POST", "/api/convos/duplicate", json={"conversationId": made["id"]})
    assert (status, len(copy["messages"])) == (201, 12)


async def test_pages_of_a_conversation(ann: Convos) -> None:
    made = await tree(ann)
    for direction in ("asc", "desc"):
        found: list[str] = []
        query = {"conversationId": made["id"], "pageSize": "4", "sortDirection": direction}
        cursor: str | None = ""
        while cursor is not None:
            status, page = await ann.get("/api/messages", **query, **({"cursor": cursor} if cursor else {}))
            assert (status, len(page["messages"]) <= 4) == (200, True)
            found += [m["messageId"] for m in page["messages"]]
            cursor = page["nextCursor"]
        every = sorted((m["createdAt"], m["messageId"]) for m in await ann.messages(made["id"]))
        ids = [id for _, id in every]
        assert found == (ids if direction == "asc" else ids[::-1])
    one = {"conversationId": made["id"], "messageId": made["A5"]["messageId"]}
    status, page = await ann.get("/api/messages", **one)
    assert [m["text"] for m in page["messages"]] == ["A5"]
    assert await ann.get("/api/messages") == (200, {"messages": [], "nextCursor": None})
    by = {"conversationId": made["id"], "sortBy": "createdAt"}
    assert await ann.get("/api/messages", **{**by, "sortBy": "text"}) == await ann.get("/api/messages", **by)


async def test_a_search_for_messages(ann: Convos) -> None:
    ids = await ann.start("first", "second")
    for n in range(5):
        await ann.say(f"saffron {n}", ids[n % 2])
    hidden = await ann.say("saffron in secret", isTemporary=True)
    found: list[Any] = []
    cursor: str | None = ""
    while cursor is not None:
        query = {"search": "saffron", "pageSize": "2", **({"cursor": cursor} if cursor else {})}
        _, page = await ann.get("/api/messages", **query)
        found += page["messages"]
        cursor = page["nextCursor"]
    assert [m["text"] for m in found] == [f"saffron {n}" for n in (4, 3, 2, 1, 0)]
    assert [m["title"] for m in found] == ["first", "second", "first", "second", "first"]
    assert hidden["messageId"] not in [m["messageId"] for m in found]
