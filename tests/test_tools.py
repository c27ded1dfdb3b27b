"""Runs that wait for the client's tool outputs, at the services: across rounds, processes, cancels and bad outputs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from backchat.domain.assistant import definitions_of
from backchat.domain.message import Message, ToolCall, ToolResult, Usage
from backchat.domain.run import Run, RunEnded, RunPaused, TextDelta, ToolCalled
from backchat.errors import Cancelled, InvalidInput, NotFound, NotOwned, ProviderError
from backchat.ports.providers import ModelRequest, UsageReport
from backchat.testing.provider import ScriptedProvider
from nodes import ANN, BOB, Node, SlowStore, node
from tools_made import LOOK


def call(id: str, arguments: str = '{"where": "up"}') -> ToolCall:
    return ToolCall(id, "look", arguments)


async def ask(one: Node, text: str = "look up", **more: Any) -> tuple[Run, Message | None]:
    run = await one.say(text, tools=[LOOK], takes_tools=True, **more)
    return await one.runs.result(ANN, run.id)


@pytest.fixture
async def store() -> SlowStore:
    return SlowStore()


def calls_of(message: Message | None) -> list[str]:
    assert message is not None
    return [p.id for p in message.parts if isinstance(p, ToolCall)]


async def test_a_round_trip(store: SlowStore) -> None:
    provider = ScriptedProvider(
        ["Let me see. ", call("c1"), call("c2"), UsageReport(Usage(5, 1))], ["Blue.", UsageReport(Usage(9, 2))]
    )
    async with node(store, provider) as one:
        run, asked = await ask(one)
        assert (run.status, calls_of(asked)) == ("waiting", ["c1", "c2"])
        assert asked is not None
        assert (asked.text, asked.status) == ("Let me see. ", "waiting")
        assert provider.requests[0].tools == definitions_of((LOOK,))
        first = await one.read(run)
        assert isinstance(first[-1][1], RunPaused)
        again = await one.turns.answer(ANN, run.conversation, run.id, [("c2", "dark"), ("c1", "blue")])
        assert again.id == run.id
        ended, answer = await one.runs.result(ANN, run.id)
        assert answer is not None
        assert (ended.status, answer.text, ended.usage) == ("completed", "Blue.", Usage(14, 3))
        seen = provider.requests[1].messages
        assert [m.role for m in seen] == ["user", "assistant", "tool", "tool"]
        assert [m.parts for m in seen[2:]] == [(ToolResult("c1", "blue"),), (ToolResult("c2", "dark"),)]
        assert provider.requests[1].tools == provider.requests[0].tools
        later = await one.read(run, again.position)
        assert [type(e) for _, e in later] == [TextDelta, RunEnded]
        whole = [pair async for batch in one.runs.follow(ANN, run.id, past_pauses=True) for pair in batch]
        assert whole == [*first, *later]
        assert [n for n, _ in whole] == list(range(1, len(whole) + 1))
        statuses = [(m.role, m.status) for m in await one.conversations.whole(ANN, run.conversation)]
        assert statuses == [
            ("user", "complete"),
            ("assistant", "complete"),
            ("tool", "complete"),
            ("tool", "complete"),
            ("assistant", "complete"),
        ]
        conversation = await one.conversations.open(ANN, run.conversation)
        assert (conversation.messages, conversation.active_run) == (5, None)


async def test_round_after_round(store: SlowStore) -> None:
    provider = ScriptedProvider(*[[call(f"c{n}")] for n in range(5)], ["done"])
    async with node(store, provider) as one:
        run, asked = await ask(one)
        for n in range(5):
            assert calls_of(asked) == [f"c{n}"]
            await one.turns.answer(ANN, run.conversation, None, [(f"c{n}", str(n))])
            run, asked = await one.runs.result(ANN, run.id)
        assert asked is not None
        assert (run.status, asked.text) == ("completed", "done")


async def test_another_process_goes_on(store: SlowStore) -> None:
    async with node(store, ScriptedProvider([call("c1")])) as one, one.workers:
        run, _ = await ask(one, system="Be brief.")
    provider = ScriptedProvider(["Blue."])
    async with node(store, provider) as two, two.workers:
        assert (await two.runs.open(ANN, run.id)).status == "waiting"
        await two.turns.answer(ANN, run.conversation, run.id, [("c1", "blue")])
        _, answer = await two.runs.result(ANN, run.id)
    assert answer is not None
    assert answer.text == "Blue."
    assert provider.requests[0].system == "Be brief."
    assert provider.requests[0].tools == definitions_of((LOOK,))


@pytest.mark.parametrize(
    ("outputs", "told"),
    [
        ([], "no output for the tool call 'c1', 'c2'"),
        ([("c1", "x")], "no output for the tool call 'c2'"),
        ([("c1", "x"), ("c2", "y"), ("c3", "z")], "no tool call of this run has the id 'c3'"),
        ([("c1", "x"), ("c1", "y"), ("c2", "z")], "two outputs for the tool call 'c1'"),
    ],
)
async def test_outputs_that_do_not_match(store: SlowStore, outputs: list[tuple[str, str]], told: str) -> None:
    async with node(store, ScriptedProvider([call("c1"), call("c2")], ["ok"])) as one:
        run, _ = await ask(one)
        with pytest.raises(InvalidInput, match=told) as refused:
            await one.turns.answer(ANN, run.conversation, run.id, outputs)
        assert refused.value.field == "body.tool_outputs"
        assert (await one.runs.open(ANN, run.id)).status == "waiting"
        await one.turns.answer(ANN, run.conversation, run.id, [("c1", "x"), ("c2", "y")])
        assert (await one.runs.result(ANN, run.id))[0].status == "completed"


async def test_outputs_for_what_does_not_wait(store: SlowStore) -> None:
    async with node(store, ScriptedProvider([call("c1")], ["ok"], ["ok"])) as one:
        run, _ = await ask(one)
        other, _ = await one.runs.result(ANN, (await one.say("hi")).id)
        for who, conversation, id, error in (
            (BOB, run.conversation, run.id, NotOwned),
            (ANN, run.conversation, "none", NotFound),
            (ANN, other.conversation, run.id, NotFound),
            (ANN, other.conversation, None, InvalidInput),
            (ANN, other.conversation, other.id, InvalidInput),
        ):
            with pytest.raises(error):
                await one.turns.answer(who, conversation, id, [("c1", "x")])
        await one.turns.answer(ANN, run.conversation, run.id, [("c1", "x")])
        with pytest.raises(InvalidInput, match="does not wait"):
            await one.turns.answer(ANN, run.conversation, run.id, [("c1", "x")])


async def test_cancelled_while_it_waits(store: SlowStore) -> None:
    async with node(store, ScriptedProvider([call("c1")], ["ok"])) as one:
        run, _ = await ask(one)
        for _ in range(2):
            assert (await one.runs.cancel(ANN, run.id)).status == "cancelled"
        with pytest.raises(Cancelled):
            await one.runs.result(ANN, run.id)
        log = [e async for batch in one.runs.follow(ANN, run.id, past_pauses=True) for _, e in batch]
        assert isinstance(log[-1], RunEnded)
        assert log[-1].status == "cancelled"
        with pytest.raises(InvalidInput, match="cancelled"):
            await one.turns.answer(ANN, run.conversation, run.id, [("c1", "x")])
        assert (await one.conversations.open(ANN, run.conversation)).active_run is None
        await one.runs.result(ANN, (await one.say("go on", conversation=run.conversation)).id)
        assert [m[1:] for m in await one.texts(run.conversation)] == [
            ("look up", "complete"),
            ("", "cancelled"),
            ("go on", "complete"),
            ("ok", "complete"),
        ]


async def test_a_new_message_ends_the_waiting_run(store: SlowStore) -> None:
    provider = ScriptedProvider([call("c1")], ["ok"])
    async with node(store, provider) as one:
        run, _ = await ask(one)
        await one.runs.result(ANN, (await one.say("never mind", conversation=run.conversation)).id)
        assert (await one.runs.open(ANN, run.id)).status == "cancelled"
        assert [m.role for m in provider.requests[1].messages] == ["user", "user"]


async def test_a_deleted_conversation_takes_its_waiting_run_along(store: SlowStore) -> None:
    async with node(store, ScriptedProvider([call("c1")])) as one:
        run, _ = await ask(one)
        await one.conversations.discard(ANN, run.conversation)
        with pytest.raises(NotFound):
            await one.turns.answer(ANN, run.conversation, run.id, [("c1", "x")])
        assert await one.read(run) == []


async def test_a_reader_of_the_whole_sees_it_go_on(store: SlowStore) -> None:
    async with node(store, ScriptedProvider([call("c1")], ["Blue."])) as one:
        run, _ = await ask(one)
        seen: list[Any] = []
        async for batch in one.runs.follow(ANN, run.id, past_pauses=True):
            seen += [e for _, e in batch]
            if isinstance(seen[-1], RunPaused):
                await one.turns.answer(ANN, run.conversation, run.id, [("c1", "x")])
        assert [type(e) for e in seen] == [ToolCalled, RunPaused, TextDelta, RunEnded]


async def test_a_process_dies_in_the_second_part(store: SlowStore) -> None:
    dead = ScriptedProvider(["Let me see. ", call("c1")], ["Blu", asyncio.Event()])
    async with node(store, dead) as one, node(store, ScriptedProvider(["again"])) as two:
        run, _ = await ask(one)
        going = await one.turns.answer(ANN, run.conversation, run.id, [("c1", "blue")])
        async for batch in one.runs.follow(ANN, run.id, going.position):
            assert isinstance(batch[0][1], TextDelta)
            break
        live = one.runs.live[run.id]
        assert live.task is not None
        live.task.cancel()
        await asyncio.wait([live.task])
        assert await two.workers.recover() == 1
        assert (await two.texts(run.conversation))[-1] == ("assistant", "Blu", "interrupted")
        whole = await two.conversations.whole(ANN, run.conversation)
        assert [calls_of(m) for m in whole] == [[], ["c1"], [], []]


async def test_an_id_that_a_model_uses_again(store: SlowStore) -> None:
    provider = ScriptedProvider([call("c1")], ["ok"], [call("c1")], ["fine"])
    async with node(store, provider) as one:
        run, _ = await ask(one)
        await one.turns.answer(ANN, run.conversation, run.id, [("c1", "blue")])
        await one.runs.result(ANN, run.id)
        await ask(one, "look down", conversation=run.conversation)
        await one.runs.result(ANN, (await one.say("never mind", conversation=run.conversation)).id)
    seen = provider.requests[-1].messages
    assert [m.role for m in seen] == ["user", "assistant", "tool", "assistant", "user", "user"]


async def test_truncating_ends_the_waiting_run(store: SlowStore) -> None:
    async with node(store, ScriptedProvider([call("c1")])) as one:
        run, _ = await ask(one)
        assert await one.conversations.truncate(ANN, run.conversation, 1) == (1, 1)
        assert (await one.conversations.open(ANN, run.conversation)).active_run is None
        assert await one.texts(run.conversation) == [("assistant", "", "cancelled")]


async def test_a_model_is_told_what_is_wrong_with_its_call(store: SlowStore) -> None:
    provider = ScriptedProvider(
        [call("c1", "{}"), call("c2"), UsageReport(Usage(1, 1))], [call("c3"), UsageReport(Usage(1, 1))]
    )
    async with node(store, provider) as one:
        run, asked = await ask(one)
        assert (calls_of(asked), run.usage) == (["c3"], Usage(2, 2))
        user, wrong, first, second = provider.requests[1].messages
        assert [type(p) for p in wrong.parts] == [ToolCall, ToolCall]
        assert "'where' is a required property" in first.parts[0].content  # type: ignore[union-attr]
        assert "another call" in second.parts[0].content  # type: ignore[union-attr]
        assert user.role == "user"


async def test_a_model_that_never_gets_it_right(store: SlowStore) -> None:
    async with node(store, ScriptedProvider(*[[call("c1", "{}")] for _ in range(5)])) as one:
        with pytest.raises(ProviderError, match="do not fit"):
            await ask(one)


async def test_equal_call_ids_are_told_apart(store: SlowStore) -> None:
    async with node(store, ScriptedProvider([call("c"), call("c"), call("")], ["ok"])) as one:
        run, asked = await ask(one)
        ids = calls_of(asked)
        assert len(set(ids)) == 3
        assert all(ids)
        await one.turns.answer(ANN, run.conversation, run.id, [(id, "x") for id in ids])
        assert (await one.runs.result(ANN, run.id))[0].status == "completed"


async def test_who_cannot_run_tools_is_not_offered_any(store: SlowStore) -> None:
    provider = ScriptedProvider(["ok"])
    async with node(store, provider) as one:
        await one.runs.result(ANN, (await one.say("look", tools=[LOOK])).id)
    request: ModelRequest = provider.requests[0]
    assert request.tools == ()
