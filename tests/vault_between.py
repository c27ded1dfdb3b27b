"""A client of the vault, a server, and something in between that loses requests and answers, or alters them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import jwt
import orjson
from aiohttp import web
from aiohttp.test_utils import TestServer

from backchat.client.vault import VaultClient, VaultKey, VaultMessage
from backchat.testing.server import Box

Forward = Callable[[], Awaitable[web.Response]]
Act = Callable[[web.Request, Forward], Awaitable[web.StreamResponse]]
SECRET = "0123456789abcdef" * 4
CONFIG: dict[str, Any] = {
    "dialects": ["chat", "vault"],
    "auth": [{"use": "apikey"}, {"use": "jwt", "secret": SECRET}],
}
HI = VaultMessage("user", "Hi")


def said(*contents: str) -> list[VaultMessage]:
    return [VaultMessage("user", content) for content in contents]


class Between:
    """Does to each request the next of ``acts``, and passes it on when there are no more.

    ``alters`` is called with every JSON answer that comes back.
    """

    def __init__(self, box: Box | None) -> None:
        self._box = box
        self.acts: list[Act] = []
        self.alters: Callable[[Any], object] = lambda answer: None
        self.asked: list[str] = []
        self.bodies: list[Any] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        path = request.path.rpartition("/api/v1/")[2]
        self.asked.append(f"{request.method} {path}")
        self.bodies.append(orjson.loads(body) if body else None)

        async def forward() -> web.Response:
            assert self._box is not None
            query = f"?{request.query_string}" if request.query_string else ""
            headers = {"Authorization": request.headers["Authorization"], "Content-Type": "application/json"}
            async with self._box.client.request(
                request.method, f"/api/v1/{path}{query}", headers=headers, data=body
            ) as found:
                raw = await found.read()
                if raw and found.status < 300:
                    told = orjson.loads(raw)
                    self.alters(told)
                    raw = orjson.dumps(told)
                return web.Response(body=raw, status=found.status, content_type="application/json")

        return await (self.acts.pop(0) if self.acts else passes)(request, forward)


async def passes(request: web.Request, forward: Forward) -> web.StreamResponse:
    return await forward()


async def vanishes(request: web.Request, forward: Forward) -> web.StreamResponse:
    """The server never hears of it."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def loses(request: web.Request, forward: Forward) -> web.StreamResponse:
    """The server does it, and nobody hears of that."""
    await forward()
    return await vanishes(request, forward)


async def cuts(request: web.Request, forward: Forward) -> web.StreamResponse:
    """The answer breaks off."""
    await forward()
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"success":')
    assert request.transport is not None
    request.transport.abort()
    return response


def says(status: int, body: object = None, **headers: str) -> Act:
    async def act(request: web.Request, forward: Forward) -> web.StreamResponse:
        raw = body.encode() if isinstance(body, str) else orjson.dumps(body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(body=raw, status=status, headers=named)

    return act


def before(act: Callable[[], Awaitable[object]]) -> Act:
    """Somebody does something, and the request comes to nothing."""

    async def acts(request: web.Request, forward: Forward) -> web.StreamResponse:
        await act()
        return await vanishes(request, forward)

    return acts


def after(act: Callable[[], Awaitable[object]]) -> Act:
    """The server does what it was asked for, then somebody does something, and the answer is lost."""

    async def acts(request: web.Request, forward: Forward) -> web.StreamResponse:
        await forward()
        await act()
        return await vanishes(request, forward)

    return acts


@asynccontextmanager
async def between(box: Box | None, *acts: Act) -> AsyncIterator[Between]:
    """Listens under a prefix, as a proxy may."""
    found = Between(box)
    found.acts += acts
    app = web.Application(client_max_size=2**25)
    app.router.add_route("*", "/{path:.*}", found.answer)
    async with TestServer(app) as server:
        found.url = str(server.make_url("/chat"))
        yield found


async def token(box: Box, user: str = "ann", *, platform: str | None = "Ollama", scopes: Sequence[str] = ()) -> str:
    """A new API key."""
    account = await box.services.accounts.ensure_user(user)
    return (await box.services.accounts.create_key(account, "test", platform=platform, scopes=scopes))[1]


async def signed(box: Box, user: str = "ann") -> str:
    """A JWT of that user."""
    account = await box.services.accounts.ensure_user(user)
    return jwt.encode({"sub": account.id, "exp": int(time.time()) + 3600}, SECRET, "HS256")


def address(box: Box) -> str:
    return str(box.client.make_url("/"))


@asynccontextmanager
async def vault(box: Box, text: str | None = None, key: VaultKey | None = None) -> AsyncIterator[VaultClient]:
    """A client with this token, or a new one of ann."""
    async with VaultClient(address(box), text or await token(box), key=key) as client:
        yield client


@asynccontextmanager
async def another(client: VaultClient, box: Box) -> AsyncIterator[VaultClient]:
    """A client with a further token of the same user, which has all keys."""
    _, text = await client.issue_token("another", platform="ollama")
    async with vault(box, text) as other:
        yield other
