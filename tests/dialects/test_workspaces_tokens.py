"""Tokens: made, renewed and checked, as djangorestframework-simplejwt does."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from argon2 import PasswordHasher

from backchat.services import passwords
from backchat.services.accounts import Accounts
from backchat.services.passwords import Passwords
from backchat.testing.plugin import Serve
from backchat.testing.server import Box
from workspaces_box import FREE

MAIL, PASSWORD = "ann@example.org", "open the pod bay doors"
INVALID = (401, {"detail": "Token is invalid or expired", "code": "token_not_valid"})


async def post(box: Box, step: str, body: Any) -> tuple[int, Any]:
    answer = await box.client.post(f"/auth/jwt/{step}/", json=body)
    if answer.status == 401:
        assert answer.headers["WWW-Authenticate"] == 'JWT realm="api"'
    return answer.status, await answer.json()


async def log_in(box: Box, email: str = MAIL, password: str = PASSWORD) -> tuple[int, Any]:
    return await post(box, "create", {"email": email, "password": password})


async def calls(box: Box, token: str, scheme: str = "JWT") -> int:
    """The status of a call with a token."""
    headers = {"Authorization": f"{scheme} {token}"}
    return (await box.client.get("/api/workspaces/", headers=headers)).status


@pytest.fixture(autouse=True)
def quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a hash costs is no matter here."""
    monkeypatch.setattr(passwords, "PasswordHasher", lambda: PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


@pytest.fixture
async def box(serve: Serve) -> Box:
    box = await serve(FREE)
    await box.services.accounts.create_user("Ann", email=MAIL, password=PASSWORD)
    return box


async def test_a_login(box: Box) -> None:
    status, pair = await log_in(box)
    assert (status, set(pair)) == (200, {"access", "refresh"})
    assert pair["access"].count(".") == 2
    for scheme in ("JWT", "Bearer", "jwt"):
        assert await calls(box, pair["access"], scheme) == 200
    assert await calls(box, pair["refresh"]) == 401, "it is for renewing only"
    for token in pair.values():
        assert await post(box, "verify", {"token": token}) == (200, {})
    answer = await box.client.post("/auth/jwt/create", json={"email": MAIL.upper(), "password": PASSWORD})
    assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")


async def test_logins_that_fail_alike(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str | None] = []
    matches = Passwords.matches

    async def counted(self: Passwords, stored: str | None, password: str) -> bool:
        compared.append(password)
        return await matches(self, stored, password)

    async def looked(*_: object) -> bool:
        raise AssertionError("somebody asks whether the account exists")

    monkeypatch.setattr(Passwords, "matches", counted)
    monkeypatch.setattr(Accounts, "is_known", looked)
    await box.services.accounts.create_user("Bot", email="bot@example.org")  # without a password
    told = {"detail": "No active account found with the given credentials", "code": "no_active_account"}
    wrong = [(MAIL, "wrong"), ("nobody@example.org", PASSWORD), ("bot@example.org", PASSWORD)]
    for email, password in wrong:
        assert await log_in(box, email, password) == (401, told), email
    assert compared == [password for _, password in wrong], "the same work is done for each"


@pytest.mark.any_storage
@pytest.mark.parametrize(
    ("step", "body", "fields"),
    [
        ("create", {}, {"email", "password"}),
        ("create", {"email": MAIL}, {"password"}),
        ("create", {"email": "", "password": PASSWORD}, {"email"}),
        ("create", {"email": {"$ne": 1}, "password": ["x"]}, {"email", "password"}),
        ("create", {"email": "a" * 300, "password": "x"}, {"email"}),
        ("create", {"email": "a\0b@c", "password": "x"}, {"email"}),
        ("create", {"email": MAIL, "password": "x" * 2000}, {"password"}),
        ("refresh", {}, {"refresh"}),
        ("refresh", {"refresh": None}, {"refresh"}),
        ("verify", {"token": 5}, {"token"}),
        ("verify", {}, {"token"}),
        ("verify", [], {"non_field_errors"}),
    ],
)
async def test_bodies_that_do_not_fit(box: Box, step: str, body: Any, fields: set[str]) -> None:
    status, told = await post(box, step, body)
    assert (status, set(told)) == (400, fields)
    assert PASSWORD not in str(told)


async def test_a_refresh_token_is_good_once(box: Box) -> None:
    first = (await log_in(box))[1]
    status, second = await post(box, "refresh", {"refresh": first["refresh"]})
    assert (status, set(second)) == (200, {"access", "refresh"})
    assert second["refresh"] != first["refresh"]
    assert await calls(box, second["access"]) == 200
    assert await post(box, "refresh", {"refresh": first["refresh"]}) == INVALID
    assert await post(box, "verify", {"token": first["refresh"]}) == INVALID
    assert await post(box, "verify", {"token": second["refresh"]}) == (200, {})
    assert (await post(box, "refresh", {"refresh": second["refresh"]}))[0] == 200


async def test_of_many_who_renew_at_once_one_can(box: Box) -> None:
    refresh = (await log_in(box))[1]["refresh"]
    answers = await asyncio.gather(*(post(box, "refresh", {"refresh": refresh}) for _ in range(8)))
    good = [told for status, told in answers if status == 200]
    assert len(good) == 1
    assert [a for a in answers if a[0] != 200] == [INVALID] * 7
    assert (await post(box, "refresh", {"refresh": good[0]["refresh"]}))[0] == 200


async def test_tokens_that_are_not_good(box: Box) -> None:
    pair = (await log_in(box))[1]
    access, refresh = pair["access"], pair["refresh"]
    head, claims, signature = access.split(".")
    bad = ["nonsense", f"{head}.{claims}.{signature[::-1]}", f"{head}.{claims}.", refresh[:-1] + "~", "a.b", "a.b.c"]
    for token in (*bad, f"{refresh}x"):
        assert await post(box, "verify", {"token": token}) == INVALID, token
        assert await post(box, "refresh", {"refresh": token}) == INVALID, token
    assert await post(box, "refresh", {"refresh": access}) == INVALID, "an access token renews nothing"


async def test_tokens_expire(serve: Serve) -> None:
    time = datetime.now(UTC)
    box = await serve({**FREE, "sessions": {"access": 600, "refresh": 3600}}, clock=lambda: time)
    await box.services.accounts.create_user("Ann", email=MAIL, password=PASSWORD)
    first = (await log_in(box))[1]
    time += timedelta(seconds=700)
    assert await post(box, "verify", {"token": first["access"]}) == INVALID
    assert await calls(box, first["access"]) == 401
    time += timedelta(seconds=2800)
    status, second = await post(box, "refresh", {"refresh": first["refresh"]})
    assert status == 200
    time += timedelta(seconds=3500)
    assert await post(box, "verify", {"token": second["refresh"]}) == (200, {}), "it has its own time"
    time += timedelta(seconds=200)
    for step, name in (("verify", "token"), ("refresh", "refresh")):
        assert await post(box, step, {name: second["refresh"]}) == INVALID


async def test_too_many_logins(serve: Serve) -> None:
    box = await serve({"dialects": [{"use": "workspaces", "login_per_address": "2 per 5 minutes"}]})
    await box.services.accounts.create_user("Ann", email=MAIL, password=PASSWORD)
    assert [(await log_in(box, password="wrong"))[0] for _ in range(2)] == [401, 401]
    answer = await box.client.post("/auth/jwt/create/", json={"email": MAIL, "password": PASSWORD})
    assert answer.status == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 300
    assert set(await answer.json()) == {"detail", "code"}


async def test_no_token_and_no_password_is_logged(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    pair = (await log_in(box))[1]
    await log_in(box, password="wrong password")
    await post(box, "verify", {"token": pair["access"]})
    await post(box, "refresh", {"refresh": pair["refresh"]})
    logged = capsys.readouterr().err
    assert "/auth/jwt/create/" in logged
    for secret in (PASSWORD, "wrong password", MAIL, *pair.values()):
        assert secret not in logged
