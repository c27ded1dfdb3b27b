"""How often routes may be called, and by whom a call was made."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer
from marshmallow import RAISE, Schema, ValidationError, fields

from backchat.domain.identity import Identity
from backchat.errors import Conflict, InvalidCredentials
from backchat.hookspecs import hookimpl
from backchat.ports.auth import Credentials
from backchat.services.kinds import KINDS
from backchat.services.windows import Windows
from backchat.testing.memory_store import MemoryStore
from backchat.testing.plugin import Serve
from backchat.web.address import address, network
from backchat.web.dialect import Call, Dialect, Problem, Route, mount
from backchat.web.errors import errors
from backchat.web.keys import (
    AUTHENTICATORS,
    BODY_LIMIT,
    DIALECT_SETTINGS,
    DIALECTS,
    METRICS,
    OPENINGS,
    PROXIES,
    SERVICES,
    STREAMS,
)
from backchat.web.limiting import Budget, Rate, parsed
from backchat.web.metrics import Metrics
from backchat.web.requests import requests, sign

NOON = datetime(2026, 3, 1, 12, 0, 0, 250000, tzinfo=UTC)
EPOCH = int(NOON.timestamp())
Get = Callable[..., Any]


class Clock:
    def __init__(self) -> None:
        self.time = NOON

    def __call__(self) -> datetime:
        return self.time

    def move(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


# What a configuration may say


class Section(Schema):
    rate = Rate(load_default="7/minute")


@pytest.mark.parametrize(
    ("given", "rate"),
    [
        ("7/minute", "7/minute"),
        (" 50 per 15 minutes ", "50 per 15 minutes"),
        ("1 per Day", "1 per Day"),
        ("7/5 minutes", "7/5 minutes"),
        ("1 per 10 years", "1 per 10 years"),
        ("off", None),
        (False, None),
        (None, None),
    ],
)
def test_rates(given: object, rate: str | None) -> None:
    assert Section().load({"rate": given}) == {"rate": rate}


@pytest.mark.parametrize(
    "given",
    [
        *("", "7", 7, True, 0, [], {}, "7/fortnight", "0/minute", "7 per 0 minutes", "-1/minute", "1.5/minute"),
        *(
            "seven/minute",
            "1/second; 5/minute",
            "7/minute; rm",
            "7 minute",
            "7//minute",
            "1 per 11 years",
            "7/minutess",
            "٧/minute",
            "7/minute\x00",
        ),
        "9" * 99 + "/minute",
    ],
)
def test_what_is_no_rate(given: object) -> None:
    with pytest.raises(ValidationError, match=r"7/minute or 50 per 15 minutes, or off"):
        Section().load({"rate": given})


@pytest.mark.parametrize(
    ("rate", "calls", "seconds"),
    [
        ("7/minute", 7, 60),
        ("50 per 15 Minutes", 50, 900),
        ("3 / 2 hours", 3, 7200),
        ("9per day", 9, 86_400),
        ("1/second", 1, 1),
        ("1/month", 1, 2_592_000),
        ("1/year", 1, 31_536_000),
    ],
)
def test_how_many_in_how_many_seconds(rate: str, calls: int, seconds: int) -> None:
    assert parsed(rate) == (calls, seconds)


# Routes


class Needy(Schema):
    class Meta:
        unknown = RAISE

    text = fields.String(required=True)


@dataclass(frozen=True)
class Rates:
    """The settings of the dialect."""

    address: str | None
    user: str | None


class Names:
    """An authenticator that believes everything: a token is a user's id."""

    async def identify(self, credentials: Credentials) -> Identity | None:
        if credentials.token == "nobody":
            raise InvalidCredentials("no such thing")
        return Identity(user=credentials.token)


async def fine(call: Call) -> web.Response:
    return web.json_response({})


async def failing(call: Call) -> web.Response:
    raise Conflict("in the way")


