"""Calls of the server's tools that a user must allow: what waits, what is run, and what holds when something fails."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from backchat.domain.identity import Identity
from backchat.domain.message import Seal, ToolCall, ToolResult, Usage
from backchat.domain.recipe import Recipe
from backchat.domain.run import Decision, RunEnded, RunPaused, StatusNote, TextDelta, ToolReturned
from backchat.errors import (
    Cancelled,
    Conflict,
    InsufficientCredits,
    Interrupted,
    InvalidInput,
    NotConfigured,
    NotFound,
    ProviderTimeout,
    StaleWrite,
)
from backchat.ports.providers import Abilities, UsageReport
from backchat.ports.storage import Put
from backchat.services.endings import NEVER_RUN, UNKNOWN
from backchat.services.runlog import RunLog, read_events
from backchat.services.runstate import run_of, run_put
from backchat.services.stored import conversation_put
from backchat.services.toolbox import Offered
from backchat.testing.provider import ScriptedProvider, Step
from backchat.testing.tool import ScriptedTool
from nodes import ANN, BOB, Everything, Node, SlowStore, node
from rights_made import grant, member
from tools_made import LOOK, call, shape, tell

YES, NO = Decision(True), Decision(False)
TWO: list[Step] = ["hm ", call("c1", "send", "a"), call("c2", "send", "b"), UsageReport(Usage(5, 5))]


@pytest.fixture
async def store() -> SlowStore:
    return SlowStore()


def careful(tool: ScriptedTool) -> Offered:
    """Offered everywhere, and never run unless it is allowed."""
    return Offered(tool, always=True, confirm=True)


async def asked(one: Node, text: str = "go", **more: Any) -> str:
    """The id of a run that waits for the user."""
    run = await one.say(text, confirms=True, **more)
    waiting, _ = await one.runs.result(ANN, run.id)
    assert waiting.status == "waiting"
    return run.id


async def ended(one: Node, run: str) -> str:
    found, answer = await one.runs.result(ANN, run)
    assert answer is not None
    assert found.status == "completed"
    return answer.text


async def whole(one: Node, run: str) -> Any:
    return await one.conversations.whole(ANN, (await one.runs.open(ANN, run)).conversation)


async def results(one: Node, run: str) -> list[ToolResult]:
    """What the tools answered, as it is stored."""
    return [p for m in await whole(one, run) for p in m.parts if isinstance(p, ToolResult)]


async def returned(one: Node, run: str) -> None:
    """Wait until the log has an answer of a tool."""
    position = (await one.runs.open(ANN, run)).began
    async for batch in one.runs.follow(ANN, run, position, past_pauses=True):
        if any(isinstance(e, ToolReturned) for _, e in batch):
            return


async def test_nothing_is_run_before_it_is_allowed(store: SlowStore) -> None:
    sends, looks = ScriptedTool("send", tell), ScriptedTool("look", tell)
    first: list[Step] = [call("c1", "send", "a"), call("c2", "look", "b"), UsageReport(Usage(5, 5))]
    provider = ScriptedProvider(first, ["Done.", UsageReport(Usage(7, 7))])
    async with node(store, provider, tools=[careful(sends), Offered(looks, always=True)]) as one:
        run = await asked(one)
        assert (sends.calls, looks.calls) == ([], [{"what": "b"}])
        before = await whole(one, run)
        assert shape(before) == [("user", "go", []), ("assistant", "", ["c1", "c2"]), ("tool", "", ["c2"])]
        assert [m.status for m in before] == ["complete", "waiting", "complete"]
        store.commits.clear()
        going = await one.turns.confirm(ANN, run, YES)
        assert going.status == "running"
        assert await ended(one, run) == "Done."
        after = await whole(one, run)
        assert [u.usage for u in await one.booked()] == [Usage(5, 5), Usage(7, 7)]
    assert sends.calls == [{"what": "a"}]
    assert shape(after) == [*shape(before), ("tool", "", ["c1"]), ("assistant", "Done.", [])]
    assert {m.status for m in after} == {"complete"}
    assert [m.parent for m in after[1:]] == [m.id for m in after[:-1]]
    assert after[3].parts == (ToolResult("c1", "told a"),)
    assert shape(provider.requests[1].messages) == shape([*after[:2], after[3], after[2]]), "in the order of the calls"
    # What it answered, and that it is no longer to be run, are one batch.
    [batch] = [b for b in store.commits if any(isinstance(c, Put) and c.id == after[3].id for c in b)]
    docs = {c.kind: c.doc for c in batch if isinstance(c, Put)}
    assert "allowed" not in docs["run"]
    assert docs["conversation"]["leaf"] == docs["run"]["parent"] == after[3].id


async def test_the_log_tells_which_calls_wait(store: SlowStore) -> None:
    provider = ScriptedProvider(TWO, ["Done."])
    async with node(store, provider, tools=[careful(ScriptedTool("send", tell))]) as one:
        run = await asked(one)
        log = [e for _, e in await read_events(store, run, 0)]
        assert isinstance(log[-1], RunPaused)
        assert log[-1].confirm == ("c1", "c2")
        position = (await one.runs.open(ANN, run)).position
        await one.turns.confirm(ANN, run, Decision(False, "no"), ["c1"])
        await one.turns.confirm(ANN, run, YES)
        await ended(one, run)
        rest = [e for _, e in await read_events(store, run, position)]
    assert rest == [
        ToolReturned(ToolResult("c1", "The user did not allow this call. They said: no")),
        StatusNote("Using send"),
        ToolReturned(ToolResult("c2", "told b")),
        TextDelta("Done."),
        rest[-1],
    ]
    assert isinstance(rest[-1], RunEnded)


@pytest.mark.parametrize(
    ("reason", "told"),
    [("", "The user did not allow this call."), ("too late", "The user did not allow this call. They said: too late")],
)
async def test_what_is_not_allowed_is_not_run(store: SlowStore, reason: str, told: str) -> None:
    tool = ScriptedTool("send", tell)
    provider = ScriptedProvider(TWO, ["As you wish."])
    async with node(store, provider, tools=[careful(tool)]) as one:
        run = await asked(one)
        await one.turns.confirm(ANN, run, Decision(False, reason))
        assert await ended(one, run) == "As you wish."
        assert shape(await whole(one, run))[2:] == [
            ("tool", "", ["c1"]),
            ("tool", "", ["c2"]),
            ("assistant", "As you wish.", []),
        ]
    assert tool.calls == []
    assert [m.parts for m in provider.requests[1].messages[-2:]] == [(ToolResult(c, told),) for c in ("c1", "c2")]


async def test_one_by_one_in_several_processes(store: SlowStore) -> None:
    tool = ScriptedTool("send", tell)
    provider = ScriptedProvider(TWO, ["Done."])
    async with node(store, provider, tools=[careful(tool)]) as one:
        run = await asked(one)
        half = await one.turns.confirm(ANN, run, NO, ["c2"])
        assert half.status == "waiting"
    async with node(store, provider, tools=[careful(tool)]) as two:
        assert (await two.runs.open(ANN, run)).decided == {"c2": NO}
        for calls in (["c2"], ["c1", "c2"]):
            with pytest.raises(Conflict, match="this has been decided already"):
                await two.turns.confirm(ANN, run, YES, calls)
        with pytest.raises(InvalidInput, match="no tool call with the id 'c9' waits for a decision") as refused:
            await two.turns.confirm(ANN, run, YES, ["c9"])
        assert refused.value.field == "body.calls"
        assert tool.calls == []
        assert (await two.turns.confirm(ANN, run, YES)).status == "running"
        assert await ended(two, run) == "Done."
        assert tool.calls == [{"what": "a"}]
        shown = await whole(two, run)
    assert sorted(p.call for m in shown for p in m.parts if isinstance(p, ToolResult)) == ["c1", "c2"]
    assert sorted(p.call for m in provider.requests[1].messages for p in m.parts if isinstance(p, ToolResult)) == [
        "c1",
        "c2",
    ]


async def test_together_with_tools_of_the_client(store: SlowStore) -> None:
    tool = ScriptedTool("send", tell)
    turn: list[Step] = [call("s1", "send"), ToolCall("c1", "look", '{"where": "up"}')]
    provider = ScriptedProvider(turn, turn, ["Done."])
    async with node(store, provider, tools=[careful(tool)]) as one:
        run = await asked(one, tools=[LOOK], takes_tools=True)
        here = (await one.runs.open(ANN, run)).conversation
        for decisions, outputs, problem in (
            ({}, [("c1", "blue")], "no output for the tool call 's1'"),
            ({"s1": YES}, [], "no output for the tool call 'c1'"),
            ({}, [("c1", "blue"), ("s1", "forged")], "no tool call of this run has the id 's1'"),
            ({"s1": YES, "c1": YES}, [("c1", "blue")], "no tool call with the id 'c1' waits for a decision"),
        ):
            with pytest.raises(InvalidInput, match=problem):
                await one.turns.answer(ANN, here, run, outputs, decisions=decisions)
        assert tool.calls == []
        await one.turns.answer(ANN, here, run, [("c1", "blue")], decisions={"s1": YES})
        waiting, _ = await one.runs.result(ANN, run)
        assert (waiting.status, tool.calls) == ("waiting", [{"what": "x"}])
        # Now one after the other; whatever ids the model gives its calls this time.
        [second] = waiting.confirm
        assert (await one.turns.confirm(ANN, run, YES)).status == "waiting"
        assert len(tool.calls) == 1
        with pytest.raises(Conflict, match="this has been decided already"):
            await one.turns.confirm(ANN, run, YES)
        [look] = [p.id for p in (await whole(one, run))[-1].parts if isinstance(p, ToolCall) and p.name == "look"]
        await one.turns.answer(ANN, here, None, [(look, "green")])
        assert await ended(one, run) == "Done."
        results = [p for m in await whole(one, run) for p in m.parts if isinstance(p, ToolResult)]
    assert results == [
        ToolResult("c1", "blue"),
        ToolResult("s1", "told x"),
        ToolResult(look, "green"),
        ToolResult(second, "told x"),
    ]
    assert len(tool.calls) == 2


async def test_two_who_decide_at_once(store: SlowStore) -> None:
    tool = ScriptedTool("send", tell)
    provider = ScriptedProvider(TWO, ["Done."])
    async with node(store, provider, tools=[careful(tool)]) as one, node(store, provider, tools=[careful(tool)]) as two:
        run = await asked(one)
        done = await asyncio.gather(
            one.turns.confirm(ANN, run, YES), two.turns.confirm(ANN, run, NO), return_exceptions=True
        )
        [late] = [d for d in done if isinstance(d, BaseException)]
        assert type(late) is Conflict
        assert str(late).startswith("this run does not wait for a decision: it is ")
        assert await ended(one, run) == "Done."
    assert len(tool.calls) in (0, 2)
    assert len(provider.requests) == 2


async def test_what_is_said_meanwhile_cancels_it(store: SlowStore) -> None:
    tool = ScriptedTool("send", tell)
    provider = ScriptedProvider(TWO, ["ok"])
    async with node(store, provider, tools=[careful(tool)]) as one:
        run = await asked(one)
        await one.turns.confirm(ANN, run, YES, ["c1"])
        here = (await one.runs.open(ANN, run)).conversation
        await one.runs.result(ANN, (await one.say("no, wait", conversation=here)).id)
        with pytest.raises(Conflict, match="it is cancelled"):
            await one.turns.confirm(ANN, run, YES, ["c2"])
        with pytest.raises(Cancelled, match="while it waited for a decision"):
            await one.runs.result(ANN, run)
        gone = await one.runs.open(ANN, run)
        assert (gone.confirm, gone.decided, gone.allowed) == ((), {}, ())
    assert tool.calls == []
    assert shape(provider.requests[1].messages) == [
        ("user", "go", []),
        ("assistant", "hm ", []),
        ("user", "no, wait", []),
    ]


async def test_who_may_not_say_anything_decides_nothing(store: SlowStore) -> None:
    async with node(store, ScriptedProvider(TWO), tools=[careful(ScriptedTool("send"))]) as one:
        run = await asked(one)
        with pytest.raises(NotFound):
            await one.turns.confirm(BOB, run, YES)
        assert (await one.runs.open(ANN, run)).status == "waiting"


async def test_it_goes_on_at_the_cost_of_who_decides(store: SlowStore) -> None:
    """And without the memories of its owner, if that is somebody else."""
    ed = Identity(user="ed")
    provider = ScriptedProvider([*TWO], ["Done.", UsageReport(Usage(7, 7))])
    async with node(store, provider, tools=[careful(ScriptedTool("send", tell))]) as one:
        helper = await one.services.assistants.create(ANN, name="A")
        run = await asked(one, assistant=helper.id, memory="read")
        here = await one.conversations.open(ANN, (await one.runs.open(ANN, run)).conversation)
        shared = replace(here, workspace="team", grants=(grant("ed", "edit"),))
        await store.apply([conversation_put(shared), member("team", "ann"), member("team", "ed")])
        assert (await one.turns.confirm(ed, run, YES, ["c1"])).recipe.memory == "read"
        assert (await one.turns.confirm(ed, run, NO)).recipe.memory == "off"
        await ended(one, run)
        paid = [(u.payer.user, u.usage) for u in await one.booked()]
    assert paid == [("ann", Usage(5, 5)), ("ed", Usage(7, 7))]


async def test_it_goes_on_only_with_credit(store: SlowStore) -> None:
    tool = ScriptedTool("send", tell)
    async with node(store, ScriptedProvider(TWO), tools=[careful(tool)]) as one:
        run = await asked(one)

        async def spent(payer: object) -> None:
            raise InsufficientCredits("all is spent")

        one.engine.ledger.check = spent  # type: ignore[method-assign]
        with pytest.raises(InsufficientCredits):
            await one.turns.confirm(ANN, run, YES)
        waiting = await one.runs.open(ANN, run)
        assert (waiting.status, waiting.decided, tool.calls) == ("waiting", {}, [])


@pytest.mark.parametrize("confirms", [False, True])
async def test_it_is_offered_only_where_somebody_can_be_asked(store: SlowStore, confirms: bool) -> None:
    provider = ScriptedProvider(["ok"])
    async with node(
        store, provider, tools=[careful(ScriptedTool("send")), Offered(ScriptedTool(), always=True)]
    ) as one:
        await one.runs.result(ANN, (await one.say("go", confirms=confirms)).id)
    assert [t.name for t in provider.requests[0].tools] == ["send", "look"] * confirms or ["look"]


async def test_a_tool_that_is_gone_by_then(store: SlowStore) -> None:
    provider = ScriptedProvider(TWO[1:2], ["Sorry."])
    async with node(store, provider, tools=[careful(ScriptedTool("send"))]) as one:
        run = await asked(one)
    async with node(store, provider) as two:
        await two.turns.confirm(ANN, run, YES)
        assert await ended(two, run) == "Sorry."
    last = provider.requests[1].messages[-1].parts
    assert last == (ToolResult("c1", "Error: this server has no tool 'send' any more."),)


# ---- what goes wrong while they are run -----------------------------------------------------------------------------


async def test_a_change_of_the_conversation_meanwhile(store: SlowStore) -> None:
    async def renames(arguments: Mapping[str, Any]) -> str:
        await one.conversations.rename(ANN, here, f"About {arguments['what']}")
        return "sent"

    provider = ScriptedProvider(TWO[:2], ["Done."])
    async with node(store, provider, tools=[careful(ScriptedTool("send", renames))]) as one:
        run = await asked(one)
        here = (await one.runs.open(ANN, run)).conversation
        await one.turns.confirm(ANN, run, YES)
        assert await ended(one, run) == "Done."
        assert (await one.conversations.open(ANN, here)).title == "About a"
        assert shape(await whole(one, run))[-2:] == [("tool", "", ["c1"]), ("assistant", "Done.", [])]


async def test_a_change_at_the_very_moment(store: SlowStore) -> None:
    """Between reading the conversation and storing what the tool answered."""

    class Interfering(SlowStore):
        interfere = False

        async def apply(self, changes: Sequence[Any]) -> None:
            if self.interfere and any(isinstance(c, Put) and c.doc.get("role") == "tool" for c in changes):
                self.interfere = False
                await one.conversations.rename(ANN, here, "Other")
            await super().apply(changes)

    store, tool = Interfering(), ScriptedTool("send", tell)
    async with node(store, ScriptedProvider(TWO, ["Done."]), tools=[careful(tool)]) as one:
        run = await asked(one)
        here = (await one.runs.open(ANN, run)).conversation
        store.interfere = True
        await one.turns.confirm(ANN, run, YES)
        assert await ended(one, run) == "Done."
        assert not store.interfere
        assert (await one.conversations.open(ANN, here)).title == "Other"
        found = await whole(one, run)
        numbers = [n for n, _ in await read_events(store, run, 0)]
    assert shape(found)[2:] == [("tool", "", ["c1"]), ("tool", "", ["c2"]), ("assistant", "Done.", [])]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(tool.calls) == 2


async def test_cancelled_while_they_are_run(store: SlowStore) -> None:
    slow, quick = ScriptedTool("slow", asyncio.Event()), ScriptedTool("quick", tell)
    provider = ScriptedProvider(["hm ", call("c1", "slow"), call("c2", "quick")], ["ok"])
    async with node(store, provider, tools=[careful(slow), careful(quick)]) as one:
        run = await asked(one)
        await one.turns.confirm(ANN, run, YES)
        await slow.begun.wait()
        await returned(one, run)
        assert (await one.runs.cancel(ANN, run)).status == "cancelled"
        assert slow.running == 0
        here = (await one.runs.open(ANN, run)).conversation
        log = [e for _, e in await read_events(store, run, 0)]
        await one.runs.result(ANN, (await one.say("on", conversation=here)).id)
    # The model is not to think that nothing was done, and what is known is not lost.
    assert [m.parts for m in provider.requests[1].messages[-3:-1]] == [
        (ToolResult("c1", UNKNOWN),),
        (ToolResult("c2", "told x"),),
    ]
    assert log[-3:-1] == [ToolReturned(ToolResult("c2", "told x")), ToolReturned(ToolResult("c1", UNKNOWN))]
    assert isinstance(log[-1], RunEnded)


async def test_the_time_of_a_reply_ends_while_they_are_run(store: SlowStore) -> None:
    slow, quick = ScriptedTool("slow", asyncio.Event()), ScriptedTool("quick", tell)
    provider = ScriptedProvider([call("c1", "slow"), call("c2", "quick")])
    tools = [careful(slow), careful(quick)]
    async with node(store, provider, tools=tools) as one:
        run = await asked(one)
    async with node(store, provider, tools=tools, limit=timedelta(seconds=1)) as two:
        await two.turns.confirm(ANN, run, YES)
        with pytest.raises(ProviderTimeout):
            await two.runs.result(ANN, run)
        assert await results(two, run) == [ToolResult("c1", UNKNOWN), ToolResult("c2", "told x")]


async def test_cancelled_before_they_are_run(store: SlowStore) -> None:
    tool = ScriptedTool("send", tell)
    async with node(store, ScriptedProvider(TWO), tools=[careful(tool)]) as one:
        run = await asked(one)
        await one.turns.confirm(ANN, run, YES)
        one.runs.live[run].stop("cancelled")
        with pytest.raises(Cancelled):
            await one.runs.result(ANN, run)
        assert await results(one, run) == [ToolResult("c1", NEVER_RUN), ToolResult("c2", NEVER_RUN)]
    assert tool.calls == []


async def test_none_is_run_for_a_provider_that_is_gone(store: SlowStore) -> None:
    tool = ScriptedTool("send", tell)
    async with node(store, ScriptedProvider(TWO), tools=[careful(tool)]) as one:
        run = await asked(one)
    async with node(store, ScriptedProvider(name="other"), tools=[careful(tool)]) as two:
        await two.turns.confirm(ANN, run, YES)
        with pytest.raises(NotConfigured, match="the provider of this reply is no longer configured"):
            await two.runs.result(ANN, run)
        assert await results(two, run) == [ToolResult("c1", NEVER_RUN), ToolResult("c2", NEVER_RUN)]
        log = [e for _, e in await read_events(store, run, 0)]
    assert tool.calls == []
    assert StatusNote("Using send") not in log
    assert [e.result for e in log if isinstance(e, ToolReturned)] == [
        ToolResult("c1", NEVER_RUN),
        ToolResult("c2", NEVER_RUN),
    ]


async def test_a_tool_that_is_cancelled_from_within(store: SlowStore) -> None:
    sends, looks = ScriptedTool("send", asyncio.CancelledError("of its own")), ScriptedTool("look", tell)
    provider = ScriptedProvider([call("c1", "send"), call("c2", "look")], ["Sorry."])
    async with node(store, provider, tools=[careful(sends), careful(looks)]) as one:
        run = await asked(one)
        await one.turns.confirm(ANN, run, YES)
        async with asyncio.timeout(5):
            assert await ended(one, run) == "Sorry."
        assert await results(one, run) == [ToolResult("c1", "Error: the tool is broken."), ToolResult("c2", "told x")]


async def test_a_store_that_takes_the_answers_and_says_no(store: SlowStore) -> None:
    """The run is not this process' any more, as it seems; it is ended all the same, and nothing is run again."""

    class Uncertain(SlowStore):
        async def apply(self, changes: Sequence[Any]) -> None:
            await super().apply(changes)
            if any(isinstance(c, Put) and c.doc.get("role") == "tool" for c in changes):
                raise OSError("cut off")

    uncertain, tool = Uncertain(), ScriptedTool("send", tell)
    async with node(uncertain, ScriptedProvider(TWO), tools=[careful(tool)]) as one:
        run = await asked(one)
        await one.turns.confirm(ANN, run, YES)
        with pytest.raises(Interrupted):
            await one.runs.result(ANN, run)
        assert (await one.runs.open(ANN, run)).status == "running"
        await one.workers.beat()
        assert await one.workers.recover() == 1
        assert (await one.runs.open(ANN, run)).status == "interrupted"
        assert await results(one, run) == [ToolResult("c1", "told a"), ToolResult("c2", "told b")]
        assert await one.workers.recover() == 0
        assert not one.runs.lost
    assert len(tool.calls) == 2


