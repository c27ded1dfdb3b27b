"""What is done to conversations: exact answers, and what they change."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from backchat.testing.conformance.drivers import DRIVERS
from backchat.testing.plugin import Serve
from backchat.testing.provider import ScriptedProvider
from backchat.testing.server import Box
from convos_box import FREE, MISSING, ROOT, Convos, convos, tree


@pytest.fixture
async def ann(box: Box) -> Convos:
    return await convos(box)


async def test_a_whole_document(ann: Convos) -> None:
    (id,) = await ann.start("Good morning")
    said = await ann.say("Good evening", id, isCreatedByUser=False, endpoint="openAI", model="gpt-4o")
    found = await ann.ok("GET", f"/api/convos/{id}")
    (item,) = (await ann.ok("GET", "/api/convos"))["conversations"]
    assert found == {
        "_id": item["_id"],
        "__v": 0,
        "conversationId": id,
        "user": item["user"],
        "title": "Good morning",
        "endpoint": "openAI",
        "model": "gpt-4o",
        "messages": [found["messages"][0], said["_id"]],
        "files": [],
        "tags": [],
        "createdAt": item["createdAt"],
        "updatedAt": item["updatedAt"],
        "isArchived": False,
        "pinned": False,
        "isTemporary": False,
    }


async def test_one_that_is_not_there(ann: Convos) -> None:
    for id in (MISSING, "gen_title", "update", "%00", "x" * 1000):
        assert await ann.get(f"/api/convos/{id}") == (404, "")


TITLES = [
    ("  plain  ", "plain"),
    ("<b>HTML</b> stays", "<b>HTML</b> stays"),
    ("   ", ""),
    ("x" * 1025, "x" * 1024),
    ("x" * 1023 + "\U0001f30a", "x" * 1023),
    ("\U0001f30a" * 600, "\U0001f30a" * 512),
    (" " + "x" * 1023 + " y", "x" * 1023 + " "),
]


async def test_titles(ann: Convos) -> None:
    older, newer = await ann.start("older", "newer")
    for given, kept in TITLES:
        before = await ann.ok("GET", f"/api/convos/{older}")
        await ann.arg("POST", "/api/convos/update", conversationId=newer, title="newer")
        status, found = await ann.arg("POST", "/api/convos/update", conversationId=older, title=given, model="ignored")
        assert (status, found["title"]) == (201, kept)
        assert found == {**before, "title": kept, "updatedAt": found["updatedAt"]}
        assert found["updatedAt"] > before["updatedAt"]
        assert await ann.ok("GET", f"/api/convos/{older}") == found
        assert await ann.listed() == [kept, "newer"]


async def test_a_title_that_a_model_makes(serve: Serve) -> None:
    gate = asyncio.Event()
    provider = ScriptedProvider(["Oslo lies in the north."], [gate, "Where Oslo lies"])
    config = {"providers": {"scripted": {"use": "scripted"}}, "titles": {"provider": "scripted"}}
    ann = await convos(await serve(config, [provider]))
    id, _ = await DRIVERS["chat"].say(ann.box, ann.who, "So where is it?", None)
    waiting = asyncio.create_task(ann.get(f"/api/convos/gen_title/{id}"))
    assert await ann.listed() == ["So where is it?"]
    gate.set()
    assert await waiting == (200, {"title": "Where Oslo lies"})
    assert await ann.get(f"/api/convos/gen_title/{id}") == (200, {"title": "Where Oslo lies"}), "it can be asked again"
    assert await ann.listed() == ["Where Oslo lies"]
    none = {"message": "Title not found or method not implemented for the conversation's endpoint"}
    assert await ann.get(f"/api/convos/gen_title/{MISSING}") == (404, none)


async def test_archiving(ann: Convos) -> None:
    (id,) = await ann.start("a")
    before = await ann.ok("GET", f"/api/convos/{id}")
    status, first = await ann.arg("POST", "/api/convos/archive", conversationId=id, isArchived=True)
    assert (status, first) == (200, {**before, "isArchived": True, "archivedAt": first["archivedAt"]})
    assert await ann.arg("POST", "/api/convos/archive", conversationId=id, isArchived=True) == (200, first)
    back = {**before, "archivedAt": None}
    assert await ann.arg("POST", "/api/convos/archive", conversationId=id, isArchived=False) == (200, back)
    assert await ann.arg("POST", "/api/convos/archive", conversationId=id, isArchived=False) == (200, back)
    assert await ann.ok("GET", f"/api/convos/{id}") == before, "told only when it is taken back"


async def test_archiving_all(ann: Convos) -> None:
    ids = await ann.start("a", "b", "c")
    await ann.arg("POST", "/api/convos/archive", conversationId=ids[0], isArchived=True)
    assert await ann.ok("POST", "/api/convos/archive/all", json={}) == {"archivedCount": 2}
    found = (await ann.ok("GET", "/api/convos?isArchived=true"))["conversations"]
    assert len({c["archivedAt"] for c in found if c["conversationId"] != ids[0]}) == 1
    assert await ann.ok("POST", "/api/convos/archive/all") == {"archivedCount": 0}


async def test_pinning(ann: Convos) -> None:
    (id,) = await ann.start("a")
    before = await ann.ok("GET", f"/api/convos/{id}")
    pinned = {**before, "pinned": True}
    assert await ann.arg("POST", "/api/convos/pin", conversationId=id, pinned=True) == (200, pinned)
    assert await ann.arg("POST", "/api/convos/pin", conversationId=id, pinned=False) == (200, before)


NOT_BOOLEAN = {"error": "isArchived must be a boolean"}
REFUSED: list[tuple[str, Any, int, Any]] = [
    ("POST update", {"arg": {}}, 400, {"error": "conversationId is required"}),
    ("POST update", {"arg": None}, 400, {"error": "conversationId is required"}),
    ("POST update", {"conversationId": "a", "title": "b"}, 400, {"error": "conversationId is required"}),
    ("POST update", {"arg": {"conversationId": "", "title": "b"}}, 400, {"error": "conversationId is required"}),
    ("POST update", {"arg": {"conversationId": "a"}}, 400, {"error": "title is required"}),
    ("POST update", {"arg": {"conversationId": "a", "title": None}}, 400, {"error": "title must be a string"}),
    ("POST update", {"arg": {"conversationId": "a", "title": 5}}, 400, {"error": "title must be a string"}),
    ("POST update", {"arg": {"conversationId": MISSING, "title": "b"}}, 404, {"error": "Conversation not found"}),
    ("POST archive", {"arg": {"isArchived": True}}, 400, {"error": "conversationId is required"}),
    ("POST archive", {"arg": {"conversationId": "a", "isArchived": None}}, 400, NOT_BOOLEAN),
    ("POST pin", {"arg": {"conversationId": "a", "pinned": None}}, 400, {"error": "pinned must be a boolean"}),
    ("DELETE", None, 400, {"error": "no parameters provided"}),
    ("POST archive", {"arg": {"conversationId": "a"}}, 400, {"error": "isArchived must be a boolean"}),
    (
        "POST archive",
        {"arg": {"conversationId": "a", "isArchived": "true"}},
        400,
        {"error": "isArchived must be a boolean"},
    ),
    ("POST archive", {"arg": {"conversationId": "a", "isArchived": 1}}, 400, {"error": "isArchived must be a boolean"}),
    (
        "POST archive",
        {"arg": {"conversationId": MISSING, "isArchived": True}},
        404,
        {"error": "Conversation not found"},
    ),
    ("POST pin", {"arg": {"conversationId": "a"}}, 400, {"error": "pinned is required"}),
    ("POST pin", {"arg": {"conversationId": "a", "pinned": 0}}, 400, {"error": "pinned must be a boolean"}),
    ("POST pin", {"arg": {"conversationId": MISSING, "pinned": True}}, 404, {"error": "Conversation not found"}),
    ("DELETE", {}, 400, {"error": "no parameters provided"}),
    ("DELETE", {"arg": None}, 400, {"error": "no parameters provided"}),
    ("DELETE", {"conversationId": "a"}, 400, {"error": "no parameters provided"}),
    ("DELETE", {"arg": {"source": "button"}}, 200, "No conversationId provided"),
    ("DELETE", {"arg": {"source": "x"}}, 400, {"error": "conversationId is required"}),
    ("DELETE", {"arg": {"thread_id": "t"}}, 400, {"error": "conversationId is required"}),
    ("DELETE", {"arg": {"endpoint": "openAI"}}, 400, {"error": "conversationId is required"}),
    ("DELETE", {"arg": {"conversationId": {"$ne": None}}}, 400, {"error": "Invalid conversationId"}),
    ("POST fork", {"messageId": "m"}, 400, {"error": "conversationId is required"}),
    ("POST fork", {"conversationId": "a"}, 400, {"error": "messageId is required"}),
    ("POST fork", {"conversationId": MISSING, "messageId": "m"}, 404, {"error": "Conversation not found"}),
    ("POST duplicate", {}, 400, {"error": "conversationId is required"}),
    ("POST duplicate", {"conversationId": MISSING}, 404, {"error": "Conversation not found"}),
]


async def test_what_is_refused(serve: Serve) -> None:
    ann = await convos(await serve(FREE))
    await ann.start("kept")
    for what, body, status, told in REFUSED:
        method, _, name = what.partition(" ")
        path = f"/api/convos/{name}" if name else "/api/convos"
        sent = {} if body is None else {"json": body}
        assert await ann.ask(method, path, **sent) == (status, told), (what, body)
        assert await ann.listed() == ["kept"]


async def test_what_is_somebody_elses(serve: Serve) -> None:
    box = await serve(FREE)
    ann, bob = await convos(box), await convos(box, "bob")
    (id,) = await ann.start("hers")
    before = await ann.ok("GET", f"/api/convos/{id}")
    theirs = {"error": "User not authorized for this conversation"}
    assert await bob.arg("POST", "/api/convos/update", conversationId=id, title="his") == (403, theirs)
    assert await bob.arg("POST", "/api/convos/archive", conversationId=id, isArchived=True) == (403, theirs)
    none = {"error": "Conversation not found"}
    assert await bob.arg("POST", "/api/convos/pin", conversationId=id, pinned=True) == (404, none)
    assert await bob.ask("POST", "/api/convos/duplicate", json={"conversationId": id}) == (404, none)
    status, gone = await bob.arg("DELETE", "/api/convos", conversationId=id)
    assert (status, gone["deletedCount"], gone["conversationIds"]) == (201, 0, [])
    assert await bob.get(f"/api/convos/{id}") == (404, "")
    assert await ann.ok("GET", f"/api/convos/{id}") == before


async def test_deleting(ann: Convos) -> None:
    made = await tree(ann)
    (other,) = await ann.start("other")
    status, gone = await ann.arg("DELETE", "/api/convos", conversationId=made["id"], source="button")
    assert status == 201
    assert gone == {
        "acknowledged": True,
        "deletedCount": 1,
        "messages": {"acknowledged": True, "deletedCount": 13},
        "conversationIds": [made["id"]],
    }
    assert await ann.listed() == ["other"]
    assert (await ann.get(f"/api/messages/{made['id']}"))[0] == 404
    await ann.say("hidden", isTemporary=True)
    await ann.arg("POST", "/api/convos/archive", conversationId=other, isArchived=True)
    status, gone = await ann.ask("DELETE", "/api/convos/all")
    assert (status, gone["deletedCount"], gone["messages"]["deletedCount"]) == (201, 2, 2)
    assert other in gone["conversationIds"]
    status, gone = await ann.ask("DELETE", "/api/convos/all")
    none = {"acknowledged": True, "deletedCount": 0, "messages": {"acknowledged": True, "deletedCount": 0}}
    assert (status, gone) == (201, {**none, "conversationIds": []})


# ---- copies ---------------------------------------------------------------------------------------------------------

FORKS = [
    ("directPath", False, "U0 A1 U2"),
    ("direct", False, "U0 A1 U2"),
    ("includeBranches", False, "U0 A1 A1b U2 U2b"),
    ("branch", False, "U0 A1 A1b U2 U2b"),
    ("targetLevel", False, "U0 R2 A1 A1b R2A U2 U2b U2c"),
    ("", False, "U0 R2 A1 A1b R2A U2 U2b U2c"),
    (None, False, "U0 R2 A1 A1b R2A U2 U2b U2c"),
    ("directPath", True, "U2 A3 U4 A5"),
    ("includeBranches", True, "U2 A3 A3b U4 A5"),
    ("targetLevel", True, "U2 U2b U2c A3 A3b A3c U4 A5"),
]


async def test_forks(serve: Serve) -> None:
    ann = await convos(await serve(FREE))
    made = await tree(ann, "The tree")
    await ann.ok("PUT", f"/api/tags/convo/{made['id']}", json={"tags": ["kept"]})
    body = {"conversationId": made["id"], "messageId": made["U2"]["messageId"]}
    before = await ann.messages(made["id"])
    for option, split, texts in FORKS:
        asked = {**body, "option": option, "splitAtTarget": None}
        if split:
            asked |= {"splitAtTarget": True, "latestMessageId": made["A5"]["messageId"]}
        status, copy = await ann.ask("POST", "/api/convos/fork", json=asked)
        assert status == 200, copy
        assert sorted(m["text"] for m in copy["messages"]) == sorted(texts.split()), (option, split)
        conversation = copy["conversation"]
        assert (conversation["title"], conversation["tags"]) == ("The tree", ["kept"])
        ids = {m["messageId"]: m["text"] for m in copy["messages"]}
        sources = {m["messageId"]: m["text"] for m in before}
        for m in copy["messages"]:
            assert m["conversationId"] == conversation["conversationId"] != made["id"]
            assert m["messageId"] not in sources
            parent = sources.get(made[m["text"]]["parentMessageId"])
            expected = parent if parent in ids.values() else None
            assert ids.get(m["parentMessageId"]) == expected
            assert expected is not None or m["parentMessageId"] == ROOT
        stored = await ann.messages(conversation["conversationId"])
        assert [m["messageId"] for m in stored] == [m["messageId"] for m in copy["messages"]]
        assert conversation == await ann.ok("GET", f"/api/convos/{conversation['conversationId']}")
        assert conversation["messages"] == [m["_id"] for m in copy["messages"]]
    assert await ann.messages(made["id"]) == before


async def test_forks_that_are_refused(serve: Serve) -> None:
    ann = await convos(await serve(FREE))
    made = await tree(ann)
    body = {"conversationId": made["id"], "messageId": made["U2"]["messageId"]}
    options = "directPath, direct, includeBranches, branch, targetLevel"
    for more, status, told in (
        ({"option": "default"}, 400, {"error": f"option must be one of {options}"}),
        ({"option": 5}, 400, {"error": "option must be a string"}),
        ({"splitAtTarget": 0}, 400, {"error": "splitAtTarget must be a boolean"}),
        ({"splitAtTarget": True}, 400, {"error": "latestMessageId is required"}),
        ({"splitAtTarget": True, "latestMessageId": MISSING}, 404, {"error": "Message not found"}),
        ({"messageId": MISSING}, 404, {"error": "Message not found"}),
    ):
        assert await ann.ask("POST", "/api/convos/fork", json={**body, **more}) == (status, told), more
    assert await ann.listed() == ["root"]


async def test_duplicates(serve: Serve) -> None:
    ann = await convos(await serve(FREE))
    made = await tree(ann, "The tree")
    status, copy = await ann.ask("POST", "/api/convos/duplicate", json={"conversationId": made["id"]})
    assert (status, copy["conversation"]["title"]) == (201, "The tree")
    assert [m["text"] for m in copy["messages"]] == [m["text"] for m in await ann.messages(made["id"])]
    body = {"conversationId": made["id"], "title": "Another title"}
    status, copy = await ann.ask("POST", "/api/convos/duplicate", json=body)
    assert (status, copy["conversation"]["title"]) == (201, "Another title")


async def test_how_often(box: Box) -> None:
    ann = await convos(box)
    (id,) = await ann.start("a")
    for n in range(7):
        answer = await box.client.post("/api/convos/duplicate", json={"conversationId": id}, headers=ann.who)
        assert (answer.status, answer.headers["X-RateLimit-Remaining"]) == (201, str(6 - n))
    answer = await box.client.post("/api/convos/fork", json={}, headers=ann.who)
    assert answer.status == 429, "one budget for all copies"
    assert await answer.json() == {"message": "Too many requests. Try again later"}
    assert int(answer.headers["Retry-After"]) <= 60
    bob = await convos(box, "bob")
    assert (await bob.ask("POST", "/api/convos/fork", json={}))[0] == 400