async def broken(call: Call) -> web.Response:
    raise ZeroDivisionError


async def streamed(call: Call) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(call.request)
    await response.write_eof(b"data")
    return response


async def whence(call: Call) -> web.Response:
    return web.json_response([address(call.request), network(address(call.request))])


def render(problem: Problem, request: web.Request) -> web.Response:
    return web.json_response({"message": problem.message}, status=problem.status)


def lab() -> Dialect:
    def budget(name: str) -> Callable[[Rates], Budget]:
        return lambda rates: Budget(name=name, address=rates.address, user=rates.user, message="Later.")

    def route(path: str, handler: Any = fine, budget: Any = budget("shared"), **more: Any) -> Route:  # noqa: B008
        return Route(method="POST", path=path, handler=handler, summary=path, limited=budget, **more)

    routes = [
        route("/one"),
        route("/two"),
        route("/other", budget=budget("other")),
        route("/failing", failing),
        route("/broken", broken),
        route("/streamed", streamed),
        route("/needy", body=Needy()),
        route("/public", public=True),
        route("/free", budget=None),
        route("/whence", whence, budget=None, public=True),
    ]

    return Dialect(name="lab", mount="", routes=routes, render_error=render)


class Lab:
    def __init__(self, client: TestClient[Any, Any]) -> None:
        self._client = client

    async def post(
        self, path: str, user: str | None = "ann", data: bytes = b"{}", forwarded: str = ""
    ) -> ClientResponse:
        sent = {"Content-Type": "application/json", "X-Forwarded-For": forwarded}
        if user is not None:
            sent["Authorization"] = f"Bearer {user}"
        async with self._client.post(path, data=data, headers=sent) as answer:
            await answer.read()
            return answer

    async def statuses(self, path: str, count: int, **more: Any) -> list[int]:
        return [(await self.post(path, **more)).status for _ in range(count)]

    async def whence(self, *forwarded: str) -> list[str]:
        """The caller's address and what it counts as, with these headers, in this order."""
        headers = [("X-Forwarded-For", value) for value in forwarded]
        async with self._client.post("/whence", headers=headers) as answer:
            found: list[str] = await answer.json()
            return found


Serving = Callable[..., AbstractAsyncContextManager[Lab]]


@pytest.fixture
def serving(clock: Clock) -> Serving:
    """``async with serving(address=..., user=..., proxies=...)``: the dialect, with these rates."""

    @asynccontextmanager
    async def start(address: str | None = None, user: str | None = None, proxies: int = 0) -> AsyncIterator[Lab]:
        app = web.Application(middlewares=[requests, errors])
        app[DIALECTS], app[DIALECT_SETTINGS] = {}, {"lab": Rates(address, user)}
        app[BODY_LIMIT], app[METRICS], app[STREAMS], app[OPENINGS] = 1 << 20, Metrics(), set(), set()
        windows = Windows(MemoryStore(KINDS), clock)
        app[SERVICES], app[AUTHENTICATORS] = SimpleNamespace(windows=windows), (Names(),)  # type: ignore[misc]
        app[PROXIES] = proxies
        mount(app, lab())
        app.on_response_prepare.append(sign)
        async with TestClient(TestServer(app)) as client:
            yield Lab(client)

    return start


def told(answer: ClientResponse) -> tuple[int, Mapping[str, str]]:
    """The status of an answer, and its headers that have to do with limits."""
    return answer.status, {k: v for k, v in answer.headers.items() if k.startswith("X-RateLimit") or k == "Retry-After"}


def left(limit: int, remaining: int, reset: int = EPOCH + 61, retry: int | None = None) -> Mapping[str, str]:
    return {
        "X-RateLimit-Limit": str(limit),
        "X-RateLimit-Remaining": str(remaining),
        "X-RateLimit-Reset": str(reset),
        **({} if retry is None else {"Retry-After": str(retry)}),
    }


