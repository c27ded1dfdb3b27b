"""Finding the memories that belong to a text: by words, and by meaning where an embedder is configured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import structlog

from backchat.domain.assistant import Assistant
from backchat.domain.memory import Memory
from backchat.errors import ProviderError
from backchat.ports.embedding import Embedder
from backchat.ports.storage import Change, Query, RecordStore
from backchat.services.embedders import Embedders
from backchat.services.memory_records import MEMORY, memory_of, vector_put
from backchat.services.memory_vectors import MemoryVectors
from backchat.services.memory_words import share, wanted
from backchat.services.vectors import signature_of

log = structlog.get_logger(source=__name__)

LEAST_CANDIDATES = 40
MOST_QUESTION = 8000
MOST_ROUNDS = 3
MEANING = 0.7
"""Weight of the cosine in a score; the rest is the share of the wanted words. Without an embedder the share is all."""


class MemorySearch:
    """Reads a bounded number of records, however many memories an assistant has."""

    def __init__(self, store: RecordStore, embedders: Embedders, now: Callable[[], datetime]) -> None:
        self._store, self._embedders, self._now = store, embedders, now
        self.vectors = MemoryVectors(store, now)

    async def ranked(
        self, owner: str, assistant: Assistant, text: str, limit: int, *, fill: bool
    ) -> Sequence[tuple[Memory, float]]:
        """The ``limit`` best with their scores, 0 to 1. ``fill``: the newest follow those that match, for no score."""
        where = (("owner", (owner,)), ("assistant", (assistant.id,)))
        looked_for = wanted(text[-MOST_QUESTION:])
        candidates = max(LEAST_CANDIDATES, 3 * limit)
        found: dict[str, Memory] = {}
        if looked_for:
            query = Query(kind=MEMORY.name, where=where, any_word=" ".join(looked_for), limit=candidates)
            found = {r.id: memory_of(r) for r in await self._store.find(query)}
        cosines = await self._nearest(owner, assistant, text, candidates, found)
        if fill:
            query = Query(kind=MEMORY.name, where=where, order=("updated",), descending=True, limit=limit)
            for record in await self._store.find(query):
                found.setdefault(record.id, memory_of(record))
        scored = [(m, _score(share(looked_for, m.content), cosines.get(m.id))) for m in found.values()]
        if not fill:
            scored = [(m, score) for m, score in scored if score > 0]
        # Sorting keeps the order of equals, and they are in the store's order of relevance, then the newest first.
        return sorted(scored, key=lambda s: -s[1])[:limit]

    async def vector_puts(self, assistant: Assistant, memories: Sequence[Memory]) -> list[Change]:
        """What stores the vectors of memories; nothing without an embedder. Raises ProviderError."""
        embedder = self._embedders.find(assistant.embedder)
        if embedder is None or not memories:
            return []
        vectors = await embedder.embed([m.content for m in memories], "document")
        return [
            vector_put(m, signature_of(embedder, v), v, self._now()) for m, v in zip(memories, vectors, strict=True)
        ]

    async def _nearest(
        self, owner: str, assistant: Assistant, text: str, limit: int, found: dict[str, Memory]
    ) -> dict[str, float]:
        """Cosines of the nearest memories and of those found already; the nearest are added to ``found``.

        An embedding model that fails costs the meaning, not the turn.
        """
        embedder = self._embedders.find(assistant.embedder)
        if embedder is None or not text.strip():
            return {}
        try:
            vector = (await embedder.embed([text[-MOST_QUESTION:]], "query"))[0]
        except ProviderError as error:
            log.warning("memory.embedding_failed", model=embedder.model, code=error.code)
            return {}
        return await self._by_meaning(owner, assistant, embedder, vector, limit, found)

    async def _by_meaning(
        self, owner: str, assistant: Assistant, embedder: Embedder, vector: bytes, limit: int, found: dict[str, Memory]
    ) -> dict[str, float]:
        signature = signature_of(embedder, vector)
        cosines: dict[str, float] = {}
        for _ in range(MOST_ROUNDS):
            cosines = await self.vectors.nearest(owner, assistant.id, signature, vector, limit, found)
            unread = [id for id in sorted(cosines, key=lambda id: -cosines[id]) if id not in found]
            query = Query(kind=MEMORY.name, where=(("owner", (owner,)), ("id", unread)), limit=len(unread))
            read = [memory_of(r) for r in await self._store.find(query)] if unread else []
            there = {m.id: m for m in read if m.assistant == assistant.id}
            gone = [id for id in unread if id not in there]
            found.update({id: there[id] for id in unread if id in there})
            if not gone:
                break
            await self.vectors.drop(assistant.id, signature, gone)
        return cosines


def _score(words: float, cosine: float | None) -> float:
    if cosine is None:
        return words
    return min(1.0, MEANING * max(0.0, cosine) + (1 - MEANING) * words)
