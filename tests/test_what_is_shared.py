"""What those see, and cause, with whom a conversation is shared, and what becomes of those who have left."""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace
from datetime import timedelta
from typing import Any

import orjson

from backchat.domain.identity import Identity
from backchat.domain.limits import Retention
from backchat.domain.message import File, Text, ToolCall
from backchat.domain.settings import ModelSettings
from backchat.domain.workspace import personal_workspace
from backchat.ports.storage import Query
from backchat.services.imports import Imports
from backchat.services.stored import conversation_put
from backchat.services.trees import NewMessage
from backchat.testing.plugin import Serve
from backchat.testing.provider import ScriptedProvider
from nodes import ANN, BOB, SlowStore, node
from rights_made import grant, left, member
from threads_box import WEATHER, scripted
from tools_made import LOOK
from workspaces_made import placed


async def test_memories_are_shown_to_the_owner_only(serve: Serve) -> None:
    """Whoever hands in the outputs of tools goes on with a turn that was begun with the owner's memories."""
    call = ToolCall("c1", "get_current_weather", '{"location": "Oslo"}')
    provider = ScriptedProvider([call], ["done"], [call], ["done"])
    box = await serve(*scripted(provider))
    ann, bob = [Identity(user=(await box.services.accounts.ensure_user(n)).id) for n in ("ann", "bob")]
    hers, his = await box.key("ann"), await box.key("bob")

    async def post(path: str, headers: Any, body: Any) -> Any:
        answer = await box.client.post(f"/api{path}", json=body, headers=headers)
        assert answer.status in (200, 201), await answer.text()
        return await answer.json()

    assistant = (await post("/assistants", hers, {"name": "A"}))["assistant_id"]
    await post(f"/assistants/{assistant}/memories", hers, {"content": "The PIN is 4711"})
    thread = (await post(f"/assistants/{assistant}/threads", hers, {}))["thread_id"]
    there = await box.services.conversations.open(ann, thread)
    shared = replace(there, grants=(replace(grant(bob.user, "edit"), shared_by=ann.user),))
    await box.services.conversations.store.apply(
        [conversation_put(shared), member(personal_workspace(ann.user), bob.user)]
    )
    question = {"content": "what is the PIN", "memory": "Auto", "tools": [WEATHER]}
    asked = await post(f"/threads/{thread}/messages", hers, question)
    assert "4711" in str(asked["retrieved_memories"])
    run = asked["run_id"]
    runs = box.services.runs
    outputs = {"tool_outputs": [{"tool_call_id": "c1", "output": "rain"}]}
    for _ in range(2):  # before and after it goes on
        seen = [event async for batch in runs.follow(bob, run, past_pauses=False) for event in batch]
        assert seen
        assert "4711" not in str(seen)
        memories, _ = await runs.grounds(bob, await runs.open(bob, run))
        assert memories is None
        if len(provider.requests) == 1:
            answer = await post(f"/threads/{thread}/runs/{run}/submit-tool-outputs", his, outputs)
            assert "4711" not in str(answer)
    assert "4711" in str([event async for batch in runs.follow(ann, run) for event in batch])
    assert "4711" not in str(provider.requests[1])
    assert not await box.services.conversations.store.count(Query(kind="memory_operation")), "nothing was learned of it"
    # The owner's own outputs go on with them.
    asked = await post(f"/threads/{thread}/messages", hers, question)
    answer = await post(f"/threads/{thread}/runs/{asked['run_id']}/submit-tool-outputs", hers, outputs)
    assert "4711" in str(answer["retrieved_memories"])
    assert "4711" in str(provider.requests[3])


async def test_whoever_hands_in_outputs_pays_for_what_follows() -> None:
    store = SlowStore()
    eve = Identity(user="eve")
    async with node(store, ScriptedProvider([ToolCall("c1", "look", '{"where": "up"}')], ["done"])) as one:
        there = await one.conversations.create(ANN, channel="web")
        grants = (grant("bob", "edit"), grant("eve", "edit"))
        await store.apply([conversation_put(replace(there, workspace="team", grants=grants))])
        await store.apply([member("team", name) for name in ("ann", "bob", "eve")])
        run = await one.say("q", who=BOB, conversation=there.id, tools=[LOOK], takes_tools=True)
        await one.runs.result(BOB, run.id)
        await store.apply([left("team", "bob")])
        await one.turns.answer(eve, there.id, run.id, [("c1", "x")])
        await one.runs.result(eve, run.id)
        assert [u.payer.user for u in await one.booked()] == ["bob", "eve"]
        assert next(m.author for m in await one.conversations.whole(ANN, there.id)) == "bob"


async def imported(imports: Imports, who: Identity, file: Any) -> Any:
    begun = await imports.begin(who, io.BytesIO(orjson.dumps(file)), name="export.json")
    return await imports.ended(who, begun.id, 30)


