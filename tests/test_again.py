"""Answers made again, the settings of a conversation, and who may ask in one that is shared."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from backchat.domain.identity import Identity
from backchat.domain.message import Message, ToolCall
from backchat.domain.settings import Sampling
from backchat.domain.workspace import Grant, Membership, Workspace
from backchat.errors import (
    Forbidden,
    InvalidInput,
    NotConfigured,
    NotFound,
    NotOwned,
    ProviderError,
    RunInProgress,
)
from backchat.ports.storage import Query
from backchat.services.saying import Say
from backchat.services.stored import conversation_put, message_of
from backchat.services.workspace_records import membership_put, workspace_put
from backchat.testing.provider import ScriptedProvider
from backchat.testing.tool import ScriptedTool
from nodes import ANN, BOB, Node, SlowStore, node
from tools_made import LOOK, call, shape

EVE = Identity(user="eve")


@pytest.fixture
async def store() -> SlowStore:
    return SlowStore()


async def tree(store: SlowStore, conversation: str) -> list[Message]:
    where = (("conversation", (conversation,)),)
    return [message_of(r) for r in await store.find(Query(kind="message", where=where, order=("seq",), limit=100))]


async def test_a_new_answer_takes_the_place_of_the_old_one(store: SlowStore) -> None:
    provider = ScriptedProvider(["one"], ["two"], ["three"], ["four"])
    async with node(store, provider) as one:
        id = await one.begun()
        before = await tree(store, id)
        run = await one.turns.again(ANN, id)
        ended, answer = await one.runs.result(ANN, run.id)
        assert answer is not None
        assert (ended.again, ended.input, answer.text, answer.parent) == (
            before[1].id,
            before[0].id,
            "two",
            before[0].id,
        )
        assert [m.text for m in await one.conversations.whole(ANN, id)] == ["hello", "two"]
        everything = await tree(store, id)
        assert everything[:2] == before
        assert [m.seq for m in everything] == [1, 2, 3]
        await one.runs.result(ANN, (await one.say("next", conversation=id)).id)
        await one.runs.result(ANN, (await one.turns.again(ANN, id)).id)
        assert [m.text for m in await one.conversations.whole(ANN, id)] == ["hello", "two", "next", "four"]
        assert (await one.conversations.open(ANN, id)).messages == 6
    assert [shape(r.messages) for r in provider.requests] == [
        [("user", "hello", [])],
        [("user", "hello", [])],
        [("user", "hello", []), ("assistant", "two", []), ("user", "next", [])],
        [("user", "hello", []), ("assistant", "two", []), ("user", "next", [])],
    ]


async def test_with_tools_on_both_sides(store: SlowStore) -> None:
    provider = ScriptedProvider(["hi"], ["a", call("c1", "look")], ["b"], ["c", call("c1", "look")], ["d"])
    async with node(store, provider, tools=[ScriptedTool("look")]) as one:
        id = await one.begun(agent="none")
        await one.runs.result(ANN, (await one.say("go", conversation=id)).id)
        await one.runs.result(ANN, (await one.turns.again(ANN, id)).id)
        whole = await one.conversations.whole(ANN, id)
    assert [m.text for m in whole] == ["hello", "hi", "go", "c", "", "d"]
    assert [m.parent for m in whole[1:]] == [m.id for m in whole[:-1]]
    assert len(await tree(store, id)) == 9
    assert provider.requests[3].messages == provider.requests[1].messages


@pytest.mark.parametrize("how", ["failed", "cancelled", "interrupted"])
async def test_one_that_does_not_complete_leaves_the_old_one_in_place(store: SlowStore, how: str) -> None:
    last: Any = ProviderError("down") if how == "failed" else asyncio.Event()
    async with node(store, ScriptedProvider(["one"], ["half", last])) as one, node(store) as two:
        id = await one.begun()
        run = await one.turns.again(ANN, id)
        await anext(one.runs.follow(ANN, run.id))
        if how == "cancelled":
            await one.runs.cancel(ANN, run.id)
        elif how == "interrupted":
            live = one.runs.live[run.id]
            store.broken = True
            assert live.task is not None
            live.task.cancel()
            await asyncio.wait([live.task])
            store.broken = False
            assert await two.workers.recover() == 1
        async for _ in two.runs.follow(ANN, run.id):
            pass
        assert [m.text for m in await two.conversations.whole(ANN, id)] == ["hello", "one"]
        assert [(m.text, m.status) for m in await tree(store, id)][2:] == [("half", how)]
        assert (await two.conversations.open(ANN, id)).active_run is None


async def test_where_there_was_no_answer_what_was_said_is_shown(store: SlowStore) -> None:
    turns = ScriptedProvider([ProviderError("down")], ["half", ProviderError("cut")], ["other", ProviderError("cut")])
    async with node(store, turns) as one:
        run = await one.say("hello")
        for shown in ([], ["half"], ["half"]):
            with pytest.raises(ProviderError):
                await one.runs.result(ANN, run.id)
            assert [m.text for m in await one.conversations.whole(ANN, run.conversation)] == ["hello", *shown]
            run = await one.turns.again(ANN, run.conversation)
        await one.runs.drain(1)


async def test_refused(store: SlowStore) -> None:
    gate = asyncio.Event()
    async with node(store, ScriptedProvider(["one"], ["two", gate], ["three"])) as one:
        id = await one.begun()
        run = await one.say("more", conversation=id)
        with pytest.raises(RunInProgress):
            await one.turns.again(ANN, id)
        with pytest.raises(NotOwned):
            await one.turns.again(BOB, id)
        gate.set()
        await one.runs.result(ANN, run.id)
        await one.conversations.truncate(ANN, id, 1)
        with pytest.raises(InvalidInput, match="said nothing"):
            await one.turns.again(ANN, id)
        empty = await one.conversations.create(ANN, channel="web")
        with pytest.raises(InvalidInput, match="said nothing"):
            await one.turns.again(ANN, empty.id)
        with pytest.raises(NotFound):
            await one.turns.again(ANN, "none")


async def test_who_would_not_wait_does_not_wait_behind_others_either(store: SlowStore) -> None:
    gate = asyncio.Event()
    async with node(store, ScriptedProvider(["one"], ["two", gate], ["three"])) as one:
        id = await one.begun()
        run = await one.say("more", conversation=id)
        await anext(one.runs.follow(ANN, run.id))
        waits = asyncio.ensure_future(one.say("later", conversation=id))
        for _ in range(20):
            await asyncio.sleep(0)
        async with asyncio.timeout(2):
            for refused in (one.turns.again(ANN, id), one.say("now", conversation=id, busy="refuse")):
                with pytest.raises(RunInProgress):
                    await refused
        gate.set()
        await one.runs.result(ANN, (await waits).id)


async def test_it_ends_a_run_that_waits_for_tools(store: SlowStore) -> None:
    provider = ScriptedProvider(["let me see", ToolCall("c1", "look", '{"where": "up"}')], ["two"])
    async with node(store, provider) as one:
        run = await one.say("hello", tools=[LOOK], takes_tools=True)
        await one.runs.result(ANN, run.id)
        await one.runs.result(ANN, (await one.turns.again(ANN, run.conversation)).id)
        assert (await one.runs.open(ANN, run.id)).status == "cancelled"
        assert [m.text for m in await one.conversations.whole(ANN, run.conversation)] == ["hello", "two"]
        assert provider.requests[1].tools == ()


async def test_settings_hold_where_the_message_says_nothing(store: SlowStore) -> None:
    first, second = ScriptedProvider(["1"], name="first"), ScriptedProvider(["2"], name="second")
    own, given = Sampling(temperature=0.5), Sampling(top_p=0.1)
    cases: list[tuple[dict[str, Any], dict[str, Any], tuple[str, str | None, str, Sampling]]] = [
        ({}, {}, ("first", None, "assistant", Sampling())),
        ({"model": "m"}, {}, ("first", "m", "assistant", Sampling())),
        (
            {"provider": "second", "model": "m", "system": "own", "sampling": own},
            {},
            ("second", "m", "own", own),
        ),
        (
            {"provider": "second", "model": "m", "system": "own", "sampling": own},
            {"provider": "first", "system": "said", "sampling": given},
            ("first", None, "said", given),
        ),
        ({"provider": "second", "model": "m"}, {"provider": "second"}, ("second", "m", "assistant", Sampling())),
        ({"provider": "second", "model": "m"}, {"model": "n"}, ("second", "n", "assistant", Sampling())),
        ({"model": "m"}, {"provider": "first"}, ("first", "m", "assistant", Sampling())),
        ({"model": "m"}, {"provider": "second"}, ("second", None, "assistant", Sampling())),
        ({"system": "own"}, {"system": ""}, ("first", None, "", Sampling())),
        ({"provider": "gone"}, {"provider": "second"}, ("second", None, "assistant", Sampling())),
    ]
    async with node(store, first, second) as one:
        assistant = await one.services.assistants.create(ANN, name="A", system="assistant")
        run = await one.say("hello", assistant=assistant.id)
        await one.runs.result(ANN, run.id)
        for settings, said, expected in cases:
            await one.set(run.conversation, **settings)
            await one.runs.result(ANN, (run := await one.say("x", conversation=run.conversation, **said)).id)
            asked = {"first": first, "second": second}[run.provider].requests[-1]
            assert (run.provider, asked.model, asked.system, asked.sampling) == expected
            assert run.model == (asked.model or "scripted-1")
            if not said:
                run = await one.turns.again(ANN, run.conversation)
                await one.runs.result(ANN, run.id)
                asked = {"first": first, "second": second}[run.provider].requests[-1]
                assert (run.provider, asked.model, asked.system, asked.sampling) == expected
        await one.set(run.conversation, provider="gone")
        with pytest.raises(NotConfigured, match="'gone'"):
            await one.say("x", conversation=run.conversation)
        with pytest.raises(NotConfigured, match="'gone'"):
            await one.turns.check(ANN, Say(text="x", conversation=run.conversation))


async def shared(one: Node, id: str) -> None:
    """The conversation in a workspace of ann's: bob may edit it, eve may view it."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    here = replace(await one.conversations.open(ANN, id), workspace="w1")
    made = Workspace(id="w1", name="W", owner="ann", created_at=now, updated_at=now)
    members = [Membership(workspace="w1", user=u, role="member", created_at=now) for u in ("bob", "eve")]
    owner = Membership(workspace="w1", user="ann", role="owner", created_at=now)
    grants = (
        Grant(id="g1", user="bob", permission="edit", shared_by="ann", created_at=now),
        Grant(id="g2", user="eve", permission="view", shared_by="ann", created_at=now),
    )
    await one.store.apply(
        [
            workspace_put(made),
            *[membership_put(m) for m in (owner, *members)],
            conversation_put(replace(here, grants=grants)),
        ]
    )


