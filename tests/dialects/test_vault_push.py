"""Pushing: what fits, what does not, and what comes of it."""

from __future__ import annotations

import asyncio
import threading
from io import BytesIO
from typing import Any

import pytest

from backchat.domain.vault import VaultMessage
from backchat.testing.server import Box
from backchat_dialect_vault import messages as checked
from backchat_dialect_vault.fields import PROBLEMS
from vault_http import HI, Caller, caller, logged_in, said, sealed

BOTH = "Send either messages, or encryptedContent with its iv."
REQUIRED = "This field is required."


@pytest.fixture
async def ann(box: Box) -> Caller:
    return await caller(box)


# ---- what comes of it -----------------------------------------------------------------------------------------------


async def test_the_worked_example_of_the_contract(ann: Caller) -> None:
    body = {"chatId": "c1", "platform": "ollama", "title": "SQL help", "messages": said("q")}
    first = await ann.ok("POST", "/push", json=body)
    assert first == {
        "success": True,
        "entryId": first["entryId"],
        "message": "created",
        "version": 1,
        "changed": True,
    }
    again = await ann.ok("POST", "/push", json=body)
    assert again == {**first, "message": "already up to date", "changed": False}
    more = await ann.ok("POST", "/push", json={**body, "messages": said("q", "a")})
    assert more == {**first, "message": "updated to version 2", "version": 2}
    other = await ann.ok("POST", "/push", json={**body, "platform": "chatgpt"})
    assert (other["entryId"] != first["entryId"], other["version"]) == (True, 1)
    pulled = await ann.pull("platform=ollama")
    assert (pulled["total"], pulled["platform"]) == (1, "ollama")
    (entry,) = pulled["entries"]
    assert (entry["id"], entry["messageCount"], entry["title"]) == (first["entryId"], 2, "SQL help")
    assert await ann.opened(entry) == [VaultMessage("user", "q"), VaultMessage("assistant", "a")]
    status, told = await ann.ask("GET", "/pull?limit=101")
    assert (status, told["error"]) == (422, "validation_error")


async def test_details_follow_the_latest_push(ann: Caller) -> None:
    names = ("title", "category", "model", "topic", "tags")
    given = dict(zip(names, ("T", "coding", "m", "t", ["b", "a"]), strict=True))
    await ann.push("c1", **given)

    async def shown() -> dict[str, Any]:
        (entry,) = (await ann.pull())["entries"]
        return {name: entry[name] for name in names}

    assert await shown() == given
    assert (await ann.push("c1"))["changed"] is False, "what is missing stays"
    assert await shown() == given
    told = await ann.push("c1", title="U", tags=["b", "a"])
    assert (told["message"], told["version"], told["changed"]) == ("details updated", 1, True)
    assert await shown() == {**given, "title": "U"}
    assert (await ann.push("c1", **dict.fromkeys(names)))["version"] == 1
    assert await shown() == {"title": "Untitled", "category": None, "model": None, "topic": None, "tags": []}
    assert (await ann.push("c1", tags=[]))["changed"] is False


async def test_tags_are_trimmed_and_there_once_in_their_order(ann: Caller) -> None:
    many = [f"t{n}" for n in range(32)]
    await ann.push("c1", tags=[" b", "a ", "b", "\ta\n", "B"])
    assert (await ann.pull())["entries"][0]["tags"] == ["b", "a", "B"]
    await ann.push("c1", tags=[*many, *many, " " * 99 + "t0"])
    assert (await ann.pull())["entries"][0]["tags"] == many


async def test_the_platform_is_in_small_letters_and_else_the_tokens(ann: Caller, box: Box) -> None:
    assert (await ann.push("c1", platform="LM-Studio"))["version"] == 1
    assert (await ann.push("c1", platform="lm-STUDIO"))["changed"] is False
    assert (await ann.pull("platform=Lm-Studio"))["platform"] == "lm-studio"
    assert await ann.refused("platform", platform=None, messages=[HI]) != []
    theirs = await caller(box, platform="Obsidian")
    await ann.pull()  # leaves them the vault key
    for body in ({"chatId": "c2", "messages": [HI]}, {"chatId": "c2", "messages": [HI], "platform": None}):
        await theirs.ok("POST", "/push", json=body)
    assert await theirs.chats("platform=obsidian") == ["c2"]


