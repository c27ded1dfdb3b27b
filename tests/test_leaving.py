"""Whoever leaves a workspace at the very moment in which they write: nothing of it is stored, and nothing hangs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from backchat.domain.message import Text, ToolCall
from backchat.errors import NotFound
from backchat.ports.storage import Delete, Put, Query
from backchat.services.access import Access
from backchat.services.archive import Archive
from backchat.services.kinds import KINDS
from backchat.services.saying import Say
from backchat.services.stored import conversation_put
from backchat.services.trees import NewMessage
from backchat.services.workspace_conversations import Change
from backchat.testing.memory_store import MemoryStore
from backchat.testing.provider import ScriptedProvider
from nodes import Node, node
from rights_made import grant, left
from test_access import HERS
from tools_made import LOOK
from trees_made import BEGINNING
from workspaces_made import ANN, BOB, Racing, accounts, office

Write = Callable[[Node, str], Awaitable[Any]]


async def stored(store: Racing) -> dict[str, Any]:
    kinds = [k.name for k in KINDS if k.name in ("conversation", "message", "run", "tag", "public_link", "share")]
    return {k: [(r.id, r.version) for r in await store.find(Query(kind=k, limit=100))] for k in kinds}


async def spoken(one: Node, who: Any = BOB, **more: Any) -> str:
    """A conversation in the office with a question and an answer; its id."""
    run = await one.say("hello", who=who, **more)
    await one.runs.result(who, run.id)
    return run.conversation


async def first_message(one: Node, id: str) -> str:
    found = await one.store.find(Query(kind="message", where=(("conversation", (id,)),), order=("seq",), limit=1))
    return found[0].id


async def edit(one: Node, id: str) -> Any:
    return await one.services.trees.edit(BOB, id, await first_message(one, id), "other")


async def annotate(one: Node, id: str) -> Any:
    return await one.services.trees.annotate(BOB, id, await first_message(one, id), {"feedback": 1})


async def remove(one: Node, id: str) -> Any:
    return await one.services.trees.remove(BOB, id, await first_message(one, id))


WRITES: dict[str, tuple[str, Any, Write]] = {
    "say": ("conversation", Put, lambda one, id: one.say("late", who=BOB, conversation=id)),
    "note": ("conversation", Put, lambda one, id: one.turns.note(BOB, Say(text="late", conversation=id))),
    "again": ("conversation", Put, lambda one, id: one.turns.again(BOB, id)),
    "put": (
        "conversation",
        Put,
        lambda one, id: one.services.trees.put(BOB, id, NewMessage(parts=(Text("late"),))),
    ),
    "edit": ("conversation", Put, edit),
    "annotate": ("message", Put, annotate),
    "remove": ("conversation", Put, remove),
    "rename": ("conversation", Put, lambda one, id: one.conversations.rename(BOB, id, "late")),
    "truncate": ("conversation", Put, lambda one, id: one.conversations.truncate(BOB, id, 1)),
    "discard": ("conversation", Delete, lambda one, id: one.conversations.discard(BOB, id)),
    "pin": ("conversation", Put, lambda one, id: one.services.archive.pin(BOB, id, True)),
    "put away": ("conversation", Put, lambda one, id: one.services.archive.put_away(BOB, id, True)),
    "attach": ("conversation", Put, lambda one, id: one.services.tags.attach(BOB, id, ["late"])),
    "tag": ("conversation", Put, lambda one, id: one.services.tags.create(BOB, "late", conversation=id)),
    "update": (
        "conversation",
        Put,
        lambda one, id: one.services.workspace_conversations.update(BOB, id, Change(title="late")),
    ),
    "publish": ("conversation", Put, lambda one, id: one.services.publishing.toggle(BOB, id)),
    "give": ("conversation", Put, lambda one, id: one.services.grants.give(BOB, id, "view", user="cat")),
    "revoke": ("conversation", Put, lambda one, id: one.services.grants.revoke(BOB, id, user="eve")),
    "duplicate": ("conversation", Put, lambda one, id: one.services.forks.duplicate(BOB, id)),
}


@pytest.mark.parametrize("write", WRITES)
async def test_nothing_is_written_after_leaving(write: str) -> None:
    store = Racing()
    await accounts(store, *[BOB, ANN])
    async with node(store, ScriptedProvider(["hi"], ["late"])) as one:
        team = await office(one, bob="member")
        await accounts(store, replace(BOB, user="cat"), replace(BOB, user="eve"))
        for name in ("cat", "eve"):
            await one.services.workspaces.add(ANN, team, "member", user=name)
        id = await spoken(one)
        there = await one.conversations.open(BOB, id)
        await store.apply([conversation_put(replace(there, workspace=team, grants=(grant("eve"),)))])
        before = await stored(store)
        kind, change, verb = WRITES[write]
        store.before(kind, lambda: store.apply([left(team, "bob")]), change)
        async with asyncio.timeout(5):
            with pytest.raises(NotFound):
                await verb(one, id)
        assert store.first is None, "it was not written at all"
        assert await stored(store) == before


async def test_outputs_come_too_late() -> None:
    store = Racing()
    await accounts(store, ANN, BOB)
    provider = ScriptedProvider([ToolCall("c1", "look", '{"where": "up"}')], ["late"])
    async with node(store, provider) as one:
        team = await office(one, bob="member")
        id = await spoken(one, tools=[LOOK], takes_tools=True)
        there = await one.conversations.open(BOB, id)
        await store.apply([conversation_put(replace(there, workspace=team))])
        before = await stored(store)
        store.before("conversation", lambda: store.apply([left(team, "bob")]))
        async with asyncio.timeout(5):
            with pytest.raises(NotFound):
                await one.turns.answer(BOB, id, None, [("c1", "x")])
        assert store.first is None
        assert await stored(store) == before


@pytest.mark.parametrize("verb", [Archive.put_all_away, Archive.discard_all])
async def test_what_is_done_to_all_leaves_out_what_was_left(verb: Any) -> None:
    store = Racing()
    await accounts(store, ANN, BOB)
    async with node(store, ScriptedProvider(["hi"], ["hi"])) as one:
        team = await office(one, bob="member")
        lost, own = await spoken(one), await spoken(one)
        await store.apply([conversation_put(replace(await one.conversations.open(BOB, lost), workspace=team))])
        change = Put if verb is Archive.put_all_away else Delete
        store.before("conversation", lambda: store.apply([left(team, "bob")]), change)
        async with asyncio.timeout(5):
            done = await verb(one.services.archive, BOB)
        assert store.first is None
        record = await store.get("conversation", lost)
        assert record is not None
        assert not record.doc["archived_at"]
        assert (done if isinstance(done, int) else [c.id for c in done]) == (1 if change is Put else [own])


def test_who_needs_no_membership() -> None:
    """In one's own personal workspace, and where strangers may do it as well: they would never be let through."""
    store = MemoryStore(KINDS)
    usual = Access(store, lambda who, action, standing, thing: standing != "stranger", lambda: BEGINNING)
    open_to_all = Access(store, lambda who, action, standing, thing: action == "read", lambda: BEGINNING)
    assert usual.required(BOB, HERS, "say") == open_to_all.required(BOB, HERS, "say") == usual.required_in(BOB, "team")
    assert len(usual.required_in(BOB, "team")) == 1
    assert usual.required(ANN, replace(HERS, workspace=None), "say") == []
    assert open_to_all.required(BOB, HERS, "read") == []
