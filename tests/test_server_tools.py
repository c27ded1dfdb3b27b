"""The server's own loop with the server's tools: what the model is shown, what is stored, and how it ends early."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest

from backchat.domain.message import Message, ToolCall, ToolResult, Usage
from backchat.domain.run import CallEnded, RunEnded, TextDelta, ToolCalled, ToolReturned
from backchat.errors import Cancelled, InvalidInput, ProviderError
from backchat.ports.providers import Abilities, UsageReport
from backchat.ports.tools import ToolFailed
from backchat.services.toolbox import MOST_RESULT, Toolbox
from backchat.testing.provider import ScriptedProvider, Step
from backchat.testing.tool import ScriptedTool, ToolContract
from nodes import ANN, Node, SlowStore, node
from tools_made import LOOK, call, shape, tell


@pytest.fixture
async def store() -> SlowStore:
    return SlowStore()


class TestScripted(ToolContract):
    arguments: Mapping[str, Any] = {"what": "x"}

    @pytest.fixture
    def tool(self) -> object:
        return ScriptedTool("look", tell)


class TestRefusing(ToolContract):
    arguments: Mapping[str, Any] = {"what": "x"}
    refused: Sequence[Mapping[str, Any]] = [{"what": "y"}]

    @pytest.fixture
    def tool(self) -> object:
        async def judge(arguments: Mapping[str, Any]) -> str:
            if arguments["what"] == "y":
                raise ToolFailed("not y")
            return "fine"

        return ScriptedTool("judge", judge)


async def test_two_rounds_of_parallel_tools_are_one_reply(store: SlowStore) -> None:
    both = asyncio.Barrier(2)
    order: list[str] = []

    async def together(arguments: Mapping[str, Any]) -> str:
        async with asyncio.timeout(5):
            await both.wait()
        if arguments["what"] == "a":  # the first call answers last
            await asyncio.sleep(0.01)
        order.append(arguments["what"])
        return f"told {arguments['what']}"

    provider = ScriptedProvider(
        ["hello"],
        ["One. ", call("c1", "near", "a"), call("c2", "far", "b"), UsageReport(Usage(10, 1))],
        ["Two. ", call("c3", "near", "c"), call("c4", "near", "d"), UsageReport(Usage(20, 2))],
        ["Done.", UsageReport(Usage(30, 3))],
    )
    async with node(store, provider, tools=[ScriptedTool("near", together), ScriptedTool("far", together)]) as one:
        id = await one.begun(agent="none")
        before = len(await one.conversations.whole(ANN, id))
        store.commits.clear()
        run = await one.say("go", conversation=id)
        ended, answer = await one.runs.result(ANN, run.id)
        log = [e for _, e in await one.read(run)]
        whole = await one.conversations.whole(ANN, id)
    assert order[:2] == ["b", "a"]
    expected = [
        ("user", "go", []),
        ("assistant", "One. ", ["c1", "c2"]),
        ("tool", "", ["c1"]),
        ("tool", "", ["c2"]),
        ("assistant", "Two. ", ["c3", "c4"]),
        ("tool", "", ["c3"]),
        ("tool", "", ["c4"]),
    ]
    assert shape(provider.requests[3].messages)[2:] == expected
    assert shape(whole[before:]) == [*expected, ("assistant", "Done.", [])]
    assert [p for m in whole[before:] for p in m.parts if isinstance(p, ToolResult)] == [
        ToolResult("c1", "told a"),
        ToolResult("c2", "told b"),
        ToolResult("c3", "told c"),
        ToolResult("c4", "told d"),
    ]
    assert answer is not None
    assert (ended.status, ended.usage, answer.id, answer.id) == ("completed", Usage(60, 6), run.answer, whole[-1].id)
    assert [m.usage for m in whole if m.role == "assistant"][1:] == [Usage(10, 1), Usage(20, 2), Usage(30, 3)]
    assert {m.run for m in whole[before + 1 :]} == {run.id}
    assert {m.status for m in whole} == {"complete"}
    assert [m.parent for m in whole[before + 1 :]] == [m.id for m in whole[before:-1]]
    # All messages of the reply are in the batch that ends it, and in no other.
    batches = [[c for c in batch if getattr(c, "kind", "") == "message"] for batch in store.commits]
    assert [len(b) for b in batches if b] == [1, 7]
    shown = [type(e) for e in log]
    assert shown.count(ToolReturned) == 4
    assert [e.usage for e in log if isinstance(e, CallEnded)] == [Usage(10, 1), Usage(20, 2)]
    assert shown.index(CallEnded) < shown.index(ToolReturned)


async def test_no_tools_without_an_agent_chosen_and_none_for_a_model_that_cannot(store: SlowStore) -> None:
    provider = ScriptedProvider(["ok"])
    blunt = ScriptedProvider(["ok"], name="blunt", abilities=Abilities(tools=False))
    async with node(store, provider, blunt, tools=[ScriptedTool("look")]) as one:
        id = await one.begun()
        await one.runs.result(ANN, (await one.say("a", conversation=id)).id)
        await one.runs.result(ANN, (await one.say("b", conversation=id, agent="none")).id)
        await one.runs.result(ANN, (await one.say("c", conversation=id, agent="none", provider="blunt")).id)
    assert [[t.name for t in r.tools] for r in provider.requests] == [[], [], ["look"]]
    assert blunt.requests[0].tools == ()


@pytest.mark.parametrize(
    ("does", "told"),
    [
        (ToolFailed("too dark"), "Error: too dark"),
        (ValueError("sk-secret"), "Error: the tool is broken."),
        (TimeoutError(), "Error: the tool is broken."),
        (asyncio.CancelledError("sk-secret"), "Error: the tool is broken."),
        (asyncio.Event(), "Error: the tool took longer than 0.02 seconds."),
        ("half a character: \ud800", "half a character: ?"),
        ("x" * (MOST_RESULT + 1), "x" * MOST_RESULT + f"\n[cut off: {MOST_RESULT + 1} characters]"),
    ],
)
async def test_what_goes_wrong_in_a_tool_is_for_the_model(
    store: SlowStore, does: Any, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    provider = ScriptedProvider(["hi"], [call("c1", "look", "sk-argument")], ["Sorry."])
    tools = [ScriptedTool("look", does)]
    async with node(store, provider, tools=tools, tool_time=timedelta(milliseconds=20)) as one:
        id = await one.begun(agent="none")
        async with asyncio.timeout(10):
            _, answer = await one.runs.result(ANN, (await one.say("go", conversation=id)).id)
    assert answer is not None
    assert answer.text == "Sorry."
    assert provider.requests[2].messages[-1].parts == (ToolResult("c1", told),)
    assert "sk-" not in "".join(capsys.readouterr())
    assert tools[0].running == 0


async def test_a_tool_that_is_no_more() -> None:
    result = await Toolbox([], timedelta(seconds=1)).call(call("c1", "look"))
    assert result == ToolResult("c1", "Error: this server has no tool 'look' any more.")


@pytest.mark.parametrize("rounds", [0, 2])
async def test_rounds_have_an_end(store: SlowStore, rounds: int) -> None:
    tool = ScriptedTool("look")
    step: list[Step] = ["a ", call("c1", "look")]
    provider = ScriptedProvider(["hi"], *[step] * 9)
    async with node(store, provider, tools=[tool], tool_rounds=rounds) as one:
        id = await one.begun(agent="none")
        run = await one.say("go", conversation=id)
        with pytest.raises(ProviderError, match="called tools again and again"):
            await one.runs.result(ANN, run.id)
        last = (await one.conversations.whole(ANN, id))[-1]
        log = [e for _, e in await one.read(run)]
    assert len(provider.requests) == 1 + 1 + rounds
    assert len(tool.calls) == rounds
    assert (last.text, last.status, last.id) == ("a ", "failed", run.answer)
    assert len([e for e in log if isinstance(e, ToolCalled)]) == len([e for e in log if isinstance(e, ToolReturned)])
    ids = [e.call.id for e in log if isinstance(e, ToolCalled)]
    assert len(set(ids)) == rounds


async def test_arguments_that_do_not_fit_are_corrected_first(store: SlowStore) -> None:
    tool = ScriptedTool("look", tell)
    bad = ToolCall("c1", "look", '{"where": 1, "what": ["x"]}')
    provider = ScriptedProvider(["hi"], ["Hm. ", bad, call("c2", "gone")], [call("c3", "look", "y")], ["Done."])
    async with node(store, provider, tools=[tool]) as one:
        id = await one.begun(agent="none")
        await one.runs.result(ANN, (await one.say("go", conversation=id)).id)
        whole = await one.conversations.whole(ANN, id)
    assert tool.calls == [{"what": "y"}]
    assert "There is no tool 'gone'" in str(provider.requests[2].messages[-1])
    assert shape(whole[2:]) == [
        ("user", "go", []),
        ("assistant", "Hm. ", []),
        ("assistant", "", ["c3"]),
        ("tool", "", ["c3"]),
        ("assistant", "Done.", []),
    ]


async def test_cancelled_while_a_tool_works(store: SlowStore) -> None:
    slow, quick = ScriptedTool("slow", asyncio.Event()), ScriptedTool("quick", tell)
    first: list[Step] = ["hm ", call("c1", "slow"), call("c2", "quick", "b"), UsageReport(Usage(5, 5))]
    provider = ScriptedProvider(["hi"], first, ["ok"])
    async with node(store, provider, tools=[slow, quick]) as one:
        id = await one.begun(agent="none")
        run = await one.say("go", conversation=id)
        async for batch in one.runs.follow(ANN, run.id):
            if any(isinstance(e, ToolReturned) for _, e in batch):
                break
        assert (await one.runs.cancel(ANN, run.id)).status == "cancelled"
        assert slow.running == 0
        with pytest.raises(Cancelled):
            await one.runs.result(ANN, run.id)
        whole = await one.conversations.whole(ANN, id)
        assert shape(whole[3:]) == [("assistant", "hm ", ["c1", "c2"]), ("tool", "", ["c2"])]
        assert (whole[3].status, whole[3].id) == ("cancelled", run.answer)
        booked = [u for u in await one.booked() if u.payer.run == run.id]
        assert [(u.usage, u.estimated) for u in booked] == [(Usage(5, 5), False)]
        await one.runs.result(ANN, (await one.say("on", conversation=id)).id)
    assert shape(provider.requests[2].messages)[3:] == [
        ("assistant", "hm ", ["c2"]),
        ("tool", "", ["c2"]),
        ("user", "on", []),
    ]


async def killed(store: SlowStore, one: Node, id: str, until: type) -> str:
    """A reply whose process dies once there is such an event."""
    run = await one.say("go", conversation=id)
    async for batch in one.runs.follow(ANN, run.id):
        if any(isinstance(e, until) for _, e in batch):
            break
    live = one.runs.live[run.id]
    store.broken = True
    assert live.task is not None
    live.task.cancel()
    await asyncio.wait([live.task])
    store.broken = False
    return run.id


async def test_killed_in_the_second_round(store: SlowStore) -> None:
    never = asyncio.Event()
    gate = asyncio.Event()

    async def waits(arguments: Mapping[str, Any]) -> str:
        await gate.wait()
        return "told"

    provider = ScriptedProvider(
        ["hi"], ["hm ", call("c1", "look"), UsageReport(Usage(5, 5))], ["half of it", UsageReport(Usage(9, 1)), never]
    )
    async with node(store, provider, tools=[ScriptedTool("look", waits)]) as one, node(store) as two:
        id = await one.begun(agent="none")
        run = await one.say("go", conversation=id)
        seen: list[Any] = []
        async for batch in one.runs.follow(ANN, run.id):
            seen += [e for _, e in batch]
            if any(isinstance(e, CallEnded) for e in seen):
                gate.set()
            if seen[-1] == TextDelta("half of it"):
                break
        live = one.runs.live[run.id]
        store.broken = True
        assert live.task is not None
        live.task.cancel()
        await asyncio.wait([live.task])
        store.broken = False
        assert await two.workers.recover() == 1
        whole = await two.conversations.whole(ANN, id)
        assert shape(whole[3:]) == [("assistant", "hm ", ["c1"]), ("tool", "", ["c1"]), ("assistant", "half of it", [])]
        assert [m.status for m in whole[3:]] == ["complete", "complete", "interrupted"]
        assert [m.parent for m in whole[3:]] == [m.id for m in whole[2:-1]]
        assert whole[-1].id == run.answer
        booked = [u for u in await two.booked() if u.payer.run == run.id]
        # hello, hi, go, hm, the arguments of the call, and "told": 30 characters
        assert [(u.usage, u.estimated) for u in booked] == [(Usage(5, 5), False), (Usage(8, 3), True)]
        assert await two.workers.recover() == 0
        assert (await two.read(run))[-1][1].usage == Usage(5, 5)


async def test_killed_while_a_tool_works_no_call_is_estimated(store: SlowStore) -> None:
    provider = ScriptedProvider(["hi"], ["hm ", call("c1", "look"), UsageReport(Usage(5, 5))])
    async with node(store, provider, tools=[ScriptedTool("look", asyncio.Event())]) as one, node(store) as two:
        id = await one.begun(agent="none")
        run = await killed(store, one, id, CallEnded)
        assert await two.workers.recover() == 1
        whole = await two.conversations.whole(ANN, id)
        assert shape(whole[3:]) == [("assistant", "hm ", ["c1"])]
        assert [(u.usage, u.estimated) for u in await two.booked() if u.payer.run == run] == [(Usage(5, 5), False)]


async def test_a_round_with_the_clients_tools_too(store: SlowStore) -> None:
    mine = ScriptedTool("near", tell)
    provider = ScriptedProvider(
        ["hi"],
        [
            call("s1", "near", "a"),
            ToolCall("c1", "look", '{"where": "up"}'),
            call("s2", "near", "b"),
            UsageReport(Usage(3, 3)),
        ],
        [call("s1", "near", "c"), UsageReport(Usage(4, 4))],
        ["Done.", UsageReport(Usage(5, 5))],
    )
    async with node(store, provider, tools=[mine]) as one, node(store, provider, tools=[mine]) as two:
        id = await one.begun(agent="none")
        run = await one.say("go", conversation=id, tools=[LOOK], takes_tools=True)
        waiting, asked = await one.runs.result(ANN, run.id)
        assert (waiting.status, mine.calls) == ("waiting", [{"what": "a"}, {"what": "b"}])
        assert asked is not None
        assert (asked.id, asked.status) == (run.answer, "waiting")
        with pytest.raises(InvalidInput, match="no tool call of this run has the id 's1'"):
            await two.turns.answer(ANN, id, None, [("c1", "blue"), ("s1", "forged")])
        await two.turns.answer(ANN, id, None, [("c1", "blue")])
        ended, answer = await two.runs.result(ANN, run.id)
        assert answer is not None
        assert (ended.status, answer.text, ended.usage) == ("completed", "Done.", Usage(12, 12))
        whole = await two.conversations.whole(ANN, id)
        assert shape(whole[3:]) == [
            ("assistant", "", ["s1", "c1", "s2"]),
            ("tool", "", ["s1"]),
            ("tool", "", ["s2"]),
            ("tool", "", ["c1"]),
            ("assistant", "", ["s1"]),
            ("tool", "", ["s1"]),
            ("assistant", "Done.", []),
        ]
        in_order = [whole[3], whole[4], whole[6], whole[5]]
        assert shape(provider.requests[2].messages)[3:] == shape(in_order), (
            "results are shown in the order of the calls"
        )
        assert sorted(u.usage.input_tokens for u in await two.booked() if u.payer.run == run.id) == [3, 4, 5]


async def test_a_tool_of_the_client_goes_before_the_servers_of_that_name(store: SlowStore) -> None:
    mine = ScriptedTool("look")
    provider = ScriptedProvider(["hi"], [ToolCall("c1", "look", '{"where": "up"}')], ["Done."])
    async with node(store, provider, tools=[mine]) as one:
        id = await one.begun(agent="none")
        run = await one.say("go", conversation=id, tools=[LOOK], takes_tools=True)
        assert (await one.runs.result(ANN, run.id))[0].status == "waiting"
        await one.turns.answer(ANN, id, None, [("c1", "blue")])
        assert (await one.runs.result(ANN, run.id))[0].status == "completed"
    assert [t.description for t in provider.requests[1].tools] == ["Look around"]
    assert mine.calls == []


async def test_a_model_that_is_silent_after_its_tools(store: SlowStore) -> None:
    provider = ScriptedProvider(["hi"], ["hm", call("c1", "look")], [])
    async with node(store, provider, tools=[ScriptedTool("look")]) as one:
        id = await one.begun(agent="none")
        run = await one.say("go", conversation=id)
        ended, answer = await one.runs.result(ANN, run.id)
        end = (await one.read(run))[-1][1]
    assert isinstance(end, RunEnded)
    assert isinstance(answer, Message)
    assert (ended.status, answer.text, end.message) == ("completed", "hm", run.answer)