async def test_cancelled_while_the_answers_are_stored(store: SlowStore) -> None:
    class Holding(SlowStore):
        holding: asyncio.Event | None = None
        held = asyncio.Event()

        async def apply(self, changes: Sequence[Any]) -> None:
            if self.holding is not None and any(isinstance(c, Put) and c.doc.get("role") == "tool" for c in changes):
                self.held.set()
                await self.holding.wait()
            await super().apply(changes)

    holding = Holding()
    async with node(holding, ScriptedProvider(TWO), tools=[careful(ScriptedTool("send", tell))]) as one:
        run = await asked(one)
        holding.holding = asyncio.Event()
        await one.turns.confirm(ANN, run, YES)
        await holding.held.wait()
        cancelling = asyncio.create_task(one.runs.cancel(ANN, run))
        await asyncio.sleep(0)
        holding.holding.set()
        assert (await cancelling).status == "cancelled"
        results = [p for m in await whole(one, run) for p in m.parts if isinstance(p, ToolResult)]
    assert results == [ToolResult("c1", "told a"), ToolResult("c2", "told b")]


async def kill(one: Node, store: SlowStore, run: str) -> None:
    """End the work on a run without a word, as if its process had died."""
    live = one.runs.live[run]
    assert live.task is not None
    store.broken = True
    live.task.cancel()
    await asyncio.wait([live.task])
    store.broken = False


