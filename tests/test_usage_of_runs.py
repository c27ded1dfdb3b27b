"""What is booked for a reply, however it ends: a record for each call of the model, in the batch of the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from decimal import Decimal
from typing import Any

import pytest

from backchat.domain.message import Reasoning, Text, ToolCall, ToolResult, Usage
from backchat.domain.run import ReasoningDelta, Run
from backchat.domain.usage import Credits, Price
from backchat.domain.workspace import personal_workspace
from backchat.errors import (
    Cancelled,
    InsufficientCredits,
    ProviderCredentials,
    ProviderError,
    ProviderRejected,
    ProviderThrottled,
    ProviderTimeout,
)
from backchat.ports.providers import (
    Citation,
    Finish,
    ImageData,
    ModelRequest,
    PromptMessage,
    PromptPart,
    ProviderEvent,
    UsageReport,
)
from backchat.ports.storage import Query
from backchat.services.estimates import tokens_asked, tokens_said
from backchat.testing.provider import ScriptedProvider
from nodes import ANN, Node, SlowStore, node
from tools_made import LOOK

TEN = "ten chars."


@pytest.fixture
async def store() -> SlowStore:
    return SlowStore()


async def booked(one: Node) -> list[tuple[Usage, bool]]:
    return [(u.usage, u.estimated) for u in await one.booked()]


async def finished(one: Node, run: Run) -> None:
    async for _ in one.runs.follow(ANN, run.id):
        pass


async def killed(store: SlowStore, one: Node, run: Run) -> None:
    """The process dies without a word."""
    live = one.runs.live[run.id]
    store.broken = True
    assert live.task is not None
    live.task.cancel()
    await asyncio.wait([live.task])
    store.broken = False


def test_estimates_are_rounded_once() -> None:
    parts: list[PromptPart] = [
        Text("abc"),
        Reasoning("de"),
        ToolCall("id", "name", "{}"),
        ToolResult("id", "f"),
    ]
    messages = [PromptMessage("user", (part,)) for part in parts]
    asked = ModelRequest(messages=messages, system="ghi", citations=[Citation("memory", "jk")])
    assert tokens_asked(asked) == 4  # 13 characters
    assert tokens_said(["abc", "de"]) == 2
    assert tokens_said([]) == tokens_asked(ModelRequest(messages=[])) == 0


async def test_what_the_provider_reported(store: SlowStore) -> None:
    usage = Usage(7, 5, 3, 2)
    async with node(store, ScriptedProvider(["Hello", UsageReport(Usage(7, 1)), UsageReport(usage)])) as one:
        run = await one.say("hi")
        await finished(one, run)
        record = (await one.booked())[0]
        assert (record.usage, record.estimated, record.purpose) == (usage, False, "reply")
        assert (record.provider, record.model) == ("scripted", "scripted-1")
        payer = record.payer
        assert (payer.user, payer.workspace) == ("ann", personal_workspace("ann"))
        assert (payer.conversation, payer.run) == (run.conversation, run.id)
        end = next(batch for batch in store.commits if any(getattr(c, "kind", "") == "usage" for c in batch))
        assert {"run", "message", "conversation", "event", "usage"} == {getattr(c, "kind", "") for c in end}


async def test_what_it_did_not_report_is_estimated_and_not_claimed(store: SlowStore) -> None:
    async with node(store, ScriptedProvider([ReasoningDelta("hm"), TEN])) as one:
        run = await one.say(TEN, system="Be brief.")
        ended, answer = await one.runs.result(ANN, run.id)
        assert await booked(one) == [(Usage(5, 3), True)]
        assert answer is not None
        assert (ended.usage, answer.usage) == (None, None)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([TEN], [(Usage(1, 3), True)]),
        ([UsageReport(Usage(50, 1)), TEN], [(Usage(50, 3), True)]),
        ([TEN, UsageReport(Usage(50, 20))], [(Usage(50, 20), True)]),
        ([UsageReport(Usage(0, 1)), TEN], [(Usage(1, 3), True)]),
    ],
)
@pytest.mark.parametrize("how", ["cancelled", "failed", "killed"])
async def test_cut_off(store: SlowStore, steps: list[Any], expected: list[tuple[Usage, bool]], how: str) -> None:
    gate = asyncio.Event()
    last: list[Any] = [gate, ProviderError("cut")] if how == "failed" else [gate]
    async with node(store, ScriptedProvider([*steps, *last])) as one, node(store) as two:
        run = await one.say("hi")
        await anext(one.runs.follow(ANN, run.id))
        if how == "cancelled":
            with pytest.raises(Cancelled):
                await asyncio.gather(one.runs.cancel(ANN, run.id), one.runs.result(ANN, run.id))
        elif how == "killed":
            await killed(store, one, run)
            assert await two.workers.recover() == 1
            expected = [(Usage(1, 3), True)]  # reports are not in the log
        gate.set()
        await finished(two, run)
        assert await booked(two) == expected


async def test_given_up_before_the_first_word(store: SlowStore) -> None:
    """The provider has the request, and whoever has it bills the prompt."""
    asked: asyncio.Queue[None] = asyncio.Queue()

    class Silent(ScriptedProvider):
        async def stream(self, request: ModelRequest) -> AsyncGenerator[ProviderEvent, None]:
            asked.put_nowait(None)
            await asyncio.Event().wait()
            yield Finish("stop")

    async with node(store, Silent()) as one, node(store) as two:
        run = await one.say(TEN)
        await asked.get()
        await one.runs.cancel(ANN, run.id)
        assert await booked(one) == [(Usage(3, 0), True)]
        run = await one.say(TEN)
        await asked.get()
        await killed(store, one, run)
        assert await two.workers.recover() == 1
        assert await booked(two) == [(Usage(3, 0), True)] * 2


async def test_refused_calls_cost_nothing_and_others_count_in_a_fallback(store: SlowStore) -> None:
    down = ScriptedProvider([ProviderError("no connection", at_work=False)], name="down")
    charged = ScriptedProvider([UsageReport(Usage(9, 0)), ProviderError("down")], name="charged", model="c")
    spare = ScriptedProvider(["spare", UsageReport(Usage(4, 4))], name="spare", model="s")
    async with node(store, down, charged, spare) as one:
        run = await one.say("hi")
        ended, _ = await one.runs.result(ANN, run.id)
        assert [(u.provider, u.model, u.usage, u.estimated) for u in await one.booked()] == [
            ("charged", "c", Usage(9, 0), True),
            ("spare", "s", Usage(4, 4), False),
        ]
        assert ended.usage == Usage(4, 4)
    async with node(other := SlowStore(), down) as one:
        await finished(one, await one.say("hi"))
        assert await other.count(Query(kind="usage")) == 0


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ProviderTimeout("late"), [(Usage(3, 0), True)]),
        (ProviderTimeout("no connection", at_work=False), []),
        (ProviderError("connection lost"), [(Usage(3, 0), True)]),
        (RuntimeError("a provider that breaks its port"), [(Usage(3, 0), True)]),
        (ProviderRejected("no"), []),
        (ProviderThrottled("no"), []),
        (ProviderCredentials("no"), []),
    ],
)
async def test_what_broke_before_the_first_word_is_paid_for_if_the_provider_was_at_work(
    store: SlowStore, error: Exception, expected: list[tuple[Usage, bool]]
) -> None:
    async with node(store, ScriptedProvider([error])) as one:
        run = await one.say(TEN)
        await finished(one, run)
        assert await booked(one) == expected
        assert await one.texts(run.conversation) == [("user", TEN, "complete")]


async def test_corrections_and_a_pause(store: SlowStore) -> None:
    bad, good = ToolCall("c1", "look", "{}"), ToolCall("c2", "look", '{"where": "up"}')
    provider = ScriptedProvider(
        ["Hm.", bad, UsageReport(Usage(1, 1))],
        [good, UsageReport(Usage(2, 2))],
        ["Blue", UsageReport(Usage(3, 3))],
    )
    async with node(store, provider) as one:
        run = await one.say("look", tools=[LOOK], takes_tools=True)
        waiting, asked = await one.runs.result(ANN, run.id)
        assert await booked(one) == [(Usage(1, 1), False), (Usage(2, 2), False)]
        assert asked is not None
        assert (waiting.usage, asked.usage) == (Usage(3, 3), Usage(2, 2))
        await one.turns.answer(ANN, run.conversation, None, [("c2", "blue")])
        ended, answer = await one.runs.result(ANN, run.id)
        assert await booked(one) == [(Usage(n, n), False) for n in (1, 2, 3)]
        assert answer is not None
        assert (ended.usage, answer.usage) == (Usage(6, 6), Usage(3, 3))


async def test_killed_after_a_pause_books_only_what_followed(store: SlowStore) -> None:
    provider = ScriptedProvider(
        [ToolCall("c1", "look", '{"where": "up"}'), UsageReport(Usage(8, 8))], [TEN, asyncio.Event()]
    )
    async with node(store, provider) as one, node(store) as two:
        run = await one.say("look", tools=[LOOK], takes_tools=True)
        await finished(one, run)
        going = await one.turns.answer(ANN, run.conversation, None, [("c1", "blue")])
        await anext(one.runs.follow(ANN, run.id, going.position))
        await killed(store, one, run)
        assert await two.workers.recover() == 1
        # look, the arguments and blue are 23 characters
        assert sorted([u.input_tokens for u, _ in await booked(two)]) == [6, 8]


async def test_images_do_not_count_for_the_one_that_recovers(store: SlowStore) -> None:
    provider = ScriptedProvider([TEN, asyncio.Event()])
    async with node(store, provider) as one, node(store) as two:
        run = await one.say("look", images=[ImageData("image/png", b"x" * 1000)])
        await anext(one.runs.follow(ANN, run.id))
        await killed(store, one, run)
        assert await two.workers.recover() == 1
        assert await booked(two) == [(Usage(1, 3), True)]


async def test_a_conversation_that_is_deleted_leaves_what_it_cost(store: SlowStore) -> None:
    async with node(store, ScriptedProvider([TEN, asyncio.Event()])) as one:
        run = await one.say("hi")
        await anext(one.runs.follow(ANN, run.id))
        await one.conversations.discard(ANN, run.conversation)
        assert await booked(one) == [(Usage(1, 3), True)]


async def test_whoever_was_taken_over_books_nothing_more(store: SlowStore) -> None:
    gate = asyncio.Event()
    slow_one = ScriptedProvider([TEN, gate, "more", UsageReport(Usage(5, 5))])
    async with node(store, slow_one) as slow, node(store) as other:
        await slow.workers.beat()
        run = await slow.say("hi")
        await anext(slow.runs.follow(ANN, run.id))
        assert await other.workers.recover() == 0
        other.silence = 16
        assert await other.workers.recover() == 1
        task = slow.runs.live[run.id].task
        gate.set()
        assert task is not None
        await asyncio.wait([task])
        assert await booked(other) == [(Usage(1, 3), True)]


async def test_without_credit_nothing_is_stored_and_nobody_asked(store: SlowStore) -> None:
    credits = Credits(prices={"scripted-1": Price(input=Decimal(1_000_000))}, per_user=Decimal(1))
    provider = ScriptedProvider(["hi", UsageReport(Usage(1, 1))])
    async with node(store, provider, credits=credits) as one:
        id = await one.begun()
        store.commits.clear()
        for attempt in (
            one.say("more", conversation=id),
            one.say("more"),
            one.say("more", conversation=id, busy="replace"),
            one.turns.again(ANN, id),
        ):
            with pytest.raises(InsufficientCredits):
                await attempt
        assert store.commits == []
        assert len(provider.requests) == 1
