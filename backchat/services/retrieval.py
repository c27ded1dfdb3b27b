"""The passages of documents that bear on a question: by words, and by meaning where an embedder is configured."""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import structlog

from backchat.domain.assistant import Assistant
from backchat.domain.document import Document, Passage
from backchat.domain.limits import DocumentLimits
from backchat.errors import ProviderError
from backchat.ports.embedding import Embedder
from backchat.ports.storage import Condition, Put, Query, RecordStore
from backchat.services.document_records import (
    CHUNK,
    DOCUMENT,
    Piece,
    piece_id,
    piece_of,
    scope_of,
    vectors_put,
)
from backchat.services.embedders import Embedders
from backchat.services.question_words import Sample, bounded, chosen, telling, with_stems
from backchat.services.vectors import Nearest, Source, in_thread, records_of, signature_of

log = structlog.get_logger(source=__name__)

EMBEDDED_AT_ONCE = 2048
"""Texts of a document that are embedded in one call, so that their vectors do not all exist twice."""
PATIENCE = 10.0
"""Seconds that a question may take to be embedded before it is looked up by its words only."""
LEAST_DEPTH = 50
# Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning Methods"
# (SIGIR 2009): the score is the sum of 1 / (60 + rank) over the lists.
_FUSION = 60
_MANY = 4_000
"""Passages from which on it pays to know how frequent words are."""
_SAMPLED = 128
_SAMPLES_KEPT = 64
_PAGE = 1_000


