"""Lists of conversations: what is in them, in which order, page by page."""

from __future__ import annotations

import base64

import orjson
import pytest

from backchat.testing.server import Box
from convos_box import Convos, convos


@pytest.fixture
async def ann(box: Box) -> Convos:
    return await convos(box)


async def test_an_item(ann: Convos) -> None:
    (id,) = await ann.start("Good morning")
    answer = {"isCreatedByUser": False, "endpoint": "openAI", "model": "gpt-4o"}
    await ann.say("Good evening", id, **answer)
    _, body = await ann.get("/api/convos")
    (item,) = body["conversations"]
    assert body == {"conversations": [item], "nextCursor": None}
    user = (await ann.ok("GET", "/api/user"))["id"]
    assert orjson.loads(orjson.dumps(item)) == {
        "_id": item["_id"],
        "conversationId": id,
        "user": user,
        "title": "Good morning",
        "endpoint": "custom",
        "createdAt": item["createdAt"],
        "updatedAt": item["updatedAt"],
        "isArchived": False,
        "pinned": False,
        "isShared": False,
    }
    assert len(item["_id"]) == 24
    assert item["createdAt"] < item["updatedAt"]
    assert item["updatedAt"].endswith("Z")


async def test_limits_are_read_as_a_browser_reads_numbers(ann: Convos) -> None:
    await ann.start(*[f"c{n:02}" for n in range(30)])
    for limit, size in (
        ("2", 2), ("2.9", 2), (" 2abc", 2), ("-5", 1), ("0", 25), ("abc", 25), ("", 25), ("1000", 30), ("9" * 40, 30),
    ):  # fmt: skip
        assert len(await ann.listed(limit=limit)) == size, limit
    assert len(await ann.listed()) == 25


async def test_orders(ann: Convos) -> None:
    ids = await ann.start("b", "a", "B", "c")
    assert await ann.listed() == ["c", "B", "a", "b"]
    assert await ann.listed(sortBy="createdAt", sortDirection="asc") == ["b", "a", "B", "c"]
    assert await ann.listed(sortBy="title", sortDirection="asc") == ["B", "a", "b", "c"]
    assert await ann.listed(sortBy="title", sortDirection="sideways") == ["c", "b", "a", "B"]
    await ann.arg("POST", "/api/convos/update", conversationId=ids[0], title="b")
    assert await ann.listed(sortBy="updatedAt") == ["b", "c", "B", "a"]
    for id in (ids[2], ids[0]):
        await ann.arg("POST", "/api/convos/archive", conversationId=id, isArchived=True)
    assert await ann.listed(sortBy="archivedAt", isArchived="True") == ["b", "B"]


async def test_pages(ann: Convos) -> None:
    titles = [f"t{n % 3}" for n in range(11)]
    await ann.start(*titles)
    for sort in ("updatedAt", "createdAt", "title"):
        for direction in ("asc", "desc"):
            once = await ann.listed(limit="100", sortBy=sort, sortDirection=direction)
            for limit in ("1", "2", "11"):
                assert await ann.walk(limit=limit, sortBy=sort, sortDirection=direction) == once
            assert sorted(once) == sorted(titles)


async def test_pages_by_the_longest_titles(ann: Convos) -> None:
    titles = ["\u5b57" * 1022 + mark for mark in ("ab", "ac", "\u5b57\u5b57")]
    for id, title in zip(await ann.start("1", "2", "3"), titles, strict=True):
        await ann.arg("POST", "/api/convos/update", conversationId=id, title=title)
    assert await ann.walk(sortBy="title", sortDirection="asc", limit="1") == titles


