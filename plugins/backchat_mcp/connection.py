"""A connection to an MCP server that is made again when it has broken."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from types import TracebackType
from typing import Self

import httpx2
from mcp import Client, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from backchat_mcp.settings import Settings

OpenClient = Callable[[], AbstractAsyncContextManager[Client]]


class Connection:
    """Use it as an async context manager: at its end the connection is closed, and a started program ended.

    A task of its own holds the connection, since the library's contexts must be left by the task that entered them.
    """

    def __init__(self, open_client: OpenClient, patience: float) -> None:
        self._open, self._patience = open_client, patience
        self._lock = asyncio.Lock()
        self._holding: asyncio.Task[None] | None = None
        self._client: Client | None = None
        self._enough = asyncio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._left()

    async def client(self) -> Client:
        """The client of the connection that there is, or of a new one. Raises what the library raises, TimeoutError."""
        async with self._lock:
            if self._client is None:
                await self._left()
                made: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
                self._enough = asyncio.Event()
                self._holding = asyncio.create_task(self._hold(made, self._enough), name="MCP server")
                try:
                    async with asyncio.timeout(self._patience):
                        self._client = await made
                except BaseException:
                    self._holding.cancel()
                    await self._left()
                    raise
            return self._client

    def broken(self, client: Client) -> None:
        """This client's connection is of no use any more."""
        if self._client is client:
            self._client = None
            self._enough.set()

    async def _hold(self, made: asyncio.Future[Client], enough: asyncio.Event) -> None:
        try:
            async with self._open() as client:
                made.set_result(client)
                await enough.wait()
        except Exception as error:
            if not made.done():
                made.set_exception(error)

    async def _left(self) -> None:
        self._client = None
        self._enough.set()
        if self._holding is not None:
            with suppress(asyncio.CancelledError):
                await asyncio.wait([self._holding])
            self._holding = None


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
        lambda: httpx2.AsyncClient(headers=dict(settings.headers), timeout=timeout, trust_env=False)
    )
    async with session:
        transport = streamable_http_client(settings.url, http_client=session)
        async with Client(transport, read_timeout_seconds=settings.call_timeout) as client:
            yield client
