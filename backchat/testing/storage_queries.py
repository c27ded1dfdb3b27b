"""The part of the storage contract about ``find`` and ``count``, without words."""

from __future__ import annotations

from typing import Any

import pytest

from backchat.ports.storage import Delete, Purge, Put, Query, Range, RecordStore, Scalar
from backchat.testing.records import ids, note


def named(*numbers: int) -> list[str]:
    return [f"n{n:03}" for n in numbers]


class QueryContract:
    async def test_without_an_order_by_id(self, store: RecordStore) -> None:
        await store.apply([Put("note", id, {}, 0) for id in ("b", "a", "B", "é", "\U0001f600", "\uffee", "a1", "a10")])
        expected = ["B", "a", "a1", "a10", "b", "é", "\uffee", "\U0001f600"]
        assert await ids(store) == expected
        assert await ids(store, descending=True) == expected[::-1]

    async def test_order_is_by_code_point_and_number(self, store: RecordStore) -> None:
        names = ["b", "a", "B", "é", "z", "", "\U0001f600", "10", "9"]
        await store.apply([note(n, shelf=name) for n, name in enumerate(names)])
        found = await store.find(Query(kind="note", order=("shelf",)))
        assert [r.doc["shelf"] for r in found] == ["", "10", "9", "B", "a", "b", "z", "é", "\U0001f600"]
        weights: list[Any] = [10, 9, -1, 0.5, 2**40, -2.5, 0, 3, 1e300]
        await store.apply([note(n, weight=w, expect=1) for n, w in enumerate(weights)])
        found = await store.find(Query(kind="note", order=("weight",), descending=True))
        assert [r.doc["weight"] for r in found] == sorted(weights, reverse=True)

    @pytest.mark.parametrize("descending", [False, True])
    async def test_ties_are_broken_by_id(self, store: RecordStore, descending: bool) -> None:
        await store.apply([note(n, day=n % 2, weight=n % 3) for n in (5, 3, 11, 8, 1, 7, 2, 9)])
        by_day = sorted((n % 2, n) for n in (5, 3, 11, 8, 1, 7, 2, 9))
        by_both = sorted((n % 2, n % 3, n) for n in (5, 3, 11, 8, 1, 7, 2, 9))
        step = -1 if descending else 1
        assert await ids(store, order=("day",), descending=descending) == named(*[n for _, n in by_day])[::step]
        found = await ids(store, ("owner", ["ann"]), order=("day", "weight"), descending=descending)
        assert found == named(*[n for _, _, n in by_both])[::step]

    @pytest.mark.parametrize("descending", [False, True])
    @pytest.mark.parametrize("order", [("day",), ("day", "weight"), ("weight", "shelf", "day"), (), ("id",)])
    async def test_pages_hold_everything_once(
        self, store: RecordStore, order: tuple[str, ...], descending: bool
    ) -> None:
        await store.apply([note(n, day=n // 4, weight=n % 2) for n in range(100, 130)])
        expected = await ids(store, order=order, descending=descending)
        assert sorted(expected) == named(*range(100, 130))
        seen: list[str] = []
        place: tuple[Scalar, ...] | None = None
        before = 999 if descending else 0
        while page := await store.find(
            Query(
                kind="note",
                where=(("owner", ("ann",)),),
                order=order,
                descending=descending,
                after=place,
                limit=4,
            )
        ):
            seen += [r.id for r in page]
            place = (*(page[-1].id if f == "id" else page[-1].doc[f] for f in order), page[-1].id)
            end = 10**6 if descending else -(10**6)
            shelf = "zzz" if descending else ""
            await store.apply([note(before, day=end, weight=end, shelf=shelf)])  # lies before the place
            before += -1 if descending else 1
        assert seen == expected

    async def test_after_is_strict_and_needs_no_record(self, store: RecordStore) -> None:
        await store.apply([note(n, day=n * 10) for n in range(5)])
        assert await ids(store, order=("day",), after=(20, "n002")) == named(3, 4)
        assert await ids(store, order=("day",), after=(20, "n001")) == named(2, 3, 4)
        assert await ids(store, order=("day",), after=(15, "zzz")) == named(2, 3, 4)
        assert await ids(store, order=("day",), after=(20, "n002"), descending=True) == named(1, 0)
        assert await ids(store, after=("n003",)) == named(4)
        assert await ids(store, ("tags", ["even"]), after=("n000",)) == named(2, 4)

    async def test_limit_and_offset(self, store: RecordStore) -> None:
        await store.apply([note(n) for n in range(10)])
        assert await ids(store, limit=3) == named(0, 1, 2)
        assert await ids(store, limit=3, offset=4) == named(4, 5, 6)
        assert await ids(store, limit=3, offset=9, order=("day",)) == named(9)
        assert await ids(store, limit=2, offset=2, order=("day",), descending=True) == named(7, 6)
        assert await ids(store, limit=2, offset=1, order=("day",), after=(5, "n005")) == named(7, 8)
        assert await ids(store, limit=2, offset=1, words="note") == named(1, 2)
        assert await ids(store, ("owner", ["ann"]), limit=2, offset=1, words="note", descending=True) == named(8, 7)
        assert await ids(store, offset=10) == []
        assert await ids(store, limit=0) == []

    async def test_count_takes_no_heed_of_pages(self, store: RecordStore) -> None:
        await store.apply([note(n) for n in range(10)])
        mine: Any = {"kind": "note", "where": (("owner", ("ann",)),)}
        assert await store.count(Query(**mine, limit=3, offset=2, order=("day",), after=(5, "n005"))) == 10
        assert await store.count(Query(**mine, ranges=(Range("day", 4),), limit=0)) == 6
        assert await store.count(Query(**mine, words="note", limit=1, offset=1)) == 10
        assert await store.count(Query(kind="note", where=(("owner", ("bob",)),))) == 0

    async def test_a_field_is_one_of(self, store: RecordStore) -> None:
        await store.apply([note(n) for n in range(6)])
        await store.apply([note(10, shelf=None), Put("note", "n011", {"owner": "ann"}, 0)])
        assert await ids(store, ("shelf", ["s1"])) == named(1, 4)
        assert await ids(store, ("shelf", ("s1", "s2"))) == named(1, 2, 4, 5)
        assert await ids(store, ("shelf", [None])) == named(10, 11)
        assert await ids(store, ("shelf", [None, "s1"])) == named(1, 4, 10, 11)
        assert await ids(store, ("shelf", [])) == []
        assert await ids(store, ("shelf", ["s1"]), ("shelf", ["s2"])) == []
        assert await ids(store, ("id", ["n003", "n001", "n999", "n001"])) == named(1, 3)
        assert await ids(store, ("id", ["n003"]), ("owner", ["ann"])) == named(3)
        assert await ids(store, ("id", ["n003"]), ("owner", ["bob"])) == []
        assert await ids(store, ("id", [])) == []
        assert await ids(store, ("day", list(range(2, 2_000)))) == named(2, 3, 4, 5, 10)

    async def test_values_are_compared_as_what_they_are(self, store: RecordStore) -> None:
        await store.apply([note(1, shelf="1"), note(2, shelf=1), note(3, shelf="1.0"), note(4, shelf=2.5)])
        assert await ids(store, ("shelf", ["1"])) == named(1)
        assert await ids(store, ("shelf", [1])) == named(2)
        assert await ids(store, ("shelf", [1.0])) == named(2)
        assert await ids(store, ("shelf", [2.5])) == named(4)
        assert await ids(store, ("pinned", [True])) == named(2, 4)
        assert await ids(store, ("pinned", [False])) == named(1, 3)
        assert await ids(store, ("owner", ["ANN"])) == []
        assert await ids(store, ("owner", ["ann "])) == []

    async def test_a_list_holds_one_of(self, store: RecordStore) -> None:
        await store.apply([note(n, readers=[f"r{n % 2}", "é"] if n else None) for n in range(6)])
        assert await ids(store, ("tags", ["t3"])) == named(3)
        assert await ids(store, ("tags", ["t3", "t4", "none"])) == named(3, 4)
        assert await ids(store, ("tags", ["even"]), ("tags", ["t3", "t4"])) == named(4)
        assert await ids(store, ("tags", ["odd"]), ("readers", ["r1"])) == named(1, 3, 5)
        assert await ids(store, ("readers", ["é"]), ("owner", ["ann"])) == named(1, 2, 3, 4, 5)
        assert await ids(store, ("readers", ["odd"])) == []
        assert await ids(store, ("tags", ["t3"]), ("owner", ["bob"])) == []
        assert await ids(store, ("tags", [])) == []
        assert await ids(store, ("readers", [None])) == []
        assert await ids(store, ("tags", ["t"])) == []

    async def test_lists_are_counted(self, store: RecordStore) -> None:
        """Within an owner, and beside all other sorts of conditions: ``ids`` counts whatever it finds."""
        owners = ["ann", "bob", None, ""]
        await store.apply([note(n, owner=owners[n % 4], readers=["r"] if n % 3 else ["r", "s"]) for n in range(24)])
        for n, owner in enumerate(owners):
            mine = ("owner", [owner])
            here = [i for i in range(24) if i % 4 == n]
            assert await ids(store, mine, ("tags", ["all"])) == named(*here)
            assert await ids(store, mine, ("tags", ["all"]), ("readers", ["s"])) == named(
                *[i for i in here if i % 3 == 0]
            )
            assert await ids(store, mine, ("readers", ["s"]), ("readers", ["r"])) == named(
                *[i for i in here if i % 3 == 0]
            )
            assert await ids(store, mine, ("tags", ["all"]), ("tags", ["t4", "t5", "t6", "t7"])) == named(4 + n)
            assert await ids(store, mine, ("tags", ["all"]), ("shelf", ["s1"]), ranges=(Range("day", 8, 16),)) == named(
                *[i for i in here if i % 3 == 1 and 8 <= i < 16]
            )
            assert await ids(store, mine, ("owner", ["ann"]), ("tags", ["all"])) == (named(*here) if n == 0 else [])
            assert await ids(store, mine, ("tags", [None])) == []

    async def test_lists_follow_their_record(self, store: RecordStore) -> None:
        await store.apply([note(1, tags=["a", "b", "b"]), note(2, owner=None, tags=["a"])])
        await store.apply([note(1, tags=["b", "c"], expect=1)])
        assert await ids(store, ("tags", ["a"])) == named(2)
        assert await ids(store, ("tags", ["b"])) == named(1)
        assert await ids(store, ("tags", ["c"]), ("owner", ["ann"])) == named(1)
        assert await ids(store, ("tags", ["a"]), ("owner", [None])) == named(2)
        await store.apply([note(1, owner="bob", tags=["b"], expect=2)])
        assert await ids(store, ("tags", ["b"]), ("owner", ["ann"])) == []
        assert await ids(store, ("tags", ["b"]), ("owner", ["bob", None])) == named(1)
        await store.apply([Purge("note", (("tags", ("a", "b")),))])
        await store.apply([note(3, tags=["d"]), note(4, tags=["e"])])
        assert await ids(store, ("tags", ["a", "b"])) == []
        await store.apply([Delete("note", "n004"), note(5, tags=["f"])])
        assert await ids(store, ("tags", ["d", "e"])) == named(3)

    async def test_ranges_are_half_open(self, store: RecordStore) -> None:
        await store.apply([note(n) for n in range(6)])
        await store.apply([note(10, day=None, weight=None)])

        async def within(*ranges: Range, **rest: Any) -> list[str]:
            return await ids(store, ranges=ranges, **rest)

        assert await within(Range("day", 2, 4)) == named(2, 3)
        assert await within(Range("day", low=4)) == named(4, 5)
        assert await within(Range("day", high=2)) == named(0, 1)
        assert await within(Range("day", 2, 2)) == []
        assert await within(Range("day")) == named(0, 1, 2, 3, 4, 5)
        assert await within(Range("weight", 0.25, 0.75)) == named(1, 2)
        assert await within(Range("shelf", "s1", "s2")) == named(1, 4, 10)
        assert await within(Range("id", "n002", "n004")) == named(2, 3)
        assert await within(Range("id", low="n005")) == named(5, 10)
        assert await within(Range("day", low=1), Range("weight", high=1)) == named(1, 2, 3)
        assert await within(Range("day", low=0), order=("day",), descending=True, limit=2) == named(5, 4)

    async def test_everything_together(self, store: RecordStore) -> None:
        await store.apply([note(n, owner="ann" if n % 3 else "bob", title=f"Tea {n} cup") for n in range(40)])
        query: Any = {
            "kind": "note",
            "where": (("owner", ("ann",)), ("tags", ("even", "t5")), ("pinned", (True, None))),
            "ranges": (Range("day", 4, 35), Range("id", high="n034")),
            "words": "cup te",
        }
        expected = named(*[n for n in range(4, 34) if n % 3 and n % 2 == 0])
        assert await store.count(Query(**query)) == len(expected)
        found = await store.find(Query(**query, order=("day",), descending=True, after=(28, "n028"), limit=3, offset=1))
        assert [r.id for r in found] == [id for id in reversed(expected) if id < "n028"][1:4]

    @pytest.mark.parametrize(
        "text", ["' OR 1=1 --", '"', "%", "_", "\\", "$where", "ann\x00", "*", "ann' --", "ann;", "[", "{$gt: ''}"]
    )
    async def test_hostile_values_are_only_values(self, store: RecordStore, text: str) -> None:
        await store.apply([note(1), note(2, owner=text, shelf=text, tags=[text])])
        assert await ids(store, ("owner", [text])) == named(2)
        assert await ids(store, ("tags", [text])) == named(2)
        assert await ids(store, ("id", [text])) == []
        assert await ids(store, ranges=(Range("owner", text, text + "\x00"),)) == named(2)

    async def test_names_that_a_query_language_knows(self, store: RecordStore) -> None:
        await store.apply([note(n, order=n) for n in range(3)])
        assert await ids(store, ("order", [1, 2]), order=("order",), descending=True) == named(2, 1)

    @pytest.mark.parametrize(
        "query",
        [
            Query(kind="nothing"),
            Query(kind="note", where=(("title", ("x",)),)),
            Query(kind="note", where=(("doc", ("x",)),)),
            Query(kind="note", ranges=(Range("nothing", 1),)),
            Query(kind="note", ranges=(Range("tags", "a"),)),
            Query(kind="note", order=("tags",)),
            Query(kind="note", order=("day",), after=("n001",)),
            Query(kind="note", after=(1, "n001")),
            Query(kind="note", order=("day",), after=(None, "n001")),
            Query(kind="note", limit=-1),
            Query(kind="note", offset=-1),
            Query(kind="note", any_word="x", order=("day",)),
            Query(kind="note", any_word="x", after=("n001",)),
            Query(kind="event", words="x"),
            Query(kind="event", any_word="x"),
        ],
    )
    async def test_a_faulty_query_is_a_value_error(self, store: RecordStore, query: Query) -> None:
        with pytest.raises(ValueError):
            await store.find(query)
        with pytest.raises(ValueError):
            await store.count(query)

    @pytest.mark.parametrize("descending", [False, True])
    async def test_an_order_that_a_record_lacks_is_a_value_error(self, store: RecordStore, descending: bool) -> None:
        await store.apply([note(1), note(2, day=None)])
        with pytest.raises(ValueError):
            await store.find(Query(kind="note", order=("day",), descending=descending))
        assert await ids(store, ("day", [1]), order=("day",)) == named(1)