async def test_an_import_writes_into_nothing_that_was_left(serve: Serve) -> None:
    box = await serve({"providers": {"scripted": {"use": "scripted"}}}, [ScriptedProvider(["hi"])])
    store, services = box.services.conversations.store, box.services
    there = await placed(store, "11111111-1111-4111-8111-111111111111", "hello", owner="bob", workspace="team")
    await store.apply([member("team", "bob")])
    file = await services.exports.portable(BOB, there.id)
    last = file["messages"][-1]
    file["messages"].append({**last, "id": "n", "parent": last["id"], "parts": [{"type": "text", "text": "forged"}]})
    file["conversation"]["leaf"] = "n"
    before = await store.get("conversation", there.id)
    await store.apply([left("team", "bob")])
    done = await imported(services.imports, BOB, file)
    assert (done.imported, done.failed) == (1, 0)
    assert await store.get("conversation", there.id) == before
    assert await store.count(Query(kind="message", where=(("conversation", (there.id,)),))) == 1
    (copy,) = await services.conversations.browse(BOB, limit=10)
    assert [m.text for m in await services.conversations.whole(BOB, copy.id)] == ["hello", "forged"]
    assert (await imported(services.imports, BOB, file)).skipped == 1
    await store.apply([member("team", "bob")])  # back again, it goes on there
    assert (await imported(services.imports, BOB, file)).failed == 0


async def test_what_readers_export_is_without_what_is_the_owners() -> None:
    store = SlowStore()
    async with node(store) as one:
        there = await placed(
            store,
            "c",
            "hello",
            title="Cats",
            tags=("secret-tag",),
            options={"o": "secret-option"},
            metadata={"m": "secret-metadata"},
            settings=ModelSettings(system="secret-system"),
            pinned=True,
            grants=(grant("bob"),),
        )
        await store.apply([member(personal_workspace("ann"), "bob")])
        parts = (Text("see"), File("secret-document", "cat.pdf"))
        new = NewMessage(parent=there.leaf, parts=parts, metadata={"k": "secret-m"}, extra={"x": "secret-extra"})
        await one.services.trees.put(ANN, "c", new)
        own, read = [await one.services.exports.portable(who, "c") for who in (ANN, BOB)]
        assert str(own).count("secret-") == 7
        assert "secret-" not in str(read)
        assert (read["conversation"]["title"], read["conversation"]["pinned"]) == ("Cats", False)
        assert [p["text"] for m in read["messages"] for p in m["parts"]] == ["hello", "see", "[file: cat.pdf]"]
        text = await one.services.exports.markdown(BOB, "c")
        assert "hello" in text
        assert "secret-" not in text


async def test_tags_of_what_was_left_change_with_the_others() -> None:
    """They are the user's own; whoever comes back finds no tag that is in no list."""
    store = SlowStore()
    async with node(store) as one:
        await placed(store, "c", "hello", workspace="team")
        await store.apply([member("team", "ann")])
        await one.services.tags.attach(ANN, "c", ["old", "dead"])
        await store.apply([left("team", "ann")])
        await one.services.tags.update(ANN, "old", name="new")
        await one.services.tags.delete(ANN, "dead")
        await store.apply([member("team", "ann")])
        assert (await one.conversations.open(ANN, "c")).tags == ("new",)
        assert [t.tag for t in await one.services.tags.all(ANN)] == ["new"]


async def test_made_again_it_is_kept_for_longer() -> None:
    store = SlowStore()
    async with node(store, ScriptedProvider(["a"], ["b"]), retention=Retention(conversations=timedelta(days=1))) as one:
        run = await one.say("q")
        await one.runs.result(ANN, run.id)
        first = (await one.conversations.open(ANN, run.conversation)).expires_at
        one.time += timedelta(hours=20)
        again = await one.turns.again(ANN, run.conversation)
        await one.runs.result(ANN, again.id)
        last = (await one.conversations.open(ANN, run.conversation)).expires_at
        assert first is not None
        assert last is not None
        assert last - first >= timedelta(hours=20)


async def test_made_again_while_the_path_goes_on_it_stays_beside_it() -> None:
    store, gate = SlowStore(), asyncio.Event()
    async with node(store, ScriptedProvider(["a1"], ["a2 ", gate], ["a3 ", asyncio.Event()])) as one:
        run = await one.say("q")
        await one.runs.result(ANN, run.id)
        id, trees = run.conversation, one.services.trees
        again = await one.turns.again(ANN, id)
        await trees.put(ANN, id, NewMessage(parent=run.answer, parts=(Text("meanwhile"),)))
        gate.set()
        await one.runs.result(ANN, again.id)
        assert [t for _, t, _ in await one.texts(id)] == ["q", "a1", "meanwhile"]
        assert [(m.text, m.parent == again.input) for m in await trees.whole(ANN, id)][-1] == ("a2 ", True)


async def test_made_again_while_the_old_answer_is_deleted_it_takes_its_place() -> None:
    store, gate = SlowStore(), asyncio.Event()
    async with node(store, ScriptedProvider(["a1"], ["a2", gate])) as one:
        run = await one.say("q")
        await one.runs.result(ANN, run.id)
        again = await one.turns.again(ANN, run.conversation)
        await one.services.trees.remove(ANN, run.conversation, run.answer)
        gate.set()
        await one.runs.result(ANN, again.id)
        assert [t for _, t, _ in await one.texts(run.conversation)] == ["q", "a2"]
