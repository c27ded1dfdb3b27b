"""Entries and their versions, one by one; deleting and adopting."""

from __future__ import annotations

import asyncio

import pytest

from backchat.domain.vault import VaultMessage
from backchat.testing.plugin import Serve
from backchat.testing.server import Box
from vault_http import HI, Caller, caller, said, sealed

NONE = ("0", "01", "-1", "+1", "1.0", "1e0", "%201", "x", "٣", "%00", str(2**53), str(2**64), "9" * 400)


@pytest.fixture
async def ann(box: Box) -> Caller:
    return await caller(box)


async def test_an_entry_reads_as_in_a_pull(ann: Caller) -> None:
    for n in range(3):
        await ann.push(f"c{n}", title=f"T{n}", tags=["t"])
    for entry in (await ann.pull())["entries"]:
        assert await ann.ok("GET", f"/entries/{entry['id']}") == entry


async def test_versions(ann: Caller) -> None:
    pushes = [said("a"), said("a", "b"), said("a", "b", "c"), said("a")]
    for messages in pushes:
        id = (await ann.push("c1", messages))["entryId"]
    listed = await ann.ok("GET", f"/entries/{id}/versions")
    assert listed["total"] == 4
    assert [(v["version"], v["messageCount"]) for v in listed["versions"]] == [(1, 1), (2, 2), (3, 3), (4, 1)]
    assert all(set(v) == {"version", "messageCount", "createdAt", "contentHash"} for v in listed["versions"])
    hashes = [v["contentHash"] for v in listed["versions"]]
    assert hashes[0] == hashes[3]
    assert len(set(hashes)) == 3
    entry = await ann.ok("GET", f"/entries/{id}")
    for version, messages in zip(listed["versions"], pushes, strict=True):
        one = await ann.ok("GET", f"/entries/{id}/versions/{version['version']}")
        assert set(one) == {*version, "encryptedContent", "iv", "keyId"}
        assert {name: one[name] for name in version} == version
        found = await ann.opened(one, of=entry)
        assert found == [VaultMessage(m["role"], m["content"]) for m in messages]  # type: ignore[arg-type]
    assert one["encryptedContent"] == entry["encryptedContent"]
    assert one["createdAt"] == entry["updatedAt"]


async def test_versions_of_sealed_pushes(ann: Caller) -> None:
    first, second = sealed("a", keyId="k"), sealed("a", "b", contentHash="c" * 64)
    id = (await ann.ok("POST", "/push", json=first))["entryId"]
    await ann.ok("POST", "/push", json=second)
    listed = (await ann.ok("GET", f"/entries/{id}/versions"))["versions"]
    assert [(v["messageCount"], v["contentHash"]) for v in listed] == [(1, None), (2, "c" * 64)]
    for n, body in ((1, first), (2, second)):
        one = await ann.ok("GET", f"/entries/{id}/versions/{n}")
        assert (one["iv"], one["encryptedContent"]) == (body["iv"], body["encryptedContent"])
        assert one["keyId"] == body.get("keyId")


async def test_what_there_is_not(ann: Caller, box: Box) -> None:
    id = (await ann.push("c1"))["entryId"]
    bob = await caller(box, "bob")
    for who, number in ((bob, id), (ann, id + 1), *[(ann, n) for n in NONE]):
        for method, end in (
            ("GET", ""),
            ("GET", "/versions"),
            ("GET", "/versions/1"),
            ("DELETE", ""),
            ("POST", "/adopt"),
        ):
            body = {"json": {"messages": [HI]}} if method == "POST" else {}
            status, told = await who.ask(method, f"/entries/{number}{end}", **body)
            assert (status, told["error"]) == (404, "not_found"), (method, number, end)
    for number in (2, *NONE):
        assert (await ann.ask("GET", f"/entries/{id}/versions/{number}"))[0] == 404
    assert (await ann.pull())["total"] == 1


