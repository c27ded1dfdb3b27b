"""For tests of the web tools: sites on loopback that do what they are told, names that lead where they are told."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from backchat.ports.tools import Tool
from backchat_web.fetch import open_fetch
from backchat_web.fetch_settings import FetchSchema

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
Answer = web.Response | Handler
ALLOWED = "127.0.0.2"
"""Where sites are that may be fetched; 127.0.0.1 stands for what must not be reached."""


@dataclass
class Site:
    """``pages`` by path; ``requests`` are those that came; ``left`` is set when a client leaves before the end."""

    host: str = ""
    port: int = 0
    pages: dict[str, Answer] = field(default_factory=dict)
    requests: list[web.BaseRequest] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    def url(self, path: str = "/") -> str:
        return f"http://{self.host}:{self.port}{path}"

    def page(self, path: str, body: str | bytes, type: str = "text/html; charset=utf-8", **headers: str) -> str:
        """Its URL."""
        data = body.encode() if isinstance(body, str) else body
        given = {name.replace("_", "-"): value for name, value in headers.items()}

        async def answer(request: web.BaseRequest) -> web.Response:
            return web.Response(body=data, headers={"Content-Type": type, **given})

        self.pages[path] = answer
        return self.url(path)

    def moved(self, path: str, to: str, status: int = 302) -> str:
        async def answer(request: web.BaseRequest) -> web.Response:
            return web.Response(status=status, headers={"Location": to, "Set-Cookie": "seen=1"})

        self.pages[path] = answer
        return self.url(path)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(request)
        self.bodies.append(await request.read())
        page = self.pages.get(request.path)
        if page is None:
            return web.Response(status=404, text="nothing here")
        return page if isinstance(page, web.Response) else await page(request)


@asynccontextmanager
async def site(host: str = ALLOWED, port: int = 0) -> AsyncIterator[Site]:
    found = Site(host)
    runner = web.ServerRunner(web.Server(found.answer, handler_cancellation=True), shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        found.port = runner.addresses[0][1]
        yield found
    finally:
        await runner.cleanup()


@asynccontextmanager
async def raw_site(answer: bytes, host: str = ALLOWED) -> AsyncIterator[str]:
    """A server that says exactly this to everybody, and its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, host, 0) as server:
        yield f"http://{host}:{server.sockets[0].getsockname()[1]}/"


class Names(AbstractResolver):
    """Says of each name what it is told: the next of the lists of addresses, and the last one again and again."""

    def __init__(self, **names: Sequence[Sequence[str]]) -> None:
        self._names = {name.replace("_", "."): list(answers) for name, answers in names.items()}
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        answers = self._names.get(host.removesuffix("."))
        if answers is None:
            raise OSError("no such name")
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing to close."""


@asynccontextmanager
async def fetching(*sites: Site, names: Names | None = None, **options: Any) -> AsyncIterator[Tool]:
    """The tool, which may go to the ports of the sites, and to ``ALLOWED`` unless told otherwise."""
    given: Mapping[str, Any] = {"allow": [ALLOWED], "ports": [80, 443, *[s.port for s in sites]], **options}
    async with open_fetch(FetchSchema().load(given), names) as [tool]:
        yield tool


def inside(answer: str) -> str:
    """What is between the marks of an answer."""
    found = re.search(r"\n<([a-z]+-[a-z]+-[0-9a-f]{24})>\n(.*)\n</\1>", answer, re.S)
    assert found is not None, answer
    return found[2]