class Retrieval:
    """Searches and indexes documents. Reading them and storing their pieces is ``Documents``' part."""

    def __init__(self, store: RecordStore, embedders: Embedders, limits: DocumentLimits) -> None:
        self._store = store
        self._embedders = embedders
        self._nearest = Nearest(store, limits.vector_cache)
        self._samples: OrderedDict[tuple[str, tuple[str, ...]], Sample] = OrderedDict()

    async def search(self, owner: str, *, assistant: Assistant, conversation: str, question: str) -> Sequence[Passage]:
        """The ``assistant.top_k`` best passages of the owner's indexed documents of both, best first.

        Passages that share a word with the question, and those whose vectors are nearest to its own, each ranked, the
        ranks fused. If these are too few, the leading passages of the documents follow, the newest documents first,
        one passage of each in turn, with the score 0: what a document is about stands at its beginning.

        An embedder that fails is logged and done without; only the store's errors are raised.
        """
        scopes = (scope_of(assistant=assistant.id), scope_of(conversation=conversation))
        documents = await self._documents(owner, scopes)
        wanted = assistant.top_k
        if not documents or wanted < 1:
            return []
        question = bounded(question)
        depth = max(LEAST_DEPTH, 2 * wanted)
        worded = await self._by_words(owner, scopes, documents, question, depth)
        near = await self._by_meaning(owner, documents, assistant.embedder, question, depth)
        pieces = {p.id: p for p in worded}
        scores = _fused([p.id for p in worded], near)
        ranked = sorted(scores, key=lambda id: (-scores[id], id))
        found = await self._first(owner, ranked, pieces, wanted)
        if len(found) < wanted:
            taken = {p.id for p in found}
            leading = [id for id in _leading(documents, wanted) if id not in taken]
            found += await self._first(owner, leading, pieces, wanted - len(found))
        return [_passage(p, scores.get(p.id, 0.0)) for p in found]

    async def index(self, document: Document, texts: Sequence[str], embedder: str | None) -> list[Put]:
        """What stores the vectors of a new document's pieces, whose texts these are, in order.

        ``embedder`` is the assistant's choice, None the default one. Without such a one there is nothing to store.
        Raises ProviderError.
        """
        model = self._embedders.find(embedder)
        if model is None or not texts:
            return []
        vectors: list[bytes] = []
        for i in range(0, len(texts), EMBEDDED_AT_ONCE):
            vectors += await model.embed(texts[i : i + EMBEDDED_AT_ONCE], "document")
        if len(vectors) != len(texts) or len({len(v) for v in vectors}) != 1:
            raise ProviderError("the embedding model gave vectors that do not fit its texts")
        scope = scope_of(assistant=document.assistant, conversation=document.conversation)
        signed = signature_of(model, vectors[0])

        def puts() -> list[Put]:
            return [vectors_put(v) for v in records_of(document, scope, signed, vectors)]

        return await in_thread(puts)

    async def warm(self, document: Document) -> None:
        """Have the store finish what it puts off until a search, such as indexing words: call it after the commit.

        In SQLite this takes about 0.3 ms for each new passage of 1,200 characters, which the next question would pay.
        """
        scope = scope_of(assistant=document.assistant, conversation=document.conversation)
        where: tuple[Condition, ...] = (("scope", (scope,)), ("owner", (document.owner,)))
        await self._store.find(Query(kind=CHUNK.name, where=where, any_word="0", limit=1))

    async def _documents(self, owner: str, scopes: Sequence[str]) -> list[Source]:
        """The indexed ones, newest first."""
        where: tuple[Condition, ...] = (("scope", scopes), ("owner", (owner,)), ("status", ("indexed",)))
        found: list[Source] = []
        after: tuple[str, str] | None = None
        while True:
            query = Query(
                kind=DOCUMENT.name, where=where, order=("created",), descending=True, after=after, limit=_PAGE
            )
            page = await self._store.find(query)
            found += [Source(r.id, r.doc["chunks"]) for r in page if r.doc["chunks"]]
            if len(page) < _PAGE:
                return found
            after = (page[-1].doc["created"], page[-1].id)

    async def _by_words(
        self, owner: str, scopes: tuple[str, ...], documents: Sequence[Source], question: str, depth: int
    ) -> list[Piece]:
        candidates = with_stems(telling(question))
        if not candidates:
            return []
        total = sum(d.pieces for d in documents)
        sample = await self._sample(owner, scopes, documents, total) if total > _MANY else None
        query = Query(
            kind=CHUNK.name,
            where=(("scope", scopes), ("owner", (owner,))),
            any_word=" ".join(chosen(candidates, sample)),
            limit=depth,
        )
        return [piece_of(record) for record in await self._store.find(query)]

    async def _by_meaning(
        self, owner: str, documents: Sequence[Source], name: str | None, question: str, depth: int
    ) -> list[str]:
        """Ids of pieces, nearest first; none without an embedder, or when it fails."""
        model = self._embedders.find(name)
        vector = await _embedded(model, question) if model is not None and question.strip() else None
        if model is None or vector is None:
            return []
        hits = await self._nearest.find(owner, documents, signature_of(model, vector), vector, depth)
        return [piece_id(document, n) for (document, n), _ in hits]

    async def _first(self, owner: str, ids: Sequence[str], known: Mapping[str, Piece], wanted: int) -> list[Piece]:
        """The first so many of these that are (still) there, in order."""
        found: list[Piece] = []
        rest = list(ids)
        while rest and len(found) < wanted:
            some, rest = rest[: wanted - len(found)], rest[wanted - len(found) :]
            read = await self._pieces(owner, [id for id in some if id not in known])
            found += [p for id in some if (p := known.get(id) or read.get(id)) is not None]
        return found

    async def _pieces(self, owner: str, ids: Sequence[str]) -> dict[str, Piece]:
        if not ids:
            return {}
        query = Query(kind=CHUNK.name, where=(("id", tuple(ids)), ("owner", (owner,))), limit=len(ids))
        return {record.id: piece_of(record) for record in await self._store.find(query)}

    async def _sample(self, owner: str, scopes: tuple[str, ...], documents: Sequence[Source], total: int) -> Sample:
        """Kept until the number of passages has changed by a quarter: it only says which words are frequent."""
        key = (owner, scopes)
        kept = self._samples.get(key)
        if kept is not None and 0.75 * kept.total <= total <= 1.25 * kept.total:
            self._samples.move_to_end(key)
            return kept
        pick = random.Random(total)
        ids = {
            piece_id(d.id, pick.randrange(d.pieces))
            for d in pick.choices(documents, weights=[d.pieces for d in documents], k=_SAMPLED)
        }
        texts = [p.text for p in (await self._pieces(owner, list(ids))).values()]
        sample = self._samples[key] = await in_thread(Sample.of, texts, total)
        self._samples.move_to_end(key)
        while len(self._samples) > _SAMPLES_KEPT:
            self._samples.popitem(last=False)
        return sample


async def _embedded(model: Embedder, question: str) -> bytes | None:
    try:
        async with asyncio.timeout(PATIENCE):
            return (await model.embed([question], "query"))[0]
    except ProviderError as error:
        log.warning("retrieval.words_only", model=model.model, code=error.code)
    except TimeoutError:
        log.warning("retrieval.words_only", model=model.model, code="provider_timeout")
    return None


def _fused(*lists: Iterable[str]) -> dict[str, float]:
    scores: dict[str, float] = {}
    for ids in lists:
        for rank, id in enumerate(ids, 1):
            scores[id] = scores.get(id, 0.0) + 1 / (_FUSION + rank)
    return scores


def _leading(documents: Sequence[Source], most: int) -> list[str]:
    """Ids of the first pieces of all documents, of their second ones, and so on; at most so many."""

    def ids() -> Iterator[str]:
        for n in range(max(d.pieces for d in documents)):
            for d in documents:
                if n < d.pieces:
                    yield piece_id(d.id, n)

    return [id for id, _ in zip(ids(), range(most), strict=False)]


def _passage(piece: Piece, score: float) -> Passage:
    return Passage(
        document=piece.document,
        filename=piece.filename,
        text=piece.text,
        score=score,
        start=piece.start,
        end=piece.end,
        page=piece.page,
    )
