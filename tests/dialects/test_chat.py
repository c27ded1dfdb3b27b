"""What is peculiar to the chat dialect: its contract, point by point, at the HTTP face."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from backchat.domain.message import ToolCall
from backchat.domain.run import ReasoningDelta
from backchat.errors import ProviderError, ProviderThrottled, ProviderTimeout
from backchat.ports.providers import Abilities, ImageData
from backchat.testing.plugin import Serve
from backchat.testing.provider import ScriptedProvider
from backchat.testing.server import Box, events, parse_events, running
from backchat.testing.storages import Storage

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(60)).decode()


def scripted(provider: ScriptedProvider, **more: Any) -> tuple[dict[str, Any], list[object]]:
    """Config and plugins of a server that asks this provider."""
    return {"providers": {provider.name: {"use": provider.name}}, **more}, [provider]


async def post(box: Box, path: str, who: Mapping[str, str], json: object, **headers: str) -> Any:
    return await box.client.post(path, json=json, headers={**who, **headers})


async def chat(box: Box, who: Mapping[str, str], text: str, **more: Any) -> dict[str, Any]:
    answer = await post(box, "/api/chat", who, {"text": text, **more})
    assert answer.status == 200, await answer.text()
    found: dict[str, Any] = await answer.json()
    return found


async def detail(answer: Any) -> Any:
    body = await answer.json()
    assert set(body) == {"detail"}
    return body["detail"]


async def test_a_blocking_answer(box: Box) -> None:
    ann = await box.key()
    body = await chat(box, ann, "Hello there")
    assert set(body) == {"reply", "conversation_id", "provider"}
    assert "Hello there" in body["reply"]
    assert body["provider"] == "echo"


@pytest.mark.parametrize(
    ("path", "headers"), [("/api/chat/stream", {}), ("/api/chat", {"Accept": "text/event-stream"})]
)
async def test_a_stream(box: Box, path: str, headers: dict[str, str]) -> None:
    ann = await box.key()
    answer = await post(box, path, ann, {"text": "Hello there"}, **headers)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-cache"
    assert answer.headers["X-Accel-Buffering"] == "no"
    found = await events(answer)
    names = [name for name, _, _ in found]
    assert names[0] == "meta"
    assert names[-1] == "done"
    assert set(names[1:-1]) == {"assistant"}
    assert all(data["type"] == name for name, _, data in found)
    assert [id for _, id, _ in found] == list(range(len(found)))
    meta, done = found[0][2], found[-1][2]
    assert set(meta) == {"type", "conversation_id", "provider", "run_id"}
    assert set(done) == {"type", "reply", "conversation_id", "provider"}
    deltas = [data for name, _, data in found if name == "assistant"]
    assert "".join(d["delta"] for d in deltas) == deltas[-1]["text"] == done["reply"]
    assert "Hello there" in done["reply"]
    assert done["conversation_id"] == meta["conversation_id"]


async def test_a_conversation_goes_on(serve: Serve) -> None:
    provider = ScriptedProvider(["one"], ["two"])
    box = await serve(*scripted(provider))
    ann = await box.key()
    first = await chat(box, ann, "a")
    second = await chat(box, ann, "b", conversation_id=first["conversation_id"])
    assert second["conversation_id"] == first["conversation_id"]
    assert [m.role for m in provider.requests[1].messages] == ["user", "assistant", "user"]
    answer = await box.client.get("/api/chat/messages", params=second | {"reply": ""}, headers=ann)
    body = await answer.json()
    assert [(m["role"], m["content"], m["provider"]) for m in body["messages"]] == [
        ("user", "a", None),
        ("assistant", "one", "scripted"),
        ("user", "b", None),
        ("assistant", "two", "scripted"),
    ]
    assert all(datetime.fromisoformat(m["created_at"]).utcoffset() is not None for m in body["messages"])


@pytest.mark.any_storage
async def test_moods_reach_the_model(serve: Serve) -> None:
    provider = ScriptedProvider(["ok"])
    box = await serve(*scripted(provider))
    ann = await box.key()
    await chat(box, ann, "a")
    await chat(box, ann, "a", mood="serious")
    assert await (await box.client.get("/api/settings/mood", headers=ann)).json() == {"mood": "normal"}
    saved = await box.client.put("/api/settings/mood", json={"mood": "friendly"}, headers=ann)
    assert await saved.json() == {"mood": "friendly"}
    assert await (await box.client.get("/api/settings/mood", headers=ann)).json() == {"mood": "friendly"}
    await chat(box, ann, "a", mood=None)
    systems = [r.system for r in provider.requests]
    assert len(set(systems)) == 3
    assert "professional" in systems[1]
    assert "warm" in systems[2]


@pytest.mark.any_storage
async def test_the_providers_word(serve: Serve) -> None:
    one, two = ScriptedProvider(["one"], name="scripted"), ScriptedProvider(["two"], name="openai-like")
    config = {
        "providers": {"mine": {"use": "scripted"}, "openai": {"use": "openai-like"}},
        "default_provider": "mine",
    }
    box = await serve(config, [one, two])
    ann = await box.key()
    assert (await chat(box, ann, "a"))["provider"] == "mine"
    assert (await chat(box, ann, "a", provider="default"))["provider"] == "mine"
    assert (await chat(box, ann, "a", provider="openai"))["reply"] == "two"
    assert (await chat(box, ann, "a", provider="openai-like"))["provider"] == "openai"
    for word, status in (("groq", 503), ("claude", 503), ("nonsense", 422), ("", 422)):
        answer = await post(box, "/api/chat", ann, {"text": "a", "provider": word})
        assert answer.status == status, word
        said = await detail(answer)
        if status == 422:
            assert said[0]["loc"] == ["body", "provider"]
        else:
            assert "providers:" in said
        assert (await box.client.put("/api/settings/default-ai", json={"provider": word}, headers=ann)).status == status
    await box.client.put("/api/settings/default-ai", json={"provider": "openai"}, headers=ann)
    assert await (await box.client.get("/api/settings/default-ai", headers=ann)).json() == {"provider": "openai"}
    assert (await chat(box, ann, "a"))["reply"] == "two"
    await box.client.put("/api/settings/default-ai", json={"provider": "default"}, headers=ann)
    assert (await chat(box, ann, "a"))["reply"] == "one"


async def test_a_saved_default_that_is_gone(tmp_path: Path, storage: Storage) -> None:
    two = {"providers": {"a": {"use": "echo"}, "b": {"use": "echo"}}, "default_provider": "a"}
    async with running(tmp_path, two, storage=storage) as box:
        ann = await box.key()
        await box.client.put("/api/settings/default-ai", json={"provider": "b"}, headers=ann)
    async with running(tmp_path, {"providers": {"a": {"use": "echo"}}}, storage=storage) as box:
        answer = await post(box, "/api/chat", ann, {"text": "a"})
        assert answer.status == 503
        assert "default" in await detail(answer)
        assert (await post(box, "/api/chat", ann, {"text": "a", "provider": "a"})).status == 200


async def test_images(serve: Serve) -> None:
    seeing = ScriptedProvider(["seen"], name="seeing")
    blind = ScriptedProvider(["blind"], name="blind", abilities=Abilities(vision=False))
    config = {"providers": {"seeing": {"use": "seeing"}, "blind": {"use": "blind"}}}
    box = await serve({**config, "default_provider": "seeing"}, [seeing, blind])
    ann = await box.key()
    body = await chat(box, ann, "look", image_base64=PNG, image_mime="image/png")
    await chat(box, ann, "look", image_base64=PNG)
    await chat(box, ann, "look", image_base64="AAAA")
    images = [p for r in seeing.requests for p in r.messages[-1].parts if isinstance(p, ImageData)]
    assert [(i.mime, base64.b64encode(i.data).decode()) for i in images] == [
        ("image/png", PNG),
        ("image/png", PNG),
        ("image/jpeg", "AAAA"),
    ], "what the bytes say, if they say anything"
    shown = await box.client.get("/api/chat/messages", params={"conversation_id": body["conversation_id"]}, headers=ann)
    assert (await shown.json())["messages"][0]["content"] == "look\n[image: image/png]"
    for bad in (
        {"image_base64": "no base64!"},
        {"image_base64": ""},
        {"image_base64": "data:image/png;base64," + PNG},
        {"image_base64": PNG, "image_mime": "text/html"},
        {"image_base64": PNG, "image_mime": "image/png;base64,x"},
        {"image_base64": PNG, "image_mime": "image/png\n"},
        {"image_base64": PNG, "provider": "blind"},
    ):
        answer = await post(box, "/api/chat", ann, {"text": "look", **bad})
        assert answer.status == 422, bad
        assert PNG not in str(await detail(answer))


async def test_reasoning_status_and_tools_are_shown_and_not_stored(serve: Serve) -> None:
    provider = ScriptedProvider(
        [ReasoningDelta("hm "), ReasoningDelta("ok"), ToolCall("1", "web_search", "{}"), "It is."]
    )
    box = await serve(*scripted(provider))
    ann = await box.key()
    answer = await post(box, "/api/chat/stream", ann, {"text": "a", "web": True})
    found = await events(answer)
    names = [name for name, _, _ in found]
    assert names[:2] == ["meta", "status"]
    assert names.index("reasoning") < names.index("tool_start") < names.index("assistant")
    reasoning = [data for name, _, data in found if name == "reasoning"]
    assert reasoning[-1]["text"] == "".join(r["delta"] for r in reasoning) == "hm ok"
    assert names[names.index("tool_start") - 1] == "status"
    tool = next(data for name, _, data in found if name == "tool_start")
    assert tool == {"type": "tool_start", "name": "web_search", "label": "web search"}
    id = found[0][2]["conversation_id"]
    shown = await (await box.client.get("/api/chat/messages", params={"conversation_id": id}, headers=ann)).json()
    assert [m["content"] for m in shown["messages"]] == ["a", "It is."]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ProviderError("down"), 502, "provider_error"),
        (ProviderThrottled("slow down"), 502, "provider_error"),
        (ProviderTimeout("late"), 504, "timeout"),
        (ValueError("secret"), 500, "provider_error"),
    ],
)
async def test_a_failing_provider(serve: Serve, error: Exception, status: int, code: str) -> None:
    box = await serve(*scripted(ScriptedProvider([error])))
    ann = await box.key()
    answer = await post(box, "/api/chat", ann, {"text": "a"})
    assert answer.status == status
    assert "secret" not in await detail(answer)
    found = await events(await post(box, "/api/chat/stream", ann, {"text": "b"}))
    assert [name for name, _, _ in found] == ["meta", "error"]
    end = found[-1][2]
    assert end["error"].startswith("Error:")
    assert len(end["error"]) <= 300
    assert end["code"] == code
    assert {"conversation_id", "provider"} <= set(end)
    shown = await box.client.get("/api/chat/messages", params={"conversation_id": end["conversation_id"]}, headers=ann)
    assert [m["content"] for m in (await shown.json())["messages"]] == ["b"]


async def test_text_before_a_failure_is_kept(serve: Serve) -> None:
    box = await serve(*scripted(ScriptedProvider(["half ", "way", ProviderError("cut")])))
    ann = await box.key()
    found = await events(await post(box, "/api/chat/stream", ann, {"text": "a"}))
    assert "".join(d["delta"] for n, _, d in found if n == "assistant") == "half way"
    assert found[-1][0] == "error"
    id = found[0][2]["conversation_id"]
    shown = await (await box.client.get("/api/chat/messages", params={"conversation_id": id}, headers=ann)).json()
    assert [(m["content"], m["status"]) for m in shown["messages"]] == [("a", "complete"), ("half way", "failed")]


async def test_reconnecting(serve: Serve) -> None:
    gate = asyncio.Event()
    box = await serve(*scripted(ScriptedProvider(["one ", gate, "two ", gate, "three"])))
    ann = await box.key()
    answer = await post(box, "/api/chat/stream", ann, {"text": "a"})
    head = b""
    while b"one " not in head:
        head += await answer.content.readany()
    answer.close()
    run = head.split(b'"run_id":"')[1].split(b'"')[0].decode()
    rest = asyncio.ensure_future(box.client.get(f"/api/chat/stream/{run}", headers={**ann, "Last-Event-ID": "1"}))
    gate.set()
    missing = await events(await rest)
    assert missing[0][:2] == ("assistant", 2)
    whole = await events(await box.client.get(f"/api/chat/stream/{run}", headers=ann))
    assert whole[0][0] == "meta"
    assert [id for _, id, _ in whole] == list(range(len(whole)))
    assert whole[2:] == missing
    again = await events(await box.client.get(f"/api/chat/stream/{run}?after=2", headers={**ann, "Last-Event-ID": "0"}))
    assert again == whole[3:]
    for bad in ({"after": "x"}, {"after": "-1"}):
        assert (await box.client.get(f"/api/chat/stream/{run}", params=bad, headers=ann)).status == 422
    assert (await box.client.get(f"/api/chat/stream/{run}", headers={**ann, "Last-Event-ID": "x"})).status == 422
    assert (await box.client.get("/api/chat/stream/none", headers=ann)).status == 404


async def test_a_client_that_leaves_stops_nothing(serve: Serve) -> None:
    gate = asyncio.Event()
    box = await serve(*scripted(ScriptedProvider(["one ", gate, "two"])))
    ann = await box.key()
    answer = await post(box, "/api/chat/stream", ann, {"text": "a"})
    head = await answer.content.readany()
    id = head.split(b'"conversation_id":"')[1].split(b'"')[0].decode()
    answer.close()
    gate.set()
    waits = await post(box, "/api/chat", ann, {"text": "b", "conversation_id": id})  # waits for the reply before it
    assert waits.status == 200
    shown = await (await box.client.get("/api/chat/messages", params={"conversation_id": id}, headers=ann)).json()
    assert [m["content"] for m in shown["messages"]][:2] == ["a", "one two"]


async def test_cancel(serve: Serve) -> None:
    box = await serve(*scripted(ScriptedProvider(["one ", asyncio.Event()])))
    ann = await box.key()
    answer = await post(box, "/api/chat/stream", ann, {"text": "a"})
    head = b""
    while b"one " not in head:
        head += await answer.content.readany()
    run = head.split(b'"run_id":"')[1].split(b'"')[0].decode()
    for _ in range(2):
        stopped = await post(box, f"/api/chat/stream/{run}/cancel", ann, None)
        assert await stopped.json() == {"ok": True, "run_id": run, "status": "cancelled"}
    tail = await answer.read()
    assert b"event: error" in tail
    assert b'"code":"cancelled"' in tail


async def test_idempotency_keys(serve: Serve) -> None:
    provider = ScriptedProvider(["one"], ["two"])
    box = await serve(*scripted(provider))
    ann, bob = await box.key(), await box.key("bob")
    key = {"Idempotency-Key": "k-1"}
    answers = [await (await post(box, "/api/chat", ann, {"text": "a"}, **key)).json() for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    streamed = await events(await post(box, "/api/chat/stream", ann, {"text": "a"}, **key))
    assert streamed[-1][2]["reply"] == "one"
    assert len(provider.requests) == 1
    other = await post(box, "/api/chat", ann, {"text": "b"}, **key)
    assert other.status == 409
    assert "Idempotency-Key" in await detail(other)
    assert (await (await post(box, "/api/chat", bob, {"text": "a"}, **key)).json())["reply"] == "two"
    assert (await post(box, "/api/chat", ann, {"text": "a"}, **{"Idempotency-Key": "x" * 256})).status == 422


async def test_listing(box: Box) -> None:
    ann, bob = await box.key(), await box.key("bob")
    assert await (await box.client.get("/api/chat/conversations", headers=ann)).json() == {"conversations": []}
    ids = [(await chat(box, ann, f"Question number {n} " + "x" * 100))["conversation_id"] for n in range(3)]
    await chat(box, bob, "mine")
    await chat(box, ann, "again", conversation_id=ids[0])
    body = await (await box.client.get("/api/chat/conversations", headers=ann)).json()
    rows = body["conversations"]
    assert [r["id"] for r in rows] == [ids[0], ids[2], ids[1]]
    row = rows[0]
    assert set(row) == {
        "id",
        "title",
        "created_at",
        "last_active",
        "message_count",
        "approx_tokens",
        "folder_id",
        "channel",
    }
    assert row["title"].startswith("Question number 0")
    assert len(row["title"]) == 80
    assert row["title"].endswith("…")
    assert row["message_count"] == 4
    shown = await box.client.get("/api/chat/messages", params={"conversation_id": ids[0]}, headers=ann)
    characters = sum(len(m["content"]) for m in (await shown.json())["messages"])
    assert row["approx_tokens"] == characters // 4
    assert (row["folder_id"], row["channel"]) == (None, "web")
    assert row["created_at"] < row["last_active"]
    for query, count in (("limit=2", 2), ("channel=web", 3), ("channel=telegram", 0), ("channel=", 0)):
        answer = await box.client.get(f"/api/chat/conversations?{query}", headers=ann)
        assert len((await answer.json())["conversations"]) == count
    for query in ("limit=0", "limit=101", "limit=x", "limit=1.5"):
        answer = await box.client.get(f"/api/chat/conversations?{query}", headers=ann)
        assert answer.status == 422
        assert (await detail(answer))[0]["loc"] == ["query", "limit"]


async def test_the_newest_messages_oldest_first(box: Box) -> None:
    ann = await box.key()
    id = (await chat(box, ann, "0"))["conversation_id"]
    for n in range(1, 4):
        await chat(box, ann, str(n), conversation_id=id)
    answer = await box.client.get("/api/chat/messages", params={"conversation_id": id, "limit": 3}, headers=ann)
    assert [m["role"] for m in (await answer.json())["messages"]] == ["assistant", "user", "assistant"]
    for query, status in (({}, 422), ({"conversation_id": id, "limit": "0"}, 422), ({"conversation_id": "no"}, 404)):
        assert (await box.client.get("/api/chat/messages", params=query, headers=ann)).status == status


async def test_deleting(box: Box) -> None:
    ann, bob = await box.key(), await box.key("bob")
    id = (await chat(box, ann, "a"))["conversation_id"]
    foreign = await box.client.delete(f"/api/chat/conversations/{id}", headers=bob)
    assert foreign.status == 403
    assert await detail(foreign) == "Conversation does not belong to this user"
    gone = await box.client.delete(f"/api/chat/conversations/{id}", headers=ann)
    assert await gone.json() == {"ok": True}
    assert (await box.client.delete(f"/api/chat/conversations/{id}", headers=ann)).status == 404
    assert (await post(box, "/api/chat", ann, {"text": "a", "conversation_id": id})).status == 404


async def test_truncating(box: Box) -> None:
    ann = await box.key()
    id = (await chat(box, ann, "a"))["conversation_id"]
    await chat(box, ann, "b", conversation_id=id)
    path = f"/api/chat/conversations/{id}/truncate"
    for bad in ({}, {"keep_count": -1}, {"keep_count": "1"}, {"keep_count": None}, {"keep_count": 1.5}):
        assert (await post(box, path, ann, bad)).status == 422, bad
    for keep, kept, deleted in ((9, 4, 0), (3, 3, 1), (0, 0, 3)):
        answer = await post(box, path, ann, {"keep_count": keep})
        assert await answer.json() == {"ok": True, "conversation_id": id, "keep_count": kept, "deleted": deleted}
    assert await (await box.client.get("/api/chat/conversations", headers=ann)).json() == {"conversations": []}
    shown = await box.client.get("/api/chat/messages", params={"conversation_id": id}, headers=ann)
    assert (await shown.json())["messages"] == []
    assert (await chat(box, ann, "c", conversation_id=id))["conversation_id"] == id


@pytest.mark.any_storage
async def test_bad_input_and_its_order(box: Box) -> None:
    ann, bob = await box.key(), await box.key("bob")
    theirs = (await chat(box, bob, "a"))["conversation_id"]
    missing = await post(box, "/api/chat", {}, {"text": 1})
    assert missing.status == 401
    assert missing.headers["WWW-Authenticate"] == "Bearer"
    assert await detail(missing) == "Authentication required"
    bad = await post(box, "/api/chat", {"Authorization": "Bearer bsk_no_no"}, {"text": "a"})
    assert bad.status == 401
    assert await detail(bad) == "Invalid or expired token"
    first = await post(box, "/api/chat", ann, {"conversation_id": theirs})
    assert first.status == 422
    assert await detail(first) == [
        {"loc": ["body", "text"], "msg": "Missing data for required field.", "type": "missing"}
    ]
    assert (await post(box, "/api/chat", ann, {"text": "a", "conversation_id": theirs})).status == 403
    bodies: list[object] = [
        {"text": " \n"},
        {"text": 1},
        {"text": "a", "mood": "angry"},
        {"text": "a", "web": "x"},
        [],
        "a",
    ]
    for body in bodies:
        assert (await post(box, "/api/chat", ann, body)).status == 422, body
    for raw in (b"{", b"", b"\xff", b'{"text": NaN}', b'{"text": "\\ud800"}', b"[" * 2000):
        answer = await box.client.post("/api/chat", data=raw, headers=ann)
        assert answer.status == 400, raw
    extra = {"text": "a", "channel": 1, "agent_id": [], "user_id": "bob", "conversation_id": None}
    assert (await post(box, "/api/chat", ann, extra)).status == 200


@pytest.mark.any_storage
async def test_a_key_in_the_query_or_the_other_header(box: Box) -> None:
    token = (await box.key())["Authorization"].removeprefix("Bearer ")
    assert (await box.client.get("/api/chat/conversations", params={"token": token})).status == 200
    assert (await box.client.get("/api/chat/conversations", headers={"X-API-Key": token})).status == 200
    assert (await box.client.get("/api/chat/conversations", headers={"Authorization": f"JWT {token}"})).status == 200
    proxy = {"Authorization": "Basic eDp5"}
    assert (await box.client.get("/api/chat/conversations", headers=proxy)).status == 401
    assert (await box.client.get("/api/chat/conversations", headers={**proxy, "X-API-Key": token})).status == 200


async def test_a_key_of_another_scope(box: Box) -> None:
    assert (await box.client.get("/api/chat/conversations", headers=await box.key(scopes=["chat"]))).status == 200
    refused = await box.client.get("/api/chat/conversations", headers=await box.key(scopes=["vault"]))
    assert refused.status == 403
    assert "vault" in await detail(refused)


@pytest.mark.any_storage
async def test_a_body_that_is_not_what_its_headers_say(box: Box) -> None:
    headers = {**await box.key(), "Content-Encoding": "gzip"}
    answer = await box.client.post("/api/chat", data=b"no gzip", headers=headers)
    assert answer.status == 400
    assert "detail" in await answer.json()


@pytest.mark.any_storage
async def test_a_body_over_the_limit(serve: Serve) -> None:
    box = await serve({"server": {"body_limit": 1000}})
    ann = await box.key()

    async def chunks() -> Any:
        for _ in range(100):
            yield b"x" * 100

    assert (await post(box, "/api/chat", ann, {"text": "x" * 1000})).status == 413
    assert (await box.client.post("/api/chat", data=chunks(), headers=ann)).status == 413
    assert (await post(box, "/api/chat", ann, {"text": "x" * 900})).status == 200


HOSTILE = "a\u2028b\u2029c\u0085d\re\nf\r\ng\x00h \U0001f469\u200d\U0001f680 \u00e9 data: x\n\nevent: done\n"


async def test_every_character_arrives(serve: Serve) -> None:
    box = await serve(*scripted(ScriptedProvider(list(HOSTILE))))
    ann = await box.key()
    answer = await post(box, "/api/chat/stream", ann, {"text": HOSTILE})
    raw = await answer.read()
    for separator in ("\u2028", "\u2029", "\u0085"):
        assert separator.encode() not in raw
    found = parse_events(raw)
    assert "".join(d["delta"] for n, _, d in found if n == "assistant") == found[-1][2]["reply"] == HOSTILE
    id = found[0][2]["conversation_id"]
    shown = await (await box.client.get("/api/chat/messages", params={"conversation_id": id}, headers=ann)).json()
    assert [m["content"] for m in shown["messages"]] == [HOSTILE, HOSTILE]


async def test_the_whole_text_rides_along_only_while_it_is_short(serve: Serve) -> None:
    gate = asyncio.Event()
    box = await serve(*scripted(ScriptedProvider(["x" * 1500, gate, "y" * 1500])))
    ann = await box.key()
    answer = await post(box, "/api/chat/stream", ann, {"text": "a"})
    head = b""
    while b"event: assistant" not in head:
        head += await answer.content.readany()
    gate.set()
    found = parse_events(head + await answer.read())
    assert ["text" in data for name, _, data in found if name == "assistant"] == [True, False]
    assert len(found[-1][2]["reply"]) == 3000
