"""Summaries of conversations: made in the background of a reply, by its model, and shown to the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from backchat.domain.assistant import Assistant
from backchat.domain.message import ToolCall, Usage
from backchat.domain.usage import Credits, Payer
from backchat.domain.workspace import personal_workspace
from backchat.errors import ProviderError
from backchat.ports.memory import Ask, History, MemoryStrategy, Shown, Summary
from backchat.ports.providers import Abilities, UsageReport
from backchat.ports.storage import Query
from backchat.services.assistant_records import assistant_of, assistant_put
from backchat.services.calls import Calls
from backchat.services.estimates import tokens_of
from backchat.services.ledger import Ledger
from backchat.services.summaries import TOPIC, Summaries
from backchat.services.usage_records import usage_between
from backchat.testing.provider import WEATHER, Step
from nodes import ANN, SlowStore, calls_over
from summaries_made import Model, material_of, rolling, talk, until

TOOL = {"type": "function", "function": {"name": WEATHER.name, "parameters": WEATHER.parameters}}


# ---- made and shown -------------------------------------------------------------------------------------------------


async def test_the_summary_is_in_the_prompts_that_follow() -> None:
    async with talk() as here:
        id = await here.talked(3)  # the third question is the fifth message
        assert here.shown() == ("", ["question 0", "It is so.", "question 1", "It is so.", "question 2"])
        await here.ask("and now?", id)
        assert here.shown() == ("notes 1", ["question 2", "It is so.", "and now?"])
        (asked,) = here.model.noter.requests
        assert material_of(asked) == ("", ["question 0", "It is so.", "question 1", "It is so."])
        assert asked.caller == "ann"


async def test_it_rolls_on() -> None:
    async with talk() as here:
        id = await here.talked(9)
        assert len(here.model.noter.requests) == 4
        await here.ask("and now?", id)
        assert here.shown() == ("notes 4", ["question 8", "It is so.", "and now?"])
        earlier = [material_of(asked)[0] for asked in here.model.noter.requests]
        assert earlier == ["", "notes 1", "notes 2", "notes 3"]


async def test_it_is_booked_on_the_user_who_asked() -> None:
    async with talk(Model(["notes", UsageReport(Usage(9, 4))], model="big")) as here:
        id = await here.talked(3)
        (call,) = [u async for u in usage_between(here.store) if u.purpose == "summary"]
        (answer,) = (await here.said(id))[-1:]
        payer = Payer(user="ann", workspace=personal_workspace("ann"), conversation=id, run=answer.run)
        assert (call.payer, call.provider, call.model, call.usage) == (payer, "scripted", "big", Usage(9, 4))
        assert not call.estimated


async def test_it_is_made_by_the_model_that_answered() -> None:
    other = Model(name="other")
    async with talk(Model(says=[["hm"]] * 2 + [[ProviderError("no")]], name="first"), other) as here:
        id = await here.talked(3)
        assert (len(here.model.noter.requests), len(other.noter.requests)) == (0, 1)
        assert await here.kept() == ["notes 1"]
    model = Model()
    async with talk(model) as here:
        id = await here.talked(2)
        await here.set(id, model="special")
        await here.talked(1, id)
        assert model.noter.requests[0].model == "special"
    other = Model(name="other")
    async with talk(Model(says=[["hm"]] * 2 + [[ProviderError("no")]], name="first"), other) as here:
        id = await here.talked(2)
        await here.set(id, model="special")
        await here.talked(1, id)
        assert [asked.model for asked in other.noter.requests] == [None], "special is one of the first's"


async def test_no_turn_waits_for_it() -> None:
    gate = asyncio.Event()
    async with talk(Model([gate, "notes 1"])) as here:
        id = await here.talked(2)
        await here.ask("question 2", id)
        await until(lambda: here.model.noter.open == 1)
        async with asyncio.timeout(5):
            for n in range(3, 8):
                await here.ask(f"question {n}", id)
                assert here.shown()[0] == ""
        assert here.model.noter.open == 1
        gate.set()
        await here.settled(id)
        assert (await here.kept())[0] == "notes 1"
        await here.ask("and now?", id)
        assert here.shown()[1] == ["question 7", "It is so.", "and now?"]
        assert len(here.model.noter.requests) == 2, "of the jobs that waited only the last had to do something"


async def test_what_was_said_in_a_round_of_tools_counts() -> None:
    call = ToolCall("c1", WEATHER.name, '{"city": "Paris"}')
    async with talk(Model(says=[[call], ["It rains."], [call], ["It snows."], ["So it is."]])) as here:
        run = await here.say("weather?", tools=[TOOL], takes_tools=True)
        for _ in range(2):
            await here.runs.result(ANN, run.id)
            going = await here.turns.answer(ANN, run.conversation, run.id, [("c1", "rain")])
            await here.runs.result(ANN, going.id)
            await here.settled(run.conversation)
            assert await here.kept() == ([] if run.seq == 1 else ["notes 1"])
            if run.seq == 1:
                id = run.conversation
                run = await here.say("and now?", conversation=id, tools=[TOOL], takes_tools=True)
        await here.ask("thanks", id)
        summary, texts = here.shown()
        assert summary == "notes 1"
        assert texts == ["It snows.", "thanks"]


async def test_a_model_that_does_not_do_what_it_is_told_makes_none() -> None:
    async with talk(Model(abilities=Abilities(instructions=False))) as here:
        await here.talked(10)
        assert here.model.noter.requests == []
        assert await here.store.count(Query(kind="summary")) == 0


async def test_a_reply_that_is_not_due_costs_no_job() -> None:
    async with talk() as here:
        await here.talked(2)
        assert not [c for changes in here.store.commits for c in changes if c.kind in ("job", "summary")]
        assert here.model.noter.requests == []


async def test_a_reply_that_failed_is_not_summed_up() -> None:
    says: list[Sequence[Step]] = [["fine"], ["fine"], ["half", ProviderError("cut off")], ["fine"]]
    async with talk(Model(says=says)) as here:
        id = await here.talked(2)
        run = await here.say("question 2", conversation=id)
        await here.read(run)
        assert await here.store.count(Query(kind="job")) == 0
        await here.talked(1, id)
        assert await here.kept() == ["notes 1"]


# ---- what goes wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "turn", [[ProviderError("no")], ["half", ProviderError("no")], [""], ["notes " * 10_000]], ids=str
)
async def test_when_the_model_fails_the_next_reply_tries_again(turn: Sequence[Step]) -> None:
    async with talk(Model(turn, ["notes 2"])) as here:
        id = await here.talked(3)
        assert await here.kept() == []
        assert await here.store.count(Query(kind="job")) == 0
        await here.ask("question 3", id)
        assert here.shown() == ("", [*["question 0", "It is so.", "question 1", "It is so."], *here.shown()[1][4:]])
        await here.settled(id)
        assert await here.kept() == ["notes 2"]


async def test_a_conversation_that_cannot_be_summed_up_is_tried_ever_more_seldom() -> None:
    async with talk(Model(*[[ProviderError("no")]] * 4, ["notes"], [ProviderError("no")], ["notes 2"])) as here:
        asked = here.model.noter.requests
        id = await here.talked(4)
        assert len(asked) == 2, "once more at once"
        for minutes, tried in ((1, 3), (2, 4), (4, 5)):
            await here.talked(2, id)
            here.time += timedelta(seconds=60 * minutes - 2)
            await here.talked(1, id)
            assert len(asked) == tried - 1
            assert await here.store.count(Query(kind="job")) == 0
            here.time += timedelta(seconds=2)
            await here.talked(1, id)
            assert len(asked) == tried
        assert await here.kept() == ["notes"]
        await here.talked(3, id)
        assert await here.kept() == ["notes", "notes 2"], "it counts anew"
        assert len(asked) == 7


async def test_a_conversation_that_cannot_be_summed_up_holds_up_no_other() -> None:
    async with talk(Model(*[[ProviderError("no")]] * 2, ["notes"])) as here:
        await here.talked(5)
        await here.talked(3)
        assert await here.kept() == ["notes"]


async def test_when_the_model_takes_too_long() -> None:
    async with talk(Model(["half", asyncio.Event()])) as here:
        engine, calls = here.engine, calls_over(here.store, here.engine.providers)
        summaries = Summaries(here.store, engine.strategies, engine.providers, calls, here.jobs, here.now, limit=0.02)
        here.jobs.handle(TOPIC, summaries, at_once=1)
        await here.talked(3)
        assert (await here.kept(), here.model.noter.open) == ([], 0)


async def test_nothing_is_asked_when_the_credit_is_spent() -> None:
    async with talk() as here:
        engine = here.engine
        ledger = Ledger(
            here.store, engine.providers, Credits(per_workspace=Decimal(0)), now=here.now, new_id=lambda: "u"
        )
        calls = Calls(here.store, ledger)
        here.jobs.handle(
            TOPIC, Summaries(here.store, engine.strategies, engine.providers, calls, here.jobs, here.now), at_once=1
        )
        await here.talked(3)
        assert (await here.kept(), here.model.noter.requests) == ([], [])


async def test_the_job_holds_nothing_of_what_was_said() -> None:
    async with talk(Model([asyncio.Event()])) as here:
        id = await here.talked(2)
        await here.ask("question 2", id)
        (job,) = await here.store.find(Query(kind="job"))
        assert job.doc["owner"] == "ann"
        assert job.doc["payload"].keys() == {"run"}


async def test_another_process_makes_what_a_dead_one_was_making() -> None:
    store = SlowStore()
    async with talk(Model(["half", asyncio.Event()]), store=store) as dead:
        id = await dead.talked(2)
        await dead.ask("question 2", id)
        await until(lambda: dead.model.noter.open == 1)
        assert [record.doc["attempts"] for record in await store.find(Query(kind="job"))] == [1]
        async with talk(store=store) as here:
            await here.workers.beat()
            await here.workers.recover()
            await here.settled(id)
            assert await here.kept() == ["notes 1"]
            assert len(here.model.noter.requests) == 1
            await here.ask("and now?", id)
            assert here.shown()[0] == "notes 1"


async def test_it_counts_in_the_prompt_of_a_reply_whose_process_died() -> None:
    store = SlowStore()
    says: list[Sequence[Step]] = [["It is so."]] * 3
    async with talk(Model(says=[*says, ["half", asyncio.Event()]]), store=store) as dead:
        id = await dead.talked(3)
        run = await dead.say("and now?", conversation=id)
        await until(lambda: len(dead.model.requests) == 4 and bool(dead.runs.live[run.id].log.ahead()))
        async with talk(store=store) as here:
            await here.workers.beat()
            assert await here.workers.recover() == 1
            (call,) = [u for u in await here.booked() if u.payer.run == run.id]
        summary, texts = dead.shown()
        assert (summary, call.estimated) == ("notes 1", True)
        assert call.usage.input_tokens == tokens_of(len(summary) + sum(map(len, texts)))


async def test_who_is_taken_for_dead_and_is_not_stores_nothing() -> None:
    store, gate = SlowStore(), asyncio.Event()
    async with talk(Model(["slow", gate]), store=store) as slow, talk(store=store) as here:
        id = await slow.talked(2)
        await slow.ask("question 2", id)
        await until(lambda: slow.model.noter.open == 1)
        await here.workers.beat()
        await here.workers.recover()
        await here.settled(id)
        gate.set()
        await until(lambda: slow.model.noter.ended == 1 and not slow.jobs._tasks)
        assert await here.kept() == ["notes 1"]


# ---- which strategy -------------------------------------------------------------------------------------------------


class Last:
    """Shows the last message."""

    async def select(self, history: History) -> Shown:
        return Shown(await history.latest(1))

    async def review(self, history: History, ask: Ask) -> Summary | None:
        raise AssertionError("it was never due")


async def test_a_conversation_chooses_its_strategy() -> None:
    strategies: dict[str, MemoryStrategy] = {"last": Last(), "rolling": rolling()}
    async with talk(memory=None, strategies=strategies) as here:
        id = await here.talked(4)
        assert (await here.kept(), len(here.shown()[1])) == ([], 7)
        await here.set(id, memory="last")
        await here.talked(1, id)
        assert here.shown() == ("", ["question 0"])
        await here.set(id, memory="rolling")
        await here.talked(1, id)
        assert (await here.store.find(Query(kind="summary")))[0].doc["strategy"] == "rolling"
        await here.ask("and now?", id)
        assert here.shown()[0] == "notes 1"
        await here.set(id, memory="default")
        await here.ask("and now?", id)
        assert here.shown()[0] == "", "another strategy's summary"
        await here.ask("and now?", id, strategy="rolling")
        assert here.shown()[0] == "notes 1"


async def test_an_assistant_chooses_a_strategy() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assistant = Assistant(id="a1", owner="ann", name="A", created_at=now, updated_at=now, memory="last")
    store = SlowStore()
    async with talk(memory=None, strategies={"last": Last()}, store=store) as here:
        await store.apply([assistant_put(assistant)])
        id = await here.ask("question 0", assistant="a1")
        await here.ask("question 1", id)
        assert here.shown() == ("", ["question 1"])
        await here.set(id, memory="default")
        await here.ask("question 2", id)
        assert len(here.shown()[1]) == 5
        record = await store.get("assistant", "a1")
        assert record is not None
        assert assistant_of(record) == replace(assistant, version=1)
        old = {name: value for name, value in record.doc.items() if name != "memory"}
        assert assistant_of(replace(record, doc=old)).memory is None
