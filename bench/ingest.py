"""How fast documents are taken in, from the upload to ``indexed``, and what the server answers meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from bench import uploads
from bench.arena import Options, workplace
from bench.load import Target
from bench.prefill import Language
from bench.procfs import cpu_seconds, reaped_seconds
from bench.report import Cell, Report, percentile
from bench.server import Backchat, backchat, configuration
from bench.wire import Connection, connect, request

AT_ONCE = 2
"""Documents read at the same time, and connections that upload."""
PAGES = 100
LINES = 14
"""Texts of forty words on a page."""
TEXT, TINY = 1_000_000, 1_000
PROBE = 0.01
QUIET = 1.0
"""Seconds of probes before each round, of a server that has nothing to do."""


@dataclass(frozen=True, slots=True)
class File:
    """``words``: bytes of text in it."""

    name: str
    data: bytes
    words: int


@dataclass(frozen=True, slots=True)
class Taken:
    """A number of files, taken in by one server. Times in seconds, ``probes`` and ``quiet`` in milliseconds."""

    files: int
    size: int
    words: int
    passages: int
    seconds: float
    server: float
    readers: float
    probes: Sequence[float]
    quiet: Sequence[float]


@dataclass(slots=True)
class Kind:
    name: str
    target: Target
    make: Callable[[], list[File]]
    goal: float | None = None
    rounds: list[Taken] = field(default_factory=list)


class Shelf:
    """Makes files, no two alike."""

    def __init__(self) -> None:
        self.language, self.made = Language(), 0

    def _name(self, end: str) -> str:
        self.made += 1
        return f"report {self.made}.{end}"

    def _text(self, size: int) -> str:
        """So many characters, in paragraphs of two hundred words."""
        paragraphs: list[str] = []
        while sum(map(len, paragraphs)) + 2 * len(paragraphs) < size:
            paragraphs.append(" ".join([self.language.text() for _ in range(5)]))
        return "\n\n".join(paragraphs)[:size]

    def texts(self, files: int, size: int) -> list[File]:
        return [File(self._name("txt"), self._text(size).encode(), size) for _ in range(files)]

    def pdfs(self, files: int) -> list[File]:
        return [self._pdf() for _ in range(files)]

    def _pdf(self) -> File:
        from fpdf import FPDF

        made, words = FPDF(), 0
        made.set_font("Helvetica", size=11)
        for _ in range(PAGES):
            text = " ".join([self.language.text() for _ in range(LINES)])
            words += len(text)
            made.add_page()
            made.multi_cell(0, 5, text)
        if made.pages_count != PAGES:
            raise RuntimeError(f"a PDF of {made.pages_count} pages, not {PAGES}")
        return File(self._name("pdf"), bytes(made.output()), words)


@asynccontextmanager
async def probing(port: int) -> AsyncIterator[list[float]]:
    """Ask ``/healthz`` again and again; the milliseconds that each answer took."""
    connection, taken = await connect(port), list[float]()
    data = request("GET", "/healthz")

    async def probe() -> None:
        while True:
            exchange = await connection.ask(data)
            if exchange.status != 200:
                raise RuntimeError(f"/healthz: {exchange.status}")
            taken.append((exchange.ended - exchange.sent) / 1e6)
            await asyncio.sleep(PROBE)

    task = asyncio.create_task(probe())
    try:
        yield taken
    finally:
        failed = task.done()
        task.cancel()
        connection.drop()
        if failed:
            task.result()


async def take_in(target: Target, files: Sequence[File]) -> Taken:
    """Upload to a new assistant over ``AT_ONCE`` connections, and wait until the last one is indexed."""
    assistant = await uploads.assistant(target, "reads")
    async with probing(target.port) as quiet:
        await asyncio.sleep(QUIET)
    connections = [await connect(target.port) for _ in range(AT_ONCE)]
    waiting, ids = list(reversed(files)), list[str]()

    async def client(connection: Connection) -> None:
        while waiting:
            file = waiting.pop()
            ids.append(await uploads.upload(target, connection, assistant, file.name, file.data))

    server, readers, began = cpu_seconds(target.pid), reaped_seconds(target.pid), time.monotonic()
    async with probing(target.port) as probes:
        await asyncio.gather(*map(client, connections))
        found: list[Mapping[str, Any]] = [await uploads.indexed(target, connections[0], id) for id in ids]
        seconds = time.monotonic() - began
    # What is left of it: words that are put into the index after the document is there.
    await asyncio.sleep(QUIET)
    result = Taken(
        files=len(files),
        size=sum(len(file.data) for file in files),
        words=sum(file.words for file in files),
        passages=sum(document["chunk_count"] for document in found),
        seconds=seconds,
        server=cpu_seconds(target.pid) - server,
        readers=reaped_seconds(target.pid) - readers,
        probes=probes,
        quiet=quiet,
    )
    for connection in connections:
        connection.drop()
    return result


def row(kind: Kind) -> dict[str, Cell]:
    rounds = kind.rounds
    probes, quiet = [p for r in rounds for p in r.probes], [p for r in rounds for p in r.quiet]
    return {
        "documents": kind.name,
        "of KB": round(rounds[0].size / rounds[0].files / 1000),
        "passages": round(rounds[0].passages / rounds[0].files),
        "documents/s": median(r.files / r.seconds for r in rounds),
        "MB/s": megabytes_a_second(kind),
        "MB/s of text": median(r.words / 1e6 / r.seconds for r in rounds),
        "passages/s": median(r.passages / r.seconds for r in rounds),
        "CPU ms a document, server": median(1000 * r.server / r.files for r in rounds),
        "its readers": median(1000 * r.readers / r.files for r in rounds),
        "/healthz p50 ms": percentile(probes, 0.5),
        "p99": percentile(probes, 0.99),
        "longest": max(probes),
        "p99 before": percentile(quiet, 0.99),
        "longest before": max(quiet),
    }


def megabytes_a_second(kind: Kind) -> float:
    return median(r.size / 1e6 / r.seconds for r in kind.rounds)


def with_vectors(settings: dict[str, Any]) -> dict[str, Any]:
    return {**settings, "embedders": {"local": {"use": "wordllama"}}}


def serving(server: Backchat) -> Target:
    key = server.create_key()
    server.start()
    return server.target(key)


async def measure(options: Options) -> Report:
    rounds = options.round_count(1, 3)
    texts, pdfs, tiny = options.pick(2, 6), options.pick(2, 4), options.pick(10, 40)
    report = Report(
        "ingest",
        f"Documents from the upload over HTTP to `indexed`, {AT_ONCE} read at a time, the server and the processes "
        f"that read for it on one core: text, PDF of {PAGES} pages made by fpdf2, and short notes. `GET /healthz` "
        f"every {PROBE * 1000:.0f} ms, before and meanwhile.",
    )
    settings = configuration(options.ports, echo_delay_ms=0, dialects=("threads",))
    settings["documents"] = {"at_once": AT_ONCE}
    shelf = Shelf()
    with workplace(options.directory) as directory:
        words, vectors = directory / "words", directory / "vectors"
        words.mkdir()
        vectors.mkdir()
        with (
            backchat(words, options.ports + 1, settings) as plain,
            backchat(vectors, options.ports + 2, with_vectors(settings)) as meaning,
        ):
            target, other = serving(plain), serving(meaning)
            kinds = [
                Kind("text", target, lambda: shelf.texts(texts, TEXT), goal=1.0),
                Kind("text, with vectors", other, lambda: shelf.texts(texts, TEXT)),
                Kind("PDF", target, lambda: shelf.pdfs(pdfs)),
                Kind("notes", target, lambda: shelf.texts(tiny, TINY)),
            ]
            for once in (target, other):
                await take_in(once, shelf.texts(2, TINY))
            for _ in range(rounds):
                for kind in kinds:
                    kind.rounds.append(await take_in(kind.target, kind.make()))
    report.add([row(kind) for kind in kinds], f"Medians of {rounds} rounds, interleaved; `/healthz` over all of them.")
    for kind in kinds:
        if kind.goal is not None:
            report.goal(f"{kind.name}, MB/s", megabytes_a_second(kind), kind.goal, at_least=True)
        empty = [f"{r.passages} passages" for r in kind.rounds if r.passages * 1_200 < 0.9 * r.words]
        report.fault(f"{kind.name}: text is missing", empty)
    return report