@pytest.mark.parametrize("begun", [False, True])
async def test_killed_while_they_are_run(store: SlowStore, begun: bool) -> None:
    """It is not known whether they did their work: none is run again, the model is told so, and no call is booked."""
    tool = ScriptedTool("send", asyncio.Event())
    provider = ScriptedProvider(TWO, ["I see."])
    async with node(store, provider, tools=[careful(tool)]) as one, node(store, provider, tools=[careful(tool)]) as two:
        run = await asked(one)
        if begun:
            await one.turns.confirm(ANN, run, YES)
            await tool.begun.wait()
            await kill(one, store, run)
        else:
            one.runs.start = lambda *_: None  # type: ignore[method-assign, assignment]
            await one.turns.confirm(ANN, run, YES)
        assert {c.id for c in (await two.runs.open(ANN, run)).allowed} == {"c1", "c2"}
        assert await two.workers.recover() == 1
        assert await two.workers.recover() == 0
        over = await two.runs.open(ANN, run)
        assert (over.status, over.allowed) == ("interrupted", ())
        found = await whole(two, run)
        assert shape(found)[1:] == [("assistant", "hm ", ["c1", "c2"]), ("tool", "", ["c1"]), ("tool", "", ["c2"])]
        assert [m.parent for m in found[1:]] == [m.id for m in found[:-1]]
        assert [u.usage for u in await two.booked()] == [Usage(5, 5)]
        await two.runs.result(ANN, (await two.say("well?", conversation=over.conversation)).id)
    assert len(tool.calls) == 2 * begun
    assert [m.parts for m in provider.requests[1].messages[-3:-1]] == [
        (ToolResult("c1", UNKNOWN),),
        (ToolResult("c2", UNKNOWN),),
    ]