async def test_every_answer_says_what_is_left(serving: Serving, clock: Clock) -> None:
    async with serving(user="6/minute") as lab:
        assert told(await lab.post("/one")) == (200, left(6, 5))
        assert told(await lab.post("/failing")) == (409, left(6, 4))
        assert told(await lab.post("/broken")) == (500, left(6, 3))
        assert told(await lab.post("/needy")) == (400, left(6, 2))
        assert told(await lab.post("/needy", data=b"{")) == (400, left(6, 1))
        assert told(await lab.post("/streamed")) == (200, left(6, 0))
        clock.move(17.5)
        refused = await lab.post("/needy", data=b"{")
        assert told(refused) == (429, left(6, 0, retry=43))
        assert await refused.json() == {"message": "Later."}
        clock.move(42.4)
        assert told(await lab.post("/one")) == (429, left(6, 0, retry=1))
        clock.move(0.1)
        assert told(await lab.post("/one")) == (200, left(6, 5, EPOCH + 121))


async def test_routes_without_a_limit_say_nothing(serving: Serving) -> None:
    async with serving(user="1/minute") as lab:
        for _ in range(3):
            assert told(await lab.post("/free")) == (200, {})
    async with serving() as lab:
        for _ in range(3):
            assert told(await lab.post("/one")) == (200, {})


async def test_a_budget_is_shared_by_those_who_name_it(serving: Serving) -> None:
    async with serving(user="2/minute") as lab:
        assert [(await lab.post(path)).status for path in ("/one", "/two", "/one", "/two")] == [200, 200, 429, 429]
        assert await lab.statuses("/other", 3) == [200, 200, 429]


async def test_two_users_behind_one_address(serving: Serving) -> None:
    """The address is looked at first; the headers are those of what was looked at last."""
    async with serving(address="5/minute", user="2/minute") as lab:
        assert told(await lab.post("/one", "ann")) == (200, left(2, 1))
        assert told(await lab.post("/one", "ann")) == (200, left(2, 0))
        assert told(await lab.post("/one", "ann")) == (429, left(2, 0, retry=60))
        assert told(await lab.post("/one", "bob")) == (200, left(2, 1))
        assert told(await lab.post("/one", "bob")) == (200, left(2, 0))
        assert told(await lab.post("/one", "bob")) == (429, left(5, 0, retry=60))
        assert told(await lab.post("/one", "eve")) == (429, left(5, 0, retry=60))


async def test_a_user_who_is_called_like_an_address(serving: Serving) -> None:
    async with serving(address="2/minute", user="2/minute") as lab:
        assert await lab.statuses("/one", 3, user="127.0.0.1") == [200, 200, 429]


async def test_a_call_that_its_address_may_not_make_costs_its_user_nothing(serving: Serving) -> None:
    async with serving(address="2/minute", user="3/minute", proxies=1) as lab:
        assert await lab.statuses("/one", 5, forwarded="192.0.2.1") == [200, 200, 429, 429, 429]
        assert told(await lab.post("/one", forwarded="192.0.2.2")) == (200, left(3, 0))


async def test_who_is_not_let_in_counts_for_nobody(serving: Serving) -> None:
    async with serving(address="2/minute", user="2/minute") as lab:
        for user in ("nobody", None):
            assert told(await lab.post("/one", user)) == (401, {})
        assert await lab.statuses("/one", 2) == [200, 200]


async def test_a_public_route_is_limited_by_address(serving: Serving) -> None:
    async with serving(address="2/minute", user="1/minute") as lab:
        assert [(await lab.post("/public", user)).status for user in (None, "ann", "bob")] == [200, 200, 429]


