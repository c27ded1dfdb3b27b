"""Answers that begin before it is known what they say: signs of life, late refusals, clients that leave meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import orjson
import pytest
from aiohttp import FormData

from backchat.domain.identity import Identity
from backchat.errors import ProviderError
from backchat.ports.storage import Query
from backchat.testing.plugin import Serve
from backchat.testing.provider import ScriptedProvider
from backchat.testing.server import Box, parse_events
from backchat.web.keys import OPENINGS, STREAMS
from backchat.web.patience import Patience
from threads_box import THREADS, ask, models, scripted


async def test_a_slow_answer_gives_signs_of_life(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backchat_dialect_threads.answering.PATIENCE", Patience(after=0.0, every=0.01))
    gate = asyncio.Event()
    box = await serve(*scripted(ScriptedProvider([gate, "done"], [gate, ProviderError("too bad")])))
    ann = await box.key()
    for wanted in ("COMPLETED", "FAILED"):
        gate.clear()
        async with asyncio.timeout(10):
            answer = await box.client.post("/api/threads/messages", json={"content": "a"}, headers=ann)
        assert answer.status == 200
        async with asyncio.timeout(10):
            assert await answer.content.readexactly(2) == b"  "
        gate.set()
        body = orjson.loads(await answer.read())
        assert body["status"] == wanted
        if wanted == "FAILED":
            assert (body["message"], body["content"]) == ("too bad", None)
            assert body["run_id"]


async def begin(box: Box, who: Mapping[str, str], path: str = "/threads/messages", **body: Any) -> Any:
    """An answer whose status is out, though there is nothing to show yet."""
    async with asyncio.timeout(10):
        answer = await box.client.post(f"/api{path}", json=body, headers=who)
        assert answer.status == 200
        sign = b": ping\n\n" if body.get("stream") else b" "
        assert await answer.content.readexactly(len(sign)) == sign
    return answer


@pytest.mark.parametrize("streams", [False, True])
async def test_signs_of_life_before_there_is_a_run(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, *, streams: bool
) -> None:
    gate = asyncio.Event()
    box = await serve(*scripted(ScriptedProvider(["one ", gate], ["two"])))
    ann = await box.key()
    first = await box.client.post("/api/threads/messages", json={"content": "a", "stream": True}, headers=ann)
    thread = orjson.loads((await first.content.readuntil(b"\n\n")).partition(b"data: ")[2])["thread_id"]
    monkeypatch.setattr("backchat_dialect_threads.answering.PATIENCE", Patience(after=0.0))
    second = await begin(box, ann, content="b", thread_id=thread, stream=streams)
    queues = box.services.turns._queues
    while True:  # its headers are out before it stands in the line
        if thread in queues and queues[thread].locked():
            break
        await asyncio.sleep(0)
    noted = await begin(box, ann, content="c", thread_id=thread, stream=streams, send_to_llm="false")
    (stored,) = (await box.services.conversations.store.find(Query(kind="run")))[:2]
    gate.set()
    assert stored.doc["conversation"] == thread, "nothing but the first has begun"
    said, kept = await second.read(), await noted.read()
    if streams:
        kinds = [name for name, _, _ in parse_events(said)]
        assert kinds == ["run_started", "content_streaming", "message_complete", "run_ended"]
        assert [name for name, _, _ in parse_events(kept)] == ["message_complete", "run_ended"]
    else:
        assert orjson.loads(said)["content"] == "two"
        assert (orjson.loads(kept)["content"], orjson.loads(kept)["role"]) == ("c", "user")
    _, whole = await ask(box, "GET", f"/threads/{thread}", ann)
    assert [m["content"] for m in whole["messages"]] == ["a", "one ", "b", "two", "c"]


@pytest.mark.parametrize("streams", [False, True])
async def test_a_client_that_leaves_before_there_is_a_run(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, *, streams: bool
) -> None:
    gate = asyncio.Event()
    box = await serve(*scripted(ScriptedProvider(["one ", gate], ["two"])))
    ann = await box.key()
    first = await box.client.post("/api/threads/messages", json={"content": "a", "stream": True}, headers=ann)
    thread = orjson.loads((await first.content.readuntil(b"\n\n")).partition(b"data: ")[2])["thread_id"]
    monkeypatch.setattr("backchat_dialect_threads.answering.PATIENCE", Patience(after=0.0, every=0.001))
    app = box.client.app
    assert app is not None
    others = set(app[STREAMS])
    second = await begin(box, ann, content="b", thread_id=thread, stream=streams)
    (handler,), (opening,) = app[STREAMS] - others, app[OPENINGS]
    second.close()
    if streams:  # which would notice with its next ping only
        handler.cancel()
    await asyncio.wait([handler])
    assert not opening.done()
    gate.set()
    await asyncio.wait([opening])
    begun = opening.result()
    user = await box.services.accounts.ensure_user("ann")
    await box.services.runs.result(Identity(user=user.id), begun.run if streams else begun.run.id)
    _, whole = await ask(box, "GET", f"/threads/{thread}", ann)
    assert [m["content"] for m in whole["messages"]] == ["a", "one ", "b", "two"]
    first.close()


async def test_a_late_refusal_has_the_shape_of_an_answer(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    box = await serve(*scripted(ScriptedProvider(["ok"])))
    ann = await box.key()
    _, good = await ask(box, "POST", "/threads/messages", ann, json={"content": "a"})
    monkeypatch.setattr("backchat_dialect_threads.answering.PATIENCE", Patience(after=0.0))
    nowhere = str(uuid4())
    outputs = {"thread_id": nowhere, "tool_outputs": []}
    for path, body, ids in (
        ("/threads/messages", {"content": "a", "thread_id": nowhere}, [nowhere, None, None]),
        ("/threads/messages", {"content": "a", "assistant_id": nowhere}, [None, nowhere, None]),
        (f"/threads/{nowhere}/messages", {"content": "a"}, [nowhere, None, None]),
        ("/threads/tool-outputs", outputs, [nowhere, None, None]),
        (f"/threads/{nowhere}/runs/some/submit-tool-outputs", outputs, [nowhere, None, "some"]),
    ):
        answer = await begin(box, ann, path, **body)
        said = orjson.loads(await answer.read())
        assert [said[name] for name in ("thread_id", "assistant_id", "run_id")] == ids
        assert (said["status"], said["content"]) == ("FAILED", None)
        assert said["message"].endswith("not found")
        assert set(good) - {"context_usage"} == set(said)
        models.ToolOutputsResponse.model_validate({**said, "run_id": "x", "thread_id": nowhere})
        if "runs" not in path:
            answer = await begin(box, ann, path, **body, stream=True)
            ((name, _, event),) = parse_events(await answer.read())
            assert (name, event["code"], event["error"][-9:]) == ("run_failed", "not_found", "not found")
            assert [event[name] for name in ("thread_id", "assistant_id", "run_id")] == ids


async def test_documents_that_take_too_long_are_told_of_late(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backchat_dialect_threads.answering.PATIENCE", Patience(after=0.0))
    box = await serve({**THREADS, "documents": {"wait": 0.001}})  # less than a process takes to start
    data = FormData({"content": "When?"}, default_to_multipart=True)
    data.add_field("files", b"# At nine", filename="a.md")
    status, said = await ask(box, "POST", "/threads/messages", await box.key(), data=data)
    assert (status, said["status"]) == (200, "FAILED")
    assert "still being read: a.md" in said["message"]
