"""Tags, and links for everybody."""

from __future__ import annotations

import orjson
import pytest

from backchat.testing.plugin import Serve
from convos_box import FREE, MISSING, Convos, convos, tree


@pytest.fixture
async def ann(serve: Serve) -> Convos:
    return await convos(await serve(FREE))


# ---- tags -----------------------------------------------------------------------------------------------------------


async def test_tags(ann: Convos) -> None:
    first, second = await ann.start("first", "second")
    body = {"tag": "red", "description": "warm", "addToConversation": True, "conversationId": first}
    made = await ann.ok("POST", "/api/tags", json=body)
    assert made == {
        "_id": made["_id"],
        "user": made["user"],
        "tag": "red",
        "description": "warm",
        "position": made["position"],
        "count": 1,
        "createdAt": made["createdAt"],
        "updatedAt": made["updatedAt"],
    }
    await ann.ok("POST", "/api/tags", json={"tag": "blue", "conversationId": first})
    assert (await ann.ok("GET", f"/api/convos/{first}"))["tags"] == ["red"], "blue was not to be added"
    assert await ann.ok("PUT", f"/api/tags/convo/{second}", json={"tags": ["red", "new"]}) == ["red", "new"]
    assert (await ann.listed())[0] == "second"
    tags = await ann.ok("GET", "/api/tags")
    assert [(t["tag"], t["count"]) for t in tags] == [("red", 2), ("blue", 0), ("new", 1)]
    moved = await ann.ok("PUT", "/api/tags/new", json={"position": tags[0]["position"]})
    assert moved["tag"] == "new"
    assert [t["tag"] for t in await ann.ok("GET", "/api/tags")] == ["new", "red", "blue"]
    await ann.ok("PUT", "/api/tags/red", json={"tag": "dark red"})
    assert (await ann.ok("GET", f"/api/convos/{second}"))["tags"] == ["dark red", "new"]
    assert (await ann.ok("DELETE", "/api/tags/dark%20red"))["tag"] == "dark red"
    assert (await ann.ok("GET", f"/api/convos/{second}"))["tags"] == ["new"]


async def test_tags_that_are_refused(ann: Convos) -> None:
    (id,) = await ann.start("first")
    await ann.ok("POST", "/api/tags", json={"tag": "red"})
    await ann.ok("POST", "/api/tags", json={"tag": "blue"})
    none = {"error": "Tag not found"}
    assert await ann.ask("PUT", "/api/tags/green", json={"tag": "x"}) == (404, none)
    assert await ann.ask("DELETE", "/api/tags/green") == (404, none)
    assert (await ann.ask("PUT", "/api/tags/red", json={"tag": "blue"}))[0] == 409
    assert await ann.ask("POST", "/api/tags", json={}) == (400, {"error": "tag is required"})
    assert (await ann.ask("POST", "/api/tags", json={"tag": "x" * 101}))[0] == 400
    assert await ann.ask("PUT", f"/api/tags/convo/{id}", json={"tags": "red"}) == (
        400,
        {"error": "tags must be a list"},
    )
    missing = {"error": "Conversation not found"}
    assert await ann.ask("PUT", f"/api/tags/convo/{MISSING}", json={"tags": ["red"]}) == (404, missing)
    bob = await convos(ann.box, "bob")
    assert await bob.ok("GET", "/api/tags") == []
    assert await bob.ask("DELETE", "/api/tags/red") == (404, none)
    assert [t["tag"] for t in await ann.ok("GET", "/api/tags")] == ["red", "blue"]


# ---- links ----------------------------------------------------------------------------------------------------------