async def test_a_caller_writes_no_address_of_its_own(serving: Serving) -> None:
    async with serving(address="1/minute") as lab:
        answers = [await lab.post("/one", forwarded=f"192.0.2.{n}") for n in range(3)]
        assert [answer.status for answer in answers] == [200, 429, 429]
    async with serving(address="1/minute", proxies=1) as lab:
        answers = [await lab.post("/one", forwarded=f"192.0.2.{n}, 198.51.100.1") for n in range(3)]
        assert [answer.status for answer in answers] == [200, 429, 429]
        assert (await lab.post("/one", forwarded="192.0.2.1, 198.51.100.2")).status == 200


# Addresses


@pytest.mark.parametrize(
    ("proxies", "forwarded", "expected"),
    [
        (0, [], "127.0.0.1"),
        (0, ["192.0.2.1"], "127.0.0.1"),
        (1, ["192.0.2.1"], "192.0.2.1"),
        (1, ["192.0.2.1, 192.0.2.2"], "192.0.2.2"),
        (1, ["192.0.2.1", "192.0.2.2"], "192.0.2.2"),
        (2, ["192.0.2.1", "192.0.2.2"], "192.0.2.1"),
        (2, ["192.0.2.0,192.0.2.1 ,\t192.0.2.2"], "192.0.2.1"),
        (3, ["192.0.2.1, 192.0.2.2", "192.0.2.3"], "192.0.2.1"),
        (2, ["192.0.2.1"], "127.0.0.1"),
        (1, [], "127.0.0.1"),
        (1, [""], "127.0.0.1"),
        (1, ["192.0.2.1,"], "127.0.0.1"),
        (1, ["unknown"], "127.0.0.1"),
        (1, ["_secret"], "127.0.0.1"),
        (1, ["192.0.2.1, 192.0.2.256"], "127.0.0.1"),
        (1, ["192.0.2.1:8080"], "192.0.2.1"),
        (1, ["192.0.2.1:port"], "127.0.0.1"),
        (1, ["[2001:db8::1]:443"], "2001:db8::1"),
        (1, ["[2001:db8::1]"], "2001:db8::1"),
        (1, ["2001:DB8:0::1"], "2001:db8::1"),
        (1, ["fe80::1%eth0"], "fe80::1"),
        (1, ["::ffff:192.0.2.1"], "192.0.2.1"),
        (1, ["1" * 5000], "127.0.0.1"),
    ],
)
async def test_addresses(serving: Serving, proxies: int, forwarded: Sequence[str], expected: str) -> None:
    async with serving(proxies=proxies) as lab:
        assert (await lab.whence(*forwarded))[0] == expected


async def test_a_subscriber_has_many_addresses(serving: Serving) -> None:
    async with serving(proxies=1) as lab:
        assert (await lab.whence("2001:db8:1:2:3:4:5:6"))[1] == (await lab.whence("2001:db8:1:2::1"))[1]
        assert (await lab.whence("2001:db8:1:2::1"))[1] != (await lab.whence("2001:db8:1:3::1"))[1]
        assert (await lab.whence("192.0.2.1"))[1] != (await lab.whence("192.0.2.2"))[1]


# The whole server


class Plugin:
    @hookimpl
    def backchat_dialects(self) -> Sequence[Dialect]:
        once = Budget(name="once", address="1/minute", message="Later.")
        route = Route(method="POST", path="/once", handler=whence, summary="", public=True, limited=lambda _: once)
        return [Dialect(name="once", mount="", routes=[route], render_error=render)]


async def test_the_server_counts_by_its_clock_and_believes_its_proxies(serve: Serve, clock: Clock) -> None:
    box = await serve({"dialects": ["once"], "server": {"proxies": 1}}, [Plugin()], clock=clock)

    async def status(forwarded: str) -> int:
        async with box.client.post("/once", headers={"X-Forwarded-For": forwarded}) as answer:
            return answer.status

    assert [await status(f"192.0.2.{n}") for n in (1, 1, 2)] == [200, 429, 200]
    clock.move(59)
    assert await status("192.0.2.1") == 429
    clock.move(1)
    assert await status("192.0.2.1") == 200
