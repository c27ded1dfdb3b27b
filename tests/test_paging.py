"""Queries page by page."""

from __future__ import annotations

import pytest

from backchat.ports.storage import Put, Query
from backchat.services.kinds import KINDS
from backchat.services.paging import all_found, pages
from backchat.testing.memory_store import MemoryStore


@pytest.mark.parametrize("count", [0, 1, 5, 6, 10, 11])
@pytest.mark.parametrize("order", [(), ("position",)])
@pytest.mark.parametrize("descending", [False, True])
async def test_everything_once_and_in_order(count: int, order: tuple[str, ...], descending: bool) -> None:
    store = MemoryStore(KINDS)
    docs = {f"t{n:02}": {"owner": "ann", "tag": f"{n}", "position": n // 4} for n in range(count)}
    await store.apply([Put("tag", id, doc) for id, doc in docs.items()])
    query = Query(kind="tag", where=(("owner", ("ann",)),), order=order, descending=descending, limit=5)
    wanted = sorted(docs, reverse=descending)
    assert [record.id for record in await all_found(store, query)] == wanted
    got = [[record.id for record in page] async for page in pages(store, query)]
    assert got == [wanted[n : n + 5] for n in range(0, count, 5)]


async def test_what_comes_later_in_the_order_is_met() -> None:
    store = MemoryStore(KINDS)
    await store.apply([Put("tag", f"t{n}", {"owner": "ann", "tag": f"{n}", "position": 1}) for n in (1, 3)])
    met: list[str] = []
    async for page in pages(store, Query(kind="tag", order=("position",), limit=1)):
        met += [record.id for record in page]
        await store.apply([Put("tag", id, {"owner": "ann", "tag": id, "position": 1}) for id in ("t0", "t2")])
    assert met == ["t1", "t2", "t3"]