async def test_another_version_than_the_current_one(ann: Caller) -> None:
    async def push(base: int, *texts: str) -> tuple[int, Any]:
        body = {"chatId": "c1", "platform": "ollama", "messages": said(*texts), "baseVersion": base}
        return await ann.ask("POST", "/push", json=body)

    assert (await push(1, "a"))[1] == {
        "success": False,
        "error": "conflict",
        "message": "the current version is 0, not the one this was made from",
        "version": 0,
    }
    assert (await push(0, "a"))[1]["version"] == 1
    assert (await push(1, "a", "b"))[1]["version"] == 2
    for base in (0, 1, 3, 2**53 - 1):
        status, told = await push(base, "a", "b", "c")
        assert (status, told["version"]) == (409, 2)
    assert (await push(2, "a"))[1]["version"] == 3
    both = await asyncio.gather(push(3, "left"), push(3, "right"))
    assert sorted(status for status, _ in both) == [200, 409]
    assert all(told["version"] == 4 for _, told in both)


# ---- messages -------------------------------------------------------------------------------------------------------

TIMES = (
    "2024-05-06T07:08:09Z",
    "2024-05-06t07:08:09.123456789z",
    "2024-02-29T23:59:59.5+02:00",
    "2024-12-31T23:59:60Z",
    "2024-12-31T18:59:60-05:00",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-23:59",
)
NO_TIMES = (
    "2024-05-06",
    "2024-05-06T07:08:09",
    "2024-05-06 07:08:09Z",
    "2024-05-06T07:08Z",
    "2024-05-06T07:08:09+0200",
    "2024-05-06T07:08:09+02",
    "2024-02-30T07:08:09Z",
    "2023-02-29T07:08:09Z",
    "2024-13-01T07:08:09Z",
    "2024-00-01T07:08:09Z",
    "2024-01-00T07:08:09Z",
    "0000-01-01T07:08:09Z",
    "2024-05-06T24:00:00Z",
    "2024-05-06T07:60:09Z",
    "2024-05-06T07:08:60Z",
    "2024-05-06T07:08:61Z",
    "2024-05-06T07:08:09+24:00",
    "2024-05-06T07:08:09+02:60",
    "2024-05-06T07:08:09.Z",
    "2024-05-06T07:08:09,5Z",
    "2024-05-06T07:08:09Z\n",
    " 2024-05-06T07:08:09Z",
    "٢٠٢٤-05-06T07:08:09Z",
    "",
    0,
    1714979289,
    True,
    ["2024-05-06T07:08:09Z"],
)


async def test_messages_are_kept_letter_for_letter(ann: Caller) -> None:
    contents = ("", " \n", "\0", "e\u0301 \u00e9", "\U0001f642\u2028\x7f", '"\\/')
    given = [{"role": role, "content": c} for c in contents for role in ("user", "assistant", "system", "tool")]
    given += [{**HI, "timestamp": time} for time in TIMES]
    await ann.push("c1", [*given, {**HI, "timestamp": None, "unknown": [1]}])
    (entry,) = (await ann.pull())["entries"]
    found = await ann.opened(entry)
    assert found == [VaultMessage(m["role"], m["content"], m.get("timestamp")) for m in [*given, HI]]  # type: ignore[arg-type]


async def test_messages_that_do_not_fit(ann: Caller) -> None:
    for time in NO_TIMES:
        (told,) = await ann.refused("messages.1.timestamp", messages=[HI, {**HI, "timestamp": time}])
        assert told == "Must be an RFC 3339 date-time with an offset or Z."
    role: Any
    messages: Any
    for role in ("User", "developer", "", " user", 1, ["user"], None, {}):
        assert await ann.refused("messages.0.role", messages=[{**HI, "role": role}])
    for content in (None, 1, ["a"], {"text": "a"}, True):
        assert await ann.refused("messages.0.content", messages=[{**HI, "content": content}])
    for message in (None, "a", 1, [HI]):
        assert await ann.refused("messages.0", messages=[message])
    for messages in ([], "a", {"0": HI}, 1, False):
        assert await ann.refused("messages", messages=messages)
    assert await ann.refused("messages", messages=None) == [REQUIRED]
    assert await ann.refused("messages") == [REQUIRED]
    assert await ann.chats() == []


async def test_as_many_messages_as_there_may_be(ann: Caller) -> None:
    told = await ann.push("c1", [HI] * 10_000)
    assert told["version"] == 1
    assert (await ann.pull())["entries"][0]["messageCount"] == 10_000
    assert await ann.refused("messages", messages=[HI] * 10_001) == ["Must be 1 to 10000 messages."]


