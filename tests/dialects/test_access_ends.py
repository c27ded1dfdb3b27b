"""What a client is shown whose access ends while it reads a stream."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from aiohttp import FormData
from structlog.testing import capture_logs

from backchat.domain.identity import Identity
from backchat.domain.workspace import personal_workspace
from backchat.services.stored import conversation_put
from backchat.testing.plugin import Serve
from backchat.testing.provider import ScriptedProvider
from backchat.testing.server import Box, parse_events
from rights_made import grant, left, member
from threads_box import scripted


async def shared(box: Box) -> tuple[Identity, Identity, str]:
    """A conversation of ann's that bob may write in."""
    ann, bob = [Identity(user=(await box.services.accounts.ensure_user(name)).id) for name in ("ann", "bob")]
    made = await box.services.conversations.create(ann, channel="web")
    given = replace(grant(bob.user, "edit"), shared_by=ann.user)
    home = personal_workspace(ann.user)
    store = box.services.conversations.store
    await store.apply([conversation_put(replace(made, grants=(given,))), member(home, bob.user)])
    return ann, bob, made.id


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize("dialect", ["chat", "threads"])
async def test_a_stream_ends_with_an_error(serve: Serve, dialect: str, silent: bool) -> None:
    gate = asyncio.Event()
    box = await serve(*scripted(ScriptedProvider(["one ", gate, "two"])))
    ann, bob, id = await shared(box)
    store, bobs = box.services.conversations.store, await box.key("bob")
    path, body = {
        "chat": ("/api/chat/stream", {"text": "hi", "conversation_id": id}),
        "threads": (f"/api/threads/{id}/messages", {"content": "hi", "stream": True}),
    }[dialect]
    answer = await box.client.post(path, json=body, headers=bobs)
    assert answer.status == 200
    seen = b""
    while b"one " not in seen:
        seen += await answer.content.readany()
    with capture_logs() as logs:
        await store.apply([left(personal_workspace(ann.user), bob.user)])
        if not silent:
            gate.set()
        async with asyncio.timeout(10):
            seen += await answer.content.read()
    assert b"two" not in seen
    name, number, last = parse_events(seen)[-1]
    told = {"chat": ("error", "Error: conversation not found"), "threads": ("run_failed", "conversation not found")}
    assert (name, last["error"]) == told[dialect]
    assert (number, last["type"], last["code"]) == (None, name, last["code"])
    assert [e["event"] for e in logs if e.get("source") == "backchat.web.sse"] == ["stream.access_ended"]
    assert not [e for e in logs if e["event"] in ("stream.broken", "request.crashed") or "exc_info" in e]
    run = next(data["run_id"] for _, _, data in parse_events(seen) if "run_id" in data)
    gate.set()
    ended, said = await box.services.runs.result(ann, run)
    assert said is not None
    assert (ended.status, said.text) == ("completed", "one two")
    assert (await box.client.get(f"/api/chat/stream/{run}", headers=bobs)).status in (403, 404)


@pytest.mark.parametrize("assistant", [False, True])
async def test_who_a_thread_is_shared_with_reads_and_writes_and_attaches_nothing(serve: Serve, assistant: bool) -> None:
    box = await serve(*scripted(ScriptedProvider(["ok"], ["ok"])))
    ann, _, id = await shared(box)
    if assistant:
        helper = await box.services.assistants.create(ann, name="Helper")
        await box.services.conversations.adopt(ann, id, helper.id)
    anns, bobs = await box.key("ann"), await box.key("bob")
    form = FormData({"content": "look"})
    form.add_field("files", b"words", filename="a.txt")
    for body in ({"data": form}, {"json": {"content": "hi", "assistant_id": "none"}}):
        refused = await box.client.post(f"/api/threads/{id}/messages", headers=bobs, **body)
        assert 400 <= refused.status < 500
    for path in (f"/api/threads/{id}/documents",):
        assert (await box.client.get(path, headers=bobs)).status == 403
    answer = await box.client.post(f"/api/threads/{id}/messages", json={"content": "hi"}, headers=bobs)
    assert (await answer.json())["content"] == "ok"
    shown = [await (await box.client.get(f"/api/threads/{id}", headers=who)).json() for who in (anns, bobs)]
    assert shown[0] == shown[1]
    assert [m["content"] for m in shown[0]["messages"]] == ["hi", "ok"]
    assert (await box.client.delete(f"/api/threads/{id}", headers=bobs)).status == 403
    assert (await box.services.conversations.open(ann, id)).assistant == (helper.id if assistant else None)
