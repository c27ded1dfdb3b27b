"""Exact search among stored vectors, and the few functions on them that others need.

A vector is ``dims`` float32, little-endian, of length 1, as an ``Embedder`` makes it. The cosine of two vectors of
length 1 is their inner product. numpy is imported by the first call that needs it: a server without an embedder runs
without it.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from base64 import b64decode
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar

import structlog

from backchat.domain.document import Document
from backchat.ports.embedding import Embedder
from backchat.ports.storage import Query, Record, RecordStore
from backchat.services.document_records import VECTOR_BYTES, VECTORS, Vectors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

log = structlog.get_logger(source=__name__)

P = ParamSpec("P")
R = TypeVar("R")
FLOAT = 4
PAGE_BYTES = 4 << 20
"""Vectors read from the store at once: parsing them holds the event loop up for a few milliseconds."""
PATIENCE = 5.0
"""Seconds that one search reads vectors from the store, which takes 15 ms per MiB; what is left waits for the next."""
_ENTRY = 512
"""Bytes that an entry of the cache takes beside its vectors, about."""


def signature(model: str, vector: bytes) -> str:
    """What vectors must have in common to be compared: the model that made them and how long they are."""
    return f"{model}:{len(vector) // FLOAT}"


def signature_of(embedder: Embedder, vector: bytes) -> str:
    """The signature of a vector that this embedder has made."""
    return signature(embedder.model, vector)


async def in_thread(call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Off the event loop."""
    return await asyncio.to_thread(call, *args, **kwargs)


