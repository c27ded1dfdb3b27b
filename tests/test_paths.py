"""Active paths: parts of them are what the whole would show, and are read without reading it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backchat.domain.message import Message, Role
from backchat.ports.storage import Query, Record
from backchat.services.kinds import KINDS
from backchat.services.paths import Path
from backchat.services.stored import message_put
from backchat.testing.memory_store import MemoryStore
from trees_made import ANN, Grove, drawn, trees


class Reading(MemoryStore):
    """Counts the records that were found."""

    def __init__(self) -> None:
        super().__init__(KINDS)
        self.found = 0

    async def find(self, query: Query) -> Sequence[Record]:
        found = await super().find(query)
        self.found += len(found)
        return found


def asked(path: Sequence[Message], place: int) -> int:
    """Where what belongs to a message begins: at the user's message, or the path's beginning."""
    while place > 0 and path[place].role != "user":
        place -= 1
    return place


@given(trees(least=1), st.data())
def test_parts_are_those_of_the_whole(messages: list[Message], data: st.DataObject) -> None:
    leaf = data.draw(st.sampled_from(messages)).id
    role: Role | None = data.draw(st.sampled_from([None, "user", "assistant", "tool"]))
    skip, limit = data.draw(st.integers(0, 6)), data.draw(st.integers(1, 6))

    async def compare() -> None:
        grove = Grove(MemoryStore(KINDS))
        await grove.plant(messages, leaf=leaf)
        whole = await grove.conversations.whole(ANN, "c")
        path = Path(grove.store, "c", leaf)
        for message in messages:
            found = await path.one(message.id)
            places = [n for n, m in enumerate(whole) if m.id == message.id]
            if not places:
                assert found is None
                continue
            assert found is not None
            assert (list(found.shown), found.count) == ([whole[places[0]]], 1)
            assert list(found.around) == whole[asked(whole, places[0]) : places[0] + 1]
        wanted = [n for n, m in enumerate(whole) if role in (None, m.role)]
        excerpt = await path.excerpt(skip=skip, limit=limit, role=role)
        assert list(excerpt.shown) == [whole[n] for n in wanted[skip : skip + limit]]
        assert excerpt.count == len(wanted)
        near = {m for n in wanted[skip : skip + limit] for m in range(asked(whole, n), n + 1)}
        assert list(excerpt.around) == [whole[n] for n in sorted(near)]

    asyncio.run(compare())


async def test_of_a_long_path_a_message_costs_what_is_below_it() -> None:
    store = Reading()
    grove = Grove(store)
    text = "\n".join(f"{'  ' * n}{'UA'[n % 2]}{n}" for n in range(3000))
    messages = drawn(text)
    await grove.plant(messages)
    path = Path(store, "c", "A2999")
    for id, most in (("A2999", 200), ("U2900", 200), ("A2501", 600), ("A1", 3000)):
        store.found = 0
        found = await path.one(id)
        assert found is not None
        assert found.shown[0].id == id
        assert store.found <= most, id
    aside = replace(messages[-1], id="aside", seq=messages[-1].seq + 1)
    await store.apply([message_put(aside)])
    store.found = 0
    assert await path.one("aside") is None
    assert store.found <= 200
    store.found = 0
    assert [await path.one(id) for id in ("nothing", "\0")] == [None, None]
    assert store.found == 0
    excerpt = await path.excerpt(skip=1500, limit=50)
    assert (len(excerpt.shown), len(excerpt.around), excerpt.count) == (50, 50, 3000)


async def test_a_message_of_another_conversation_is_on_no_path() -> None:
    grove = Grove(MemoryStore(KINDS))
    await grove.plant(drawn("U0\n  A1"))
    assert await Path(grove.store, "other", "A1").one("A1") is None
    assert await Path(grove.store, "c", None).one("A1") is None
    assert await Path(grove.store, "c", "A1").one("A1") is not None


@pytest.mark.parametrize("skip", [2, 10**12])
async def test_beyond_the_end(skip: int) -> None:
    grove = Grove(MemoryStore(KINDS))
    await grove.plant(drawn("U0\n  A1"))
    excerpt = await Path(grove.store, "c", "A1").excerpt(skip=skip, limit=5)
    assert (excerpt.shown, excerpt.around, excerpt.count) == ([], [], 2)
