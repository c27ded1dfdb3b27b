"""The memories of an assistant as those of another one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from backchat.domain.assistant import Assistant
from backchat.domain.memory import Memory
from backchat.ports.storage import Condition, Put, Query, RecordStore
from backchat.services.memory_records import MEMORY, MEMORY_VECTOR, memory_put, vector_of, vector_put
from backchat.services.memory_words import digest


async def copied_memories(
    store: RecordStore, memories: Sequence[Memory], target: Assistant, now: datetime, new_id: Callable[[], str]
) -> tuple[list[Put], int]:
    """What stores these for the target, without their history and with their vectors; and how many are new to it."""
    ids, owners = tuple(m.id for m in memories), tuple({m.owner for m in memories})
    of_them: tuple[Condition, ...] = (("owner", owners), ("id", ids))
    vectors = await store.find(Query(kind=MEMORY_VECTOR.name, where=of_them, limit=len(ids)))
    made = {v.id: (v.doc["signature"], vector_of(v)) for v in vectors}
    said = {digest(m.content): m for m in memories}
    # What the source says twice over, because it changed between two pages, or the target says by now.
    where = (("owner", (target.owner,)), ("assistant", (target.id,)), ("digest", tuple(said)))
    twice = {r.doc["digest"] for r in await store.find(Query(kind=MEMORY.name, where=where, limit=len(said)))}
    puts: list[Put] = []
    new = [m for says, m in said.items() if says not in twice]
    for memory in new:
        copy = replace(memory, id=new_id(), owner=target.owner, assistant=target.id, history=(), version=0)
        puts.append(memory_put(copy))
        if memory.id in made:
            puts.append(vector_put(copy, *made[memory.id], now))
    return puts, len(new)
