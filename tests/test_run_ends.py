"""Ends of runs that are hard to write: of deleted ones, refused ones, and those that a dead process left broken."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

import nodes
from backchat.domain.message import Usage
from backchat.domain.run import CallEnded, Run
from backchat.errors import BackchatError, StaleWrite
from backchat.ports.memory import History, Shown
from backchat.ports.providers import UsageReport
from backchat.ports.storage import Change, Delete, Put, Query
from backchat.services import booking
from backchat.services.runlog import RunLog, read_events
from backchat.testing.provider import ScriptedProvider
from backchat.testing.tool import ScriptedTool
from nodes import ANN, Everything, Node, SlowStore, node
from test_usage_of_runs import TEN, booked, killed
from tools_made import call


class Picky(SlowStore):
    """Fails a batch in the way that ``refuse`` says of it, if it says one."""

    def __init__(self) -> None:
        super().__init__()
        self.refuse: Callable[[Sequence[Change]], Exception | None] = lambda changes: None
        self.refused = 0

    async def apply(self, changes: Sequence[Change]) -> None:
        if (error := self.refuse(changes)) is not None:
            self.refused += 1
            await asyncio.sleep(0)
            raise error
        await super().apply(changes)


class Poisoned(Everything):
    """A memory strategy that breaks, or never ends, for the conversation of the run whose answer is ``victim``."""

    victim: Any = None
    hangs = False

    async def select(self, history: History) -> Shown:
        found = await super().select(history)
        if any(m.text == self.victim for m in found.messages):
            if self.hangs:
                await asyncio.Event().wait()
            raise ValueError("poison")
        return found


@pytest.fixture
async def store() -> Picky:
    return Picky()


def ends(run: Run) -> Callable[[Change], bool]:
    return lambda c: isinstance(c, Put) and (c.kind, c.id) == ("run", run.id) and c.doc["status"] != "running"


async def left_behind(store: SlowStore, one: Node, *texts: str) -> list[Run]:
    """Runs of a process that dies while they say TEN."""
    runs = [await one.say(text, system="Be brief.") for text in texts]
    for run in runs:
        await anext(one.runs.follow(ANN, run.id))
    for run in runs:
        await killed(store, one, run)
    return runs


async def status(store: SlowStore, run: Run) -> str | None:
    record = await store.get("run", run.id)
    return record.doc["status"] if record is not None else None


# ---- recovery --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hangs", [False, True])
async def test_a_memory_strategy_that_breaks_keeps_no_run_from_its_end(
    store: Picky, monkeypatch: pytest.MonkeyPatch, hangs: bool
) -> None:
    monkeypatch.setattr(Poisoned, "hangs", hangs)
    monkeypatch.setattr(booking, "PATIENCE", 0.05)
    async with node(store, ScriptedProvider([TEN, asyncio.Event()])) as one:
        runs = await left_behind(store, one, "poisoned", "b" * 40)
        monkeypatch.setattr(nodes, "Everything", Poisoned)
        monkeypatch.setattr(Poisoned, "victim", "poisoned")
        async with node(store) as two, asyncio.timeout(5):
            assert await two.workers.recover() == 2
            assert [await status(store, run) for run in runs] == ["interrupted"] * 2
            for run in runs:
                assert [text for _, text, _ in await two.texts(run.conversation)][1] == TEN
            # the instructions are nine characters; of the poisoned one nothing else is known
            assert sorted(u.input_tokens for u, _ in await booked(two)) == [3, 13]


async def test_a_run_that_cannot_be_ended_now_holds_nobody_up(store: Picky) -> None:
    async with node(store, ScriptedProvider([TEN, asyncio.Event()])) as one, node(store) as two:
        bad, good = await left_behind(store, one, "bad", "good")
        is_end = ends(bad)
        store.refuse = lambda changes: OSError("disk full") if any(map(is_end, changes)) else None
        async with two.workers:
            assert [await status(store, run) for run in (bad, good)] == ["running", "interrupted"]
            assert store.refused == 1
            store.refuse = lambda changes: None
            assert await two.workers.recover() == 1
            assert await status(store, bad) == "interrupted"


async def test_orphans_are_ended_side_by_side(store: Picky) -> None:
    async with node(store, ScriptedProvider([TEN, asyncio.Event()])) as one, node(store) as two:
        runs = await left_behind(store, one, "a", "b", "c")
        begun: list[str] = []

        def note(changes: Sequence[Change]) -> None:
            begun.extend(run.id for run in runs if any(map(ends(run), changes)))

        store.refuse, store.hold = note, asyncio.Event()
        recovering = asyncio.create_task(two.workers.recover())
        async with asyncio.timeout(5):
            while len(begun) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0)
        store.hold.set()
        assert await recovering == 3


async def test_a_call_that_is_booked_already_keeps_nobody_from_ending_its_run(store: Picky) -> None:
    async with node(store, ScriptedProvider([TEN, asyncio.Event()])) as one, node(store) as two:
        (run,) = await left_behind(store, one, "hi")
        ledger = two.engine.ledger
        first = booking.booking(ledger, run, CallEnded("scripted", "scripted-1", Usage(50, 50), False), 1)
        await store.apply([first])
        assert await two.workers.recover() == 1
        assert await booked(two) == [(Usage(50, 50), False)]


# ---- the run's own process -------------------------------------------------------------------------------------------


async def test_the_end_of_a_run_whose_call_is_booked_already(store: Picky) -> None:
    gate = asyncio.Event()
    async with node(store, ScriptedProvider([TEN, gate, UsageReport(Usage(5, 5))])) as one:
        run = await one.say("hi")
        await anext(one.runs.follow(ANN, run.id))
        other = CallEnded("scripted", "scripted-1", Usage(50, 50), False)
        await store.apply([booking.booking(one.engine.ledger, run, other, 1)])
        gate.set()
        async with asyncio.timeout(5):
            ended, answer = await one.runs.result(ANN, run.id)
        assert (ended.status, answer is not None and answer.text) == ("completed", TEN)
        assert await booked(one) == [(Usage(50, 50), False)]


async def test_an_end_that_is_refused_for_ever_is_given_up_and_written_later(store: Picky) -> None:
    async with node(store, ScriptedProvider([TEN, UsageReport(Usage(5, 5))])) as one:
        await one.workers.beat()
        store.refuse = lambda changes: StaleWrite("no") if _completes(changes) else None
        run = await one.say("hi")
        task = one.runs.live[run.id].task
        assert task is not None
        await asyncio.wait([task], timeout=5)
        assert task.done()
        assert store.refused == 1
        assert await status(store, run) == "running"
        assert one.meter.ended == ["lost"]
        assert await one.workers.recover() == 1
        assert await one.texts(run.conversation) == [("user", "hi", "complete"), ("assistant", TEN, "interrupted")]


def _completes(changes: Sequence[Change]) -> bool:
    return any(isinstance(c, Put) and c.kind == "run" and c.doc["status"] == "completed" for c in changes)


@pytest.mark.parametrize("kept", ["nothing", "the run"])
async def test_a_run_that_is_deleted_under_its_process_leaves_what_it_cost(store: Picky, kept: str) -> None:
    gate = asyncio.Event()

    async def look(arguments: object) -> str:
        return "blue"

    provider = ScriptedProvider(
        ["first"], [call("c1", "look"), UsageReport(Usage(8, 8))], [TEN, gate, UsageReport(Usage(9, 9))]
    )
    async with node(store, provider, tools=[ScriptedTool("look", look)]) as one:
        id = await one.begun(agent="none")
        run = await one.say("hi", conversation=id)
        async for batch in one.runs.follow(ANN, run.id):
            if any(getattr(event, "text", None) == TEN for _, event in batch):
                break
        task = one.runs.live[run.id].task
        gone = [Delete("conversation", id)] + ([Delete("run", run.id)] if kept == "nothing" else [])
        await store.apply(gone)
        gate.set()
        assert task is not None
        async with asyncio.timeout(5):
            await asyncio.wait([task])
        assert [(u.usage, u.estimated) for u in await one.booked() if u.payer.run == run.id] == [
            (Usage(8, 8), False),
            (Usage(9, 9), False),
        ]
        assert await status(store, run) is None
        assert await read_events(store, run.id, 0) == []
        assert await store.count(Query(kind="message", where=(("seq", (4,)),))) == 0


async def test_what_a_call_cost_is_kept_for_the_next_commit_when_one_fails(store: Picky) -> None:
    def called(changes: Sequence[Change]) -> Exception | None:
        has = any(isinstance(c, Put) and c.kind == "event" and "called" in c.doc for c in changes)
        return OSError("disk full") if has and not store.refused else None

    async def look(arguments: object) -> str:
        return "blue"

    provider = ScriptedProvider(["first"], [call("c1", "look"), UsageReport(Usage(8, 8))], ["never"])
    async with node(store, provider, tools=[ScriptedTool("look", look)]) as one:
        id = await one.begun(agent="none")
        store.refuse = called
        run = await one.say("hi", conversation=id)
        async with asyncio.timeout(5):
            with pytest.raises(BackchatError):
                await one.runs.result(ANN, run.id)
        assert store.refused == 1
        assert await status(store, run) == "interrupted"
        assert (Usage(8, 8), False) in [(u.usage, u.estimated) for u in await one.booked() if u.payer.run == run.id]
        events = [event for _, event in await read_events(store, run.id, 0)]
        assert CallEnded("scripted", "scripted-1", Usage(8, 8), False) in events


# ---- who waits for the log -------------------------------------------------------------------------------------------


async def test_whoever_stops_waiting_for_a_log_leaves_nothing_behind(store: Picky) -> None:
    log = RunLog(store, "r")
    stays = asyncio.create_task(log.changed())
    for _ in range(20):
        leaves = asyncio.create_task(log.changed())
        await asyncio.sleep(0)
        leaves.cancel()
        await asyncio.wait([leaves])
    assert len(log._waiting) == 1
    log.abandon()
    async with asyncio.timeout(5):
        await stays
    assert not log._waiting