async def test_killed_when_one_of_them_has_answered(store: SlowStore) -> None:
    slow, quick = ScriptedTool("slow", asyncio.Event()), ScriptedTool("quick", tell)
    provider = ScriptedProvider([call("c1", "slow"), call("c2", "quick")], ["I see."])
    tools = [careful(slow), careful(quick)]
    async with node(store, provider, tools=tools) as one, node(store, provider, tools=tools) as two:
        run = await asked(one)
        await one.turns.confirm(ANN, run, YES)
        await returned(one, run)
        await kill(one, store, run)
        assert await two.workers.recover() == 1
        assert await results(two, run) == [ToolResult("c1", UNKNOWN), ToolResult("c2", "told x")]
        log = await read_events(store, run, 0)
    assert [e.result for _, e in log if isinstance(e, ToolReturned)] == [
        ToolResult("c2", "told x"),
        ToolResult("c1", UNKNOWN),
    ]
    assert isinstance(log[-1][1], RunEnded)
    assert [n for n, _ in log] == list(range(1, len(log) + 1))


async def test_killed_after_they_were_run(store: SlowStore) -> None:
    """What they answered is stored once, and the call of the model that was being made is estimated."""
    tool = ScriptedTool("send", tell)
    provider = ScriptedProvider(TWO, ["half of it", asyncio.Event()])
    async with node(store, provider, tools=[careful(tool)]) as one, node(store, provider) as two:
        run = await asked(one)
        await one.turns.confirm(ANN, run, YES)
        async for batch in one.runs.follow(ANN, run, past_pauses=True):
            if any(e == TextDelta("half of it") for _, e in batch):
                break
        await kill(one, store, run)
        assert await two.workers.recover() == 1
        results = [p for m in await whole(two, run) for p in m.parts if isinstance(p, ToolResult)]
        assert results == [ToolResult("c1", "told a"), ToolResult("c2", "told b")]
        assert [u.estimated for u in await two.booked()] == [False, True]
    assert len(tool.calls) == 2


