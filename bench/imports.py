"""A large export taken in over HTTP: what it costs, how much memory it takes, and what a stream beside it feels."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from bench.arena import Options, workplace
from bench.load import Target
from bench.procfs import cpu_seconds, peak_rss_kib, waited_seconds
from bench.report import Cell, Report, note, percentile
from bench.server import backchat, configuration
from bench.wire import HOST, Connection, Exchange, ask, connect, request

DELAY_MS = 20
"""Between two words of a reply, each a write of its own."""
STREAMS = 2
WORDS = 400
"""Of one reply; then comes the next."""
BOUNDARY = "bench-import-5d1e"
PIECE = 1 << 20
BUFFERED = 4 << 20
"""Bytes of the upload that wait in the rig at most."""
PATIENCE = 3_600.0
MEMORY_MB = 300
TESTS = Path(__file__).parent.parent / "tests"


@dataclass(slots=True)
class Streamed:
    """What readers of replies felt: milliseconds between two words, and what went wrong."""

    gaps: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def add(self, exchange: Exchange, *, ended: bool) -> None:
        """``ended``: the reply was read to its end, so that all of it must be there."""
        if exchange.status != 200:
            self.failures.append(f"a reply: {exchange.status} {exchange.body()[:200]!r}")
            return
        arrived = [e.arrived for e in exchange.events() if e.data.get("delta") or e.data.get("content")]
        self.gaps += [(b - a) / 1e6 for a, b in pairwise(arrived)]
        if ended and len(arrived) < WORDS / 4:
            self.failures.append(f"a reply of {len(arrived)} pieces")

    def row(self, name: str) -> dict[str, Cell]:
        return {
            "replies": name,
            "gaps": len(self.gaps),
            "p50 ms": percentile(self.gaps, 0.5),
            "p95": percentile(self.gaps, 0.95),
            "p99": percentile(self.gaps, 0.99),
            "longest": max(self.gaps, default=float("nan")),
        }


@asynccontextmanager
async def streaming(target: Target) -> AsyncIterator[Streamed]:
    """Some readers of slow replies, one after the other, until the block is left."""
    told, open_now = Streamed(), dict[int, Exchange]()

    async def reader(number: int) -> None:
        connection = await connect(target.port)
        try:
            while True:
                body = {"text": " ".join([f"word{n}" for n in range(WORDS)])}
                exchange = connection.start(request("POST", "/api/chat/stream", body=body, key=target.key))
                open_now[number] = exchange
                await exchange.done
                told.add(open_now.pop(number), ended=True)
                if told.failures:
                    return
        finally:
            connection.drop()

    tasks = [asyncio.create_task(reader(number)) for number in range(STREAMS)]
    try:
        yield told
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for exchange in open_now.values():
            told.add(exchange, ended=False)


async def upload(target: Target, path: Path, size: int) -> str:
    """Give the server the file of that size, a piece at a time; returns the id of the import."""
    part = f'Content-Disposition: form-data; name="file"; filename="{path.name}"\r\nContent-Type: application/json'
    begin = f"--{BOUNDARY}\r\n{part}\r\n\r\n".encode()
    end = f"\r\n--{BOUNDARY}--\r\n".encode()
    head = [
        "POST /api/convos/import?background=true HTTP/1.1",
        f"Host: {HOST}",
        f"Authorization: Bearer {target.key}",
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}",
        f"Content-Length: {len(begin) + size + len(end)}",
    ]
    connection = await connect(target.port)
    exchange = connection.start("\r\n".join(head).encode() + b"\r\n\r\n" + begin)
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            await _send(connection, piece)
    await _send(connection, end)
    await exchange.done
    connection.drop()
    if exchange.status != 202:
        raise RuntimeError(f"the upload: {exchange.status} {exchange.body()[:200]!r}")
    return str(exchange.json()["jobId"])


async def _send(connection: Connection, piece: bytes) -> None:
    transport = connection.transport
    if transport is None:
        raise RuntimeError("the server closed the connection during the upload")
    transport.write(piece)
    while transport.get_write_buffer_size() > BUFFERED:  # noqa: ASYNC110 (the transport has no event for it)
        await asyncio.sleep(0.005)


async def imported(target: Target, job: str) -> dict[str, Any]:
    """Follow an import to its end, as a client does."""
    path = f"/api/convos/import/{job}"
    data = request("GET", path, key=target.key, headers={"Accept": "text/event-stream"})
    async with asyncio.timeout(PATIENCE):
        exchange = await ask(target.port, data)
    last = exchange.events()[-1].data if exchange.status == 200 else {}
    if last.get("status") != "done" or last["failed"]:
        raise RuntimeError(f"the import: {exchange.status} {last or exchange.body()[:200]!r}")
    return last


async def found(target: Target, word: str) -> tuple[float, int]:
    """How long a search took, in milliseconds, and how many conversations it found."""
    path = "/api/convos?" + urlencode({"search": word})
    exchange = await ask(target.port, request("GET", path, key=target.key))
    if exchange.status != 200:
        raise RuntimeError(f"a search: {exchange.status} {exchange.body()[:200]!r}")
    return (exchange.ended - exchange.sent) / 1e6, len(exchange.json()["conversations"])


def write_export(path: Path, size: int) -> int:
    """The same that the tests import, only larger; returns the bytes that it has."""
    sys.path.insert(0, str(TESTS))
    from imports_made import write_big_chatgpt

    write_big_chatgpt(path, size)
    return path.stat().st_size


def rows(alone: Streamed, beside: Streamed) -> Sequence[dict[str, Cell]]:
    return [alone.row("alone"), beside.row("beside the import")]


async def measure(options: Options) -> Report:
    megabytes, quiet = options.pick(20, 250), options.pick(5, 20)
    report = Report(
        "imports",
        f"An export of ChatGPT's of {megabytes} MB uploaded over HTTP and followed to its end, the server on one core; "
        f"beside it {STREAMS} replies of the echo provider, a word every {DELAY_MS} ms, each word durable. Then a "
        "search for a word that only the last conversation has.",
    )
    settings = configuration(options.ports, echo_delay_ms=DELAY_MS, dialects=("chat", "convos"))
    with workplace(options.directory) as directory:
        export = directory / "conversations.json"
        size = await asyncio.to_thread(write_export, export, megabytes * 1_000_000)
        with backchat(directory, options.ports + 2, settings) as server:
            key = server.create_key()
            server.start()
            target = server.target(key)
            async with streaming(target) as alone:
                await asyncio.sleep(quiet)
            before = cpu_seconds(target.pid), waited_seconds(target.pid), time.monotonic()
            async with streaming(target) as beside:
                job = await upload(target, export, size)
                uploaded = time.monotonic()
                told = await imported(target, job)
            ended = time.monotonic()
            spent = cpu_seconds(target.pid) - before[0]
            note(f"  {told['imported']:,} conversations in {ended - before[2]:.0f} s")
            first, count = await found(target, f"unique{told['imported'] - 1}")
            indexing = cpu_seconds(target.pid) - before[0] - spent
            again, _ = await found(target, f"unique{told['imported'] // 2}")
            peak = peak_rss_kib(target.pid) * 1.024 / 1000
            starved = waited_seconds(target.pid) - before[1]
    report.add(
        [
            {
                "MB": megabytes,
                "conversations": told["imported"],
                "upload s": uploaded - before[2],
                "import s": ended - uploaded,
                "CPU s, server": spent,
                "MB a CPU second": megabytes / spent,
                "peak RSS MB": peak,
                "first search ms": first,
                "its CPU s": indexing,
                "second search ms": again,
                "waited for a core s": starved,
            }
        ]
    )
    report.add(rows(alone, beside), "Milliseconds between two words of a reply.")
    report.goal("memory while 250 MB are imported", peak, MEMORY_MB, unit="MB")
    p95 = percentile(beside.gaps, 0.95) - percentile(alone.gaps, 0.95)
    report.goal("p95 between two words, above that of replies alone", p95, 15, unit="ms")
    report.fault("replies", alone.failures + beside.failures)
    report.fault("search", [] if count == 1 else [f"a word of one conversation found {count}"])
    return report
