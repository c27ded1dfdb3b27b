"""Durable replies, at the services: what is committed, who reads it, how it ends. The model is scripted."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from backchat.domain.message import Text, ToolCall, Usage
from backchat.domain.run import ReasoningDelta, Run, RunEnded, TextDelta
from backchat.errors import (
    Cancelled,
    Draining,
    Expired,
    IdempotencyMismatch,
    NotFound,
    NotOwned,
    ProviderError,
    ProviderRejected,
    ProviderTimeout,
    RunInProgress,
)
from backchat.ports.providers import Abilities, Finish, ImageData, UsageReport
from backchat.ports.storage import Change, Put, Query
from backchat.services.kinds import KINDS
from backchat.services.runstate import run_put
from backchat.services.saying import Once
from backchat.services.stored import conversation_put
from backchat.testing.provider import ScriptedProvider
from nodes import ANN, BOB, Node, SlowStore, node


@pytest.fixture
async def store() -> SlowStore:
    return SlowStore()


async def test_an_answer_is_a_message_and_a_log(store: SlowStore) -> None:
    usage = Usage(7, 2)
    call = ToolCall("c1", "look", "{}")
    provider = ScriptedProvider([ReasoningDelta("hm"), "Hel", "lo", call, UsageReport(usage), Finish("length")])
    async with node(store, provider) as one:
        run = await one.say("hi")
        log = await one.read(run)
        ended, answer = await one.runs.result(ANN, run.id)
    assert "".join(e.text for _, e in log if isinstance(e, TextDelta)) == "Hello"
    assert [n for n, _ in log] == list(range(1, len(log) + 1))
    assert isinstance(log[-1][1], RunEnded)
    assert log[-1][1].status == ended.status == "completed"
    assert answer is not None
    assert (answer.text, answer.status, answer.usage, answer.parent) == ("Hello", "complete", usage, run.input)
    assert [type(p).__name__ for p in answer.parts] == ["Reasoning", "Text", "ToolCall"]
    assert answer.metadata == {"finish": "length"}
    assert one.meter.ended == ["completed"]


async def test_the_model_sees_the_conversation(store: SlowStore) -> None:
    provider = ScriptedProvider(["one"], ["two"])
    async with node(store, provider) as one:
        run = await one.say("first", system="Be brief.")
        await one.runs.result(ANN, run.id)
        again = await one.say("second", conversation=run.conversation)
        await one.runs.result(ANN, again.id)
    seen = [(m.role, m.parts) for m in provider.requests[1].messages]
    assert seen == [("user", (Text("first"),)), ("assistant", (Text("one"),)), ("user", (Text("second"),))]
    assert provider.requests[0].system == "Be brief."


async def test_nothing_is_shown_before_it_is_committed(store: SlowStore) -> None:
    gate = asyncio.Event()
    async with node(store, ScriptedProvider(["a", gate, "b"])) as one:
        run = await one.say("hi")
        reader = one.runs.follow(ANN, run.id)
        shown = [e for _, e in await anext(reader)]
        assert shown == [TextDelta("a")]
        store.hold = asyncio.Event()
        gate.set()
        late = asyncio.ensure_future(anext(reader))
        for _ in range(50):
            await asyncio.sleep(0)
        assert not late.done()
        store.hold.set()
        assert next(e for _, e in await late) == TextDelta("b")
        await reader.aclose()


async def test_what_comes_while_a_commit_runs_is_one_event(store: SlowStore) -> None:
    gate = asyncio.Event()
    async with node(store, ScriptedProvider(["a", gate, "b", "c", "d"])) as one:
        run = await one.say("hi")
        reader = one.runs.follow(ANN, run.id)
        await anext(reader)
        store.hold = asyncio.Event()
        gate.set()
        for _ in range(50):
            await asyncio.sleep(0)
        store.hold.set()
        rest = [e for batch in [b async for b in reader] for _, e in batch]
    assert "".join(e.text for e in rest if isinstance(e, TextDelta)) == "bcd"
    assert len(rest) <= 3  # the delta that was being committed, the others merged, the end


async def test_any_number_of_readers_from_any_position(store: SlowStore) -> None:
    gates = [asyncio.Event() for _ in range(30)]
    turn = [step for n, gate in enumerate(gates) for step in (f"{n} ", gate)]
    async with node(store, ScriptedProvider(turn)) as one:
        run = await one.say("hi")
        readers = [asyncio.ensure_future(one.read(run, after)) for after in (0, 0, 3, 29, 200)]
        slow = one.runs.follow(ANN, run.id)
        first = await anext(slow)
        for gate in gates:
            gate.set()
            for _ in range(6):
                await asyncio.sleep(0)
        logs = [await r for r in readers[:4]]
        behind = [*first, *[pair async for batch in slow for pair in batch]]
        readers[4].cancel()
    assert logs[0] == logs[1] == behind
    assert len(logs[0]) == 31
    assert logs[2] == logs[0][3:]
    assert logs[3] == logs[0][29:]
    async with node(store) as other:  # another process reads the same from the store
        assert await other.read(run) == logs[0]
        assert await other.read(run, 12) == logs[0][12:]


async def test_cancel_keeps_what_was_said(store: SlowStore) -> None:
    provider = ScriptedProvider(["half", asyncio.Event()])
    async with node(store, provider) as one:
        run = await one.say("hi")
        await anext(one.runs.follow(ANN, run.id))
        with pytest.raises(NotOwned):
            await one.runs.cancel(BOB, run.id)
        assert (await one.runs.cancel(ANN, run.id)).status == "cancelled"
        assert (await one.runs.cancel(ANN, run.id)).status == "cancelled"
        with pytest.raises(Cancelled):
            await one.runs.result(ANN, run.id)
        assert await one.texts(run.conversation) == [("user", "hi", "complete"), ("assistant", "half", "cancelled")]
        assert provider.closed == 1
        assert provider.open == 0


@pytest.mark.parametrize("said", ["", "half"])
async def test_a_failure_keeps_what_was_said_and_its_reason(store: SlowStore, said: str) -> None:
    async with node(
        store, ScriptedProvider([said, ProviderTimeout("too slow")] if said else [ProviderTimeout("too slow")])
    ) as one:
        run = await one.say("hi")
        with pytest.raises(ProviderTimeout, match="too slow"):
            await one.runs.result(ANN, run.id)
        end = (await one.read(run))[-1][1]
        expected = [("user", "hi", "complete"), *([("assistant", said, "failed")] if said else [])]
        assert await one.texts(run.conversation) == expected
    assert end.status == "failed"
    assert end.failure.code == "provider_timeout"
    async with node(store) as later:
        with pytest.raises(ProviderTimeout, match="too slow"):
            await later.runs.result(ANN, run.id)


async def test_a_crash_of_a_provider_is_an_internal_error_without_its_words(store: SlowStore) -> None:
    async with node(store, ScriptedProvider(["half", ValueError("sk-secret")])) as one:
        run = await one.say("hi")
        end = (await one.read(run))[-1][1]
    assert end.failure.code == "internal"
    assert "secret" not in end.failure.message


async def test_a_run_may_not_take_for_ever(store: SlowStore) -> None:
    async with node(store, ScriptedProvider(["half", asyncio.Event()]), limit=timedelta(milliseconds=20)) as one:
        run = await one.say("hi")
        with pytest.raises(ProviderTimeout):
            await one.runs.result(ANN, run.id)
        assert (await one.texts(run.conversation))[-1] == ("assistant", "half", "failed")


async def test_fallback_before_the_first_token_only(store: SlowStore) -> None:
    down = ScriptedProvider([ProviderError("down")], name="down")
    late = ScriptedProvider(["half", ProviderError("cut")], name="late")
    refused = ScriptedProvider([ProviderRejected("bad request")], name="refused")
    spare = ScriptedProvider(["spare"], name="spare")
    async with node(store, down, spare) as one:
        ended, answer = await one.runs.result(ANN, (await one.say("hi")).id)
        assert answer is not None
        assert (ended.provider, answer.provider, answer.text) == ("spare", "spare", "spare")
        assert ended.model == "scripted-1"
    for first, error in ((late, "cut"), (refused, "bad request")):
        async with node(store, first, spare) as one:
            with pytest.raises(ProviderError, match=error):
                await one.runs.result(ANN, (await one.say("hi")).id)


async def test_a_fallback_that_cannot_see_is_skipped(store: SlowStore) -> None:
    blind = ScriptedProvider(["blind"], name="blind", abilities=Abilities(vision=False))
    down = ScriptedProvider([ProviderError("down")], name="down")
    seeing = ScriptedProvider(["seen"], name="seeing")
    picture = ImageData("image/png", b"\x89PNG" * 400_000)
    async with node(store, down, blind, seeing) as one:
        ended, _ = await one.runs.result(ANN, (await one.say("look", images=[picture])).id)
        assert ended.provider == "seeing"
        assert seeing.requests[0].messages[-1].parts == (Text("look"), picture)
        again = await one.say("and now?", conversation=ended.conversation, provider="blind")
        await one.runs.result(ANN, again.id)
    assert blind.requests[0].messages[0].parts == (Text("look"), Text("[image: image/png]"))


async def test_wait_refuse_replace(store: SlowStore) -> None:
    gate = asyncio.Event()
    async with node(store, ScriptedProvider(["one", gate], ["two"], ["three"])) as one:
        run = await one.say("1")
        await anext(one.runs.follow(ANN, run.id))
        same = run.conversation
        with pytest.raises(RunInProgress):
            await one.say("2", busy="refuse", conversation=same)
        waiting = [asyncio.ensure_future(one.say(text, conversation=same)) for text in ("2", "3")]
        for _ in range(20):
            await asyncio.sleep(0)
        assert not any(w.done() for w in waiting)
        gate.set()
        for w in waiting:
            await one.runs.result(ANN, (await w).id)
        assert [t[1] for t in await one.texts(run.conversation)] == ["1", "one", "2", "two", "3", "three"]
    async with node(store, ScriptedProvider(["half", asyncio.Event()], ["instead"])) as one:
        run = await one.say("1")
        await anext(one.runs.follow(ANN, run.id))
        instead = await one.say("2", conversation=run.conversation, busy="replace")
        await one.runs.result(ANN, instead.id)
        assert [t[1:] for t in await one.texts(run.conversation)] == [
            ("1", "complete"),
            ("half", "cancelled"),
            ("2", "complete"),
            ("instead", "complete"),
        ]


async def test_waiting_has_an_end(store: SlowStore) -> None:
    async with node(store, ScriptedProvider(["half", asyncio.Event()]), wait=timedelta(milliseconds=10)) as one:
        run = await one.say("1")
        with pytest.raises(RunInProgress):
            await one.say("2", conversation=run.conversation)


async def test_a_hundred_equal_sends_are_one(store: SlowStore) -> None:
    provider = ScriptedProvider(["once"])
    async with node(store, provider) as one:
        once = Once("key", "same")
        runs = await asyncio.gather(*(one.say("hi", once=once) for _ in range(100)))
        answers = [await one.runs.result(ANN, r.id) for r in runs]
        assert len({a.id for _, a in answers if a}) == 1
        assert len(provider.requests) == 1
        assert await store.count(Query(kind="message")) == 2
        with pytest.raises(IdempotencyMismatch):
            await one.say("other", once=Once("key", "other"))
        theirs = await one.say("hi", who=BOB, once=once)
        assert theirs.id != runs[0].id
    async with node(store, provider) as later:
        assert (await later.say("hi", once=once)).id == runs[0].id


async def test_deleting_stops_the_reply_and_leaves_nothing(store: SlowStore) -> None:
    async with node(store, ScriptedProvider(["half", asyncio.Event()])) as one:
        run = await one.say("hi", images=[ImageData("image/png", b"x" * 10)])
        await anext(one.runs.follow(ANN, run.id))
        with pytest.raises(NotOwned):
            await one.conversations.discard(BOB, run.conversation)
        await one.conversations.discard(ANN, run.conversation)
        with pytest.raises(NotFound):
            await one.runs.result(ANN, run.id)
    for kind in KINDS:
        left = await store.count(Query(kind=kind.name))
        assert left == (1 if kind.name == "usage" else 0), kind.name  # what it cost was spent


async def test_draining_takes_nothing_new_and_interrupts_the_rest(store: SlowStore) -> None:
    gate = asyncio.Event()
    async with node(store, ScriptedProvider(["quick", gate], ["slow", asyncio.Event()])) as one:
        quick, slow = await one.say("1"), await one.say("2")
        for run in (quick, slow):
            await anext(one.runs.follow(ANN, run.id))
        draining = asyncio.ensure_future(one.runs.drain(0.05))
        await asyncio.sleep(0)
        with pytest.raises(Draining):
            await one.say("3")
        gate.set()
        await draining
        assert (await one.runs.open(ANN, quick.id)).status == "completed"
        assert (await one.texts(slow.conversation))[-1] == ("assistant", "slow", "interrupted")
        assert (await one.read(slow))[-1][1].failure.code == "interrupted"


async def _orphan(store: SlowStore, dead: Node) -> Run:
    """A run whose process is gone: its task ends without a word."""
    run = await dead.say("hi")
    await anext(dead.runs.follow(ANN, run.id))
    live = dead.runs.live[run.id]
    store.broken = True
    assert live.task is not None
    live.task.cancel()
    await asyncio.wait([live.task])
    store.broken = False
    return run


async def test_orphans_of_a_dead_process_are_ended_by_another(store: SlowStore) -> None:
    async with node(store, ScriptedProvider(["one ", "two", asyncio.Event()])) as dead, node(store) as alive:
        await dead.workers.beat()  # the other one has no process yet, so only the lease tells
        run = await _orphan(store, dead)
        alive.time += timedelta(days=1)  # clocks differ and jump: that alone says nothing
        assert await alive.workers.recover() == 0
        reader = asyncio.ensure_future(alive.read(run))
        alive.silence = 14
        assert await alive.workers.recover() == 0
        alive.silence = 16
        assert await alive.workers.recover() == 1
        assert await alive.workers.recover() == 0
        assert await alive.texts(run.conversation) == [
            ("user", "hi", "complete"),
            ("assistant", "one two", "interrupted"),
        ]
        log = await reader
        assert log[-1][1].status == "interrupted"
        again = await alive.say("go on", conversation=run.conversation)
        assert (await alive.runs.result(ANN, again.id))[0].status == "completed"


async def test_a_process_that_was_only_slow_cannot_write_after_it_was_taken_over(store: SlowStore) -> None:
    gate = asyncio.Event()
    async with node(store, ScriptedProvider(["one", gate, "two", gate, "three"])) as slow, node(store) as other:
        await slow.workers.beat()
        run = await slow.say("hi")
        await anext(slow.runs.follow(ANN, run.id))
        assert await other.workers.recover() == 0
        other.silence = 16
        assert await other.workers.recover() == 1
        before = await other.read(run)
        gate.set()
        task = slow.runs.live[run.id].task
        assert task is not None
        await asyncio.wait([task])
        assert await other.read(run) == before
        assert (await other.texts(run.conversation))[-1] == ("assistant", "one", "interrupted")
        assert (await slow.read(run)) == before


@pytest.mark.parametrize(
    ("process", "dead"),
    [
        ({}, False),
        ({"started": 1.0}, True),  # its pid went to somebody else
        ({"pid": 2**22 + 1}, True),
        ({"pid": 2**22 + 1, "host": "elsewhere"}, False),
    ],
)
async def test_a_dead_process_of_this_host_is_known_before_its_lease_ends(
    store: SlowStore, process: dict[str, Any], dead: bool
) -> None:
    async with node(store, ScriptedProvider(["one", asyncio.Event()])) as gone, node(store) as alive:
        await gone.workers.beat()
        await alive.workers.beat()
        await _orphan(store, gone)
        record = await store.get("worker", gone.runs.worker)
        assert record is not None
        await store.apply([Put("worker", record.id, {**record.doc, **process})])
        assert await alive.workers.recover() == dead


async def test_cancel_reaches_a_run_of_another_process(store: SlowStore) -> None:
    async with node(store, ScriptedProvider(["half", asyncio.Event()])) as one, node(store) as two, one.workers:
        run = await one.say("hi")
        await anext(one.runs.follow(ANN, run.id))
        assert (await two.runs.cancel(ANN, run.id)).status == "cancelled"
        assert await store.count(Query(kind="cancel")) == 0
    assert (await two.texts(run.conversation))[-1] == ("assistant", "half", "cancelled")


async def test_an_end_that_the_store_refused_is_written_later(store: SlowStore) -> None:
    async with node(store, ScriptedProvider(["half", asyncio.Event()])) as one:
        run = await _orphan(store, one)
        assert one.runs.lost == {run.id}
        await one.workers.beat()
        assert await one.workers.recover() == 1
        assert (await one.texts(run.conversation))[-1] == ("assistant", "half", "interrupted")
        assert await one.workers.recover() == 0
        assert not one.runs.lost


async def test_logs_are_kept_as_long_as_configured(store: SlowStore) -> None:
    async with node(store, keep=timedelta(hours=1)) as one:
        run = await one.say("hi", once=Once("k", "f"))
        await one.runs.result(ANN, run.id)
        await one.workers.sweep()
        assert len(await one.read(await one.runs.replayable(ANN, run.id))) > 0
        one.time += timedelta(hours=2)
        await one.workers.sweep()
        with pytest.raises(Expired):
            await one.runs.replayable(ANN, run.id)
        assert await store.count(Query(kind="event")) == await store.count(Query(kind="idempotency")) == 0
        assert (await one.runs.result(ANN, run.id))[1] is not None


async def test_a_rename_during_a_reply_is_kept(store: SlowStore) -> None:
    gate = asyncio.Event()
    async with node(store, ScriptedProvider(["a", gate])) as one:
        run = await one.say("hi")
        await anext(one.runs.follow(ANN, run.id))
        await one.conversations.rename(ANN, run.conversation, "Mine")
        gate.set()
        await one.runs.result(ANN, run.id)
        kept = await one.conversations.open(ANN, run.conversation)
    assert (kept.title, kept.messages, kept.active_run) == ("Mine", 2, None)


@pytest.mark.parametrize("keep", [0, 1, 3, 9])
async def test_truncate_keeps_the_newest(store: SlowStore, keep: int) -> None:
    async with node(store) as one:
        run = await one.say("1")
        await one.runs.result(ANN, run.id)
        for text in ("2", "3"):
            await one.runs.result(ANN, (await one.say(text, conversation=run.conversation)).id)
        before = [t[1] for t in await one.texts(run.conversation)]
        kept = min(keep, 6)
        assert await one.conversations.truncate(ANN, run.conversation, keep) == (kept, 6 - kept)
        assert [t[1] for t in await one.texts(run.conversation)] == before[6 - kept :]
        counted = await one.conversations.open(ANN, run.conversation)
        assert (counted.messages, counted.characters) == (kept, sum(map(len, before[6 - kept :])))
        await one.runs.result(ANN, (await one.say("4", conversation=run.conversation)).id)
        assert [t[1] for t in await one.texts(run.conversation)] == [*before[6 - kept :], "4", "Hello"]


async def test_the_path_leaves_out_other_branches(store: SlowStore) -> None:
    async with node(store) as one:
        run = await one.say("1")
        await one.runs.result(ANN, run.id)
        record = await store.get("message", run.answer)
        assert record is not None
        sibling = {**record.doc, "seq": 3, "text": "Another answer"}
        current = await one.conversations.open(ANN, run.conversation)
        moved = replace(current, leaf="sibling", next_seq=4, messages=3)
        await store.apply([Put("message", "sibling", sibling, 0), conversation_put(moved)])
        assert [t[1] for t in await one.texts(run.conversation)] == ["1", "Another answer"]


async def test_a_path_longer_than_a_page(store: SlowStore) -> None:
    async with node(store) as one:
        run = await one.say("start")
        await one.runs.result(ANN, run.id)
        for n in range(120):
            await one.runs.result(ANN, (await one.say(str(n), conversation=run.conversation)).id)
        path = await one.conversations.transcript(ANN, run.conversation, limit=1000)
        assert len(path) == 242
        assert [m.seq for m in path] == list(range(1, 243))
        assert [m.id for m in await one.conversations.transcript(ANN, run.conversation, limit=5)] == [
            m.id for m in path[-5:]
        ]


async def test_a_reader_that_is_behind_ends_when_the_events_go(store: SlowStore) -> None:
    gates = [asyncio.Event() for _ in range(20)]
    async with node(store, ScriptedProvider([step for gate in gates for step in ("x ", gate)])) as one:
        run = await one.say("hi")
        behind = one.runs.follow(ANN, run.id)
        await anext(behind)
        for gate in gates:
            gate.set()
            for _ in range(6):
                await asyncio.sleep(0)
        await one.runs.result(ANN, run.id)
        await one.conversations.discard(ANN, run.conversation)
        async with asyncio.timeout(5):
            assert [batch async for batch in behind] == []


async def test_a_run_stopped_before_it_began_is_ended_all_the_same(store: SlowStore) -> None:
    provider = ScriptedProvider(["never"])
    async with node(store, provider) as one:
        run = await one.say("hi")
        await one.runs.result(ANN, run.id)
        again = replace(run, id="again", answer="answer", version=0)
        current = await one.conversations.open(ANN, run.conversation)
        changes: list[Change] = [run_put(again), conversation_put(replace(current, active_run="again"))]
        await store.apply(changes)
        resumed = await one.conversations.open(ANN, run.conversation)
        live = one.runs.start(replace(again, version=1), lambda live: one.engine.work(live, resumed))
        live.stop("cancelled")
        with pytest.raises(Cancelled):
            await one.runs.result(ANN, "again")
        assert (await one.runs.open(ANN, "again")).status == "cancelled"
        assert not one.runs.live


async def test_runs_of_a_process_nobody_knows_are_orphans(store: SlowStore) -> None:
    async with node(store, ScriptedProvider(["half", asyncio.Event()])) as dead, node(store) as alive:
        run = await _orphan(store, dead)  # it never beat
        assert await alive.workers.recover() == 1
        assert (await alive.texts(run.conversation))[-1] == ("assistant", "half", "interrupted")


async def test_whoever_leaves_ends_what_it_could_not_end_before(store: SlowStore) -> None:
    async with node(store, ScriptedProvider(["half", asyncio.Event()])) as one:
        async with one.workers:
            run = await _orphan(store, one)
        assert (await one.runs.open(ANN, run.id)).status == "interrupted"
        assert await store.count(Query(kind="worker")) == 0


async def test_one_commit_that_fails_loses_no_event(store: SlowStore) -> None:
    gate = asyncio.Event()
    async with node(store, ScriptedProvider(["one ", gate, "two"])) as one:
        run = await one.say("hi")
        await anext(one.runs.follow(ANN, run.id))
        store.failures = 1
        gate.set()
        _, answer = await one.runs.result(ANN, run.id)
        assert store.failures == 0
        assert "".join(e.text for _, e in await one.read(run) if isinstance(e, TextDelta)) == "one two"
        assert answer is not None
        assert answer.text == "one two"


async def test_a_retry_that_waits_behind_the_first_try_gets_its_reply(store: SlowStore) -> None:
    gate = asyncio.Event()
    provider = ScriptedProvider(["one", gate], ["two", asyncio.Event()])
    async with node(store, provider, wait=timedelta(seconds=5)) as one:
        first = await one.say("1")
        await anext(one.runs.follow(ANN, first.id))
        once = Once("k", "f")
        tries = [asyncio.ensure_future(one.say("2", conversation=first.conversation, once=once)) for _ in range(3)]
        for _ in range(20):
            await asyncio.sleep(0)
        gate.set()
        async with asyncio.timeout(2):  # while the reply of the first try still runs
            runs = [await t for t in tries]
        assert len({r.id for r in runs}) == 1
        assert len(provider.requests) == 2


async def test_truncating_takes_images_and_logs_along(store: SlowStore) -> None:
    async with node(store) as one:
        run = await one.say("1", images=[ImageData("image/png", b"x" * 10)])
        await one.runs.result(ANN, run.id)
        later = await one.say("2", conversation=run.conversation, images=[ImageData("image/png", b"y" * 10)])
        await one.runs.result(ANN, later.id)
        await one.conversations.truncate(ANN, run.conversation, 2)
        assert await store.count(Query(kind="file")) == await store.count(Query(kind="file_chunk")) == 1
        with pytest.raises(NotFound):
            await one.runs.replayable(ANN, run.id)
        assert await one.read(run) == []
        assert len(await one.read(later)) > 0


async def test_what_services_refuse_is_not_put_into_a_prompt(store: SlowStore) -> None:
    provider = ScriptedProvider([ReasoningDelta("hm"), asyncio.Event()], ["x", ToolCall("c", "look", "{}")], ["done"])
    async with node(store, provider) as one:
        run = await one.say("1")
        await anext(one.runs.follow(ANN, run.id))
        await one.runs.cancel(ANN, run.id)
        for text in ("2", "3"):
            await one.runs.result(ANN, (await one.say(text, conversation=run.conversation)).id)
    assert [(m.role, m.parts) for m in provider.requests[2].messages] == [
        ("user", (Text("1"),)),
        ("user", (Text("2"),)),
        ("assistant", (Text("x"),)),
        ("user", (Text("3"),)),
    ]
