"""How long summaries of conversations are kept, and on which branches they are shown."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from backchat.domain.message import Message, Text
from backchat.ports.storage import Change, Put, Query
from backchat.services import summaries
from backchat.services.new_message import NewMessage
from nodes import ANN, SlowStore
from summaries_made import Model, Talk, material_of, rolling, talk, until


async def summed_up(here: Talk) -> tuple[str, list[Message]]:
    """A conversation with summaries up to its 4th, 8th and 12th message, of 14; its id and messages."""
    id = await here.talked(7)
    assert await here.kept() == ["notes 1", "notes 2", "notes 3"]
    return id, await here.said(id)


async def edit(here: Talk, id: str, message: str) -> None:
    await here.services.trees.edit(ANN, id, message, "changed")


async def put(here: Talk, id: str, message: str) -> None:
    await here.services.trees.put(ANN, id, NewMessage(id=message, role="user", parts=(Text("changed"),)))


async def remove(here: Talk, id: str, message: str) -> None:
    await here.services.trees.remove(ANN, id, message)


async def splice(here: Talk, id: str, message: str) -> None:
    await here.services.trees.remove(ANN, id, message, splice=True)


@pytest.mark.parametrize("change", [edit, put, remove, splice])
@pytest.mark.parametrize(("place", "left"), [(0, 0), (3, 0), (4, 1), (8, 2), (11, 2), (12, 3)])
async def test_a_message_takes_along_the_summaries_that_it_is_in(
    change: Callable[[Talk, str, str], Any], place: int, left: int
) -> None:
    async with talk() as here:
        id, messages = await summed_up(here)
        before = len(here.store.commits)
        await change(here, id, messages[place].id)
        assert await here.kept() == ["notes 1", "notes 2", "notes 3"][:left]
        assert len(here.store.commits) == before + 1, "one batch"


async def test_annotations_change_nothing_that_was_said() -> None:
    async with talk() as here:
        id, messages = await summed_up(here)
        await here.services.trees.annotate(ANN, id, messages[0].id, {"feedback": "good"})
        assert len(await here.kept()) == 3


async def test_what_was_cut_off_is_in_no_summary() -> None:
    async with talk() as here:
        id, _ = await summed_up(here)
        before = len(here.store.commits)
        await here.conversations.truncate(ANN, id, 10)
        assert await here.kept() == []
        assert len(here.store.commits) == before + 1
        await here.ask("and now?", id)
        assert here.shown()[0] == ""


async def test_a_conversation_takes_its_summaries_along() -> None:
    async with talk() as here:
        id, _ = await summed_up(here)
        other = await here.talked(3)
        await here.conversations.discard(ANN, id)
        (left,) = await here.store.find(Query(kind="summary"))
        assert left.doc["conversation"] == other
        await here.services.accounts.forget("ann")
        assert await here.store.count(Query(kind="summary")) == 0


@pytest.mark.parametrize("change", [edit, put, remove, splice])
async def test_what_is_changed_while_it_is_summed_up_is_in_no_summary(change: Callable[[Talk, str, str], Any]) -> None:
    gate = asyncio.Event()
    async with talk(Model([gate, "old"], ["new"])) as here:
        id = await here.talked(2)
        await here.ask("question 2", id)
        await until(lambda: here.model.noter.open == 1)
        await change(here, id, (await here.said(id))[1].id)
        await until(lambda: here.model.noter.closed == 1 and not here.jobs._tasks)
        assert await here.kept() == []
        assert await here.store.count(Query(kind="job")) == 0
        await here.talked(2, id)
        assert await here.kept() == ["new"]


async def test_what_is_deleted_while_it_is_summed_up_stays_deleted() -> None:
    for truncate in (False, True):
        gate = asyncio.Event()
        async with talk(Model([gate, "old"])) as here:
            id = await here.talked(2)
            await here.ask("question 2", id)
            await until(lambda: here.model.noter.open == 1)
            await (here.conversations.truncate(ANN, id, 2) if truncate else here.conversations.discard(ANN, id))
            await until(lambda: here.model.noter.closed == 1 and not here.jobs._tasks)
            assert await here.store.count(Query(kind="job")) == 0
            assert await here.kept() == []
            assert len(here.model.noter.requests) == 1


@pytest.mark.parametrize("gone", ["message", "conversation", "user"])
async def test_what_another_process_deletes_is_not_sent_on(gone: str) -> None:
    """A summary of which the first part is being made: the second part has the message that is deleted."""
    store, gate = SlowStore(), asyncio.Event()
    async with (
        talk(Model([gate, "half"]), store=store, memory=rolling(step=1000)) as here,
        talk(store=store) as other,
    ):
        id = await here.ask("question 0 " + "x" * 1500)
        await here.ask("question 1 " + "x" * 1500, id)
        await here.ask("question 2", id)
        await until(lambda: here.model.noter.open == 1)
        if gone == "message":
            await edit(other, id, (await here.said(id))[2].id)
        elif gone == "conversation":
            await other.conversations.discard(ANN, id)
        else:
            await other.services.accounts.forget("ann")
        gate.set()
        await until(lambda: here.model.noter.ended == 1 and not here.jobs._tasks)
        assert len(here.model.noter.requests) == 1
        assert await here.kept() == []


async def test_who_is_taken_for_dead_and_is_not_asks_no_more() -> None:
    store, gate, short = SlowStore(), asyncio.Event(), rolling(step=1000)
    async with (
        talk(Model([gate, "half"]), store=store, memory=short) as slow,
        talk(Model(["first"], [asyncio.Event()]), store=store, memory=short) as other,
    ):
        id = await slow.ask("question 0 " + "x" * 1500)
        await slow.ask("question 1 " + "x" * 1500, id)
        await slow.ask("question 2", id)
        await until(lambda: slow.model.noter.open == 1)
        await other.workers.beat()
        await other.workers.recover()
        await until(lambda: len(other.model.noter.requests) == 2)
        gate.set()
        await until(lambda: slow.model.noter.ended == 1 and not slow.jobs._tasks)
        assert len(slow.model.noter.requests) == 1


async def test_a_few_of_a_path_are_kept() -> None:
    async with talk() as here:
        id = await here.talked(15)
        assert await here.kept() == [f"notes {n}" for n in range(3, 8)]
        messages = await here.said(id)
        await here.branch(id, messages[9].id)
        for n in range(4):
            await here.ask(f"another way {n}", id)
            await here.settled(id)
        left = {f"notes {n}" for n in range(3, 10)}
        assert {*await here.kept()} == left, "those of the other branch are not touched"
        await here.branch(id, messages[-1].id)
        await here.ask("and now?", id)
        assert here.shown()[0] == "notes 7"


async def test_of_far_too_many_two_go_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summaries, "KEPT", 100)
    async with talk() as here:
        id = await here.talked(17)
        assert await here.kept() == [f"notes {n}" for n in range(1, 9)]
        monkeypatch.undo()
        await here.talked(2, id)
        assert await here.kept() == [f"notes {n}" for n in (1, 2, 5, 6, 7, 8, 9)]
        await here.talked(4, id)
        assert await here.kept() == [f"notes {n}" for n in range(7, 12)]


class Interfering(SlowStore):
    """``first`` is done right before a summary is stored, as by somebody who was faster."""

    first: Callable[[], Coroutine[Any, Any, None]] | None = None

    async def apply(self, changes: Sequence[Change]) -> None:
        first = self.first
        if first is not None and any(isinstance(c, Put) and c.kind == "summary" for c in changes):
            self.first = None
            await first()
        await super().apply(changes)


async def test_what_is_deleted_in_the_last_moment_stays_deleted() -> None:
    store = Interfering()
    async with talk(store=store) as here:
        id = await here.talked(2)
        store.first = lambda: here.conversations.discard(ANN, id)
        await here.ask("question 2", id)
        await here.settled(id)
        assert store.first is None
        assert await here.kept() == []
        assert len(here.model.noter.requests) == 1


async def test_what_is_changed_in_the_last_moment_is_in_no_summary() -> None:
    store = Interfering()
    async with talk(store=store) as here:
        id = await here.talked(2)
        (first, *_) = await here.said(id)
        store.first = lambda: edit(here, id, first.id)
        await here.ask("question 2", id)
        await here.settled(id)
        await until(lambda: not here.jobs._tasks)
        assert store.first is None
        assert await here.kept() == []
        assert len(here.model.noter.requests) == 1


async def test_copies_start_without() -> None:
    async with talk() as here:
        id, messages = await summed_up(here)
        copy, _ = await here.services.forks.duplicate(ANN, id)
        fork, _ = await here.services.forks.fork(ANN, id, messages[-1].id, "path")
        found = await here.store.find(Query(kind="summary"))
        assert [record.doc["conversation"] for record in found] == [id] * 3
        for other in (copy.id, fork.id):
            await here.ask("and now?", other)
            assert (here.shown()[0], len(here.shown()[1])) == ("", 15)
            await here.settled(other)
        assert len(await here.kept()) == 5


# ---- branches -------------------------------------------------------------------------------------------------------


async def test_a_branch_has_the_summaries_of_what_is_on_it() -> None:
    async with talk() as here:
        id, messages = await summed_up(here)
        for place, summary in ((13, "notes 3"), (11, "notes 3"), (9, "notes 2"), (5, "notes 1"), (2, "")):
            await here.branch(id, messages[place].id)
            await here.ask("another way", id)
            assert here.shown()[0] == summary, place
            assert here.shown()[1][-1] == "another way"
            await here.settled(id)


async def test_what_is_said_on_one_branch_is_in_no_summary_of_another() -> None:
    async with talk() as here:
        id = await here.talked(1)
        (_, root) = await here.said(id)
        for n in range(4):
            await here.ask(f"left {n}", id)
            await here.settled(id)
        left = (await here.said(id))[-1]
        await here.branch(id, root.id)
        for n in range(4):
            await here.ask(f"right {n}", id)
            await here.settled(id)
        first, second = [material_of(asked) for asked in here.model.noter.requests[2:]]
        assert first == ("", ["question 0", "It is so.", "right 0", "It is so."])
        assert second == ("notes 3", ["right 1", "It is so.", "right 2", "It is so."])
        await here.branch(id, left.id)
        await here.ask("on the left again", id)
        assert here.shown() == ("notes 2", [*here.shown()[1][:-1], "on the left again"])
        assert not any("right" in text for text in here.shown()[1])
