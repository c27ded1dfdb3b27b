"""What can be said about the memories of an assistant as a whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backchat.domain.memory import OperationStatus
from backchat.domain.times import stamp
from backchat.ports.storage import Query, RecordStore
from backchat.ports.words import words
from backchat.services.memory_records import MEMORY, MEMORY_OPERATION, memory_of
from backchat.services.memory_words import COMMON

SAMPLE = 1000
MOST_FREQUENT = 10
_LEAST_LETTERS = 3
_STATUSES: tuple[OperationStatus, ...] = ("pending", "completed", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryInsights:
    """JSON objects, with times as text. All but the total is about the ``sampled`` newest memories, 1,000 at most.

    snapshot    total_memories, sampled, oldest, newest (null without memories), superseded: how many have a history
    signals     average_length in characters, frequent_words: the words in most memories, as {word, memories}
    breakdown   by_month: {"2026-01": n} of when they were made, newest first; by_source: {learned, added}
    operations  pending, completed, error: how many turns were learned from, and total
    """

    snapshot: Mapping[str, Any]
    signals: Mapping[str, Any]
    breakdown: Mapping[str, Any]
    operations: Mapping[str, int]


async def insights_of(store: RecordStore, owner: str, assistant: str) -> MemoryInsights:
    where = (("owner", (owner,)), ("assistant", (assistant,)))
    query = Query(kind=MEMORY.name, where=where, order=("created",), descending=True, limit=SAMPLE)
    sample = [memory_of(r) for r in await store.find(query)]
    total = await store.count(query)
    operations: dict[str, int] = {
        status: await store.count(Query(kind=MEMORY_OPERATION.name, where=(*where, ("status", (status,)))))
        for status in _STATUSES
    }
    frequent = Counter(w for m in sample for w in {*words(m.content)} if w not in COMMON and len(w) >= _LEAST_LETTERS)
    learned = sum(1 for m in sample if m.sources)
    return MemoryInsights(
        snapshot={
            "total_memories": total,
            "sampled": len(sample),
            "oldest": stamp(sample[-1].created_at) if sample else None,
            "newest": stamp(sample[0].created_at) if sample else None,
            "superseded": sum(1 for m in sample if m.history),
        },
        signals={
            "average_length": round(sum(len(m.content) for m in sample) / len(sample), 1) if sample else 0.0,
            "frequent_words": [
                {"word": word, "memories": n}
                for word, n in sorted(frequent.items(), key=lambda item: (-item[1], item[0]))[:MOST_FREQUENT]
            ],
        },
        breakdown={
            "by_month": dict(Counter(stamp(m.created_at)[:7] for m in sample)),
            "by_source": {"learned": learned, "added": len(sample) - learned},
        },
        operations={**operations, "total": sum(operations.values())},
    )