async def test_who_may_say_in_a_conversation_that_is_shared(store: SlowStore) -> None:
    async with node(store, ScriptedProvider(["one"])) as one:
        assistant = await one.services.assistants.create(ANN, name="A", system="Ann's")
        run = await one.say("hello", assistant=assistant.id)
        await one.runs.result(ANN, run.id)
        id = run.conversation
        await shared(one, id)
        run = await one.say("from bob", who=BOB, conversation=id)
        assert (run.owner, run.author, run.workspace, run.recipe.system) == ("ann", "bob", "w1", "Ann's")
        await one.runs.result(BOB, run.id)
        again = await one.turns.again(BOB, id)
        assert (again.author, again.workspace) == ("bob", "w1")
        await one.runs.result(BOB, again.id)
        said = [m for m in await one.conversations.whole(ANN, id) if m.role == "user"]
        assert [m.author for m in said] == ["ann", "bob"]
        with pytest.raises(Forbidden, match="memories"):
            await one.say("x", who=BOB, conversation=id, memory="read")
        for attempt in (
            one.say("x", who=EVE, conversation=id),
            one.turns.again(EVE, id),
            one.turns.note(EVE, Say(text="x", conversation=id)),
            one.turns.check(EVE, Say(text="x", conversation=id)),
            one.turns.answer(EVE, id, None, [("c1", "x")]),
        ):
            with pytest.raises(Forbidden):
                await attempt
        payers = {(u.payer.user, u.payer.workspace) for u in await one.booked()}
    assert payers >= {("bob", "w1")}


async def test_who_may_edit_may_not_give_it_an_assistant(store: SlowStore) -> None:
    async with node(store, ScriptedProvider(["one"])) as one:
        assistant = await one.services.assistants.create(ANN, name="A")
        id = await one.begun()
        await shared(one, id)
        with pytest.raises(Forbidden):
            await one.say("x", who=BOB, conversation=id, assistant=assistant.id)