async def test_two_commits_of_a_log_take_turns() -> None:
    store = SlowStore()
    log = RunLog(store, "r")
    pump = asyncio.create_task(log.pump())
    for n in range(5):
        log.add(TextDelta(f"{n} "))
        committing = asyncio.create_task(log.commit((), ToolReturned(ToolResult(f"c{n}", ""))))
        await asyncio.sleep(0)
        log.add(TextDelta("x "))
        await committing
    log.close()
    await pump
    written = await read_events(store, "r", 0)
    assert [n for n, _ in written] == list(range(1, len(written) + 1))
    assert [e.result.call for _, e in written if isinstance(e, ToolReturned)] == [f"c{n}" for n in range(5)]
    said = "".join([e.text for _, e in written if isinstance(e, TextDelta)])
    assert said == "0 x 1 x 2 x 3 x 4 x "


async def test_what_a_failed_commit_has_of_its_own_is_not_kept() -> None:
    store = SlowStore()
    log = RunLog(store, "r")
    log.add(TextDelta("a"))
    stale = Put("run", "none", {"conversation": "c"}, 7)
    with pytest.raises(StaleWrite):
        await log.commit([stale], ToolReturned(ToolResult("c1", "")))
    await log.commit(())
    assert [e for _, e in await read_events(store, "r", 0)] == [TextDelta("a")]


