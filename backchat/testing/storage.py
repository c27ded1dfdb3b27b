"""What every ``RecordStore`` must do, as a test class to subclass.

    class TestMine(DurableStorageContract):
        module = "my_package"

        @pytest.fixture
        def open_store(self, tmp_path: Path) -> OpenKinds:
            return lambda kinds, on_commit=ignore: open_mine({"path": str(tmp_path / "db")}, kinds, on_commit)

``open_store`` opens the same records again each time it is called within one test. A store that forgets them when it is
closed subclasses ``StorageContract``. The tests are coroutines: pytest-asyncio runs them, in its auto mode.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio

from backchat.ports.storage import Query, RecordStore
from backchat.testing.records import KINDS, OpenKinds, note
from backchat.testing.storage_compact import CompactContract
from backchat.testing.storage_queries import QueryContract
from backchat.testing.storage_search import SearchContract
from backchat.testing.storage_values import ValuesContract
from backchat.testing.storage_writes import WriteContract


class StorageContract(WriteContract, QueryContract, ValuesContract, SearchContract, CompactContract):
    """``module`` is the package that the store must come from, so that nothing else is tested in its name."""

    module: str

    @pytest.fixture
    def open_store(self) -> OpenKinds:
        """Opens the store: given kinds and an ``on_commit``, an async context manager of it."""
        raise NotImplementedError("a subclass gives this fixture")

    @pytest_asyncio.fixture
    async def store(self, open_store: OpenKinds) -> AsyncGenerator[RecordStore, None]:
        """An empty store of KINDS."""
        async with open_store(KINDS) as store:
            yield store

    async def test_the_store_is_the_one_meant(self, store: RecordStore) -> None:
        assert type(store).__module__.split(".")[0] == self.module.split(".")[0]
        assert type(store).__module__.startswith(self.module)


class DurableStorageContract(StorageContract):
    """For a store that keeps its records when it is closed."""

    async def test_everything_is_there_when_it_is_opened_again(self, open_store: OpenKinds) -> None:
        async with open_store(KINDS) as store:
            await store.apply([note(n) for n in range(20)])
            await store.apply([note(3, title="another", expect=1)])
        async with open_store(KINDS) as store:
            again = await store.get("note", "n003")
            assert again is not None
            assert (again.version, again.doc["title"]) == (2, "another")
            assert await store.count(Query(kind="note")) == 20
            found = await store.find(Query(kind="note", where=(("owner", ("ann",)),), words="another"))
            assert [r.id for r in found] == ["n003"]
            assert await store.count(Query(kind="note", where=(("tags", ("all",)),))) == 20

    async def test_versions_count_on_after_reopening(self, open_store: OpenKinds) -> None:
        async with open_store(KINDS) as store:
            await store.apply([note(1)])
        async with open_store(KINDS) as store:
            await store.apply([note(1, title="second", expect=1)])
            record = await store.get("note", "n001")
            assert record is not None
            assert record.version == 2

    async def test_closing_waits_for_what_is_under_way(self, open_store: OpenKinds) -> None:
        async with open_store(KINDS) as store:
            under_way = [asyncio.ensure_future(store.apply([note(n)])) for n in range(50)]
            await asyncio.sleep(0)
        await asyncio.gather(*under_way)
        async with open_store(KINDS) as store:
            assert await store.count(Query(kind="note")) == 50
