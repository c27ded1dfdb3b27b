"""The fields of a push, and pushes that their sender has sealed."""

from __future__ import annotations

from typing import Any

import pytest

from backchat.domain.vault import VaultMessage
from backchat.testing.server import Box
from vault_http import HI, Caller, caller, logged_in, said, sealed

BOTH = "Send either messages, or encryptedContent with its iv."
REQUIRED = "This field is required."


@pytest.fixture
async def ann(box: Box) -> Caller:
    return await caller(box)


# ---- fields ---------------------------------------------------------------------------------------------------------

LONGEST = {"chatId": 255, "title": 500, "category": 64, "model": 128, "topic": 200, "platform": 64}


async def test_how_long_texts_may_be(ann: Caller) -> None:
    text: Any
    for field, most in LONGEST.items():
        for text in ("x" * most, "\U0001f642" * most, "x", " "):
            await ann.push("c", **{field: text})
        for text in ("x" * (most + 1), "\0", "a\0b", 1, True, ["x"], {}):
            assert await ann.refused(field, **{"messages": [HI], field: text})
        status, _ = await ann.ask("POST", "/push", json={"chatId": "d", "platform": "p", "messages": [HI], field: ""})
        assert status == (422 if field in ("chatId", "platform") else 200)


async def test_texts_are_kept_as_they_are(ann: Caller) -> None:
    given = {"title": " T\n", "category": " C ", "model": "m ", "topic": "\tt", "chatId": " c\u0301\u2028 "}
    await ann.push("", **given)
    (entry,) = (await ann.pull())["entries"]
    assert {name: entry[name] for name in given} == given
    assert (await ann.push(given["chatId"].strip()))["message"] == "created"
    await ann.push("c", title="")
    assert (await ann.pull("chatId=c"))["entries"][0]["title"] == ""


async def test_tags_that_do_not_fit(ann: Caller) -> None:
    for tags in ("a", {"0": "a"}, 1):
        assert await ann.refused("tags", messages=[HI], tags=tags) == ["Must be a list."]
    for tag in ("", " ", "x" * 65, "a\0", 1, None, ["a"]):
        assert await ann.refused("tags.1", messages=[HI], tags=["a", tag])
    assert await ann.refused("tags", messages=[HI], tags=[f"t{n}" for n in range(33)]) == ["Must be at most 32."]
    await ann.push("c1", tags=["x" * 64, "  " + "y" * 64])


@pytest.mark.any_storage
async def test_a_list_of_tags_that_is_too_long_is_not_looked_at(ann: Caller) -> None:
    """A body of the largest size has five million of them."""
    assert await ann.refused("tags", messages=[HI], tags=[1] * 1001) == ["Must be at most 32."]
    assert await ann.refused("tags", messages=[HI], tags=["a"] * 1001) == ["Must be at most 32."]
    await ann.push("c1", tags=["a"] * 1000)
    status, told = await ann.ask("POST", "/vault/tokens", json={"name": "n", "scopes": [1] * 1001})
    assert (status, told["details"]) == (422, {"scopes": ["Must be at most 32."]})


async def test_the_length_of_a_platform_is_that_of_its_stored_form(ann: Caller) -> None:
    """Which is in small letters: of some letters that is two."""
    await ann.push("c1", platform="İ" * 32)
    (entry,) = (await ann.pull())["entries"]
    assert entry["platform"] == "i\u0307" * 32
    assert await ann.refused("platform", messages=[HI], platform="İ" * 33) == ["Must have at most 64 characters."]
    status, told = await ann.ask("POST", "/vault/tokens", json={"name": "n", "platform": "İ" * 33})
    assert (status, set(told["details"])) == (422, {"platform"})


@pytest.mark.any_storage
async def test_times_that_are_none_in_utc(ann: Caller) -> None:
    for time in ("9999-12-31T23:59:59-10:00", "0001-01-01T00:00:00+10:00"):
        status, told = await ann.ask("POST", "/vault/tokens", json={"name": "n", "expiresAt": time})
        assert (status, set(told["details"])) == (422, {"expiresAt"})
        # Of a message it is no time that anybody computes with.
        await ann.push("c1", [{**HI, "timestamp": time}])


@pytest.mark.any_storage
async def test_other_fields_that_do_not_fit(ann: Caller) -> None:
    version: Any
    for version in (-1, 1.0, "1", True, 2**53, 10**30, []):
        assert await ann.refused("baseVersion", messages=[HI], baseVersion=version)
    status, told = await ann.ask("POST", "/push", json={"platform": "p", "messages": [HI]})
    assert (status, told["details"]) == (422, {"chatId": [REQUIRED]})
    status, told = await ann.ask("POST", "/push", json={"chatId": None, "platform": "p", "messages": [HI]})
    assert (status, set(told["details"])) == (422, {"chatId"})


async def test_unknown_fields_are_ignored(ann: Caller) -> None:
    await ann.push("c1", nothing={"a": [1]}, id=7, entryId=7, version="x", updatedAt=None)
    assert await ann.chats() == ["c1"]


# ---- sealed ---------------------------------------------------------------------------------------------------------


async def test_a_sealed_push_is_kept_byte_for_byte(ann: Caller) -> None:
    body = sealed("Hello", keyId="my-key_1", contentHash="0" * 64, title="T")
    told = await ann.ok("POST", "/push", json=body)
    (entry,) = (await ann.pull())["entries"]
    assert (entry["id"], entry["title"], entry["messageCount"]) == (told["entryId"], "T", 1)
    assert {name: entry[name] for name in body} == body | {"contentHash": "0" * 64}


