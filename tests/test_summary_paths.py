"""The summary that a path has: the one that reaches furthest of those of its own messages, found without reading on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backchat.domain.message import Message
from backchat.ports.memory import Summary
from backchat.ports.storage import Query, Record, RecordStore
from backchat.services.kinds import KINDS
from backchat.services.paths import SUMMARIES, Path
from backchat.services.summary_records import summary_put
from backchat.testing.memory_store import MemoryStore
from trees_made import ANN, Grove, drawn, trees

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Reading(MemoryStore):
    """Notes the ids of the messages that were found, and counts the queries."""

    def __init__(self) -> None:
        super().__init__(KINDS)
        self.found: list[str] = []
        self.queries = 0

    async def find(self, query: Query) -> Sequence[Record]:
        found = await super().find(query)
        self.queries += 1
        self.found += [record.id for record in found if record.kind == "message"]
        return found


async def sum_up(store: RecordStore, id: str, strategy: str = "default") -> None:
    """Store a summary of what leads to this message."""
    record = await store.get("message", id)
    assert record is not None
    await store.apply([summary_put(f"{strategy} {id}", Summary(f"up to {id}", id), record, strategy, NOW)])


@given(trees(least=1), st.data())
def test_it_is_the_furthest_on_the_path(messages: list[Message], data: st.DataObject) -> None:
    leaf = data.draw(st.sampled_from(messages)).id
    covered = {name: data.draw(st.sets(st.sampled_from([m.id for m in messages]))) for name in ("default", "other")}
    limits = data.draw(st.lists(st.integers(0, 20), max_size=3))

    async def compare() -> None:
        grove = Grove(MemoryStore(KINDS))
        await grove.plant(messages, leaf=leaf)
        for name, ids in covered.items():
            for id in ids:
                await sum_up(grove.store, id, name)
        whole = list(await grove.conversations.whole(ANN, "c"))
        for name, ids in covered.items():
            path = Path(grove.store, "c", leaf, name)
            on_it = [m.id for m in whole if m.id in ids]
            expected = Summary(f"up to {on_it[-1]}", on_it[-1]) if on_it else None
            before = data.draw(st.booleans())
            if before:
                assert await path.summary() == expected
            for limit in limits:
                assert list(await path.latest(limit)) == (whole[-limit:] if limit else [])
            assert await path.summary() == expected

    asyncio.run(compare())


async def test_nothing_older_is_read_for_it_and_nothing_twice() -> None:
    store = Reading()
    grove = Grove(store)
    await grove.plant(drawn("\n".join(f"{'  ' * n}{'UA'[n % 2]}{n}" for n in range(1000))))
    for n in (101, 501, 959):
        await sum_up(store, f"A{n}")
    path = Path(store, "c", "A999")
    store.queries = 0
    assert await path.summary() == Summary("up to A959", "A959")
    assert len(await path.latest(41)) == 41
    assert sorted(store.found, key=lambda id: int(id[1:])) == [f"{'UA'[n % 2]}{n}" for n in range(959, 1000)]
    assert store.queries == 2
    assert len(await path.latest(45)) == 45
    assert len(store.found) == len(set(store.found)) == 45


async def test_very_many_on_other_branches_are_passed_over() -> None:
    store = Reading()
    grove = Grove(store)
    left = "\n".join(f"{'  ' * (n + 1)}L{n}" for n in range(3 * SUMMARIES))
    await grove.plant(drawn(f"U0\n{left}\n  R0\n    R1"), leaf="R1")
    await sum_up(store, "U0")
    for n in range(3 * SUMMARIES):
        await sum_up(store, f"L{n}")
    assert await Path(store, "c", "R1").summary() == Summary("up to U0", "U0")
    assert len(store.found) == len(set(store.found))


@pytest.mark.parametrize("leaf", [None, "gone"])
async def test_where_there_is_no_path_there_is_no_summary(leaf: str | None) -> None:
    grove = Grove(MemoryStore(KINDS))
    await grove.plant(drawn("U0\n  A1"))
    await sum_up(grove.store, "A1")
    assert await Path(grove.store, "c", leaf).summary() is None


async def test_another_conversation_has_its_own() -> None:
    grove = Grove(MemoryStore(KINDS))
    await grove.plant(drawn("U0\n  A1"))
    await sum_up(grove.store, "A1")
    assert await Path(grove.store, "other", "A1").summary() is None
    assert await Path(grove.store, "c", "A1").summary() is not None
