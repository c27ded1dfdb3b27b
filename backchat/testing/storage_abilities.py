"""What a store must do that has one of the abilities of ``backchat.ports.abilities``, as test classes to subclass.

    class TestMine(DurableAbilityContract, DurableStorageContract):
        ...

What a store has no methods for is skipped.
"""

from __future__ import annotations

from backchat.ports.abilities import Frozen, Journaled, Watched
from backchat.ports.storage import Delete, RecordStore
from backchat.testing.able import able
from backchat.testing.records import KINDS, OpenKinds, event, ids, note
from backchat.testing.storage_frozen import FrozenContract
from backchat.testing.storage_journal import JournalContract, changed
from backchat.testing.storage_saving import SavedContract
from backchat.testing.storage_watching import WatchContract, told


class AbilityContract(WatchContract, JournalContract, FrozenContract, SavedContract):
    """All of them."""


class DurableAbilityContract(AbilityContract):
    """For a store that several processes may have open: ``open_store`` gives another store on the same records."""

    async def test_a_watch_tells_of_what_other_processes_store(self, store: RecordStore, open_store: OpenKinds) -> None:
        watched = able(store, Watched)
        async with open_store(KINDS) as early, watched.watch("event", {"r"}) as news, open_store(KINDS) as late:
            await early.apply([event("r", 1)])
            await late.apply([event("r", 2), event("r", 3)])
            await store.apply([event("r", 4)])
            found = await told(news, "r/000004")
        assert [r.id for r in found] == [f"r/{n:06}" for n in range(1, 5)]

    async def test_a_journal_has_what_other_processes_change(self, store: RecordStore, open_store: OpenKinds) -> None:
        journal = able(store, Journaled)
        async with open_store(KINDS) as early:
            await early.apply([note(1)])
            position = await journal.begin_journal()
            await early.apply([note(2)])
            async with open_store(KINDS) as late:
                await late.apply([note(3), Delete("note", "n001")])
                there, _ = await changed(late, position)
            places, position = await changed(store, position)
            assert set(there) == set(places) == {("note", "n001"), ("note", "n002"), ("note", "n003")}
        async with open_store(KINDS) as later:
            await later.apply([note(4)])
            assert (await changed(later, position))[0] == [("note", "n004")]
            await able(later, Journaled).end_journal()
            await later.apply([note(5)])
        assert await ids(store) == [f"n{n:03}" for n in range(2, 6)]

    async def test_a_frozen_store_is_frozen_for_all_processes(self, store: RecordStore, open_store: OpenKinds) -> None:
        frozen = able(store, Frozen)
        async with open_store(KINDS) as other:
            await other.apply([note(1)])
            async with frozen.frozen() as then:
                await other.apply([note(2), Delete("note", "n001")])
                assert await ids(then) == ["n001"]
