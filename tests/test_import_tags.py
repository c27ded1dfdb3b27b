"""The tags of imported conversations: they are like those that users give, and in the list whatever happens to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import pytest

from archive_made import Shelf
from backchat.ports.storage import Change, Put, Query
from backchat.services.kinds import KINDS
from backchat.services.stored import conversation_of
from backchat.services.tag_records import MOST
from backchat.testing.memory_store import MemoryStore
from imports_desk import ANN, Desk, talk


async def test_names_from_elsewhere_are_made_to_fit() -> None:
    desk = Desk(MemoryStore(KINDS))
    done = await desk.bring(talk("one", tags=(" a ", "", "a", "b" * 150, "\ud800", *[f"t{n}" for n in range(150)])))
    assert (done.imported, done.failed) == (1, 0)
    tags = (await desk.only()).tags
    assert tags == ("a", "b" * 100, "\ufffd", *[f"t{n}" for n in range(MOST - 3)])
    assert tuple([t.tag for t in await Shelf(desk.store).tags.all(ANN)]) == tags
    assert tuple(await Shelf(desk.store).tags.attach(ANN, (await desk.only()).id, tags)) == tags


class Meddled(MemoryStore):
    """Lets a user do something to a tag before a conversation is stored."""

    def __init__(self) -> None:
        super().__init__(KINDS)
        self.meddle: Callable[[], Awaitable[object]] | None = None

    async def apply(self, changes: Sequence[Change]) -> None:
        if self.meddle is not None and any(isinstance(c, Put) and c.kind == "conversation" for c in changes):
            meddle, self.meddle = self.meddle, None
            await meddle()
        await super().apply(changes)


@pytest.mark.parametrize("what", ["delete", "rename"])
async def test_a_tag_that_is_changed_while_a_conversation_is_imported(what: str) -> None:
    desk = Desk(store := Meddled())
    shelf = Shelf(store)
    await shelf.tags.create(ANN, "red", description="mine")

    async def meddle() -> object:
        if what == "delete":
            return await shelf.tags.delete(ANN, "red")
        return await shelf.tags.update(ANN, "red", name="rosso")

    store.meddle = meddle
    assert (await desk.bring(talk("one", tags=("red",)))).imported == 1
    listed = {t.tag: t.count for t in await shelf.tags.all(ANN)}
    assert listed == {"red": 1, **({"rosso": 0} if what == "rename" else {})}
    found = await store.find(Query(kind="conversation"))
    assert [conversation_of(r).tags for r in found] == [("red",)]