async def test_filters(ann: Convos) -> None:
    ids = dict(zip("abcd", await ann.start("a", "b", "c", "d"), strict=True))
    await ann.ok("PUT", f"/api/tags/convo/{ids['a']}", json={"tags": ["red", "old"]})
    await ann.ok("PUT", f"/api/tags/convo/{ids['b']}", json={"tags": ["blue"]})
    await ann.ok("PUT", f"/api/tags/convo/{ids['c']}", json={"tags": ["Red"]})
    await ann.arg("POST", "/api/convos/pin", conversationId=ids["b"], pinned=True)
    await ann.arg("POST", "/api/convos/archive", conversationId=ids["d"], isArchived=True)
    assert sorted(await ann.listed()) == ["a", "b", "c"]
    assert await ann.listed(isArchived="TRUE") == ["d"]
    (away,) = (await ann.get("/api/convos", isArchived="true"))[1]["conversations"]
    assert (away["isArchived"], away["archivedAt"] > away["createdAt"]) == (True, True)
    assert "d" not in await ann.listed(isArchived="1")
    assert await ann.listed(pinned="true") == ["b"]
    assert len(await ann.listed(pinned="false")) == 3
    assert await ann.listed(("tags", "red")) == ["a"]
    assert sorted(await ann.listed(("tags", "red"), ("tags", "blue"), ("tags", "none"))) == ["a", "b"]
    assert await ann.listed(("tags", "none")) == []
    assert len(await ann.listed(("tags", ""))) == 3, "none is named"
    assert len(await ann.listed(("tags[]", "red"))) == 3, "another name, so ignored"
    assert await ann.listed(projectId="0" * 24) == []
    assert len(await ann.listed(projectId="unassigned")) == 3


async def test_temporary_ones_are_hidden(ann: Convos) -> None:
    message = await ann.say("hush hush", isTemporary=True)
    assert await ann.listed() == []
    assert await ann.listed(search="hush") == []
    found = await ann.ok("GET", f"/api/convos/{message['conversationId']}")
    assert found["isTemporary"]
    assert found["expiredAt"] > found["updatedAt"]


async def test_a_search(ann: Convos) -> None:
    ids = await ann.start("Recipes", "Travel", "Taxes")
    said = await ann.say("Add a pinch of saffron, 100% of it", ids[0])
    await ann.say("In Kashmir they grow saffron", ids[1])
    assert await ann.listed(search=" saffron ") == ["Travel", "Recipes"]
    assert await ann.listed(search="saffron", sortBy="title", sortDirection="asc") == ["Recipes", "Travel"]
    assert await ann.listed(search="saffron pinch") == ["Recipes"]
    assert await ann.listed(search="100%") == ["Recipes"]
    assert await ann.listed(search="recipes") == ["Recipes"]
    assert await ann.listed(search="   ") == ["Travel", "Recipes", "Taxes"]
    assert await ann.walk(search="saffron", limit="1") == ["Travel", "Recipes"]
    await ann.ok("PUT", f"/api/messages/{ids[0]}/{said['messageId']}", json={"text": "Add a pinch of salt"})
    assert await ann.listed(search="saffron") == ["Travel"]
    assert await ann.listed(search="salt") == ["Recipes"]
    await ann.arg("DELETE", "/api/convos", conversationId=ids[1])
    assert await ann.listed(search="saffron") == []


def forged(place: object) -> str:
    return base64.b64encode(orjson.dumps(place)).decode()


async def test_cursors_that_lead_nowhere(ann: Convos) -> None:
    await ann.start("a", "b", "c")
    _, body = await ann.get("/api/convos", limit="1")
    cursor = body["nextCursor"]
    assert {"primary", "id"} <= set(orjson.loads(base64.b64decode(cursor)))
    for bad in ("nonsense", "e30=", "====", "%00", forged([]), forged({"of": [[]], "id": 1}), cursor[:-4], "A" * 8000):
        status, told = await ann.get("/api/convos", cursor=bad)
        assert (status, set(told)) == (400, {"error"}), bad
        assert "cursor" in told["error"]
    for other in ({"sortBy": "title"}, {"sortBy": "createdAt"}):
        status, told = await ann.get("/api/convos", cursor=cursor, **other)
        assert status == 400, "it is of another list"
    assert (await ann.get("/api/convos", cursor=cursor))[0] == 200


async def test_what_is_refused(ann: Convos) -> None:
    status, body = await ann.get("/api/convos", sortBy="colour")
    assert (status, body["error"]) == (400, "sortBy must be one of updatedAt, createdAt, title, archivedAt")
    status, body = await ann.get("/api/convos", projectId="mine")
    assert (status, body["error"]) == (400, "projectId must be a valid project id or unassigned")
