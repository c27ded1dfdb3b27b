"""How errors look, what no answer repeats, and what holds for every answer."""

from __future__ import annotations

import asyncio
import re
from io import BytesIO
from typing import Any

import pytest
from openapi_spec_validator import validate

from backchat.errors import Draining
from backchat.services.vault import Vault
from backchat.testing.plugin import Serve
from backchat.testing.server import Box
from backchat.web.dialect import Route
from backchat_dialect_vault.routes import DIALECT
from vault_http import HI, Caller, caller

NO_STORE = "no-store"
WORD = "xylophone"


@pytest.fixture
async def ann(box: Box) -> Caller:
    return await caller(box)


def path_of(route: Route) -> str:
    return re.sub(r"{\w+}", "99", route.path)


@pytest.mark.any_storage
async def test_no_answer_is_to_be_kept(ann: Caller, box: Box) -> None:
    """Whatever its status, of every route and of paths and methods that there are not."""
    statuses = set[int]()
    limited = await caller(box, scopes=["chat"])
    await ann.push("c1")
    for who in (Caller(box, ""), Caller(box, "bsk_x"), limited, ann):
        for route in DIALECT.routes:
            for body in (
                b"{}",
                b"{",
                b'{"chatId":"c1","platform":"p","messages":[{"role":"user","content":""}],"name":"n"}',
            ):
                if body != b"{}" and route.body is None:
                    continue
                answer = await who.raw(route.method, path_of(route), data=body if route.body is not None else None)
                assert answer.headers["Cache-Control"] == NO_STORE, (route, answer.status)
                statuses.add(answer.status)
    others = [("GET", ""), ("GET", "/"), ("GET", "/nothing"), ("PUT", "/push"), ("GET", "/push/"), ("HEAD", "/pull")]
    others += [("GET", "/entries"), ("PATCH", "/entries/1"), ("OPTIONS", "/pull"), ("DELETE", "/entries/1")]
    for method, path in others:
        answer = await ann.raw(method, path)
        assert answer.headers["Cache-Control"] == NO_STORE, (method, path)
        statuses.add(answer.status)
    big = await ann.raw("POST", "/push", data=BytesIO(bytes((10 << 20) + 1)))
    form = await ann.raw("POST", "/push", data=b"x", headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert [a.headers["Cache-Control"] for a in (big, form)] == [NO_STORE] * 2
    assert {200, 201, 204, 400, 401, 403, 404, 405, 422} <= statuses
    assert "Cache-Control" not in (await box.client.get("/healthz")).headers


async def test_who_is_not_known(ann: Caller, box: Box) -> None:
    expired = {"Authorization": "Bearer bsk_" + "0" * 12 + "_" + "0" * 43}
    for headers in (
        {},
        {"Authorization": "Bearer bsk_x"},
        {"Authorization": "Basic eA=="},
        expired,
        {"X-API-Key": "x"},
    ):
        for route in DIALECT.routes:
            answer = await box.client.request(route.method, "/api/v1" + path_of(route), headers=headers)
            told = await answer.json()
            assert (answer.status, told["error"]) == (401, "unauthorized")
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert set(told) == {"success", "error", "message"}
            assert told["success"] is False


@pytest.mark.any_storage
async def test_tokens_come_in_headers(ann: Caller, box: Box) -> None:
    """An address is easily kept somewhere, and a token opens the vault."""
    assert (await box.client.get("/api/v1/pull", params={"token": ann.token})).status == 401
    assert (await box.client.get("/api/v1/pull", headers={"X-API-Key": ann.token})).status == 200
    answer = await box.client.get("/api/v1/vault/key", headers={"X-API-Key": ann.token})
    assert (await answer.json())["keyId"] == (await ann.key()).id


@pytest.mark.any_storage
async def test_shapes(ann: Caller, box: Box) -> None:
    limited = await caller(box, scopes=["pull"])
    for who, method, path, more, status, error in (
        (ann, "GET", "/entries/99", {}, 404, "not_found"),
        (ann, "GET", "/nothing", {}, 404, "not_found"),
        (ann, "PUT", "/push", {}, 405, "method_not_allowed"),
        (ann, "POST", "/push", {"data": b"{"}, 400, "bad_request"),
        (limited, "POST", "/push", {"json": {}}, 403, "forbidden"),
    ):
        told = await who.ask(method, path, **more)
        assert told[0] == status
        assert told[1] == {"success": False, "error": error, "message": told[1]["message"]}
        assert isinstance(told[1]["message"], str)
        assert told[1]["message"]
    assert (await ann.raw("PUT", "/push")).headers["Allow"] == "POST"
    assert (await ann.raw("PATCH", "/entries/1")).headers["Allow"] == "DELETE,GET"
    told = await ann.ask("POST", "/push", json={"chatId": 1})
    assert set(told[1]) == {"success", "error", "message", "details"}


@pytest.mark.any_storage
async def test_what_was_sent_is_not_repeated(ann: Caller, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor logged, whatever is wrong with it."""
    heard = ""
    message = {"role": WORD, "content": [WORD], "timestamp": WORD}
    for body in (
        {"chatId": [WORD], "title": [WORD], "tags": [[WORD]], "platform": f"{WORD}\0", "messages": [message, WORD]},
        {"chatId": WORD * 99, "title": WORD * 99, "model": WORD * 99, "tags": [WORD * 9], "messages": WORD, "iv": WORD},
        {"encryptedContent": WORD, "contentHash": WORD, "keyId": f"{WORD} ", "messageCount": WORD, "baseVersion": WORD},
        {"chatId": WORD, "messages": [{**HI, "content": WORD}]},
        {"chatId": WORD, "messages": [{**HI, "content": WORD}], "platform": WORD, "title": WORD, "baseVersion": 7},
        {"name": f"{WORD}\n", "scopes": [[WORD]], "expiresAt": WORD, "recoveryKey": WORD, "abandon": WORD},
    ):
        for route in DIALECT.routes:
            if route.body is not None:
                answer = await ann.raw(route.method, path_of(route), json=body)
                heard += await answer.text() + str(answer.headers)
    for query in (f"limit={WORD}", f"search={WORD}%00", f"tag={WORD * 9}", f"search={WORD}&offset={WORD}"):
        heard += await (await ann.raw("GET", f"/pull?{query}")).text()
    heard += await (await ann.raw("GET", f"/vault/key?keyId={WORD}")).text()
    heard += await (await ann.raw("GET", f"/entries/{WORD}")).text()
    heard += await (await ann.raw("POST", "/push", data=f'{{"chatId": "{WORD}"')).text()
    assert WORD not in heard
    assert "validation_error" in heard
    logged = [line for line in capsys.readouterr().err.splitlines() if f'"path":"/api/v1/entries/{WORD}"' not in line]
    assert logged
    assert not [line for line in logged if WORD in line]


async def test_faults_of_the_server_say_nothing(
    ann: Caller, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError(WORD)

    monkeypatch.setattr(Vault, "push", broken)
    answer = await ann.raw("POST", "/push", json={"chatId": "c", "platform": "p", "messages": [HI]})
    assert (answer.status, answer.headers["Cache-Control"]) == (500, NO_STORE)
    assert await answer.json() == {"success": False, "error": "internal_error", "message": "internal error"}
    assert WORD not in capsys.readouterr().err

    async def ending(*_: Any, **__: Any) -> None:
        raise Draining("the server is shutting down", retry_after=5)

    monkeypatch.setattr(Vault, "push", ending)
    answer = await ann.raw("POST", "/push", json={"chatId": "c", "platform": "p", "messages": [HI]})
    assert (answer.status, (await answer.json())["error"], answer.headers["Retry-After"]) == (503, "unavailable", "5")


async def test_how_often(serve: Serve) -> None:
    dialect = {"use": "vault", "push_per_user": "2/minute", "pull_per_user": "3/hour"}
    box = await serve({"dialects": ["workspaces", dialect]})
    ann, bob = await caller(box), await caller(box, "bob")
    other = await caller(box)
    await ann.push("c1")
    await ann.ask("POST", "/push", data=b"{")
    for who in (ann, other):
        answer = await who.raw("POST", "/push", data=b"{")
        told = await answer.json()
        assert (answer.status, told["error"], answer.headers["Cache-Control"]) == (429, "rate_limited", NO_STORE)
        assert 0 < int(answer.headers["Retry-After"]) <= 60
    await bob.push("c1")
    for path in ("/pull", "/entries/1", "/entries/1/versions"):
        assert (await ann.ask("GET", path))[0] == 200
    for path in ("/pull", "/entries/1", "/entries/1/versions", "/entries/1/versions/1"):
        assert (await ann.ask("GET", path))[0] == 429
    assert (await ann.ask("GET", "/vault/tokens"))[0] == 200
    assert (await ann.ask("DELETE", "/entries/1"))[0] == 204
    assert (await bob.ask("GET", "/pull"))[0] == 200


@pytest.mark.any_storage
async def test_a_server_may_take_less(serve: Serve) -> None:
    ann = await caller(await serve({"server": {"body_limit": 100}}))
    status, told = await ann.ask("POST", "/push", data=b" " * 101)
    assert (status, told["error"]) == (413, "payload_too_large")


async def test_it_is_not_limited_unless_that_is_set(ann: Caller) -> None:
    answers = [await ann.raw("GET", "/pull") for _ in range(30)]
    assert {a.status for a in answers} == {200}
    assert not [name for name in answers[0].headers if name.startswith("X-RateLimit")]


@pytest.mark.any_storage
async def test_the_openapi_document(ann: Caller, box: Box) -> None:
    document = await (await box.client.get("/openapi.json")).json()
    await asyncio.to_thread(validate, document)
    mine = {path: methods for path, methods in document["paths"].items() if path.startswith("/api/v1")}
    assert {(m.upper(), p.removeprefix("/api/v1")) for p, ms in mine.items() for m in ms} == {
        (r.method, r.path) for r in DIALECT.routes
    }
    schemas = document["components"]["schemas"]
    push = schemas["vault_Push"]
    assert push["required"] == ["chatId"]
    items = push["properties"]["messages"]["items"]
    assert items["required"] == ["role", "content"]
    assert set(items["properties"]) == {"role", "content", "timestamp"}
    query = {p["name"]: p["schema"] for p in mine["/api/v1/pull"]["get"]["parameters"]}
    assert set(query) == {"platform", "category", "limit", "search", "offset", "tag", "chatId"}
    assert (query["limit"]["minimum"], query["limit"]["maximum"], query["limit"]["default"]) == (1, 100, 20)
    assert query["tag"]["type"] == "array"
    # What is sent and what is told have the fields that the document says.
    pushed = await ann.push("c1")
    entry = await ann.ok("GET", f"/entries/{pushed['entryId']}")
    versions = await ann.ok("GET", f"/entries/{pushed['entryId']}/versions")
    told = {
        "Pushed": pushed,
        "Entry": entry,
        "Pulled": await ann.pull(),
        "Versions": versions,
        "Version": versions["versions"][0],
        "SealedVersion": await ann.ok("GET", f"/entries/{pushed['entryId']}/versions/1"),
        "Wrap": await ann.ok("GET", "/vault/key"),
        "Keys": await ann.ok("GET", "/vault/keys"),
        "KeyId": await ann.ok("POST", "/vault/key/rotate"),
        "RecoveryKey": await ann.ok("POST", "/vault/recovery"),
        "Issued": await ann.ok("POST", "/vault/tokens", json={"name": "n"}),
        "Tokens": await ann.ok("GET", "/vault/tokens"),
        "Adopted": await ann.ok("POST", f"/entries/{pushed['entryId']}/adopt", json={"messages": [HI]}),
    }
    for name, answer in told.items():
        assert set(schemas[f"vault_{name}"]["properties"]) == set(answer), name