async def test_what_is_decided_is_stored_as_it_is(store: SlowStore) -> None:
    async with node(store, ScriptedProvider(["ok"])) as one:
        run = await one.say("a")
        await one.runs.result(ANN, run.id)
    made = replace(
        run,
        id="other",
        version=0,
        confirm=("c1", "c2"),
        decided={"c1": YES, "c2": Decision(False, "no")},
        allowed=(call("c1", "send"),),
    )
    await store.apply([run_put(made)])
    record = await store.get("run", "other")
    assert record is not None
    assert run_of(record) == replace(made, version=1)


# ---- what else is settled when something is said --------------------------------------------------------------------


async def test_a_strategy_that_is_gone_is_refused(store: SlowStore) -> None:
    async with node(store, ScriptedProvider(["ok"])) as one:
        with pytest.raises(NotConfigured, match="the memory strategy 'gone' is not configured"):
            await one.say("a", strategy="gone")
        id = await one.begun(memory="gone")
        with pytest.raises(NotConfigured, match="'gone'"):
            await one.say("a", conversation=id)
        before = len(await one.conversations.whole(ANN, id))
        await one.runs.result(ANN, (await one.say("a", conversation=id, strategy="default")).id)
        made = await one.services.assistants.create(ANN, name="A", memory="lost")
        with pytest.raises(NotConfigured, match="'lost'"):
            await one.say("a", assistant=made.id)
        assert len(await one.conversations.whole(ANN, id)) == before + 2


