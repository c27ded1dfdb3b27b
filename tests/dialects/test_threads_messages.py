"""Messages in one piece: the three encodings, every field, and what is refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from aiohttp import FormData

from backchat.domain.message import Usage
from backchat.domain.run import ReasoningDelta
from backchat.errors import (
    ProviderCredentials,
    ProviderError,
    ProviderRejected,
    ProviderThrottled,
    ProviderTimeout,
)
from backchat.ports.providers import Abilities, ImageData, ModelRequest, UsageReport
from backchat.testing.plugin import Serve
from backchat.testing.provider import ScriptedProvider
from backchat.testing.server import Box, events
from threads_box import THREADS, WEATHER, ask, drain, exceptions, literal, scripted, sdk, types

PNG = b"\x89PNG\r\n\x1a\n" + bytes(60)
TEXTS = ["Grüße, 世界 🌊", "a\u2028b\u2029c\u0085d", "&=+%20 \x00 \r\n\t<b>", "x" * 300_000]


def form(fields: Mapping[str, Any]) -> dict[str, str]:
    """As the SDK puts them: text stays, everything else becomes JSON."""
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in fields.items()}


async def say(box: Box, who: Mapping[str, str], how: str, fields: Mapping[str, Any], path: str = "") -> Any:
    """Status and answer of a message in one of the three encodings."""
    path = path or "/threads/messages"
    if how == "json":
        return await ask(box, "POST", path, who, json=fields)
    if how == "form":
        headers = {**who, "Content-Type": "application/x-www-form-urlencoded"}
        return await ask(box, "POST", path, headers, data=urlencode(form(fields)))
    data = FormData(default_to_multipart=True)
    for name, value in form(fields).items():
        data.add_field(name, value)
    return await ask(box, "POST", path, who, data=data)


every_encoding = pytest.mark.parametrize("how", ["json", "form", "multipart"])


@every_encoding
async def test_what_is_asked_for_reaches_the_model(serve: Serve, how: str) -> None:
    provider = ScriptedProvider([ReasoningDelta("hm"), "said"])
    box = await serve(*scripted(provider))
    fields = {
        "content": "Hello",
        "system_prompt": "Be brief.",
        "llm_provider": "Scripted",
        "model_name": "other-model",
        "tools": [WEATHER],
        "thinking": {"effort": "high"},
        "openrouter": {"sort": "price"},
        "json_output": True,
        "memory": "rEADONLY",
        "memory_response_citation": False,
        "web_search": "Auto",
        "metadata": {"custom_timestamp": "2026-01-17T00:16:04.450Z", "a": [1, {"b": None}]},
        "send_to_llm": "true",
        "stream": False,
        "voice": {},
        "image_generation": "off",
    }
    status, body = await say(box, await box.key(), how, fields)
    assert status == 200, body
    (request,) = provider.requests
    assert (request.system, request.model, request.reasoning) == ("Be brief.", "other-model", "high")
    assert not request.json_output, "as there are tools"
    assert request.sampling.parameters == {"openrouter": {"sort": "price"}}
    assert [t.name for t in request.tools] == ["get_current_weather"]
    assert (body["content"], body["status"], body["reasoning"]) == ("said", "COMPLETED", "hm")
    assert (body["model_provider"], body["model_name"]) == ("scripted", "other-model")
    assert body["retrieved_memories"] == []
    assert body["memory_operation_id"] is None
    _, thread = await ask(box, "GET", f"/threads/{body['thread_id']}", await box.key())
    assert thread["messages"][0]["metadata_"] == fields["metadata"]
    assert [m["role"] for m in thread["messages"]] == ["user", "assistant"]
    _, assistant = await ask(box, "GET", f"/assistants/{body['assistant_id']}", await box.key())
    assert (assistant["system_prompt"], assistant["tools"]) == (None, None), "for this turn only"


@every_encoding
@pytest.mark.parametrize("text", TEXTS, ids=["unicode", "line ends", "separators", "long"])
async def test_text_comes_back_as_it_went(serve: Serve, how: str, text: str) -> None:
    provider = ScriptedProvider(["ok ", text])
    box = await serve(*scripted(provider))
    ann = await box.key()
    status, body = await say(box, ann, how, {"content": text})
    assert status == 200
    assert body["content"] == "ok " + text
    _, thread = await ask(box, "GET", f"/threads/{body['thread_id']}", ann)
    assert [m["content"] for m in thread["messages"]] == [text, "ok " + text]


@every_encoding
async def test_a_message_that_is_only_kept(serve: Serve, how: str) -> None:
    provider = ScriptedProvider(["ok"])
    box = await serve(*scripted(provider))
    ann = await box.key()
    status, kept = await say(box, ann, how, {"content": "Remember", "send_to_llm": "false", "metadata": {"a": 1}})
    assert status == 200
    assert (kept["role"], kept["status"], kept["content"]) == ("user", "COMPLETED", "Remember")
    assert provider.requests == []
    status, _ = await say(box, ann, how, {"content": "And?", "thread_id": kept["thread_id"], "send_to_llm": ""})
    assert status == 200
    _, thread = await ask(box, "GET", f"/threads/{kept['thread_id']}", ann)
    assert [(m["role"], m["content"]) for m in thread["messages"]] == [
        ("user", "Remember"),
        ("user", "And?"),
        ("assistant", "ok"),
    ]
    assert thread["messages"][0]["message_id"] == kept["message_id"]
    assert thread["messages"][0]["metadata_"] == {"a": 1}


async def test_a_message_that_is_only_kept_as_a_stream(serve: Serve) -> None:
    box = await serve(*scripted(ScriptedProvider()))
    async with sdk(box) as client:
        events = await drain(client.send_message("Remember", send_to_llm="false", stream=True))
        assert types(events) == ["message_complete", "run_ended"]
        thread = await client.get_thread(events[0]["thread_id"])
        assert [str(m.message_id) for m in thread.messages] == [events[0]["message_id"]]


@pytest.mark.parametrize("thinking", [{}, {"effort": "LOW"}, {"budget_tokens": 500}, {"max_tokens": 9000}, None])
async def test_thinking(serve: Serve, thinking: dict[str, Any] | None) -> None:
    provider = ScriptedProvider([ReasoningDelta("h"), ReasoningDelta("m"), "ok"], ["ok"])
    box = await serve(*scripted(provider))
    async with sdk(box) as client:
        thread = await client.create_thread((await client.create_assistant(name="a")).assistant_id)
        # With openrouter the SDK sends ``thinking: null``.
        said = await client.add_message(thread.thread_id, "Why?", thinking=thinking, openrouter={})
        wanted = {"{}": "medium", "{'effort': 'LOW'}": "low", "{'budget_tokens': 500}": "low"}
        effort = None if thinking is None else wanted.get(str(thinking), "high")
        assert provider.requests[0].reasoning == effort
        assert "reasoning" in said.messages[-1]
        assert said.reasoning == (None if thinking is None else "hm")
        assert (await client.add_message(thread.thread_id, "Why?", thinking={})).reasoning is None


async def test_thinking_that_is_not_to_be_seen(serve: Serve) -> None:
    box = await serve(*scripted(ScriptedProvider([ReasoningDelta("hm"), "ok"])))
    async with sdk(box) as client:
        said = await client.send_message("Why?", thinking={"exclude_reasoning": True})
        assert (said.content, said.reasoning) == ("ok", None)
        events = await drain(client.send_message("Why?", thinking={"exclude_reasoning": True}, stream=True))
        assert "reasoning_streaming" not in types(events)


async def test_an_assistants_settings_and_a_turns(serve: Serve) -> None:
    provider = ScriptedProvider(["ok"])
    box = await serve(*scripted(provider))
    async with sdk(box) as client:
        made = await client.create_assistant(name="a", system_prompt="Theirs.", tools=[WEATHER])
        first = await client.send_message("a", assistant_id=made.assistant_id)
        more: dict[str, Any]
        for more in ({}, {"tools": [], "system_prompt": ""}, {"tools": []}, {"system_prompt": "Mine."}):
            await client.send_message("b", thread_id=first.thread_id, **more)
        seen = [(r.system, len(r.tools)) for r in provider.requests]
        assert seen == [("Theirs.", 1), ("Theirs.", 1), ("", 0), ("Theirs.", 0), ("Mine.", 1)]
        assert (await client.get_assistant(made.assistant_id)).system_prompt == "Theirs."


async def test_context_usage(serve: Serve) -> None:
    provider = ScriptedProvider(["ok", UsageReport(Usage(1000, 24))], model="gpt-4o")
    box = await serve(*scripted(provider))
    async with sdk(box) as client:
        usage = (await client.send_message("Hello")).context_usage
        assert (usage.used_tokens, usage.context_limit, usage.model) == (1024, 128_000, "gpt-4o")
        assert usage.percent == 0.8
        unknown = await client.send_message("Hello", model_name="nobody-knows-this-one")
        assert unknown.context_usage is None
        assert unknown.messages[-1]["total_tokens"] == 1024


async def test_both_paths_and_who_answers(serve: Serve) -> None:
    box = await serve(*scripted(ScriptedProvider(["ok"])))
    ann = await box.key()
    _, one = await ask(box, "POST", "/assistants", ann, json={"name": "one"})
    _, two = await ask(box, "POST", "/assistants", ann, json={"name": "two"})
    _, thread = await ask(box, "POST", f"/assistants/{one['assistant_id']}/threads", ann, json={})
    id = thread["thread_id"]
    for how in ("json", "form", "multipart"):
        status, body = await say(box, ann, how, {"content": "a"}, f"/threads/{id}/messages")
        assert (status, body["thread_id"], body["assistant_id"]) == (200, id, one["assistant_id"])
    status, body = await say(box, ann, "json", {"content": "a", "thread_id": "other"}, f"/threads/{id}/messages")
    assert (status, body["detail"]) == (400, "thread_id: is another thread than that of the path")
    body = {"content": "a", "thread_id": id, "assistant_id": two["assistant_id"]}
    status, body = await say(box, ann, "json", body)
    assert (status, body["detail"]) == (400, "assistant_id: the thread belongs to another assistant")
    for missing in ({"thread_id": "nowhere"}, {"assistant_id": "nobody"}):
        status, body = await say(box, ann, "json", {"content": "a", **missing})
        assert status == 404
        assert body["detail"].endswith("not found")


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "content: a message needs content or files"),
    ({"content": ""}, "content: a message needs content or files"),
    ({"content": " \n"}, "content: a message needs content or files"),
    ({"content": "a", "llm_provider": "nobody"}, "llm_provider: no provider 'nobody' is configured here"),
    ({"content": "a", "memory": "sometimes"}, "memory: must be one of: auto, on, readonly, off"),
    ({"content": "a", "memory": "off", "memory_pro": "Auto"}, "memory_pro: memory and memory_pro cannot be used"),
    ({"content": "a", "web_search": "perhaps"}, "web_search: must be one of"),
    ({"content": "a", "image_generation": "auto"}, "image_generation: this server has no image generation"),
    ({"content": "a", "video_generation": "auto"}, "video_generation: this server has no video generation"),
    ({"content": "a", "operation": "generate_image"}, "operation: this server has no 'generate_image'"),
    ({"content": "a", "voice": {"tts": {"provider": "x"}}}, "voice: this server has no voice"),
    ({"content": "a", "system_one": {"questions": {}}}, "system_one: this server has no System One"),
    ({"content": "a", "thinking": {"effort": "wild"}}, "thinking.effort: must be one of: low, medium, high"),
    ({"content": "a", "thinking": {"budget_tokens": 0}}, "thinking.budget_tokens: must be a positive integer"),
    ({"content": "a", "metadata": {"custom_timestamp": "soon"}}, "metadata.custom_timestamp: must be an ISO 8601"),
]
MALFORMED: list[tuple[dict[str, Any], str]] = [
    ({"content": 1}, "content"),
    ({"content": "a", "stream": "perhaps"}, "stream"),
    ({"content": "a", "send_to_llm": "perhaps"}, "send_to_llm"),
    ({"content": "a", "metadata": "no json"}, "metadata"),
    ({"content": "a", "metadata": [1]}, "metadata"),
    ({"content": "a", "tools": {"a": 1}}, "tools"),
    ({"content": "a", "thinking": "true"}, "thinking"),
    ({"content": "a", "files": "text"}, "files"),
]


@every_encoding
async def test_what_is_refused_leaves_nothing_behind(serve: Serve, how: str) -> None:
    provider = ScriptedProvider(["ok"])
    box = await serve(*scripted(provider))
    ann = await box.key()
    for fields, detail in REFUSED:
        status, body = await say(box, ann, how, fields)
        assert status == 400, fields
        assert body["detail"].startswith(detail), body
    for fields, field in MALFORMED:
        if how != "json" and fields["content"] == 1:
            continue  # there is only text in a form
        status, body = await say(box, ann, how, fields)
        assert status == 422, fields
        assert [d["loc"] for d in body["detail"]] == [["body", field]]
    assert (await ask(box, "GET", "/threads", ann))[1] == []
    assert (await ask(box, "GET", "/assistants", ann))[1] == [], "not even a default assistant"
    assert provider.requests == []


async def test_bodies_that_are_none(serve: Serve) -> None:
    box = await serve(*scripted(ScriptedProvider(["ok"])))
    ann = await box.key()
    for type, data, status in (
        ("application/json", b"{", 422),
        ("application/json", b"[]", 422),
        ("application/json", b'{"content": "\\ud800"}', 422),
        ("application/x-www-form-urlencoded", b"content=%FF", 422),
        ("multipart/form-data", b"content", 422),
        ("multipart/form-data; boundary=x", b"--x\r\nno headers", 422),
        ("text/plain", b"content", 415),
    ):
        found, body = await ask(box, "POST", "/threads/messages", {**ann, "Content-Type": type}, data=data)
        assert found == status, (type, data)
        assert set(body) == {"detail"}


async def test_a_model_that_cannot(serve: Serve) -> None:
    able = Abilities(vision=False, tools=False, reasoning=False)
    provider = ScriptedProvider(["ok"], abilities=able)
    box = await serve(*scripted(provider))
    async with sdk(box) as client:
        more: dict[str, Any]
        for more in ({"tools": [WEATHER]}, {"thinking": {}}):
            with pytest.raises(exceptions.BackboardValidationError, match=f"^{next(iter(more))}: the model of"):
                await client.send_message("a", **more)
        # An assistant keeps its tools for models that can.
        made = await client.create_assistant(name="a", tools=[WEATHER])
        assert (await client.send_message("a", assistant_id=made.assistant_id)).status == "COMPLETED"
        assert list(provider.requests[0].tools) == []


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        (ProviderRejected("no such model"), exceptions.BackboardValidationError, 400),
        (ProviderThrottled("slow down"), exceptions.BackboardRateLimitError, 429),
        (ProviderError("down"), exceptions.BackboardServerError, 502),
        (ProviderCredentials("the provider refused the key"), exceptions.BackboardServerError, 502),
        (ProviderTimeout("late"), exceptions.BackboardServerError, 504),
        (ValueError("secret"), exceptions.BackboardServerError, 500),
    ],
)
async def test_a_failing_provider(serve: Serve, error: Exception, kind: type[Exception], status: int) -> None:
    box = await serve(*scripted(ScriptedProvider([error], ["better"])))
    async with sdk(box) as client:
        with pytest.raises(kind) as failed:
            await client.send_message("a")
        assert failed.value.status_code == status  # type: ignore[attr-defined]
        assert "secret" not in str(failed.value)
        (thread,) = await client.list_threads()
        assert (await client.add_message(thread.thread_id, "b")).content == "better"


async def test_images_are_seen(serve: Serve, tmp_path: Path) -> None:
    provider = ScriptedProvider(["seen"])
    box = await serve(*scripted(provider))
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "b.txt").write_text("The sea is wide.")
    async with sdk(box) as client:
        thread = await client.create_thread((await client.create_assistant(name="a")).assistant_id)
        said = await client.add_message(thread.thread_id, "Look", files=[tmp_path / "a.png", tmp_path / "b.txt"])
        assert [(a["filename"], a["file_size_bytes"]) for a in said.messages[-1]["attachments"]] == [
            ("a.png", len(PNG)),
            ("b.txt", 16),
        ]
        assert images(provider.requests[-1]) == [ImageData("image/png", PNG)]
        documents = await client.list_thread_documents(thread.thread_id)
        assert [(d.filename, d.status) for d in documents] == [("a.png", "indexed"), ("b.txt", "indexed")]
        (first, _) = (await client.get_thread(thread.thread_id)).messages
        assert [(a.filename, a.status) for a in first.attachments] == [("a.png", "indexed"), ("b.txt", "indexed")]
        assert [a.document_id for a in first.attachments] == [d.document_id for d in documents]


def images(request: ModelRequest) -> list[ImageData]:
    """What the model saw with the last message."""
    return [p for p in request.messages[-1].parts if isinstance(p, ImageData)]


async def test_files_for_a_model_that_is_blind(serve: Serve, tmp_path: Path) -> None:
    provider = ScriptedProvider(["ok"], abilities=Abilities(vision=False))
    box = await serve(*scripted(provider))
    (tmp_path / "a.png").write_bytes(PNG)
    async with sdk(box) as client:
        thread = await client.create_thread((await client.create_assistant(name="a")).assistant_id)
        said = await client.add_message(thread.thread_id, files=[tmp_path / "a.png"])
        assert said.content == "ok"
        assert images(provider.requests[-1]) == []


async def test_files_of_a_refused_message_are_not_kept(serve: Serve, tmp_path: Path) -> None:
    box = await serve(*scripted(ScriptedProvider(["ok"])))
    ann = await box.key()
    (tmp_path / "a.txt").write_text("kept?")

    def body(**fields: str) -> FormData:
        data = FormData(fields)
        data.add_field("files", b"words", filename="a.txt")
        data.add_field("files", b"words", filename="a.exe")
        return data

    status, answer = await ask(box, "POST", "/threads/messages", ann, data=body(content="a"))
    assert status == 400
    assert ".exe" in answer["detail"]
    assert (await ask(box, "GET", "/threads", ann))[1] == []
    _, made = await ask(box, "POST", "/threads/messages", ann, json={"content": "a"})
    id = made["thread_id"]
    assert (await ask(box, "POST", "/threads/messages", ann, data=body(thread_id=id)))[0] == 400
    assert (await ask(box, "GET", f"/threads/{id}/documents", ann))[1] == []
    data = FormData({"content": "a"})
    data.add_field("audio_file", b"RIFF", filename="a.wav")
    status, answer = await ask(box, "POST", "/threads/messages", ann, data=data)
    assert (status, answer["detail"][:11]) == (400, "audio_file:")


async def test_files_for_a_busy_thread_are_not_kept(serve: Serve, tmp_path: Path) -> None:
    gate = asyncio.Event()
    box = await serve(*scripted(ScriptedProvider(["one ", gate]), replies={"wait": 1}))
    (tmp_path / "a.txt").write_text("kept?")
    async with sdk(box) as client:
        thread = await client.create_thread((await client.create_assistant(name="a")).assistant_id)
        stream = await client.add_message(thread.thread_id, "a", stream=True)
        await anext(stream)
        with pytest.raises(exceptions.BackboardAPIError, match="still running") as refused:
            await client.add_message(thread.thread_id, "b", files=[tmp_path / "a.txt"])
        assert refused.value.status_code == 409
        assert await client.list_thread_documents(thread.thread_id) == []
        await stream.aclose()
    gate.set()


@pytest.mark.parametrize(
    ("text", "used"),
    [
        ("You like tea [1]. And [3].", ["1", "3"]),
        ("Tea [2, 1] [99] [0] [2].", ["1", "2"]),
        ("Tea [1][2] [4].", ["1", "2"]),
        ("Tea.", []),
    ],
)
async def test_memories_that_an_answer_uses_are_named(serve: Serve, text: str, used: list[str]) -> None:
    box = await serve(*scripted(literal([text])))
    ann = await box.key()
    _, made = await ask(box, "POST", "/assistants", ann, json={"name": "a"})
    for fact in ("Likes tea.", "Likes cheese.", "Likes rain."):
        await ask(box, "POST", f"/assistants/{made['assistant_id']}/memories", ann, json={"content": fact})
    body = {"content": "What do I like?", "assistant_id": made["assistant_id"], "memory": "Readonly"}
    _, said = await ask(box, "POST", "/threads/messages", ann, json={**body, "memory_response_citation": True})
    shown = {
        str(n): {"n": n, "id": m["id"], "memory": m["memory"]} for n, m in enumerate(said["retrieved_memories"], 1)
    }
    assert len(shown) == 3
    assert said["memory_citations"] == [shown[n] for n in used]
    asked = {**body, "memory_response_citation": True, "stream": True}
    answer = await box.client.post("/api/threads/messages", json=asked, headers=ann)
    found = {name: data for name, _, data in await events(answer)}
    assert found["message_complete"]["memory_citations"] == found["run_ended"]["memory_citations"]
    assert found["run_ended"]["memory_citations"] == said["memory_citations"]
    for more in ({}, {"memory": "off", "memory_response_citation": True}):
        _, said = await ask(box, "POST", "/threads/messages", ann, json={**body, **more})
        assert said["memory_citations"] is None


async def test_a_thread_answers_one_message_at_a_time(serve: Serve) -> None:
    gate = asyncio.Event()
    box = await serve(*scripted(ScriptedProvider(["one ", gate, "two"], ["three"])))
    async with sdk(box) as client:
        thread = await client.create_thread((await client.create_assistant(name="a")).assistant_id)
        first = asyncio.ensure_future(client.add_message(thread.thread_id, "a"))
        while True:
            if (await client.get_thread(thread.thread_id)).messages:
                break
            await asyncio.sleep(0.01)
        second = asyncio.ensure_future(client.add_message(thread.thread_id, "b"))
        gate.set()
        assert [(await first).content, (await second).content] == ["one two", "three"]
        thread = await client.get_thread(thread.thread_id)
        assert [m.content for m in thread.messages] == ["a", "one two", "b", "three"]


async def test_the_users_own_default_provider(serve: Serve) -> None:
    config = {"providers": {"a": {"use": "echo"}, "b": {"use": "echo"}}, **THREADS}
    box = await serve(config)
    ann = await box.key()
    await box.client.put("/api/settings/default-ai", json={"provider": "b"}, headers=ann)
    _, body = await ask(box, "POST", "/threads/messages", ann, json={"content": "a"})
    assert body["model_provider"] == "b"
    _, body = await ask(box, "POST", "/threads/messages", ann, json={"content": "a", "llm_provider": "A"})
    assert body["model_provider"] == "a"