async def test_a_sealed_push_is_sealed_for_all_tokens_of_the_user(ann: Caller, box: Box) -> None:
    """What one token seals under the vault key, another one opens, and the server recognises in a plain push."""
    key = await ann.key()
    pushed = await ann.push("c1", said("Hello"))
    (entry,) = (await ann.pull())["entries"]
    body = sealed("Hello", key=key, keyId=key.id, contentHash=entry["contentHash"])
    assert await ann.ok("POST", "/push", json=body) == {
        **pushed,
        "message": "already up to date",
        "changed": False,
    }
    other = await caller(box)
    await ann.pull()
    await ann.ok(
        "POST", "/push", json=sealed("Hello", key=key, keyId=key.id, contentHash=entry["contentHash"], chat="c2")
    )
    (entry,) = (await other.pull("chatId=c2"))["entries"]
    assert await other.opened(entry) == [VaultMessage("user", "Hello")]


async def test_what_makes_a_sealed_push_a_new_version(ann: Caller) -> None:
    async def push(body: Any) -> tuple[int, bool]:
        told = await ann.ok("POST", "/push", json=body)
        return told["version"], told["changed"]

    first = sealed("a")
    assert await push(first) == (1, True)
    assert await push(first) == (1, False), "the very bytes"
    assert await push({**first, "title": "T"}) == (1, True)
    assert await push(sealed("a")) == (2, True), "nobody can tell"
    assert await push(sealed("a", contentHash="a" * 64)) == (3, True)
    assert await push(sealed("a", contentHash="a" * 64)) == (3, False)
    assert await push(sealed("a", contentHash="b" * 64)) == (4, True)
    assert await push(sealed("a", messageCount=0)) == (5, True)


async def test_an_iv_is_used_once(ann: Caller) -> None:
    first = sealed("a")
    await ann.ok("POST", "/push", json=first)
    for other in (sealed("b", iv=first["iv"]), sealed("b", chat="c2", iv=first["iv"], platform="p", keyId=None)):
        status, told = await ann.ask("POST", "/push", json=other)
        assert (status, set(told["details"])) == (422, {"iv"})
    assert (await ann.pull())["total"] == 1
    await ann.ok("POST", "/push", json=sealed("b", iv=first["iv"], keyId="another"))


@pytest.mark.any_storage
async def test_sealed_fields_that_do_not_fit(ann: Caller) -> None:
    good = sealed("a")
    for name in ("encryptedContent", "messageCount"):
        assert await ann.refused(name, **{**good, name: None}) == [REQUIRED]
        assert await ann.refused(name, **{n: v for n, v in good.items() if n != name}) == [REQUIRED]
    assert await ann.refused("iv", **sealed("a", iv=None)) == [REQUIRED]
    spelled = (
        "",
        "sLGys7S1tre4ubq",
        "sLGys7S1tre4ubq7\n",
        " sLGys7S1tre4ubq7",
        "sLGys7S1tre4ubq7=",
        "-_Gys7S1tre4ubq7",
    )
    for iv in (*spelled, "sLGys7S1tre4ubo=", "sLGys7S1tre4ubq7AA==", 12, ["sLGys7S1tre4ubq7"], "é"):
        assert await ann.refused("iv", **{**good, "iv": iv})
    for data in (
        "",
        "AAAA",
        "A" * 20,
        "A" * 22 + "==" + "A" * 4,
        "A" * 23 + "\n",
        "A" * 21 + "B==",
        "A" * 24 + "-_==",
        1,
    ):
        assert await ann.refused("encryptedContent", **{**good, "encryptedContent": data}), data
    await ann.ok("POST", "/push", json={**good, "encryptedContent": "A" * 22 + "=="})
    count: Any
    for count in (-1, 1.0, "1", True, 2**53, []):
        assert await ann.refused("messageCount", **{**good, "messageCount": count})
    for digest in ("", "A" * 64, "a" * 63, "a" * 65, "g" * 64, "a" * 64 + "\n", 1):
        assert await ann.refused("contentHash", **{**good, "contentHash": digest})
    for key in ("", "k" * 65, "a b", "a.b", "a\n", "é", 1):
        assert await ann.refused("keyId", **{**good, "keyId": key})


async def test_every_length_of_sealed_content(ann: Caller) -> None:
    """Base64 of it ends in three ways."""
    for size in (16, 17, 18, 19, 20):
        body = sealed("x" * size, chat=f"c{size}")
        await ann.ok("POST", "/push", json=body)
        (entry,) = (await ann.pull(f"chatId=c{size}"))["entries"]
        assert entry["encryptedContent"] == body["encryptedContent"]


@pytest.mark.any_storage
async def test_both_forms_and_neither(ann: Caller) -> None:
    assert await ann.refused("messages", **sealed("a", messages=[HI])) == [BOTH]
    assert await ann.refused("messages", messages=[HI], iv=sealed("a")["iv"]) == [BOTH]
    assert await ann.refused("messages", messageCount=1, contentHash="a" * 64) == [REQUIRED]
    await ann.ok("POST", "/push", json=sealed("a", messages=None, keyId=None, contentHash=None, baseVersion=None))
    nothing = dict.fromkeys(("iv", "encryptedContent", "messageCount", "contentHash", "keyId", "baseVersion"))
    assert (await ann.push("c2", **nothing))["changed"] is True


async def test_who_has_no_token_can_push_sealed_only(box: Box) -> None:
    eve = await logged_in(box)
    await eve.ok("POST", "/push", json=sealed("a"))
    assert await eve.chats() == ["c1"]
    status, told = await eve.ask("POST", "/push", json={"chatId": "c1", "platform": "p", "messages": [HI]})
    assert (status, told["error"]) == (403, "forbidden")
    status, told = await eve.ask("POST", "/push", json=sealed("a", platform=None))
    assert (status, set(told["details"])) == (422, {"platform"})
