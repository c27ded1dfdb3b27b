"""How long it takes to find the passages for a question, among few and many, by words and by meaning too."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from uuid_utils import uuid7

from backchat.domain.assistant import Assistant
from backchat.domain.document import Document
from backchat.domain.limits import DocumentLimits
from backchat.ports.storage import Change, Query, RecordStore
from backchat.services.document_records import Piece, document_put, piece_put, scope_of, vectors_put
from backchat.services.embedders import Embedders
from backchat.services.retrieval import Retrieval
from backchat.services.vectors import records_of, signature_of
from bench.arena import Options, workplace
from bench.prefill import Language, fill
from bench.report import Cell, Report, note, percentile
from bench.stores import sqlite_file

OWNER = "owner"
PIECES = 200
"""Of one document."""
SENTENCES = 5
"""Of forty words each, in a piece."""
RANKS = (100, 300, 1_000, 5_000, 20_000)
"""Between each and the next one lies one word of a question, in the order of how common words are; and one beyond."""


@dataclass
class RandomEmbedder:
    """Vectors that say nothing, fast: what is measured is the search."""

    dimensions: int
    model: str = "random"
    context: int = 0
    random: random.Random = field(default_factory=lambda: random.Random(1))

    async def embed(self, texts: Sequence[str], purpose: str) -> Sequence[bytes]:
        return self.some(len(texts))

    def some(self, count: int) -> list[bytes]:
        import numpy as np

        rows = np.random.default_rng(self.random.randrange(1 << 32)).standard_normal((count, self.dimensions), "f4")
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return [row.tobytes() for row in rows]


def assistant(passages: int, embedder: str | None = None) -> Assistant:
    now = datetime.now(UTC)
    return Assistant(id=f"{passages}", owner=OWNER, name="bench", created_at=now, updated_at=now, embedder=embedder)


def documents(passages: int, language: Language, embedders: Sequence[RandomEmbedder]) -> Iterator[Change]:
    """The changes that give an assistant so many passages, with vectors of each embedder."""
    scope = scope_of(assistant=f"{passages}")
    for first in range(0, passages, PIECES):
        now = datetime.now(UTC)
        whole = Document(
            id=str(uuid7()),
            owner=OWNER,
            filename=f"report {first}.txt",
            mime="text/plain",
            size=PIECES * 1_000,
            sha256="0" * 64,
            created_at=now,
            updated_at=now,
            assistant=f"{passages}",
            status="indexed",
            chunks=min(PIECES, passages - first),
        )
        yield document_put(whole)
        for n in range(whole.chunks):
            text = " ".join([language.text() for _ in range(SENTENCES)])
            piece = Piece(
                document=whole.id, owner=OWNER, scope=scope, n=n, text=text, filename=whole.filename, start=0, end=9
            )
            yield piece_put(piece)
        for embedder in embedders:
            made = embedder.some(whole.chunks)
            for vectors in records_of(whole, scope, signature_of(embedder, made[0]), made):
                yield vectors_put(vectors)


def question(language: Language) -> str:
    """Five words that tell passages apart, among eight that do not."""
    picked = [
        language.random.choice(language.words[low:high]) for low, high in zip(RANKS, (*RANKS[1:], 40_000), strict=True)
    ]
    return "What does the {} {} say about {} and the {} in {}?".format(*picked)


async def fold(store: RecordStore, passages: int) -> float:
    began = time.perf_counter()
    where = (("scope", (scope_of(assistant=f"{passages}"),)),)
    await store.find(Query(kind="chunk", where=where, any_word="0", limit=1))
    return time.perf_counter() - began


async def asked(
    retrieval: Retrieval, whose: Assistant, language: Language, times: int
) -> tuple[float, list[float], list[float]]:
    """Milliseconds of the first question, of the others, and how many passages each found."""
    taken: list[float] = []
    found: list[float] = []
    for _ in range(times + 1):
        text = question(language)
        began = time.perf_counter()
        passages = await retrieval.search(OWNER, assistant=whose, conversation="none", question=text)
        taken.append(1000 * (time.perf_counter() - began))
        found.append(len(passages))
    return taken[0], taken[1:], found


async def measure(options: Options) -> Report:
    sizes = (1_000, 10_000) if options.short else (1_000, 10_000, 100_000)
    times = options.pick(20, 100)
    report = Report(
        "retrieval",
        f"The best ten passages for a question of 13 words, five of which tell passages apart, among so many passages "
        f"of {40 * SENTENCES} words (Zipf) in documents of {PIECES} each. The embedding of the question is not in it.",
    )
    embedders = {str(dims): RandomEmbedder(dims) for dims in (256, 1_024)}
    rows: list[dict[str, Cell]] = []
    with workplace(options.directory) as directory:
        async with sqlite_file(directory).opened() as store:
            for passages in sizes:
                language = Language()
                began = time.monotonic()
                await fill(store, documents(passages, language, list(embedders.values())))
                folding = await fold(store, passages)
                note(f"  {passages:,} passages in {time.monotonic() - began:.0f} s, {folding:.1f} s of it words")
                for name in (None, *embedders):
                    limits = DocumentLimits(vector_cache=1 << 30)
                    chosen = Embedders({} if name is None else {name: embedders[name]})
                    retrieval = Retrieval(store, chosen, limits)
                    first, taken, found = await asked(retrieval, assistant(passages, name), language, times)
                    rows.append(
                        {
                            "passages": passages,
                            "by": "words" if name is None else f"words and vectors of {name}",
                            "found": min(found),
                            "first ms": first,
                            "p50 ms": percentile(taken, 0.5),
                            "p95 ms": percentile(taken, 0.95),
                        }
                    )
                    note(f"  {rows[-1]}")
    report.add(rows, "The first question finds no vectors and no sample of words in memory.")
    for row in rows:
        p95 = row["p95 ms"]
        assert isinstance(p95, float)
        report.goal(f"{row['passages']:,} passages by {row['by']}, p95", p95, 100, unit="ms")
    report.fault("questions without ten passages", [str(row) for row in rows if row["found"] != 10])
    return report
