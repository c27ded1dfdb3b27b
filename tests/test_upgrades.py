"""Conversations that an earlier version stored are brought up to date in the background, once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from archive_made import Shelf, made, shelf
from backchat.domain.workspace import personal_workspace
from backchat.ports.storage import Change, Put, Query, Record, RecordStore
from backchat.services.kinds import KINDS
from backchat.services.retrying import retrying
from backchat.services.stored import conversation_of, conversation_put
from backchat.services.upgrades import Upgrades
from backchat.testing.memory_store import MemoryStore
from sqlite_files import opened

NEW = ("workspace", "completed", "link")


def old(id: str, owner: str = "ann") -> list[Change]:
    """A conversation as it was stored before there were workspaces."""
    put, *messages = made(id, "tea", owner=owner, title=id)[0]
    assert isinstance(put, Put)
    return [replace(put, doc={k: v for k, v in put.doc.items() if k not in NEW}), *messages]


async def homes(store: RecordStore) -> dict[str, Any]:
    found = await store.find(Query(kind="conversation", limit=1000))
    return {r.id: (r.doc.get("workspace"), r.version) for r in found}


@pytest.mark.parametrize("in_sqlite", [False, True])
async def test_they_are_found_in_their_workspace(tmp_path: Path, in_sqlite: bool) -> None:
    async with shelf(tmp_path if in_sqlite else None) as it:
        for n in range(450):
            await it.store.apply(old(f"c{n:03}", "ann" if n % 3 else "bob"))
        await it.add("new")
        where = (("workspace", (personal_workspace("ann"),)),)
        assert await it.store.count(Query(kind="conversation", where=where)) == 1
        async with Upgrades(it.store) as upgrades:
            await upgrades.done()
        assert await it.store.count(Query(kind="conversation", where=where)) == 301
        assert {version for _, version in (await homes(it.store)).values()} == {1, 2}
        assert (await homes(it.store))["new"] == (personal_workspace("ann"), 1)
        record = await it.store.get("conversation", "c001")
        assert record is not None
        assert record.doc["link"] == conversation_of(record).link
        assert (record.doc["title"], record.doc["completed"]) == ("c001", False)
        assert await Upgrades(it.store).home() == 0


async def test_what_was_stored_by_the_older_schema_is_found_after_the_columns_came(tmp_path: Path) -> None:
    before = [
        replace(kind, fields=tuple([f for f in kind.fields if f not in NEW]), lists=("tags",), indexes=())
        if kind.name == "conversation"
        else kind
        for kind in KINDS
    ]
    async with opened(tmp_path / "backchat.db", before) as store:
        await store.apply(old("c"))
    async with opened(tmp_path / "backchat.db", KINDS) as store, Upgrades(store) as upgrades:
        await upgrades.done()
        where = (("workspace", (personal_workspace("ann"),)),)
        assert [r.id for r in await store.find(Query(kind="conversation", where=where))] == ["c"]


class Watched(MemoryStore):
    """Gives way before each commit, and counts them; ``failures`` of the next ones fail."""

    def __init__(self) -> None:
        super().__init__(KINDS)
        self.commits, self.failures = 0, 0

    async def find(self, query: Query) -> Sequence[Record]:
        await asyncio.sleep(0)
        return await super().find(query)

    async def apply(self, changes: Sequence[Change]) -> None:
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise OSError("disk full")
        await super().apply(changes)
        self.commits += 1


async def test_nothing_is_written_when_there_are_none() -> None:
    store = Watched()
    await Shelf(store).add("new")
    commits = store.commits
    async with Upgrades(store) as upgrades:
        await upgrades.done()
    assert store.commits == commits


async def test_by_two_processes_among_other_changes() -> None:
    """Nothing is stored twice, and no change of somebody else is lost."""
    store = Watched()
    for n in range(30):
        await store.apply(old(f"c{n:02}"))

    async def renamed(id: str) -> None:
        async def attempt() -> None:
            record = await store.get("conversation", id)
            assert record is not None
            await store.apply([conversation_put(replace(conversation_of(record), title="new"))])

        await retrying(attempt)

    others = {f"c{n:02}" for n in range(0, 30, 7)}
    async with AsyncExitStack() as stack:
        both = [await stack.enter_async_context(Upgrades(store)) for _ in range(2)]
        await asyncio.gather(*[renamed(id) for id in others])
        for upgrades in both:
            await upgrades.done()
    found = await homes(store)
    assert {workspace for workspace, _ in found.values()} == {personal_workspace("ann")}
    assert {version for id, (_, version) in found.items() if id not in others} == {2}
    titles = {r.id: r.doc["title"] for r in await store.find(Query(kind="conversation"))}
    assert {id for id, title in titles.items() if title == "new"} == others


async def test_a_store_that_fails_is_tried_again(capsys: pytest.CaptureFixture[str]) -> None:
    store = Watched()
    await store.apply(old("c"))
    store.failures = 2
    async with Upgrades(store, pause=0) as upgrades:
        await asyncio.wait_for(upgrades.done(), 5)
    assert (await homes(store))["c"] == (personal_workspace("ann"), 2)
    log = capsys.readouterr().err
    assert log.count("upgrade.failed") == 2
    assert "tea" not in log


async def test_leaving_before_it_is_done() -> None:
    store = Watched()
    await store.apply(old("c"))
    store.failures = 1_000_000
    async with Upgrades(store, pause=1000):
        await asyncio.sleep(0)
    store.failures = 0
    assert (await homes(store))["c"] == (None, 1)
