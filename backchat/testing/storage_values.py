"""The part of the storage contract about ``values``, and about conditions with very many of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from backchat.ports.storage import Delete, Purge, Put, Query, Range, RecordStore
from backchat.testing.records import ANN, Where, ids, note


async def held(store: RecordStore, field: str, *where: Where, kind: str = "note", **rest: Any) -> set[Any]:
    """The values of a field, and that none comes twice."""
    found = await store.values(Query(kind=kind, where=where, **{"limit": 100_000, **rest}), field)
    assert len(set(found)) == len(found)
    return set(found)


class ValuesContract:
    async def test_values_come_once_and_are_what_is_held(self, store: RecordStore) -> None:
        await store.apply([note(n, day=n % 4, weight=n % 2 / 4) for n in range(20)])
        await store.apply([note(30, shelf=None, day=None), Put("note", "n031", {"owner": "ann", "shelf": 7}, 0)])
        assert await held(store, "shelf") == {"s0", "s1", "s2", 7}
        assert await held(store, "day", ANN) == {0, 1, 2, 3}
        assert await held(store, "weight", ("day", [1, 3])) == {0.25}
        assert await held(store, "id", ("day", [3, 99])) == {"n003", "n007", "n011", "n015", "n019"}
        assert await held(store, "pinned", ("day", [0, 2])) == {True}
        assert await held(store, "day", ("owner", ["bob"])) == set()
        assert await held(store, "code") == set()

    async def test_values_of_what_meets_all_conditions(self, store: RecordStore) -> None:
        await store.apply([note(n, day=n, title=f"tea {n % 5}", readers=["x"] if n < 9 else []) for n in range(40)])
        assert await held(store, "day", ANN, ranges=(Range("day", 3, 6), Range("id", high="n005"))) == {3, 4}
        assert await held(store, "day", ("tags", ["even"]), ("readers", ["x"])) == {0, 2, 4, 6, 8}
        assert await held(store, "day", ANN, ("tags", ["odd"]), ranges=(Range("day", high=6),)) == {1, 3, 5}
        assert await held(store, "day", ("shelf", ["s1"]), ("shelf", ["s2"])) == set()
        for where in ((ANN,), ()):
            assert await held(store, "shelf", *where, words="te 3", ranges=(Range("day", 0, 9),)) == {"s0", "s2"}
            assert await held(store, "id", *where, words="2 tea", any_word="tea cup") == {
                f"n{n:03}" for n in range(2, 40, 5)
            }
            assert await held(store, "day", *where, any_word="1 4", ranges=(Range("day", high=6),)) == {1, 4}
            assert await held(store, "day", *where, words="coffee") == set()
            assert await held(store, "day", *where, words="***") == set()
        assert await held(store, "id", ("owner", ["bob"]), words="tea") == set()

    @pytest.mark.parametrize("field", ["owner", "shelf", "id", "code"])
    async def test_values_that_are_asked_for(self, store: RecordStore, field: str) -> None:
        """A condition on the field itself, with and without an index that begins with it."""
        names = {"owner": ["ann", "bob", "cid"], "shelf": ["a", "b", "c"], "code": ["x", "y", "z"]}.get(
            field, ["n000", "n001", "n002"]
        )
        for n in range(3):
            given: dict[str, Any] = {} if field == "id" else {field: names[n]}
            more = [note(10 * n + m, **given) for m in (1, 2)] if field in ("owner", "shelf") else []
            await store.apply([note(n if field == "id" else 10 * n, title=f"tea w{n}", **given), *more])
        assert await held(store, field, (field, [names[0], names[2], "none", None, names[0]])) == {names[0], names[2]}
        assert await held(store, field, (field, names), (field, names[:2]), (field, names[1:])) == {names[1]}
        assert await held(store, field, (field, names[:2]), words="tea") == {*names[:2]}
        assert await held(store, field, (field, names), words="tea w1") == {names[1]}
        assert await held(store, field, (field, names), any_word="w0 w2") == {names[0], names[2]}
        assert await held(store, field, (field, names), ranges=(Range("id", low=names[1] if field == "id" else "n01"),))
        assert await held(store, field, (field, [])) == set()
        assert len(await held(store, field, (field, names), limit=2)) == 2
        await store.apply([Purge("note", ((field, tuple(names[1:])),))])
        assert await held(store, field, (field, names)) == {names[0]}

    async def test_no_more_values_than_the_limit(self, store: RecordStore) -> None:
        await store.apply([note(n, day=n % 7) for n in range(30)])
        for where in ((), (ANN,)):
            for more in ({}, {"words": "note"}):
                assert len(await held(store, "day", *where, limit=3, **more)) == 3
                assert await held(store, "day", *where, limit=7, **more) == set(range(7))
                assert await held(store, "day", *where, limit=0, **more) == set()
        mine: Any = {"kind": "note", "where": (ANN,), "order": ("day",), "descending": True}
        found = await store.values(Query(**mine, after=(3, "n003"), offset=5), "day")
        assert sorted(v for v in found if isinstance(v, int)) == list(range(7))

    async def test_values_are_those_of_this_moment(self, store: RecordStore) -> None:
        async def days(words: str) -> set[Any]:
            return await held(store, "day", ANN, words=words)

        await store.apply([note(n, title="first", day=n) for n in range(3)])
        assert await days("first") == {0, 1, 2}
        await store.apply([note(1, title="changed", day=1, expect=1)])
        assert (await days("first"), await days("changed")) == ({0, 2}, {1})
        await store.apply([note(1, title="changed", day=9, expect=2), Delete("note", "n000")])
        assert (await days("first"), await days("changed")) == ({2}, {9})
        await store.apply([note(5, title="first", owner="bob"), note(2, title="first", owner="bob", expect=1)])
        assert await days("first") == set()

    async def test_values_among_writes(self, store: RecordStore) -> None:
        async def write_and_ask(n: int) -> None:
            await store.apply([note(n, title=f"word{n:03} common", day=n)])
            assert await held(store, "day", ANN, words=f"word{n:03}") == {n}
            await store.apply([note(n, title=f"other{n:03} common", day=n, expect=1)])
            assert await held(store, "day", ANN, words=f"word{n:03}") == set()
            assert n in await held(store, "day", ANN, words="common")

        await asyncio.gather(*(write_and_ask(n) for n in range(40)))
        assert await held(store, "day", ANN, words="common") == set(range(40))

    @pytest.mark.parametrize("field", ["title", "tags", "doc", "version", "nothing"])
    async def test_values_of_no_scalar_field_are_a_value_error(self, store: RecordStore, field: str) -> None:
        with pytest.raises(ValueError):
            await store.values(Query(kind="note"), field)
        with pytest.raises(ValueError):
            await store.values(Query(kind="note", order=("tags",)), "day")

    async def test_a_condition_with_very_many_values(self, store: RecordStore) -> None:
        odd = ["it's", 'a "b"', "nul\x00nul", "é\u2028\U0001f600", "\\u0041", "", "7"]
        await store.apply([note(n, shelf=odd[n % 7], day=n, title=f"tea {n}") for n in range(28)])
        await store.apply(
            [note(30, shelf=7), note(31, shelf=0.1 + 0.2), note(32, shelf=None), note(33, shelf=2**53 + 1)]
        )
        await store.apply([note(34, shelf=True), note(35, shelf="nul")])
        many: Sequence[Any] = [f"none{n}" for n in range(40_000)]
        for value in odd:
            mine = {f"n{n:03}" for n in range(28) if odd[n % 7] == value}
            assert await held(store, "id", ("shelf", [*many[:500], value])) == mine
        assert await held(store, "shelf", ("shelf", [*many, *odd])) == {*odd}
        assert await held(store, "shelf", ("shelf", [*many, *odd]), ANN, words="tea 3") == {odd[3]}
        sevens = ["n006", "n013", "n020", "n027"]
        assert await ids(store, ("shelf", ["7", *many]), ANN, words="tea", order=("day",)) == sevens
        assert await ids(store, ("shelf", [*many, 7, 0.1 + 0.2, 2**53 + 1])) == ["n030", "n031", "n033"]
        assert await ids(store, ("shelf", [*many, True, None])) == ["n032", "n034"]
        assert await ids(store, ("shelf", [*many, 2**53, 0.3, "7.0", 8])) == []
        assert await ids(store, ("shelf", [*many, *[f"x{n}" for n in range(260_000)], "nul"])) == ["n035"]
        assert await ids(store, ("tags", [*many, "t3", "t4"])) == ["n003", "n004"]
        assert await ids(store, ("tags", ["t3", "t4"]), ("owner", [*many, "ann"])) == ["n003", "n004"]
        assert await ids(store, ("owner", [*many, "ann"]), words="tea 5") == ["n005"]
        assert await ids(store, ("day", [*range(20, 40_000)]), ("shelf", ["7"])) == ["n020", "n027"]

    @pytest.mark.parametrize("descending", [False, True])
    @pytest.mark.parametrize("order", [(), ("day",), ("weight", "day")])
    async def test_pages_of_very_many_ids(self, store: RecordStore, order: tuple[str, ...], descending: bool) -> None:
        await store.apply([note(n, day=n // 3, owner="ann" if n % 2 else "bob") for n in range(400)])
        wanted: Where = ("id", [f"n{n:03}" for n in range(0, 4_000, 5)])
        expected = [f"n{n:03}" for n in range(5, 400, 10)]
        seen: list[str] = []
        after: Any = None
        while page := await store.find(
            Query(kind="note", where=(ANN, wanted), order=order, descending=descending, after=after, limit=7)
        ):
            seen += [r.id for r in page]
            after = (*[page[-1].doc[f] for f in order], page[-1].id)
        assert seen == (expected[::-1] if descending else expected)
        assert await store.count(Query(kind="note", where=(wanted, ANN))) == len(expected)

    async def test_purging_very_many_ids(self, store: RecordStore) -> None:
        await store.apply([note(n, title=f"tea {n}") for n in range(300)])
        assert len(await ids(store, ANN, words="tea", limit=1000)) == 300
        await store.apply([Purge("note", (("id", tuple([f"n{n:03}" for n in range(10, 50_000)])), ANN))])
        assert await ids(store) == [f"n{n:03}" for n in range(10)]
        assert await held(store, "id", ANN, words="tea") == {f"n{n:03}" for n in range(10)}
        assert await ids(store, ("tags", ["t5", "t12"])) == ["n005"]
