"""The vault key on its way to tokens: wrapped, waited for, recovered, renewed, and taken away."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from backchat.domain.vault import VaultMessage
from backchat.sealing.binary import from_text
from backchat.testing.server import Box
from backchat_dialect_vault.routes import DIALECT
from vault_http import HI, Caller, caller, logged_in, said, sealed

TOKEN = {"id", "name", "platform", "scopes", "createdAt", "expiresAt", "hasKey"}


@pytest.fixture
async def ann(box: Box) -> Caller:
    return await caller(box)


async def has_key(who: Caller) -> bool:
    status, told = await who.ask("GET", "/vault/key")
    assert status == 200 or (status, told["error"]) == (403, "forbidden")
    return status == 200


async def issued(by: Caller, **body: Any) -> Caller:
    return Caller(by.box, (await by.ok("POST", "/vault/tokens", json={"name": "new", **body}))["token"])


# ---- the wrapped key ------------------------------------------------------------------------------------------------


async def test_the_wrap_opens_as_the_contract_says(box: Box) -> None:
    """By the letters of its section 2, without a line of ours."""
    ann = await caller(box, platform="LM-Studio")
    told = await ann.ok("GET", "/vault/key")
    assert set(told) == {"keyId", "wrappedKey", "iv", "kdf", "info", "platform"}
    assert (told["kdf"], told["info"], told["platform"]) == ("HKDF-SHA256", "backspace-kek-v1", "lm-studio")
    _, id, secret = ann.token.split("_", 2)
    kek = HKDF(SHA256(), 32, id.encode(), b"backspace-kek-v1").derive(secret.encode())
    about = f"backspace:wrap:v1:{id}:{told['keyId']}".encode()
    assert len(told["wrappedKey"]) == 64
    key = AESGCM(kek).decrypt(from_text(told["iv"]), from_text(told["wrappedKey"]), about)
    assert key == (await ann.key()).secret
    assert len(key) == 32
    assert await ann.ok("GET", "/vault/key") == told, "it is made once"
    assert await ann.ok("GET", f"/vault/key?keyId={told['keyId']}") == told


async def test_keys_that_there_are_not(ann: Caller, box: Box) -> None:
    mine = (await ann.ok("GET", "/vault/key"))["keyId"]
    bob = await caller(box, "bob")
    for who, id in ((ann, "none"), (ann, "%20"), (ann, "x" * 300), (ann, "é"), (bob, mine)):
        status, told = await who.ask("GET", f"/vault/key?keyId={id}")
        assert (status, told["error"]) == (404, "not_found"), id


async def test_the_keys_that_a_token_has(ann: Caller, box: Box) -> None:
    first = (await ann.key()).id
    late = await caller(box, scopes=["pull"])
    assert await late.ok("GET", "/vault/keys") == {"keys": [], "total": 0}
    assert (await ann.ok("GET", "/vault/keys"))["total"] == 1
    told = await late.ok("GET", "/vault/keys")  # it was left the key by the request before
    assert [(key["id"], key["current"]) for key in told["keys"]] == [(first, True)]
    second = (await ann.ok("POST", "/vault/key/rotate", json={}))["keyId"]
    for who in (ann, late):
        told = await who.ok("GET", "/vault/keys")
        assert [(key["id"], key["current"]) for key in told["keys"]] == [(first, False), (second, True)]
        assert told["total"] == 2
        assert all(set(key) == {"id", "createdAt", "current"} for key in told["keys"])
        times = [datetime.fromisoformat(key["createdAt"]) for key in told["keys"]]
        assert times == sorted(times)
    bobs = await (await caller(box, "bob")).ok("GET", "/vault/keys")
    assert {key["id"] for key in bobs["keys"]}.isdisjoint((first, second))
    assert await (await logged_in(box)).ok("GET", "/vault/keys") == {"keys": [], "total": 0}


async def test_who_has_no_token_has_no_key(box: Box) -> None:
    eve = await logged_in(box)
    assert not await has_key(eve)
    for method, path, body in (
        ("POST", "/vault/key/rotate", {}),
        ("POST", "/vault/recovery", None),
    ):
        status, told = await eve.ask(method, path, json=body)
        assert (status, told["error"]) == (403, "forbidden")
        assert "token" in told["message"]


# ---- tokens ---------------------------------------------------------------------------------------------------------


async def test_a_token_that_is_issued_has_the_key_at_once(ann: Caller) -> None:
    body = {
        "name": " Notebook ",
        "platform": "Ollama",
        "scopes": ["pull", "pull"],
        "expiresAt": "2099-01-01T00:00:00+01:00",
    }
    answer = await ann.raw("POST", "/vault/tokens", json=body)
    told = await answer.json()
    assert answer.status == 201
    assert set(told) == {"success", "token", *TOKEN}
    assert {n: told[n] for n in ("name", "platform", "scopes", "expiresAt", "hasKey")} == {
        "name": "Notebook",
        "platform": "ollama",
        "scopes": ["pull"],
        "expiresAt": "2098-12-31T23:00:00.000Z",
        "hasKey": True,
    }
    other = Caller(ann.box, told["token"])
    assert await other.key() == await ann.key()
    listed = await other.ok("GET", "/vault/tokens")
    assert listed["total"] == 2
    assert all(set(t) == TOKEN for t in listed["tokens"])
    assert {n: v for n, v in told.items() if n in TOKEN} in listed["tokens"]


async def test_a_token_may_do_no_more_than_the_one_that_issues_it(ann: Caller, box: Box) -> None:
    soon = datetime.now(UTC) + timedelta(days=1)
    small = await caller(box, scopes=["push"], expires=soon)
    await ann.pull()
    told = await small.ok("POST", "/vault/tokens", json={"name": "n"})
    assert told["scopes"] == ["push"]
    assert datetime.fromisoformat(told["expiresAt"]) == soon.replace(microsecond=soon.microsecond // 1000 * 1000)
    body: Any
    for body in (
        {"scopes": ["pull"]},
        {"scopes": []},
        {"scopes": ["push", "vault"]},
        {"expiresAt": "2099-01-01T00:00:00Z"},
    ):
        status, _ = await small.ask("POST", "/vault/tokens", json={"name": "n", **body})
        assert status in (403, 422), body
    mine = (await ann.ok("GET", "/vault/tokens"))["tokens"][0]["id"]
    assert (await small.ask("DELETE", f"/vault/tokens/{mine}"))[0] == 403
    assert (await ann.ok("GET", "/vault/tokens"))["total"] == 3


async def test_tokens_that_cannot_be_issued(ann: Caller) -> None:
    body: Any
    for field, values in {
        "name": (None, "", "  ", "x" * 101, "a\nb", "\0", 1, ["n"]),
        "platform": ("", " ", "x" * 65, "a\0", 1),
        "scopes": ("push", {"push": True}, 1),
        "scopes.0": ([""], [" "], [1], [None], ["x" * 101]),
        "expiresAt": ("2099-01-01", "now", "2099-02-30T00:00:00Z", 4070908800, "2016-12-31T23:59:60Z", ""),
        "recoveryKey": (1, ["bsr"], "bsr_a_b", "", "nothing"),
    }.items():
        for value in values:
            body = {"name": "n", field.partition(".")[0]: value}
            status, told = await ann.ask("POST", "/vault/tokens", json=body)
            assert (status, list(told["details"])) == (422, [field]), (field, value)
    for body, field in (
        ({"name": "n", "scopes": ["Not A Scope"]}, "scopes"),
        ({"name": "n", "expiresAt": "2020-01-01T00:00:00Z"}, "expiresAt"),
        ({}, "name"),
    ):
        status, told = await ann.ask("POST", "/vault/tokens", json=body)
        assert (status, list(told["details"])) == (422, [field])
    assert (await ann.ok("GET", "/vault/tokens"))["total"] == 1


async def test_a_token_that_is_made_elsewhere_waits_for_its_key(ann: Caller, box: Box) -> None:
    await ann.push("c1")
    waiting = await caller(box)
    assert not await has_key(waiting)
    status, told = await waiting.ask("POST", "/push", json={"chatId": "c2", "platform": "p", "messages": [HI]})
    assert (status, told["error"]) == (403, "forbidden")
    assert await waiting.chats() == ["c1"]
    await waiting.ok("POST", "/push", json=sealed("a", chat="c3"))
    assert {t["hasKey"] for t in (await waiting.ok("GET", "/vault/tokens"))["tokens"]} == {True, False}
    await ann.ask("GET", "/entries/99")  # any request: this one finds nothing
    assert await waiting.key() == await ann.key()
    await waiting.push("c2")
    assert {t["hasKey"] for t in (await ann.ok("GET", "/vault/tokens"))["tokens"]} == {True}


async def test_a_revoked_token_is_none(ann: Caller) -> None:
    other = await issued(ann)
    id = other.token.split("_")[1]
    assert await has_key(other)
    answer = await ann.raw("DELETE", f"/vault/tokens/{id}")
    assert (answer.status, await answer.read()) == (204, b"")
    assert (await other.ask("GET", "/vault/key"))[0] == 401
    assert [t["name"] for t in (await ann.ok("GET", "/vault/tokens"))["tokens"]] == ["test"]
    for gone in ("none", "%20", "%00", "x" * 300, "é"):
        assert (await ann.ask("DELETE", f"/vault/tokens/{gone}"))[0] == 404


async def test_tokens_of_others_are_not_there(ann: Caller, box: Box) -> None:
    bob = await caller(box, "bob")
    id = ann.token.split("_")[1]
    assert (await bob.ask("DELETE", f"/vault/tokens/{id}"))[0] == 404
    assert await has_key(ann)
    assert [t["id"] for t in (await bob.ok("GET", "/vault/tokens"))["tokens"]] == [bob.token.split("_")[1]]


# ---- recovery and rotation ------------------------------------------------------------------------------------------


async def test_recovering(ann: Caller, box: Box) -> None:
    await ann.push("c1", said("a"))
    before = await ann.key()
    answer = await ann.raw("POST", "/vault/recovery")
    told = await answer.json()
    assert (answer.status, set(told), told["success"]) == (201, {"success", "recoveryKey"}, True)
    await ann.ok("DELETE", f"/vault/tokens/{ann.token.split('_')[1]}")
    new = await caller(box)
    assert not await has_key(new)
    for wrong in (
        "",
        "nothing",
        new.token,
        told["recoveryKey"][:-1] + "~",
        told["recoveryKey"][:-1],
        "bsr_x_" + "y" * 43,
    ):
        status, said_of = await new.ask("POST", "/vault/recover", json={"recoveryKey": wrong})
        assert (status, list(said_of["details"])) == (422, ["recoveryKey"]), wrong
        assert not wrong or wrong not in str(said_of)
    recovered = await new.ok("POST", "/vault/recover", json={"recoveryKey": told["recoveryKey"]})
    assert recovered == {"success": True, "keyId": before.id}
    assert await new.key() == before
    (entry,) = (await new.pull())["entries"]
    assert await new.opened(entry) == [VaultMessage("user", "a")]
    bob = await caller(box, "bob")
    assert (await bob.ask("POST", "/vault/recover", json={"recoveryKey": told["recoveryKey"]}))[0] == 422


async def test_there_is_one_recovery_key(ann: Caller, box: Box) -> None:
    first, second = [(await ann.ok("POST", "/vault/recovery"))["recoveryKey"] for _ in range(2)]
    assert (await ann.ask("POST", "/vault/recover", json={"recoveryKey": first}))[0] == 422
    await ann.ok("POST", "/vault/recover", json={"recoveryKey": second})
    waiting = await caller(box)
    token = await waiting.ok("POST", "/vault/tokens", json={"name": "n", "recoveryKey": second})
    assert token["hasKey"] is True
    assert await Caller(box, token["token"]).key() == await ann.key()
    for wrong in (None, 1, ["a"]):
        status, told = await ann.ask("POST", "/vault/recover", json={"recoveryKey": wrong})
        assert (status, list(told["details"])) == (422, ["recoveryKey"])
    assert (await ann.ask("POST", "/vault/recover", json={}))[1]["details"].keys() == {"recoveryKey"}


async def test_rotating(ann: Caller) -> None:
    other = await issued(ann)
    await ann.push("c1", said("old"))
    old = await ann.key()
    told = await ann.ok("POST", "/vault/key/rotate")
    new = await ann.key()
    assert told == {"success": True, "keyId": new.id}
    assert new.secret != old.secret
    await ann.push("c2", said("new"))
    for who in (ann, other):
        assert (await who.key(), await who.key(old.id)) == (new, old)
        entries = {e["chatId"]: e for e in (await who.pull())["entries"]}
        assert {chat: e["keyId"] for chat, e in entries.items()} == {"c1": old.id, "c2": new.id}
        assert [(await who.opened(entries[c]))[0].content for c in ("c1", "c2")] == ["old", "new"]
    assert (await ann.push("c1", said("old")))["changed"] is False
    for body in ({"abandon": 1}, {"abandon": "true"}, {"abandon": None}):
        status, refused = await ann.ask("POST", "/vault/key/rotate", json=body)
        assert (status, list(refused["details"])) == (422, ["abandon"])


async def test_when_all_is_lost(ann: Caller, box: Box) -> None:
    await ann.push("c1")
    waiting = await caller(box)
    status, told = await waiting.ask("POST", "/vault/key/rotate")
    assert (status, told["error"]) == (403, "forbidden")
    status, told = await waiting.ask("POST", "/vault/key/rotate", json={"abandon": True})
    assert (status, told["error"]) == (409, "conflict")
    assert "version" not in told
    await box.services.accounts.revoke_key(ann.token.split("_")[1])
    made = (await waiting.ok("POST", "/vault/key/rotate", json={"abandon": True}))["keyId"]
    assert (await waiting.key()).id == made
    (entry,) = (await waiting.pull())["entries"]
    assert (await waiting.ask("GET", f"/vault/key?keyId={entry['keyId']}"))[0] == 403
    await waiting.push("c2")


# ---- scopes ---------------------------------------------------------------------------------------------------------

PUSH, EITHER, PULL = {"push", "vault", ""}, {"push", "pull", "vault", ""}, {"pull", "vault", ""}
"""Scopes of keys that may; the empty word is for a key that has none."""
MAY = {
    "POST /push": PUSH,
    "GET /pull": PULL,
    "GET /entries/{entryId}": PULL,
    "DELETE /entries/{entryId}": PUSH,
    "GET /entries/{entryId}/versions": PULL,
    "GET /entries/{entryId}/versions/{version}": PULL,
    "POST /entries/{entryId}/adopt": PUSH,
    "GET /vault/key": EITHER,
    "GET /vault/keys": EITHER,
    "POST /vault/key/rotate": PUSH,
    "POST /vault/recovery": PUSH,
    "POST /vault/recover": EITHER,
    "GET /vault/tokens": EITHER,
    "POST /vault/tokens": PUSH,
    "DELETE /vault/tokens/{tokenId}": PUSH,
}


async def test_what_a_key_with_a_scope_may(box: Box) -> None:
    assert {f"{r.method} {r.path}" for r in DIALECT.routes} == set(MAY)
    for scope in ("push", "pull", "vault", "chat", ""):
        who = await caller(box, "ann", scopes=[scope] if scope else [])
        for route in DIALECT.routes:
            path = route.path.format(entryId=99, version=1, tokenId="none") if "{" in route.path else route.path
            status, told = await who.ask(route.method, path, data=b"x" if route.body is not None else None)
            name = f"{route.method} {route.path}"
            lacks = status == 403 and "limited to" in told["message"]  # else it is for want of a vault key
            assert lacks == (scope not in MAY[name]), (scope, name, told)
