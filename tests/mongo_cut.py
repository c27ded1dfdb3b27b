"""A relay before a mongod that loses answers: a command is carried out, and its connection breaks."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

_HEADER = struct.Struct("<iiii")
_MESSAGE = 2013
_NAME_AT = 16 + 4 + 1 + 4 + 1
"""Of a message: header, flags, sort of section, length of the document, type of its first element, and its name."""


@dataclass(slots=True)
class Relay:
    """``cut`` names the command whose answers are lost: as many as ``times`` from now on, ``broken`` up to now."""

    port: int
    cut: str = ""
    times: int = 0
    broken: int = 0
    connections: set[asyncio.Task[None]] = field(default_factory=set)

    def arm(self, command: str, times: int) -> None:
        """From now on, let the command be carried out and its answer be lost."""
        self.cut, self.times, self.broken = command, times, 0

    async def serve(self, near: asyncio.StreamReader, answers: asyncio.StreamWriter, mongod: int) -> None:
        far, requests = await asyncio.open_connection("127.0.0.1", mongod)
        doomed: set[int] = set()
        try:
            forward = asyncio.create_task(self._requests(near, requests, doomed))
            back = asyncio.create_task(self._answers(far, answers, doomed))
            await asyncio.wait([forward, back], return_when=asyncio.FIRST_COMPLETED)
            for task in (forward, back):
                task.cancel()
            await asyncio.gather(forward, back, return_exceptions=True)
        finally:
            for writer in (answers, requests):
                writer.close()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, doomed: set[int]) -> None:
        while message := await _read(reader):
            _, number, _, sort = _HEADER.unpack_from(message)
            if sort == _MESSAGE and self.times:
                name = message[_NAME_AT : message.index(b"\0", _NAME_AT)].decode()
                if name == self.cut:
                    self.times -= 1
                    doomed.add(number)
            writer.write(message)
            await writer.drain()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, doomed: set[int]) -> None:
        while message := await _read(reader):
            if _HEADER.unpack_from(message)[2] in doomed:
                self.broken += 1
                return
            writer.write(message)
            await writer.drain()


async def _read(reader: asyncio.StreamReader) -> bytes:
    """A message; nothing at the end."""
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        length = await reader.readexactly(4)
        return length + await reader.readexactly(int.from_bytes(length, "little") - 4)
    return b""


@asynccontextmanager
async def relay(mongod: int) -> AsyncGenerator[Relay, None]:
    """Before the mongod on that port of this machine."""
    made = Relay(0)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        made.connections.add(task)
        try:
            with suppress(ConnectionError, asyncio.CancelledError):
                await made.serve(reader, writer, mongod)
        finally:
            made.connections.discard(task)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for task in made.connections:
            task.cancel()
        await asyncio.gather(*made.connections, return_exceptions=True)
        await server.wait_closed()