async def test_what_a_link_shows(ann: Convos) -> None:
    made = await tree(ann, "For everybody")
    secret = await ann.say(
        "A6",
        made["id"],
        parentMessageId=made["A5"]["messageId"],
        attachments=[{"messageId": "an-id"}],
        feedback={"rating": "thumbsDown"},
        user="somebody",
        metadata={"private": True},
    )
    none = {"success": False, "shareId": None, "conversationId": made["id"]}
    assert await ann.ok("GET", f"/api/share/link/{made['id']}") == none
    link = await ann.ok("POST", f"/api/share/{made['id']}", json={"snapshotFiles": True})
    assert link == {"_id": link["_id"], "shareId": link["shareId"], "conversationId": made["id"]}
    assert await ann.ok("GET", f"/api/share/link/{made['id']}") == {"success": True, **link}
    nobody = Convos(ann.box, {})
    shown = await nobody.ok("GET", f"/api/share/{link['shareId']}")
    again = await nobody.ok("GET", f"/api/share/{link['shareId']}")
    assert (shown["title"], shown["shareId"]) == ("For everybody", link["shareId"])
    real = await ann.messages(made["id"])
    assert [m["text"] for m in shown["messages"]] == [m["text"] for m in real]
    places = {m["messageId"]: n for n, m in enumerate(shown["messages"])}
    true_places = {m["messageId"]: n for n, m in enumerate(real)}
    assert [places.get(m["parentMessageId"]) for m in shown["messages"]] == [
        true_places.get(m["parentMessageId"]) for m in real
    ]
    raw = orjson.dumps(shown).decode()
    for hidden in (made["id"], secret["user"], "an-id", "thumbsDown", "private", "somebody", *true_places):
        assert hidden not in raw
    assert not set(places) & {m["messageId"] for m in again["messages"]}, "other ids for every answer"
    assert (await ann.ok("GET", "/api/convos"))["conversations"][0]["isShared"]


async def test_a_link_shows_what_was_there(ann: Convos) -> None:
    made = await tree(ann)
    target = {"targetMessageId": made["A3"]["messageId"]}
    link = await ann.ok("POST", f"/api/share/{made['id']}", json=target)
    assert link["targetMessageId"] == target["targetMessageId"]
    path = f"/api/share/{link['shareId']}"
    assert [m["text"] for m in (await ann.ok("GET", path))["messages"]] == ["U0", "A1", "U2", "A3"]
    assert (await ann.ask("POST", f"/api/share/{made['id']}", json=target))[0] == 409
    whole = await ann.ok("POST", f"/api/share/{made['id']}", json={})
    await ann.say("later", made["id"])
    seen = await ann.ok("GET", f"/api/share/{whole['shareId']}")
    assert len(seen["messages"]) == 13
    await ann.ok("PATCH", f"/api/share/{whole['shareId']}", json={})
    assert len((await ann.ok("GET", f"/api/share/{whole['shareId']}"))["messages"]) == 14
    await ann.arg("DELETE", "/api/convos", conversationId=made["id"])
    assert await ann.get(path) == (404, "")


async def test_links_with_nothing_left(ann: Convos) -> None:
    """Everybody says the same of a link, and a new one takes its place."""
    first = await ann.say("one")
    id, message = first["conversationId"], first["messageId"]
    later = await ann.say("two", id)
    for body, gone in (({"targetMessageId": later["messageId"]}, later), ({}, first)):
        link = await ann.ok("POST", f"/api/share/{id}", json=body)
        assert (await ann.ok("GET", f"/api/share/link/{id}"))["shareId"] == link["shareId"]
        await ann.ask("DELETE", f"/api/messages/{id}/{gone['messageId']}")
        assert await ann.get(f"/api/share/{link['shareId']}") == (404, "")
        none = {"success": False, "shareId": None, "conversationId": id}
        assert await ann.ok("GET", f"/api/share/link/{id}") == none
        assert (await ann.ok("GET", "/api/share"))["links"] == []
        (item,) = (await ann.ok("GET", "/api/convos"))["conversations"]
        assert not item["isShared"]
    await ann.say("three", id, messageId=message)
    fresh = await ann.ok("POST", f"/api/share/{id}", json={})
    assert fresh["shareId"] != link["shareId"]
    assert (await ann.ask("DELETE", f"/api/share/{link['shareId']}"))[0] == 404, "the old one made room"
    assert [m["text"] for m in (await ann.ok("GET", f"/api/share/{fresh['shareId']}"))["messages"]] == ["three"]
    missing = {"targetMessageId": later["messageId"]}
    for method, path in (("POST", id), ("PATCH", fresh["shareId"])):
        told = await ann.ask(method, f"/api/share/{path}", json=missing)
        assert told == (404, {"message": "Message not found"})
    for odd in ("yes", 1):
        told = await ann.ask("POST", f"/api/share/{id}", json={"snapshotFiles": odd})
        assert told == (400, {"message": "snapshotFiles must be a boolean"})


