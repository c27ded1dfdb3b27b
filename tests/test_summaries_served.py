"""Summaries on a server: by its configuration, in its storage, until what they are of is deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from backchat.domain.message import Text, Usage
from backchat.ports.providers import UsageReport, grounded_system
from backchat.ports.storage import Query
from backchat.services.usage_records import usage_between
from backchat.testing.conformance.drivers import DRIVERS
from backchat.testing.plugin import Serve
from backchat.testing.server import Box, running
from backchat.testing.storages import Storage
from summaries_made import Model, material_of

CHAT = DRIVERS["chat"]
CONFIG: Mapping[str, Any] = {
    "providers": {"model": {"use": "scripted"}},
    "memory": {"use": "summary", "size": 2, "after": 2, "prompt": "Note it down."},
}
Headers = Mapping[str, str]


async def in_time(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await holds():  # noqa: ASYNC110 - what is waited for may be in the store
            await asyncio.sleep(0.01)


async def settled(box: Box) -> None:
    store = box.services.conversations.store

    async def done() -> bool:
        return await store.count(Query(kind="job")) == 0

    await in_time(done)


async def talked(box: Box, who: Headers, turns: int, conversation: str | None = None) -> str:
    """So many turns; the id of the conversation."""
    for n in range(turns):
        conversation, _ = await CHAT.say(box, who, f"question {n}", conversation)
    assert conversation is not None
    return conversation


async def kept(box: Box) -> list[str]:
    found = await box.services.conversations.store.find(Query(kind="summary", order=("seq",)))
    return [record.doc["text"] for record in found]


async def test_a_long_conversation_is_shown_in_short(serve: Serve) -> None:
    model = Model(["Ann asks about the sea.", UsageReport(Usage(70, 7))], ["notes 2"])
    box = await serve(CONFIG, [model])
    who = await box.key()
    id = await talked(box, who, 3)
    await settled(box)
    (asked,) = model.noter.requests
    assert asked.system.startswith("Note it down.")
    assert material_of(asked)[1] == ["question 0", "It is so.", "question 1", "It is so."]
    await CHAT.stream(box, who, "and now?", id)
    seen = model.requests[-1]
    assert "Ann asks about the sea." in grounded_system(seen)
    assert [p.text for m in seen.messages for p in m.parts if isinstance(p, Text)] == [
        "question 2",
        "It is so.",
        "and now?",
    ]
    assert len(await CHAT.read(box, who, id)) == 8, "people are shown all"
    booked = [u async for u in usage_between(box.services.conversations.store) if u.purpose == "summary"]
    assert [(u.provider, u.usage, u.payer.conversation) for u in booked] == [("model", Usage(70, 7), id)]


async def test_the_next_turn_is_answered_while_it_is_made(serve: Serve) -> None:
    gate = asyncio.Event()
    model = Model([gate, "notes 1"])
    box = await serve(CONFIG, [model])
    who = await box.key()
    id = await talked(box, who, 3)

    async def asked() -> bool:
        return model.noter.open == 1

    await in_time(asked)
    async with asyncio.timeout(20):
        assert (await CHAT.say(box, who, "and now?", id))[1] == "It is so."
        assert (await CHAT.stream(box, who, "and then?", id))[1] == "It is so."
    assert (model.noter.open, model.requests[-1].summary) == (1, "")
    gate.set()
    await settled(box)
    await CHAT.say(box, who, "at last?", id)
    assert model.requests[-1].summary == "notes 1"


async def test_what_is_edited_or_deleted_is_in_no_summary(serve: Serve) -> None:
    model = Model()
    box = await serve(CONFIG, [model])
    who, bob = await box.key(), await box.key("bob")
    id = await talked(box, who, 3)
    other = await talked(box, bob, 3)
    await settled(box)
    assert len(await kept(box)) == 2
    services = box.services
    ann = (await services.accounts.ensure_user("ann")).id
    messages = await services.conversations.store.find(Query(kind="message", where=(("owner", (ann,)),), limit=1))
    async with box.client.delete(f"/api/chat/conversations/{id}", headers=who) as response:
        assert response.status == 200
    assert (len(messages), len(await kept(box))) == (1, 1)
    text = {"text": "changed"}
    first = (await services.conversations.store.find(Query(kind="message", order=("seq",), limit=1)))[0]
    async with box.client.put(f"/api/messages/{other}/{first.id}", json=text, headers=bob) as response:
        assert response.status in (200, 201), await response.text()
    assert await kept(box) == []
    await CHAT.say(box, bob, "and now?", other)
    assert model.requests[-1].summary == ""


async def test_a_server_that_stops_leaves_it_to_the_next_one(tmp_path: Path, storage: Storage) -> None:
    stuck, model = Model(["half of it", asyncio.Event()]), Model()
    async with running(tmp_path, CONFIG, [stuck], storage=storage) as box:
        who = await box.key()
        id = await talked(box, who, 3)

        async def asked() -> bool:
            return stuck.noter.open == 1

        await in_time(asked)
        assert await kept(box) == []
    async with running(tmp_path, CONFIG, [model], storage=storage) as box:
        await settled(box)
        await CHAT.say(box, who, "and now?", id)
        assert model.requests[-1].summary == "notes 1"
        assert len(model.noter.requests) == 1
        purposes = [
            u.estimated async for u in usage_between(box.services.conversations.store) if u.purpose == "summary"
        ]
        assert sorted(purposes) == [True, True]