async def test_deleting(ann: Caller) -> None:
    first, other = await ann.push("c1"), await ann.push("c2")
    await ann.push("c1", said("a", "b"))
    at = f"/entries/{first['entryId']}"
    answer = await ann.raw("DELETE", at)
    assert (answer.status, await answer.read()) == (204, b"")
    for method, path in (("GET", at), ("GET", f"{at}/versions"), ("GET", f"{at}/versions/1"), ("DELETE", at)):
        assert (await ann.ask(method, path))[0] == 404
    assert await ann.chats() == ["c2"]
    again = await ann.push("c1")
    assert (again["message"], again["version"]) == ("created", 1)
    assert again["entryId"] not in (first["entryId"], other["entryId"])


async def test_versions_that_are_kept(serve: Serve) -> None:
    ann = await caller(await serve({"vault": {"versions": 2}}))
    for n in range(5):
        told = await ann.push("c1", said(*["x"] * (n + 1)))
    assert told["version"] == 5
    at = f"/entries/{told['entryId']}/versions"
    assert [v["version"] for v in (await ann.ok("GET", at))["versions"]] == [4, 5]
    assert [(await ann.ask("GET", f"{at}/{n}"))[0] for n in range(1, 6)] == [404, 404, 404, 200, 200]


async def test_pushes_at_the_same_time(ann: Caller) -> None:
    told = await asyncio.gather(*[ann.push("c1", said(*["x"] * n)) for n in range(1, 9)])
    assert sorted(t["version"] for t in told) == list(range(1, 9))
    assert len({t["entryId"] for t in told}) == 1


# ---- adopt ----------------------------------------------------------------------------------------------------------


async def test_an_adopted_entry_is_a_conversation(ann: Caller) -> None:
    messages = said("When is high water?", "At nine.")
    entry = (await ann.push("c1", messages, title="Tides", tags=["sea"], model="m", category="coast"))["entryId"]
    before = await ann.ok("GET", f"/entries/{entry}")
    told = await ann.ok("POST", f"/entries/{entry}/adopt", json={"messages": messages, "unknown": 1})
    assert set(told) == {"success", "entryId", "conversationId", "message"}
    assert (told["success"], told["entryId"]) == (True, entry)
    answer = await ann.box.client.get(f"/api/messages/{told['conversationId']}", headers=ann.headers)
    assert [m["text"] for m in await answer.json()] == ["When is high water?", "At nine."]
    answer = await ann.box.client.get(f"/api/convos/{told['conversationId']}", headers=ann.headers)
    found = await answer.json()
    assert (found["title"], found["tags"]) == ("Tides", ["sea"])
    assert await ann.ok("GET", f"/entries/{entry}") == before
    again = await ann.ok("POST", f"/entries/{entry}/adopt", json={"messages": messages})
    assert again["conversationId"] != told["conversationId"]


async def test_what_cannot_be_adopted(ann: Caller) -> None:
    entry = (await ann.push("c1"))["entryId"]
    for body, field in (
        ({}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [HI] * 10_001}, "messages"),
        ({"messages": [HI, {"role": "x", "content": ""}]}, "messages.1.role"),
        ({"messages": [{**HI, "timestamp": "now"}]}, "messages.0.timestamp"),
    ):
        status, told = await ann.ask("POST", f"/entries/{entry}/adopt", json=body)
        assert (status, list(told["details"])) == (422, [field])
    assert (await ann.ask("POST", f"/entries/{entry}/adopt", data=b"{"))[0] == 400


async def test_every_time_that_can_be_pushed_can_be_adopted(ann: Caller) -> None:
    times = ["2024-05-06t07:08:09.123456789z", "2024-12-31T23:59:60Z", "0001-01-01T00:00:00+14:00"]
    times += ["9999-12-31T23:59:59-23:59"]
    messages = [{**HI, "timestamp": time} for time in times] + [{**HI, "content": "\0"}, {**HI, "content": ""}]
    entry = (await ann.push("c1", messages))["entryId"]
    told = await ann.ok("POST", f"/entries/{entry}/adopt", json={"messages": messages})
    answer = await ann.box.client.get(f"/api/messages/{told['conversationId']}", headers=ann.headers)
    assert len(await answer.json()) == len(messages)