async def test_how_often_strangers_may_read(serve: Serve) -> None:
    ann = await convos(await serve({"dialects": [{"use": "convos", "share_per_address": "2/minute"}]}))
    (id,) = await ann.start("one")
    path = f"/api/share/{(await ann.ok('POST', f'/api/share/{id}', json={}))['shareId']}"
    nobody = Convos(ann.box, {})
    assert [(await nobody.get(where))[0] for where in (path, "/api/share/nothing")] == [200, 404]
    assert await nobody.get(path) == (429, {"message": "Too many requests. Try again later"})
    assert (await ann.ok("GET", f"/api/share/link/{id}"))["success"], "of the owner nothing is counted"


async def test_links_that_are_not_there(ann: Convos) -> None:
    gone = {"message": "Share not found"}
    assert await ann.get("/api/share/nothing") == (404, "")
    assert await ann.ask("PATCH", "/api/share/nothing", json={}) == (404, gone)
    assert await ann.ask("DELETE", "/api/share/nothing") == (404, gone)
    missing = {"message": "Conversation not found"}
    assert await ann.ask("POST", f"/api/share/{MISSING}", json={}) == (404, missing)
    assert await ann.get(f"/api/share/link/{MISSING}") == (404, missing)
    (id,) = await ann.start("hers")
    link = await ann.ok("POST", f"/api/share/{id}", json={})
    bob = await convos(ann.box, "bob")
    path = f"/api/share/{link['shareId']}"
    assert await bob.ask("DELETE", path) == (404, gone)
    assert await bob.ask("PATCH", path, json={}) == (404, gone)
    assert (await bob.ok("GET", "/api/share"))["links"] == []
    deleted = {"success": True, "shareId": link["shareId"], "message": "Share deleted successfully"}
    assert await ann.ask("DELETE", path) == (200, deleted)


async def test_lists_of_links(ann: Convos) -> None:
    links = [
        (await ann.ok("POST", f"/api/share/{id}", json={}))["shareId"]
        for id in await ann.start("one tree", "two trees", "a house")
    ]
    for query, expected in (
        ({}, links[::-1]),
        ({"sortDirection": "asc"}, links),
        ({"sortBy": "title", "sortDirection": "asc"}, [links[2], links[0], links[1]]),
    ):
        found: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            more = {"cursor": cursor} if cursor else {}
            _, page = await ann.get("/api/share", pageSize="2", **query, **more)
            assert page["hasNextPage"] == (page["nextCursor"] is not None)
            found += [link["shareId"] for link in page["links"]]
            cursor = page["nextCursor"]
        assert found == expected
    _, page = await ann.get("/api/share", search="house")
    assert [link["title"] for link in page["links"]] == ["a house"]


async def test_going_on_with_what_a_link_shows(ann: Convos) -> None:
    made = await tree(ann, "For everybody")
    await ann.ok("PUT", f"/api/tags/convo/{made['id']}", json={"tags": ["mine"]})
    link = await ann.ok("POST", f"/api/share/{made['id']}", json={})
    bob = await convos(ann.box, "bob")
    path = f"/api/share/{link['shareId']}"
    shown = await bob.ok("GET", path)
    status, copy = await bob.ask("POST", f"{path}/fork", json={"shareRevision": shown["shareRevision"]})
    assert status == 201
    assert [m["text"] for m in copy["messages"]] == [m["text"] for m in shown["messages"]]
    assert (copy["conversation"]["tags"], copy["conversation"]["title"]) == ([], "For everybody")
    index = [m["text"] for m in shown["messages"]].index("A3")
    status, copy = await bob.ask("POST", f"{path}/fork", json={"targetMessageIndex": index})
    assert [m["text"] for m in copy["messages"]] == ["U0", "A1", "U2", "A3"]
    assert await bob.listed() == ["For everybody", "For everybody"]
    await ann.ok("PUT", f"/api/messages/{made['id']}/{made['U0']['messageId']}", json={"text": "reworded"})
    stale = {"shareRevision": shown["shareRevision"]}
    assert (await bob.ask("POST", f"{path}/fork", json=stale))[0] == 409
    for index in (-1, 13):
        status, told = await bob.ask("POST", f"{path}/fork", json={"targetMessageIndex": index})
        assert (status, set(told)) == (400, {"message"})
    assert await bob.ask("POST", "/api/share/nothing/fork", json={}) == (404, "")
