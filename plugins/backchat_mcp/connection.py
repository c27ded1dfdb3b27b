"""A connection to an MCP server that is made again when it has broken."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import anyio
import httpx2
from mcp import Client, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from backchat_mcp.settings import Settings

OpenClient = Callable[[], AbstractAsyncContextManager[Client]]

LEAVING = 8.0
"""Seconds for a connection to end. A started program is killed by the library before that."""
_SESSION = "mcp-session-id"


@dataclass(slots=True)
class Sent:
    """What became of a request. ``forgotten``: the server does not know the session any more and did nothing."""

    forgotten: bool = False


_SENT: ContextVar[Sent] = ContextVar("sent")


@contextmanager
def sending() -> Iterator[Sent]:
    """What becomes of the requests that are made within."""
    sent = Sent()
    token = _SENT.set(sent)
    try:
        yield sent
    finally:
        _SENT.reset(token)


class Connection:
    """Use it as an async context manager: at its end all connections are closed, and started programs ended.

    A task of its own holds each connection, since the library's contexts must be left by the task that entered them.
    One that broke is left in the background: who makes the next one does not wait for that.
    """

    def __init__(self, open_client: OpenClient, patience: float, leaving: float = LEAVING) -> None:
        self._open, self._patience, self._leaving = open_client, patience, leaving
        self._lock = asyncio.Lock()
        self._held: set[asyncio.Task[None]] = set()
        self._client: Client | None = None
        self._enough = asyncio.Event()
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        self._enough.set()
        try:
            if self._held:
                await asyncio.wait(self._held)
        except asyncio.CancelledError:
            for held in self._held:
                held.cancel()
            if self._held:
                await asyncio.wait(self._held)
            raise

    async def client(self) -> Client:
        """The client of the connection that there is, or of a new one. Raises what the library raises, TimeoutError."""
        async with self._lock:
            if self._closed:
                raise anyio.ClosedResourceError
            if self._client is None:
                self._client = await self._made()
            return self._client

    def broken(self, client: Client) -> None:
        """This client's connection is of no use any more."""
        if self._client is client:
            self._client = None
            self._enough.set()

    async def _made(self) -> Client:
        made: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self._enough = asyncio.Event()
        holding = asyncio.create_task(self._hold(made, self._enough), name="MCP server")
        self._held.add(holding)
        holding.add_done_callback(self._held.discard)
        try:
            async with asyncio.timeout(self._patience):
                return await made
        except BaseException:
            holding.cancel()
            raise

    async def _hold(self, made: asyncio.Future[Client], enough: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(None) as limit, self._open() as client:
                made.set_result(client)
                await enough.wait()
                limit.reschedule(asyncio.get_running_loop().time() + self._leaving)
        except Exception as error:
            if not made.done():
                made.set_exception(error)


def opener(settings: Settings) -> OpenClient:
    return (lambda: _over_http(settings)) if settings.url is not None else (lambda: _over_stdio(settings))


@asynccontextmanager
async def _over_stdio(settings: Settings) -> AsyncIterator[Client]:
    program, *arguments = settings.command
    started = StdioServerParameters(
        command=program,
        args=arguments,
        env=dict(settings.env),
        cwd=settings.directory,
        encoding_error_handler="replace",
    )
    async with AsyncExitStack() as stack:
        errors = sys.stderr
        if not settings.stderr:
            errors = await asyncio.to_thread(open, os.devnull, "w", encoding="utf-8")
            stack.callback(errors.close)
        transport = stdio_client(started, errors)
        yield await stack.enter_async_context(Client(transport, read_timeout_seconds=settings.call_timeout))


@asynccontextmanager
async def _over_http(settings: Settings) -> AsyncIterator[Client]:
    assert settings.url is not None
    timeout = httpx2.Timeout(settings.connect_timeout, read=settings.call_timeout)
    # In a thread: it reads the certificates that it is to trust.
    session = await asyncio.to_thread(
        lambda: httpx2.AsyncClient(
            headers=dict(settings.headers), timeout=timeout, trust_env=False, event_hooks={"response": [_noted]}
        )
    )
    async with session:
        transport = streamable_http_client(settings.url, http_client=session)
        async with Client(transport, read_timeout_seconds=settings.call_timeout) as client:
            yield client


async def _noted(response: httpx2.Response) -> None:
    """A session that the server has forgotten is answered with 404, whatever the body says
    (https://modelcontextprotocol.io/specification/2025-06-18/basic/transports#session-management).

    The library makes of it an error like others, one of them with the code of a call that took too long.
    """
    sent = _SENT.get(None)
    request = response.request
    if sent is not None and response.status_code == 404 and request.method == "POST" and _SESSION in request.headers:
        sent.forgotten = True
