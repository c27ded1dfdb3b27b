"""Tags, over the store in memory and over SQLite."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archive_made import ANN, BOB, Shelf, at, shelf
from backchat.domain.identity import Identity
from backchat.errors import Conflict, InvalidInput, NotFound, NotOwned
from backchat.ports.storage import Query
from backchat.services import tags as tagging
from backchat.services.kinds import KINDS
from backchat.services.tag_records import MOST, fitting
from backchat.testing.memory_store import MemoryStore
from nodes import SlowStore


@pytest.fixture(params=["memory", "sqlite"])
async def it(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Shelf]:
    async with shelf(tmp_path if request.param == "sqlite" else None) as made:
        yield made


async def places(it: Shelf, who: Identity = ANN) -> list[tuple[str, int, int]]:
    """Name, position and count of each tag."""
    return [(t.tag, t.position, t.count) for t in await it.tags.all(who)]


async def tags_of(it: Shelf, id: str) -> tuple[str, ...]:
    return (await it.conversations.open(ANN, id)).tags


class TestCreate:
    async def test_new_ones_come_last(self, it: Shelf) -> None:
        first = await it.tags.create(ANN, " one ", description="what it is for")
        assert (first.tag, first.description, first.position, first.count) == ("one", "what it is for", 1, 0)
        assert (first.owner, first.created_at, first.updated_at) == ("ann", at(1000), at(1000))
        await it.tags.create(ANN, "two")
        await it.tags.create(BOB, "one")
        assert await places(it) == [("one", 1, 0), ("two", 2, 0)]
        assert await places(it, BOB) == [("one", 1, 0)]
        assert (await it.tags.all(ANN))[0] == first

    async def test_one_that_is_there_is_found(self, it: Shelf) -> None:
        first = await it.tags.create(ANN, "one", description="x")
        it.time = at(1001)
        assert await it.tags.create(ANN, "one", description="y") == first
        assert await places(it) == [("one", 1, 0)]

    async def test_with_a_conversation(self, it: Shelf) -> None:
        await it.add("a", tags=("old",), updated_at=at(3))
        assert (await it.tags.create(ANN, "one", conversation="a")).count == 1
        there = await it.conversations.open(ANN, "a")
        assert (there.tags, there.updated_at) == (("old", "one"), at(1000))
        it.time = at(1001)
        assert (await it.tags.create(ANN, "one", conversation="a")).count == 1
        assert await it.conversations.open(ANN, "a") == there
        await it.add("b")
        assert (await it.tags.create(ANN, "one", conversation="b")).count == 2
        with pytest.raises(NotFound):
            await it.tags.create(ANN, "two", conversation="none")
        with pytest.raises(NotOwned):
            await it.tags.create(BOB, "two", conversation="a")
        assert await places(it) == [("one", 1, 2)]
        assert await places(it, BOB) == []

    @pytest.mark.parametrize("name", ["", " \n", "x" * 101])
    async def test_names_that_are_none(self, it: Shelf, name: str) -> None:
        await it.add("a")
        await it.tags.create(ANN, "y" * 100)
        for refused, field in (
            (it.tags.create(ANN, name), "body.tag"),
            (it.tags.update(ANN, "y" * 100, name=name), "body.tag"),
            (it.tags.attach(ANN, "a", ["fine", name]), "body.tags"),
        ):
            with pytest.raises(InvalidInput) as error:
                await refused
            assert error.value.field == field
        assert await places(it) == [("y" * 100, 1, 0)]

    async def test_counts_are_of_what_lists_show(self, it: Shelf) -> None:
        await it.tags.create(ANN, "one")
        await it.add("a", tags=("one",), archived_at=at(1))
        await it.add("b", tags=("one",), expires_at=at(1000))
        await it.add("c", tags=("one",), temporary=True)
        await it.add("d", tags=("one",), owner="bob")
        assert await places(it) == [("one", 1, 2)]
        it.time = at(1001)
        assert await places(it) == [("one", 1, 1)]

    async def test_they_are_counted_a_few_at_a_time(self) -> None:
        at_once = most = 0

        class Counted(MemoryStore):
            async def count(self, query: Query) -> int:
                nonlocal at_once, most
                at_once += 1
                most = max(most, at_once)
                await asyncio.sleep(0)
                at_once -= 1
                return await super().count(query)

        it = Shelf(Counted(KINDS))
        names = [f"t{n:02}" for n in range(30)]
        await it.add("a")
        await it.tags.attach(ANN, "a", names)
        assert await places(it) == [(name, n, 1) for n, name in enumerate(names, 1)]
        assert 1 < most <= tagging.AT_ONCE


class TestAttach:
    async def test_the_set_is_replaced(self, it: Shelf) -> None:
        await it.add("a", tags=("x",), updated_at=at(3))
        await it.tags.create(ANN, "x")
        assert list(await it.tags.attach(ANN, "a", ["b", " c ", "b"])) == ["b", "c"]
        there = await it.conversations.open(ANN, "a")
        assert (there.tags, there.updated_at) == (("b", "c"), at(1000))
        assert await places(it) == [("x", 1, 0), ("b", 2, 1), ("c", 3, 1)]
        assert await it.find(tags=["c"]) == ["a"]
        assert list(await it.tags.attach(ANN, "a", [])) == []
        assert await tags_of(it, "a") == ()
        with pytest.raises(NotFound):
            await it.tags.attach(ANN, "none", ["new"])
        with pytest.raises(NotOwned):
            await it.tags.attach(BOB, "a", ["new"])
        assert [name for name, _, _ in await places(it)] == ["x", "b", "c"]
        await it.tags.delete(ANN, "x")
        await it.tags.delete(ANN, "b")
        await it.tags.attach(ANN, "a", ["d", "e"])
        assert [name for name, _, _ in await places(it)] == ["c", "d", "e"]
        assert await places(it, BOB) == []

    async def test_no_more_than_there_may_be(self, it: Shelf) -> None:
        await it.add("a")
        names = [f"t{n}" for n in range(MOST)]
        await it.tags.attach(ANN, "a", [*names, "t0 "])
        for refused, field in (
            (it.tags.attach(ANN, "a", [*names, "more"]), "body.tags"),
            (it.tags.create(ANN, "more", conversation="a"), "body.tag"),
        ):
            with pytest.raises(InvalidInput, match="at most 100 tags") as error:
                await refused
            assert error.value.field == field
        assert await tags_of(it, "a") == tuple(names)
        assert len(await it.tags.all(ANN)) == MOST

    async def test_many_at_once(self) -> None:
        it = Shelf(SlowStore())
        await asyncio.gather(*[it.add(f"c{n}") for n in range(5)])
        await asyncio.gather(*[it.tags.attach(ANN, f"c{n}", ["all", f"t{n % 2}"]) for n in range(5)])
        there = await places(it)
        assert sorted((name, count) for name, _, count in there) == [("all", 5), ("t0", 3), ("t1", 2)]
        assert [position for _, position, _ in there] == [1, 2, 3]


class TestUpdate:
    async def test_a_new_name_on_all_conversations(self, it: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tagging, "PAGE", 2)
        for n in range(5):
            await it.add(f"c{n}", tags=("x", "one", "y"), updated_at=at(n))
        await it.add("other", tags=("x",))
        await it.add("theirs", tags=("one",), owner="bob")
        for tag in ("x", "one", "y"):
            await it.tags.create(ANN, tag)
        await it.tags.create(BOB, "one")
        it.time = at(1001)
        changed = await it.tags.update(ANN, "one", name=" uno ")
        assert (changed.tag, changed.position, changed.count) == ("uno", 2, 5)
        assert (changed.created_at, changed.updated_at) == (at(1000), at(1001))
        assert (await it.tags.all(ANN))[1] == changed
        assert {await tags_of(it, f"c{n}") for n in range(5)} == {("x", "uno", "y")}
        assert (await it.conversations.open(ANN, "c3")).updated_at == at(3)
        assert await it.find(tags=["uno"]) == [f"c{n}" for n in (4, 3, 2, 1, 0)]
        assert await it.find(tags=["one"]) == []
        assert await it.find(BOB, tags=["one"]) == ["theirs"]
        assert await places(it, BOB) == [("one", 1, 1)]

    async def test_names_that_are_taken_or_unknown(self, it: Shelf) -> None:
        await it.add("a", tags=("one",))
        await it.tags.create(ANN, "one")
        await it.tags.create(ANN, "two")
        with pytest.raises(Conflict):
            await it.tags.update(ANN, "one", name="two")
        with pytest.raises(NotFound):
            await it.tags.update(ANN, "three", name="four")
        with pytest.raises(NotFound):
            await it.tags.update(BOB, "one", name="four")
        await it.add("b", tags=("three", "one"))  # as one that was imported may have it
        assert (await it.tags.update(ANN, "one", name="three")).count == 2
        assert await tags_of(it, "b") == ("three",)
        await it.tags.update(ANN, "three", name="one")
        assert (await it.tags.update(ANN, "one", name="one", description="d")).description == "d"
        assert (await it.tags.update(ANN, "one", position=1)).description == "d"
        assert (await it.tags.update(ANN, "one", description="")).description == ""
        assert await places(it) == [("one", 1, 2), ("two", 2, 0)]

    @pytest.mark.parametrize(
        ("tag", "position", "order"),
        [
            ("a", 3, "bcad"),
            ("d", 1, "dabc"),
            ("b", 2, "abcd"),
            ("b", 99, "acdb"),
            ("c", 0, "cabd"),
            ("c", -5, "cabd"),
            ("d", 4, "abcd"),
        ],
    )
    async def test_moves(self, it: Shelf, tag: str, position: int, order: str) -> None:
        for name in ("a", "gone", "b", "c", "d"):
            await it.tags.create(ANN, name)
        await it.tags.delete(ANN, "gone")
        moved = await it.tags.update(ANN, tag, position=position)
        assert moved.position == order.index(tag) + 1
        assert await places(it) == [(name, n, 0) for n, name in enumerate(order, 1)]
        await it.tags.create(ANN, "e")
        assert await places(it) == [(name, n, 0) for n, name in enumerate([*order, "e"], 1)]

    async def test_renamed_while_it_is_given(self) -> None:
        for _ in range(5):
            it = Shelf(SlowStore())
            await it.tags.create(ANN, "one")
            for n in range(4):
                await it.add(f"c{n}")
            given = [it.tags.attach(ANN, f"c{n}", ["one"]) for n in range(4)]
            await asyncio.gather(*given[:2], it.tags.update(ANN, "one", name="uno"), *given[2:])
            counts = {name: count for name, _, count in await places(it)}
            assert sum(counts.values()) == 4
            assert {tag for n in range(4) for tag in await tags_of(it, f"c{n}")} <= counts.keys()


class TestDelete:
    async def test_it_goes_everywhere(self, it: Shelf) -> None:
        for n in range(4):
            await it.add(f"c{n}", tags=("x", "one"), updated_at=at(n))
        await it.add("theirs", tags=("one",), owner="bob")
        for tag in ("one", "x"):
            await it.tags.create(ANN, tag, description=tag)
        gone = await it.tags.delete(ANN, "one")
        assert (gone.tag, gone.description, gone.position, gone.count) == ("one", "one", 1, 4)
        assert {await tags_of(it, f"c{n}") for n in range(4)} == {("x",)}
        assert (await it.conversations.open(ANN, "c3")).updated_at == at(3)
        assert await places(it) == [("x", 1, 4)]
        assert await it.find(tags=["one"]) == []
        assert await it.find(BOB, tags=["one"]) == ["theirs"]
        with pytest.raises(NotFound):
            await it.tags.delete(ANN, "one")
        assert (await it.tags.create(ANN, "one")).count == 0


class TestOthersTags:
    def test_they_are_made_to_fit(self) -> None:
        assert fitting([" a ", "", "b" * 99 + "  c", "a", "\n", "b" * 150]) == ("a", "b" * 99, "b" * 100)
        assert fitting([f"t{n // 2}" for n in range(300)]) == tuple([f"t{n}" for n in range(MOST)])

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.text(alphabet=" \t\xa0ab", max_size=103), max_size=5))
    async def test_what_fits_can_be_given(self, names: list[str]) -> None:
        it = Shelf(MemoryStore(KINDS))
        await it.add("a")
        assert tuple(await it.tags.attach(ANN, "a", fitting(names))) == fitting(names)