async def test_the_most_particular_choice_of_a_strategy_holds(store: SlowStore) -> None:
    async with node(store, ScriptedProvider(["ok"]), strategies={"a": Everything(), "b": Everything()}) as one:
        made = await one.services.assistants.create(ANN, name="A", memory="a")
        first = await one.say("1", assistant=made.id)
        await one.runs.result(ANN, first.id)
        await one.set(first.conversation, memory="b")
        second = await one.say("2", conversation=first.conversation)
        await one.runs.result(ANN, second.id)
        third = await one.say("3", conversation=first.conversation, strategy="default")
        assert [r.recipe.strategy for r in (first, second, third)] == ["a", "b", "default"]


async def test_json_is_refused_of_a_model_that_cannot(store: SlowStore) -> None:
    blunt = ScriptedProvider(["ok"], abilities=Abilities(json_output=False))
    async with node(store, blunt) as one:
        with pytest.raises(InvalidInput, match="the model of provider 'scripted' cannot be held to JSON") as refused:
            await one.say("a", json_output=True)
    assert (refused.value.field, blunt.requests) == ("body.json_output", [])


async def test_no_fallback_is_asked_that_cannot_do_it(store: SlowStore) -> None:
    names = ("vision", "reasoning", "json_output", "tools")
    lacking: Mapping[str, Abilities] = {name: replace(Abilities(), **{name: False}) for name in names}  # type: ignore[arg-type]
    blunt = [ScriptedProvider(["ok"], name=name, abilities=able) for name, able in lacking.items()]
    tools = [Offered(ScriptedTool(), always=True)]
    async with node(store, ScriptedProvider(["ok"]), *blunt, tools=tools) as one:
        found = [
            (await one.say("a", **asked)).recipe.providers
            for asked in ({}, {"reasoning": "low"}, {"json_output": True})
        ]
        assert found == [
            ("scripted", "vision", "reasoning", "json_output"),
            ("scripted", "vision", "json_output"),
            ("scripted", "vision", "reasoning"),
        ]
        await one.runs.drain(5)