def records_of(document: Document, scope: str, signed: str, vectors: Sequence[bytes]) -> Iterator[Vectors]:
    """The records of the vectors of a document's pieces, one vector for each piece in order."""
    if not vectors:
        return
    size = len(vectors[0])
    each = max(1, VECTOR_BYTES // size)
    for n, first in enumerate(range(0, len(vectors), each)):
        some = vectors[first : first + each]
        yield Vectors(
            document=document.id,
            owner=document.owner,
            scope=scope,
            embedder=signed,
            n=n,
            first=first,
            count=len(some),
            dims=size // FLOAT,
            data=b"".join(some),
        )


class Source(NamedTuple):
    """A document that is searched: its id, and how many pieces it has."""

    id: str
    pieces: int


@dataclass(frozen=True, slots=True)
class Block:
    """The vectors of a document's pieces from ``first`` on, a row each."""

    document: str
    first: int
    rows: Floats


Blocks = tuple[Block, ...]
Place = tuple[str, int]
"""Document and number of one of its pieces."""
Hit = tuple[Place, float]


class Nearest:
    """The pieces of documents whose vectors are nearest to one, exactly. Keeps ``capacity`` bytes of vectors at most.

    What is kept cannot be wrong: the vectors of a document never change, and only those of the documents that the
    caller names are looked at. That a document has none of a signature is kept too.

    A search of so much that was not searched lately that it cannot be read within ``PATIENCE`` goes without the rest,
    the last of the documents named; the next search reads on from there, as far as ``capacity`` reaches.
    """

    def __init__(self, store: RecordStore, capacity: int) -> None:
        self._store = store
        self._capacity = capacity
        self._kept: OrderedDict[tuple[str, str], Blocks] = OrderedDict()
        self._bytes = 0
        self._reading = asyncio.Lock()

    async def find(self, owner: str, documents: Sequence[Source], signed: str, query: bytes, limit: int) -> list[Hit]:
        """The ``limit`` nearest pieces of these documents of the owner's with their cosines, best first."""
        kept = self._kept
        wanted = {(d.id, signed) for d in documents}
        warm: list[Block] = []
        cold: list[Source] = []
        for d in documents:
            blocks = kept.get((d.id, signed))
            if blocks is None:
                cold.append(d)
            else:
                kept.move_to_end((d.id, signed))
                warm += blocks
        best = await in_thread(_best, query, warm, limit) if warm else []
        # Page by page, so that a scope larger than the cache takes no more memory than that.
        began = time.monotonic()
        read = 0
        for page in _pages(cold, len(query)):
            if read and time.monotonic() - began >= PATIENCE:
                log.warning("vectors.unread", documents=len(cold) - read)
                break
            read += len(page)
            async with self._reading:
                blocks = await self._read(owner, page, signed, wanted)
            if blocks:
                best = heapq.nsmallest(limit, [*best, *await in_thread(_best, query, blocks, limit)], key=_order)
        return best

    async def _read(
        self, owner: str, documents: Sequence[Source], signed: str, wanted: Collection[tuple[str, str]]
    ) -> Blocks:
        where = (
            ("document", tuple(d.id for d in documents)),
            ("embedder", (signed,)),
            ("owner", (owner,)),
        )
        most = sum(d.pieces for d in documents) or 1
        records = await self._store.find(Query(kind=VECTORS.name, where=where, limit=most))
        found = await in_thread(_blocks, records, int(signed.rpartition(":")[2]))
        for d in documents:
            self._keep((d.id, signed), found.get(d.id, ()), wanted)
        return tuple(block for blocks in found.values() for block in blocks)

    def _keep(self, key: tuple[str, str], blocks: Blocks, wanted: Collection[tuple[str, str]]) -> None:
        """Remember, at the cost of what was not asked for longest; but not of what this very search asks for."""
        if key in self._kept:
            return
        size = _size(blocks)
        while self._kept and self._bytes + size > self._capacity:
            oldest = next(iter(self._kept))
            if oldest in wanted:
                return
            self._bytes -= _size(self._kept.pop(oldest))
        if self._bytes + size <= self._capacity:
            self._kept[key] = blocks
            self._bytes += size


def _size(blocks: Blocks) -> int:
    return _ENTRY + sum(b.rows.nbytes for b in blocks)


def _pages(documents: Sequence[Source], size: int) -> Iterator[list[Source]]:
    """In groups whose vectors of ``size`` bytes are about ``PAGE_BYTES``."""
    page: list[Source] = []
    total = 0
    for d in documents:
        if page and total + d.pieces * size > PAGE_BYTES:
            yield page
            page, total = [], 0
        page.append(d)
        total += d.pieces * size
    if page:
        yield page


def _blocks(records: Sequence[Record], dims: int) -> Mapping[str, Blocks]:
    """By document. A record that does not hold what it says is left out: its pieces are found by their words."""
    import numpy as np

    found: dict[str, Blocks] = {}
    for record in records:
        d: Mapping[str, Any] = record.doc
        data = b64decode(d["data"])
        if d["dims"] == dims and len(data) == d["count"] * dims * FLOAT:
            rows = np.frombuffer(data, dtype="<f4").reshape(-1, dims)
            found[d["document"]] = (*found.get(d["document"], ()), Block(d["document"], d["first"], rows))
    return found


def _best(query: bytes, blocks: Sequence[Block], limit: int) -> list[Hit]:
    import numpy as np

    wanted = np.frombuffer(query, dtype="<f4")
    ends = np.cumsum([len(b.rows) for b in blocks])
    scores = np.empty(int(ends[-1]), dtype=np.float32)
    for block, end in zip(blocks, ends, strict=True):
        np.dot(block.rows, wanted, out=scores[end - len(block.rows) : end])
    if len(scores) > limit:
        least = np.partition(scores, len(scores) - limit)[len(scores) - limit]
        chosen = np.flatnonzero(scores >= least)
    else:
        chosen = np.arange(len(scores))
    hits: list[Hit] = []
    for i, b in zip(chosen.tolist(), np.searchsorted(ends, chosen, side="right").tolist(), strict=True):
        block = blocks[b]
        row = i - int(ends[b]) + len(block.rows)
        hits.append(((block.document, block.first + row), float(scores[i])))
    return heapq.nsmallest(limit, hits, key=_order)


def _order(hit: Hit) -> tuple[float, Place]:
    return -hit[1], hit[0]
