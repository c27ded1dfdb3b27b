"""The part of the storage contract about ``get`` and ``apply``."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from backchat.errors import StaleWrite
from backchat.ports.storage import Change, Delete, Purge, Put, Query, Range, RecordStore, Require
from backchat.testing.records import event, ids, note, versions


class WriteContract:
    async def test_a_document_comes_back_as_it_was(self, store: RecordStore) -> None:
        doc = {
            "owner": "Ångström",
            "day": -5,
            "weight": 0.1,
            "pinned": False,
            "code": None,
            "tags": [],
            "title": "naïve \U0001f600 \u2028\u2029\u0085 \x00 end",
            "nested": {"list": [1, 2.5, "x", None, True, {"deep": [[]]}], "empty": {}, "": "no name"},
            "large": 2**53 + 1,
        }
        id = "é\U0001f600/\u2028 x"
        await store.apply([Put("note", id, doc, 0)])
        record = await store.get("note", id)
        assert record is not None
        assert (record.kind, record.id, record.version) == ("note", id, 1)
        assert record.doc == doc
        assert type(record.doc["pinned"]) is bool
        assert [r.doc for r in await store.find(Query(kind="note"))] == [doc]

    async def test_there_is_nothing_where_nothing_was_put(self, store: RecordStore) -> None:
        assert await store.get("note", "n001") is None
        assert await store.get("note", "") is None
        assert await ids(store) == []

    async def test_a_document_is_taken_as_it_is_when_apply_is_called(self, store: RecordStore) -> None:
        doc: dict[str, Any] = {"owner": "ann", "tags": ["before"]}
        await store.apply([Put("note", "n001", doc, 0)])
        doc["owner"] = "bob"
        doc["tags"].append("after")
        record = await store.get("note", "n001")
        assert record is not None
        assert record.doc == {"owner": "ann", "tags": ["before"]}

    async def test_large_documents(self, store: RecordStore) -> None:
        large = "lorem ipsum dolor " * 300_000
        await store.apply([note(1, title="x", blob=large), note(2, body=large[:200_000])])
        record = await store.get("note", "n001")
        assert record is not None
        assert record.doc["blob"] == large
        assert await ids(store, ("owner", ["ann"]), words="dolor") == ["n002"]

    async def test_new_means_new(self, store: RecordStore) -> None:
        await store.apply([note(1)])
        with pytest.raises(StaleWrite):
            await store.apply([note(1, title="again")])
        assert await versions(store, "n001") == [1]
        await store.apply([Delete("note", "n001")])
        await store.apply([note(1)])
        assert await versions(store, "n001") == [1]

    async def test_what_is_required_is_there_or_nothing_happens(self, store: RecordStore) -> None:
        await store.apply([note(1), note(2)])
        await store.apply([Require("note", "n001"), note(3)])
        assert await versions(store, "n001", "n003") == [1, 1]
        for gone in ("n009", ""):
            with pytest.raises(StaleWrite):
                await store.apply([note(4), Delete("note", "n002"), Require("note", gone)])
            with pytest.raises(StaleWrite):
                await store.apply([Require("note", gone)])
        assert await versions(store, "n002", "n004") == [1, 0]
        await store.apply([note(4), Require("note", "n004")])  # in the order given
        with pytest.raises(StaleWrite):
            await store.apply([Delete("note", "n004"), Require("note", "n004")])
        assert await versions(store, "n004") == [1]

    @pytest.mark.parametrize("expect", [0, 1, 3, 99])
    async def test_an_expectation_that_does_not_hold(self, store: RecordStore, expect: int) -> None:
        await store.apply([note(1)])
        await store.apply([note(1, title="second", expect=1)])
        for change in (note(1, title="stale", expect=expect), Delete("note", "n001", expect)):
            with pytest.raises(StaleWrite):
                await store.apply([change])
        record = await store.get("note", "n001")
        assert record is not None
        assert (record.version, record.doc["title"]) == (2, "second")
        assert await ids(store, ("owner", ["ann"]), words="second") == ["n001"]

    async def test_an_expectation_where_nothing_is(self, store: RecordStore) -> None:
        for change in (note(1, expect=1), Delete("note", "n001", 1), Put("event", "e", {"run": "r"}, 1)):
            with pytest.raises(StaleWrite):
                await store.apply([change])
        assert await versions(store, "n001") == [0]

    async def test_put_whatever_is_there(self, store: RecordStore) -> None:
        for version in (1, 2, 3):
            await store.apply([note(1, title=f"take {version}", expect=None), event("r", 1, expect=None)])
            assert await versions(store, "n001") == [version]
        record = await store.get("event", "r/000001")
        assert record is not None
        assert record.version == 3
        assert await ids(store, ("owner", ["ann"]), words="take") == ["n001"]

    async def test_delete(self, store: RecordStore) -> None:
        await store.apply([note(1), note(2), note(3), event("r", 1), event("r", 2)])
        await store.apply([Delete("note", "n001"), Delete("note", "n002", 1), Delete("event", "r/000001", 1)])
        await store.apply([Delete("note", "n001"), Delete("note", "n001", 0), Delete("event", "none")])
        assert await ids(store) == ["n003"]
        assert await ids(store, kind="event") == ["r/000002"]

    async def test_a_batch_is_done_in_its_order(self, store: RecordStore) -> None:
        await store.apply([note(1), note(1, title="two", expect=1), Delete("note", "n001", 2), note(1, title="new")])
        record = await store.get("note", "n001")
        assert record is not None
        assert (record.version, record.doc["title"]) == (1, "new")
        mine = Purge("note", (("owner", ("ann",)),))
        await store.apply([note(2), mine, note(3), note(4, owner="bob")])
        assert await ids(store) == ["n003", "n004"]

    async def test_purge(self, store: RecordStore) -> None:
        await store.apply([note(n, owner="ann" if n < 6 else "bob") for n in range(10)])
        await store.apply([event("a", 1), event("a", 2), event("b", 1)])
        odd = Purge("note", (("owner", ("ann",)), ("tags", ("odd",))))
        await store.apply([odd, Purge("event", (("run", ("a",)),))])
        assert await ids(store) == ["n000", "n002", "n004", "n006", "n007", "n008", "n009"]
        assert await ids(store, kind="event") == ["b/000001"]
        await store.apply([Purge("note", ranges=(Range("day", 2, 8),))])
        assert await ids(store) == ["n000", "n008", "n009"]
        nobody = Purge("note", (("owner", ("nobody",)),))
        await store.apply([nobody, Purge("note", ranges=(Range("id", "n009", "n010"),))])
        assert await ids(store) == ["n000", "n008"]
        assert await ids(store, ("owner", ["bob"]), words="note") == ["n008"]
        assert await ids(store, ("tags", ["odd", "t8"])) == ["n008"]

    @pytest.mark.parametrize("last", [note(1), Put("note", "n050", {"owner": "x"}, 7), Delete("note", "n001", 5)])
    async def test_a_batch_is_all_or_nothing(self, store: RecordStore, last: Change) -> None:
        await store.apply([note(1), event("a", 1)])
        with pytest.raises(StaleWrite):
            await store.apply(
                [note(2), note(1, title="changed", expect=1), Purge("event", (("run", ("a",)),)), event("b", 1), last]
            )
        assert await versions(store, "n001", "n002", "n050") == [1, 0, 0]
        assert await ids(store, kind="event") == ["a/000001"]
        assert await ids(store, ("owner", ["ann"]), words="changed") == []
        assert await ids(store, ("owner", ["ann"]), words="note") == ["n001"]
        assert await ids(store, ("tags", ["t2"])) == []

    async def test_an_empty_batch(self, store: RecordStore) -> None:
        await store.apply([])
        assert await ids(store) == []

    async def test_twenty_writers_one_winner(self, store: RecordStore) -> None:
        await store.apply([note(1), event("r", 1)])
        notes = [note(1, title=f"by {i}", expect=1) for i in range(20)]
        events = [Put("event", "r/000001", {"run": "r", "by": i}, 1) for i in range(20)]
        for changes in (notes, events):
            done = await asyncio.gather(*(store.apply([c]) for c in changes), return_exceptions=True)
            winners = [c for c, result in zip(changes, done, strict=True) if result is None]
            assert sum(isinstance(result, StaleWrite) for result in done) == 19
            record = await store.get(changes[0].kind, changes[0].id)
            assert record is not None
            assert [w.doc for w in winners] == [record.doc]
            assert record.version == 2

    async def test_one_stale_batch_among_many_fails_alone(self, store: RecordStore) -> None:
        await store.apply([note(0)])
        batches: list[list[Change]] = [[note(n), event(f"r{n}", 1)] for n in range(1, 60)]
        batches[20].append(note(0))
        batches[40].insert(0, note(0, title="stale", expect=9))
        done = await asyncio.gather(*(store.apply(b) for b in batches), return_exceptions=True)
        assert [n for n, result in enumerate(done) if result is not None] == [20, 40]
        assert all(isinstance(done[n], StaleWrite) for n in (20, 40))
        assert await ids(store) == [f"n{n:03}" for n in range(60) if n not in (21, 41)]
        assert await ids(store, kind="event", limit=1000) == sorted(
            f"r{n}/000001" for n in range(1, 60) if n not in (21, 41)
        )

    async def test_nobody_sees_an_unfinished_batch(self, store: RecordStore) -> None:
        await store.apply([note(1)])
        doomed: list[Change] = [event("r", n) for n in range(3_000)]
        doomed.append(note(1))
        writing = asyncio.ensure_future(store.apply(doomed))
        ghosts = 0
        while not writing.done():
            ghosts += await store.count(Query(kind="event"))
            ghosts += await store.get("event", "r/000000") is not None
            await asyncio.sleep(0)
        with pytest.raises(StaleWrite):
            await writing
        assert ghosts == 0
        assert await ids(store, kind="event") == []

    async def test_a_read_after_apply_sees_it(self, store: RecordStore) -> None:
        async def write_and_read(n: int) -> None:
            await store.apply([note(n)])
            assert await versions(store, f"n{n:03}") == [1]
            assert await ids(store, ("day", [n])) == [f"n{n:03}"]

        await asyncio.gather(*(write_and_read(n) for n in range(100)))

    async def test_unique_groups(self, store: RecordStore) -> None:
        await store.apply([note(1, code="x"), note(2, code="y"), note(3, owner="bob", code="x")])
        for change in (note(4, code="x"), note(2, code="x", expect=1), note(2, code="x", expect=None)):
            with pytest.raises(StaleWrite):
                await store.apply([change])
        with pytest.raises(StaleWrite):
            await store.apply([note(5, code="z"), note(6, code="z")])
        assert await versions(store, "n001", "n002", "n003", "n004", "n005", "n006") == [1, 1, 1, 0, 0, 0]
        await store.apply([note(1, code="x", title="the same", expect=1)])
        await store.apply([note(1, code="w", expect=2)])
        await store.apply([note(4, code="x")])
        await store.apply([Delete("note", "n004"), note(5, code="x")])
        assert await ids(store, ("code", ["x"])) == ["n003", "n005"]

    async def test_a_unique_group_with_a_null_is_not_checked(self, store: RecordStore) -> None:
        await store.apply([note(1), note(2), note(3, code=None), note(4, owner=None, code="x")])
        await store.apply([note(5, owner=None, code="x"), Put("label", "a", {}, 0), Put("label", "b", {}, 0)])
        assert await ids(store, ("code", [None])) == ["n001", "n002", "n003"]
        with pytest.raises(StaleWrite):
            await store.apply([Put("label", "a", {"name": "n"}, 1), Put("label", "b", {"name": "n"}, 1)])

    async def test_unique_values_move_within_a_batch(self, store: RecordStore) -> None:
        await store.apply([note(1, code="x"), note(2, code="y")])
        await store.apply([note(1, code="y", expect=1), note(2, code="x", expect=1)])
        assert [r.doc["code"] for r in await store.find(Query(kind="note"))] == ["y", "x"]
        await store.apply([note(3, code="y"), Delete("note", "n001", 2)])
        await store.apply([note(4, code="x"), note(2, code=None, expect=2)])
        assert [r.doc["code"] for r in await store.find(Query(kind="note"))] == [None, "y", "x"]
        await store.apply([note(5, code="y"), Purge("note", (("id", ("n003",)),))])
        assert await ids(store, ("code", ["x", "y"])) == ["n004", "n005"]

    async def test_one_of_many_takes_a_unique_value(self, store: RecordStore) -> None:
        done = await asyncio.gather(*(store.apply([note(n, code="wanted")]) for n in range(20)), return_exceptions=True)
        assert sum(result is None for result in done) == 1
        assert sum(isinstance(result, StaleWrite) for result in done) == 19
        assert len(await ids(store)) == 1

    @pytest.mark.parametrize(
        "change",
        [
            Put("nothing", "a", {}),
            Delete("nothing", "a"),
            Purge("nothing", (("id", ("a",)),)),
            Purge("note"),
            Purge("note", (("title", ("a",)),)),
            Purge("note", ranges=(Range("tags", "a"),)),
            note(9, day=["no", "scalar"]),
            note(9, day={}),
            note(9, title=["no", "string"]),
            note(9, tags="no list"),
            note(9, tags=[1]),
        ],
    )
    async def test_a_faulty_change_is_a_value_error(self, store: RecordStore, change: Change) -> None:
        with pytest.raises(ValueError):
            await store.apply([note(1), change])
        assert await ids(store) == []
        with pytest.raises(ValueError):
            await store.get("nothing", "a")
