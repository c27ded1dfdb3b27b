"""A TCP connection that goes wrong in the middle of an answer, between a client and a server that works."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal
from urllib.parse import urlsplit


@asynccontextmanager
async def faulty_link(url: str, *, after: int | None, fault: Literal["cut", "stall"]) -> AsyncIterator[str]:
    """Yields a URL that leads to the same server as ``url``.

    Of each answer the head and ``after`` bytes of the body come through (None: not even a byte of the head); then the
    connection is reset, or stays open in silence until the client leaves.
    """
    parts = urlsplit(url)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            there, onward = await asyncio.open_connection(parts.hostname, parts.port)
            upload = asyncio.create_task(_copy(reader, onward))
            try:
                if after is not None:
                    writer.write(await there.readuntil(b"\r\n\r\n"))
                    writer.write(await there.readexactly(after))
                    await writer.drain()
                else:
                    await there.readexactly(1)
                if fault == "stall":
                    await upload  # ends when the client leaves
            finally:
                upload.cancel()
                onward.transport.abort()
                writer.transport.abort()
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}{parts.path}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
