"""An HTTP/1.1 client that keeps the bytes as they come and the moment each of them came.

Nothing is parsed while a measurement runs: ``Exchange`` is read afterwards.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import orjson

HOST = "127.0.0.1"
_CHUNKED_END = b"\r\n0\r\n\r\n"


def request(
    method: str,
    path: str,
    *,
    body: object = None,
    raw: tuple[str, bytes] | None = None,
    key: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """The bytes of a request: ``body`` goes as JSON, ``raw`` as it is, with its content type before it."""
    kind, payload = raw or ("application/json", b"" if body is None else orjson.dumps(body))
    lines = [f"{method} {path} HTTP/1.1", f"Host: {HOST}"]
    if key is not None:
        lines.append(f"Authorization: Bearer {key}")
    if payload:
        lines += [f"Content-Type: {kind}", f"Content-Length: {len(payload)}"]
    elif method != "GET":
        lines.append("Content-Length: 0")
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + payload


@dataclass(frozen=True, slots=True)
class Event:
    """A server-sent event. ``arrived`` is ``CLOCK_MONOTONIC`` in nanoseconds."""

    arrived: int
    id: str | None
    data: dict[str, Any]


class Exchange:
    """One request and as much of its response as came. ``complete`` is False when the connection broke."""

    __slots__ = ("_end", "_sizes", "_times", "complete", "done", "ended", "first", "raw", "sent")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.sent = time.monotonic_ns()
        self.ended = 0
        self.raw = bytearray()
        self.complete = False
        self.first: asyncio.Future[None] = loop.create_future()
        """Set when the first piece of the body is here, or nothing will come any more."""
        self.done: asyncio.Future[None] = loop.create_future()
        self._times: list[int] = []
        self._sizes: list[int] = []
        self._end: int | None = None  # where the response ends; 0 = chunked; None = the head is not here yet

    def feed(self, data: bytes) -> None:
        now, raw = time.monotonic_ns(), self.raw
        raw += data
        self._times.append(now)
        self._sizes.append(len(raw))
        if self._end is None:
            head = raw.find(b"\r\n\r\n")
            if head < 0:
                return
            fields = bytes(raw[:head]).lower()
            if b"\r\ntransfer-encoding: chunked" in fields:
                self._end = 0
            else:
                at = fields.find(b"\r\ncontent-length:")
                length = int(fields[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
                self._end = head + 4 + length
        if not self.first.done() and not raw.endswith(b"\r\n\r\n"):
            self.first.set_result(None)
        if (len(raw) >= self._end) if self._end else raw.endswith(_CHUNKED_END):
            self.complete = True
            self.close(now)

    def close(self, now: int) -> None:
        if not self.done.done():
            self.ended = now
            self.done.set_result(None)
        if not self.first.done():
            self.first.set_result(None)

    @property
    def status(self) -> int:
        """0 when not even the first line came."""
        return int(self.raw[9:12]) if len(self.raw) >= 12 else 0

    def _chunks(self) -> Iterator[tuple[int, bytes]]:
        """The pieces that came whole, each with the moment at which its last byte came."""
        raw = bytes(self.raw)
        at = raw.find(b"\r\n\r\n") + 4
        if at < 4:
            return
        if self._end:
            yield self._times[-1], raw[at:]
            return
        while (line := raw.find(b"\r\n", at)) >= 0:
            size = int(raw[at:line], 16)
            end = line + 2 + size
            if not size or len(raw) < end:
                return
            yield self._times[bisect_left(self._sizes, end)], raw[line + 2 : end]
            at = end + 2

    def body(self) -> bytes:
        return b"".join([piece for _, piece in self._chunks()])

    @property
    def is_json(self) -> bool:
        """Whether the response is one JSON value, by its headers."""
        return b"\r\ncontent-type: application/json" in self.raw[: self.raw.find(b"\r\n\r\n")].lower()

    def json(self) -> Any:
        return orjson.loads(self.body())

    def events(self) -> list[Event]:
        """The server-sent events that came whole; comments and the end sentinel are left out."""
        found, rest = [], b""
        for arrived, piece in self._chunks():
            *blocks, rest = (rest + piece).split(b"\n\n")
            for block in blocks:
                id, data = None, b""
                for line in block.split(b"\n"):
                    if line.startswith(b"data:"):
                        data += line[5:]
                    elif line.startswith(b"id:"):
                        id = line[3:].strip().decode()
                if data and data.strip() != b"[DONE]":
                    found.append(Event(arrived, id, orjson.loads(data)))
        return found


class Connection(asyncio.Protocol):
    """A connection kept alive between requests, one request at a time."""

    def __init__(self) -> None:
        self.exchange: Exchange | None = None
        self.transport: asyncio.Transport | None = None
        self.loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's does not inherit from it

    def data_received(self, data: bytes) -> None:
        if self.exchange is not None:
            self.exchange.feed(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self.exchange is not None:
            self.exchange.close(time.monotonic_ns())

    def start(self, data: bytes) -> Exchange:
        """Send a request; the exchange fills by itself."""
        self.exchange = Exchange(self.loop)
        if self.transport is None:
            self.exchange.close(time.monotonic_ns())
        else:
            self.transport.write(data)
        return self.exchange

    async def ask(self, data: bytes) -> Exchange:
        exchange = self.start(data)
        await exchange.done
        return exchange

    def drop(self) -> None:
        """Leave without a word, as a client does whose process ends."""
        if self.transport is not None:
            self.transport.abort()


async def connect(port: int) -> Connection:
    _, connection = await asyncio.get_running_loop().create_connection(Connection, HOST, port)
    return connection


async def ask(port: int, data: bytes) -> Exchange:
    """One request on a connection of its own."""
    connection = await connect(port)
    try:
        return await connection.ask(data)
    finally:
        connection.drop()