async def test_all_that_is_wrong_is_told_at_once_and_no_end_of_it(ann: Caller) -> None:
    wrong = [{"role": "x"}, HI, {"content": 1, "timestamp": "now"}]
    body = {"chatId": "", "title": 1, "tags": ["a", "", 2], "messages": wrong, "baseVersion": -1, "iv": "x"}
    _, told = await ann.ask("POST", "/push", json=body)
    assert set(told["details"]) == {
        "chatId",
        "title",
        "tags.1",
        "tags.2",
        "baseVersion",
        "iv",
        "messages",
        "messages.0.role",
        "messages.0.content",
        "messages.2.role",
        "messages.2.content",
        "messages.2.timestamp",
    }
    assert told["details"]["messages"] == [BOTH]
    _, told = await ann.ask(
        "POST", "/push", json={"chatId": "c", "platform": "p", "messages": [{**HI, "role": 1}] * 500}
    )
    assert len(told["details"]) == PROBLEMS + 1
    assert told["details"]["messages"] == [f"{500 - PROBLEMS} more do not fit either."]


async def test_large_bodies_are_looked_at_in_a_thread(ann: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop has other things to do meanwhile."""
    found, look = set[int](), checked._wrong

    def seen(given: Any) -> Any:
        found.add(threading.get_ident())
        return look(given)

    monkeypatch.setattr(checked, "_wrong", seen)
    await ann.push("c1", [{**HI, "content": "x" * 100}] * 1000)
    assert found
    assert threading.get_ident() not in found


# ---- bodies ---------------------------------------------------------------------------------------------------------


async def test_bodies_that_are_none(ann: Caller) -> None:
    for data in (b"", b"{", b"\xff", b'{"chatId": "\\ud800"}', b'{"chatId": NaN}', b"[" * 3000, b'{"a": 1} x'):
        status, told = await ann.ask("POST", "/push", data=data)
        assert (status, told["error"]) == (400, "bad_request")
        assert "details" not in told
    for data in (b"[]", b'"a"', b"1", b"null"):
        status, told = await ann.ask("POST", "/push", data=data)
        assert (status, told["details"]) == (422, {"body": ["The body must be a JSON object."]})
    status, told = await ann.ask(
        "POST", "/push", headers={"Content-Type": "multipart/form-data; boundary=x"}, data=b"x"
    )
    assert (status, told["error"]) == (415, "unsupported_media_type")


async def test_how_large_a_body_may_be(ann: Caller) -> None:
    def body(size: int) -> bytes:
        start, end = b'{"chatId":"c1","platform":"p","messages":[{"role":"user","content":"', b'"}]}'
        return start + b"x" * (size - len(start) - len(end)) + end

    assert (await ann.ask("POST", "/push", data=BytesIO(body(10 << 20))))[0] == 200
    for path in ("/push", "/entries/1/adopt"):
        status, told = await ann.ask("POST", path, data=BytesIO(body((10 << 20) + 1)))
        assert (status, told["error"]) == (413, "payload_too_large")

    async def unannounced() -> Any:
        yield body((10 << 20) + 1)

    status, told = await ann.ask("POST", "/push", data=unannounced())
    assert (status, told["error"]) == (413, "payload_too_large")


async def test_what_is_looked_at_first(box: Box) -> None:
    """Each of these is wrong in all the ways after its own as well."""
    ann = await caller(box)
    await ann.ok("POST", "/push", json=sealed("a", platform="p"))
    waiting = await caller(box)
    used = sealed("b", iv=sealed("a")["iv"])
    big = (10 << 20) + 1

    async def told(who: Caller, **more: Any) -> str:
        status, told = await who.ask("POST", "/push", **more)
        return f"{status} {' '.join(told.get('details', ()))}".strip()

    assert await told(Caller(box, ""), data=BytesIO(bytes(big))) == "401"
    assert await told(await caller(box, scopes=["pull"]), data=BytesIO(bytes(big))) == "403"
    assert await told(waiting, data=BytesIO(bytes(big))) == "413"
    assert await told(waiting, data=b"x") == "400"
    assert await told(waiting, json={"chatId": "", "messages": [HI], "baseVersion": 9}) == "422 chatId"
    assert (
        await told(await logged_in(box, "mia"), json={"chatId": "c1", "messages": [HI], "baseVersion": 9})
        == "422 platform"
    )
    assert (
        await told(await logged_in(box), json={"chatId": "c1", "platform": "p", "messages": [HI], "baseVersion": 9})
        == "403"
    )
    assert await told(ann, json={**used, "platform": "p", "baseVersion": 9}) == "409"