@pytest.mark.parametrize(
    ("offered", "more", "json"),
    [
        ((), {}, True),
        ((), {"web": True}, True),
        (("always",), {}, True),
        (("web",), {"web": True}, False),
        (("web",), {}, True),
        ((), {"tools": [LOOK], "takes_tools": True}, False),
        ((), {"tools": [LOOK]}, True),
    ],
)
async def test_json_without_tools_and_web(store: SlowStore, offered: Any, more: Any, json: bool) -> None:
    tools = []
    for kind in offered:
        tool = ScriptedTool(kind)
        tool.definition = replace(tool.definition, web=kind == "web")
        tools.append(Offered(tool, always=kind == "always"))
    async with node(store, ScriptedProvider(["ok"]), tools=tools) as one:
        run = await one.say("a", json_output=True, **more)
        assert run.recipe.json_output is json
        await one.runs.result(ANN, run.id)


@pytest.mark.parametrize(
    ("tools", "able", "note"),
    [
        ([], True, "Web search is not set up on this server; answering without it."),
        (["web"], False, "Web search cannot be used for this answer; answering without it."),
        (["web"], True, None),
    ],
)
async def test_it_is_told_if_the_web_cannot_be_searched(store: SlowStore, tools: Any, able: bool, note: Any) -> None:
    tool = ScriptedTool("search")
    tool.definition = replace(tool.definition, web=True)
    provider = ScriptedProvider(["ok"], abilities=Abilities(tools=able))
    async with node(store, provider, tools=[Offered(tool) for _ in tools]) as one:
        for web in (False, True):
            run = await one.say("a", web=web)
            said = [e.text for _, e in await one.read(run) if isinstance(e, StatusNote)]
            assert said == ([note] if web and note else [])
    assert [[t.name for t in r.tools] for r in provider.requests] == [[], [] if note else ["search"]]


async def test_parameters_are_put_on_top_of_the_settings(store: SlowStore) -> None:
    provider = ScriptedProvider(["ok"])
    async with node(store, provider) as one:
        id = await one.begun(sampling=replace(Recipe(providers=()).sampling, top_p=0.5, parameters={"a": 1, "b": 1}))
        await one.runs.result(ANN, (await one.say("a", conversation=id, parameters={"b": 2})).id)
    sampling = provider.requests[1].sampling
    assert (sampling.top_p, sampling.parameters) == (0.5, {"a": 1, "b": 2})


async def test_seals_of_calls_stay_with_the_message(store: SlowStore) -> None:
    sealed = replace(call("c1", "send", "a"), seal=Seal("maker", "data"))
    provider = ScriptedProvider([sealed], ["Done."])
    async with node(store, provider, tools=[careful(ScriptedTool("send", tell))]) as one:
        run = await asked(one)
        await one.turns.confirm(ANN, run, YES)
        await ended(one, run)
    assert sealed in provider.requests[1].messages[1].parts


async def test_rounds_begin_anew_when_the_user_has_decided(store: SlowStore) -> None:
    step: list[Step] = [call("c1", "send")]
    tools = [careful(ScriptedTool("send", tell))]
    async with node(store, ScriptedProvider(*[step] * 3, ["Done."]), tools=tools, tool_rounds=1) as one:
        run = await asked(one)
        for _ in range(3):
            await one.turns.confirm(ANN, run, YES)
            found, _ = await one.runs.result(ANN, run)
        assert found.status == "completed"


async def test_a_tool_has_its_time(store: SlowStore) -> None:
    tools = [careful(ScriptedTool("send", asyncio.Event()))]
    provider = ScriptedProvider(TWO[:2], ["Sorry."])
    async with node(store, provider, tools=tools, tool_time=timedelta(milliseconds=20)) as one:
        run = await asked(one)
        await one.turns.confirm(ANN, run, YES)
        assert await ended(one, run) == "Sorry."
    assert "took longer" in str(provider.requests[1].messages[-1])
