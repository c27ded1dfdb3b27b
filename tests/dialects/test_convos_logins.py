"""Logins, what the server says of itself, and how it is told that something went wrong."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest
from aiohttp import ClientResponse
from argon2 import PasswordHasher

from backchat.errors import Unavailable
from backchat.plugins import Plugins
from backchat.services import passwords
from backchat.services.conversations import Conversations
from backchat.testing.plugin import Serve
from backchat.testing.server import Box
from backchat_dialect_convos.settings import Settings, SettingsSchema
from convos_box import FREE, MISSING, Convos, convos

MAIL, PASSWORD = "ann@example.org", "open the pod bay doors"
NOBODY: dict[str, str] = {}


@pytest.fixture(autouse=True)
def quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a hash costs is no matter here."""
    monkeypatch.setattr(passwords, "PasswordHasher", lambda: PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


async def account(box: Box) -> str:
    return (await box.services.accounts.create_user("Ann", email=MAIL, password=PASSWORD)).id


async def log_in(box: Box, email: str = MAIL, password: str = PASSWORD) -> ClientResponse:
    return await box.client.post("/api/auth/login", json={"email": email, "password": password})


# ---- logins ---------------------------------------------------------------------------------------------------------


async def test_a_login(box: Box) -> None:
    id = await account(box)
    answer = await log_in(box)
    assert answer.status == 200
    body = await answer.json()
    user = body["user"]
    assert body == {"token": body["token"], "user": user}
    assert (user["_id"], user["id"], user["email"], user["username"], user["role"]) == (id, id, MAIL, "Ann", "USER")
    assert not {"password", "password_hash", "totpSecret", "__v"} & set(user)
    claims = orjson.loads(base64.urlsafe_b64decode(body["token"].split(".")[1] + "=="))
    assert (claims["id"], claims["username"], claims["email"], claims["provider"]) == (id, "Ann", MAIL, "local")
    refresh, provider = answer.cookies["refreshToken"], answer.cookies["token_provider"]
    for made in (refresh, provider):
        assert (made["httponly"], made["samesite"], made["path"]) == (True, "Strict", "/")
        assert 0 < int(made["max-age"]) <= 7 * 86400
        assert not made["secure"], "this is plain HTTP"
    assert provider.value == "librechat"
    ann = Convos(box, {"Authorization": f"Bearer {body['token']}"})
    assert await ann.ok("GET", "/api/user") == user
    await ann.start("hers")
    box.client.session.cookie_jar.clear()
    cookie = {"Cookie": f"refreshToken={refresh.value}"}
    assert (await box.client.get("/api/user", headers=cookie)).status == 401, "a cookie is for the refresh only"
    renewed = await box.client.post("/api/auth/refresh?retry=true", headers=cookie)
    assert renewed.status == 200
    again = await renewed.json()
    assert again["user"] == user
    assert await Convos(box, {"Authorization": f"Bearer {again['token']}"}).listed() == ["hers"]
    left = await box.client.post("/api/auth/logout", headers=cookie)
    assert left.status == 200
    assert {c.key: c["max-age"] for c in left.cookies.values()} == {"refreshToken": "0", "token_provider": "0"}
    for token in (body["token"], again["token"]):
        told = (401, {"message": "Unauthorized"})
        assert await Convos(box, {"Authorization": f"Bearer {token}"}).get("/api/user") == told
    box.client.session.cookie_jar.clear()
    gone = await box.client.post("/api/auth/refresh", headers=cookie)
    assert (gone.status, gone.content_type) == (401, "text/plain")


async def test_a_logout_by_token(box: Box) -> None:
    await account(box)
    token = (await (await log_in(box)).json())["token"]
    box.client.session.cookie_jar.clear()
    ann = Convos(box, {"Authorization": f"Bearer {token}"})
    assert await ann.ok("POST", "/api/auth/logout") == {"message": "Logout successful"}
    assert (await ann.get("/api/user"))[0] == 401


async def test_logins_that_fail(serve: Serve) -> None:
    box = await serve(FREE)
    await account(box)
    for email, password, status, message in (
        (MAIL, "wrong", 404, "Incorrect password."),
        ("ann", "wrong", 404, "Incorrect password."),
        ("bob@example.org", PASSWORD, 404, "Email does not exist."),
        (MAIL, "", 400, "Invalid credentials"),
        ("", PASSWORD, 400, "Invalid credentials"),
    ):
        answer = await log_in(box, email, password)
        assert (answer.status, await answer.json()) == (status, {"message": message}), (email, password)
        assert not answer.cookies
    answer = await box.client.post("/api/auth/login", json={"email": {"$ne": 1}, "password": PASSWORD})
    assert (answer.status, set(await answer.json())) == (400, {"message"})
    answer = await log_in(box, "ANN@EXAMPLE.ORG")
    assert answer.status == 200
    box.client.session.cookie_jar.clear()
    answer = await box.client.post("/api/auth/refresh")
    assert (answer.status, answer.content_type, await answer.text()) == (
        200,
        "text/plain",
        "Refresh token not provided",
    )


async def test_too_many_logins(serve: Serve) -> None:
    box = await serve({"dialects": [{"use": "convos", "login_per_address": "2 per 5 minutes"}]})
    await account(box)
    for left in ("1", "0"):
        answer = await log_in(box, password="wrong")
        assert (answer.status, answer.headers["X-RateLimit-Remaining"]) == (404, left)
    answer = await log_in(box)
    assert (answer.status, answer.headers["X-RateLimit-Limit"]) == (429, "2")
    assert await answer.json() == {"message": "Too many login attempts, please try again after 5 minutes."}
    assert 0 < int(answer.headers["Retry-After"]) <= 300


async def test_cookies_behind_a_proxy_that_speaks_tls(serve: Serve) -> None:
    box = await serve({"server": {"proxies": 1}})
    await account(box)
    body = {"email": MAIL, "password": PASSWORD}
    answer = await box.client.post("/api/auth/login", json=body, headers={"X-Forwarded-Proto": "https"})
    assert answer.cookies["refreshToken"]["secure"]
    config = await (await box.client.get("/api/config", headers={"X-Forwarded-Proto": "https"})).json()
    assert config["serverDomain"].startswith("https://")


def test_how_often_unless_it_is_said_otherwise() -> None:
    assert SettingsSchema().load({}) == Settings(
        fork_per_address="30/minute",
        fork_per_user="7/minute",
        import_per_address="100 per 15 minutes",
        import_per_user="50 per 15 minutes",
        login_per_address="7 per 5 minutes",
        share_per_address="60/minute",
    )


# ---- the server -----------------------------------------------------------------------------------------------------


async def test_what_it_says_of_itself(box: Box) -> None:
    nobody, ann = Convos(box, NOBODY), await convos(box)
    before, after = await nobody.ok("GET", "/api/config"), await ann.ok("GET", "/api/config")
    assert before["emailLoginEnabled"] is True
    assert before["registrationEnabled"] is before["socialLoginEnabled"] is False
    assert before.items() <= after.items()
    assert after["conversationImportMaxFileSize"] == 250 << 20
    assert set(after) - set(before) >= {"interface", "sharedLinksEnabled", "balance"}
    assert await Convos(box, {"Authorization": "Bearer wrong"}).ok("GET", "/api/config") == before
    assert await ann.get("/api/search/enable") == (200, True)
    for path in ("/health", "/livez"):
        assert await nobody.get(path) == (200, "OK")


async def test_somebody_without_an_account(box: Box) -> None:
    user = await (await convos(box)).ok("GET", "/api/user")
    assert user["username"] == user["name"] == "ann"
    assert user["id"] == user["_id"]


# ---- errors ---------------------------------------------------------------------------------------------------------


async def test_tokens(box: Box) -> None:
    await account(box)
    token = (await (await log_in(box)).json())["token"]
    head, claims, signature = token.split(".")
    for given, message in (
        (None, "No auth token"),
        ("nonsense", "Unauthorized"),
        (f"{head}.{claims}.{signature[::-1]}", "invalid signature"),
        ("bsk_no_no", "Unauthorized"),
    ):
        headers = {} if given is None else {"Authorization": f"Bearer {given}"}
        answer = await box.client.get("/api/convos", headers=headers)
        assert (answer.status, await answer.json()) == (401, {"message": message}), given
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    scoped = Convos(box, await box.key("bob", scopes=["chat"]))
    assert await scoped.get("/api/convos") == (403, {"error": "This key is limited to: chat"})


async def test_bodies_and_paths(serve: Serve) -> None:
    box = await serve({"dialects": ["convos"], "server": {"body_limit": 1000}})
    ann = await convos(box)
    malformed = {"error": "Invalid JSON format", "message": "The request body contains malformed JSON"}
    for path in ("/api/convos/update", "/api/convos/fork", "/api/tags", "/api/auth/login", "/api/messages/new"):
        assert await ann.ask("POST", path, data=b'{"arg": ') == (400, malformed), path
        status, told = await ann.ask("POST", path, json={"text": "x" * 2000})
        assert (status, set(told)) == (413, {"message"}), path
    nowhere = (404, {"message": "Endpoint not found"})
    for path in ("/api/nothing", "/api/convos/a/b/c", "/api"):
        assert await ann.get(path) == nowhere, path
        assert await Convos(box, NOBODY).get(path) == nowhere, path
    status, told = await ann.ask("PUT", "/api/convos/update", json={})
    assert (status, set(told)) == (405, {"message"})


FAULTS = {
    "POST /api/convos/update": "Error updating conversation",
    "POST /api/convos/archive": "Error archiving conversation",
    "DELETE /api/convos": "Error clearing conversations",
    "POST /api/convos/fork": "Error forking conversation",
    "POST /api/convos/duplicate": "Error duplicating conversation",
    "POST /api/convos/pin": "An unknown error occurred.",
    "GET /api/convos/a": "An unknown error occurred.",
    "GET /api/messages/a": "An unknown error occurred.",
}


async def test_faults_are_told_in_plain_text(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    ann = await convos(await serve(FREE))

    async def broken(*_: object) -> Any:
        raise OSError("a secret path")

    monkeypatch.setattr(Conversations, "open", broken)
    ids = {"conversationId": MISSING, "messageId": MISSING}
    for name, text in FAULTS.items():
        method, path = name.split()
        body = (
            {}
            if method == "GET"
            else {"json": {"arg": {**ids, "title": "", "isArchived": True, "pinned": True}, **ids}}
        )
        assert await ann.ask(method, path, **body) == (500, text), name

    async def away(*_: object) -> Any:
        raise Unavailable("the store does not answer", retry_after=5)

    monkeypatch.setattr(Conversations, "open", away)
    assert await ann.get("/api/messages/a") == (503, {"error": "The store does not answer"})


def test_every_route_says_what_it_may_answer() -> None:
    for route in Plugins(from_entry_points=True).dialects["convos"].routes:
        assert any(200 <= status < 300 for status in route.statuses)
        assert route.public or 401 in route.statuses
