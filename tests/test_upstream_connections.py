"""Connections that a service had promised to keep, and did not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import aiohttp
import pytest
from yarl import URL

from backchat.upstream.http import open_session, post

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok"


class Forgetful:
    """A server that promises to keep connections. ``keeps`` says of the n-th request of one whether it does."""

    def __init__(self, keeps: Callable[[int], bool]) -> None:
        self._keeps = keeps
        self.requests = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            number = 0
            while await reader.readuntil(b"\r\n\r\n"):
                await reader.readexactly(4)
                number += 1
                self.requests += 1
                if not self._keeps(number):
                    break
                writer.write(ANSWER)
                await writer.drain()
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def forgetful(keeps: Callable[[int], bool]) -> AsyncIterator[tuple[Forgetful, URL]]:
    one = Forgetful(keeps)
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    async with server:
        yield one, URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")


def session_of() -> AbstractAsyncContextManager[aiohttp.ClientSession]:
    return open_session({}, connect_timeout=5, read_timeout=5)


async def asked(session: aiohttp.ClientSession, url: URL) -> bytes:
    async with await post(session, url, b"body") as response:
        return await response.read()


async def test_a_kept_connection_that_breaks_is_another_one() -> None:
    async with forgetful(lambda number: number == 1) as (server, url), session_of() as session:
        for _ in range(3):
            assert await asked(session, url) == b"ok"
    assert server.requests == 5, "each but the first was sent on a connection that was given up, and on a new one"


async def test_a_new_connection_that_breaks_has_broken() -> None:
    """The service has the request, and may be at work on it."""
    async with forgetful(lambda number: False) as (server, url), session_of() as session:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await asked(session, url)
    assert server.requests == 1


async def test_a_body_that_is_iterated_is_not_sent_twice() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"body"

    async with forgetful(lambda number: number == 1) as (_, url), session_of() as session:
        assert await asked(session, url) == b"ok"
        with pytest.raises((aiohttp.ClientError, OSError)):
            await post(session, url, pieces(), {"Content-Length": "4"})
