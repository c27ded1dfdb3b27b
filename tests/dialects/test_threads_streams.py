"""Messages as streams: which events, in which order, and what a client that leaves does to them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from backchat.domain.message import Usage
from backchat.domain.run import ReasoningDelta
from backchat.errors import ProviderError, ProviderRejected
from backchat.ports.providers import UsageReport
from backchat.testing.plugin import Serve
from backchat.testing.provider import ScriptedProvider
from backchat.testing.server import events
from backchat_dialect_threads.frames import REASONING_LIMIT
from threads_box import THREADS, drain, exceptions, literal, scripted, sdk, text, types


async def a_thread(client: Any) -> str:
    assistant = await client.create_assistant(name="a")
    return str((await client.create_thread(assistant.assistant_id)).thread_id)


async def test_the_sequence_of_a_plain_answer(serve: Serve) -> None:
    provider = ScriptedProvider(["one ", "two ", UsageReport(Usage(7, 3)), "three"])
    box = await serve(*scripted(provider))
    async with sdk(box) as client:
        thread = await a_thread(client)
        found = await drain(client.add_message(thread, "a", stream=True))
        kinds = types(found)
        assert kinds[0] == "run_started"
        assert kinds[-2:] == ["message_complete", "run_ended"]
        assert set(kinds[1:-2]) == {"content_streaming"}
        assert text(found) == "one two three"
        complete, ended = found[-2:]
        stored = (await client.get_thread(thread)).messages[-1]
        assert (complete["content"], complete["role"]) == ("one two three", "assistant")
        assert complete["message_id"] == str(stored.message_id)
        assert (ended["status"], ended["memory_operation_id"]) == ("completed", None)
        assert (ended["input_tokens"], ended["output_tokens"], ended["total_tokens"]) == (7, 3, 10)
        assert (ended["model_provider"], ended["model_name"]) == ("scripted", "scripted-1")
        for event in found:
            assert (event["thread_id"], event["run_id"]) == (thread, found[0]["run_id"])
            assert event["assistant_id"]


async def test_pieces_come_as_they_are_made(serve: Serve) -> None:
    pieces = ["one  ", "\ttwo", " three\n", " "]
    gates = [asyncio.Event() for _ in pieces]
    steps = [step for piece in zip(pieces, gates, strict=True) for step in piece]
    box = await serve(*scripted(ScriptedProvider(steps)))
    async with sdk(box) as client:
        seen = []
        async for event in await client.send_message("a", stream=True):
            if event["type"] == "content_streaming":
                seen.append(event["content"])
                gates[len(seen) - 1].set()
        assert seen == pieces
        assert event["final_content"] == "".join(pieces)


@pytest.mark.parametrize(
    ("said", "pieces"),
    [
        ("All of it at once", ["All ", "of it at once"]),
        (" \n All  of it", [" \n All  ", "of it"]),
        ("One", ["One"]),
        ("One \n", ["One \n"]),
        (" ", [" "]),
    ],
)
async def test_what_is_said_at_once_is_a_stream_all_the_same(serve: Serve, said: str, pieces: list[str]) -> None:
    box = await serve(*scripted(ScriptedProvider([said])))
    async with sdk(box) as client:
        events = await drain(client.send_message("a", stream=True))
        assert [e["content"] for e in events if e["type"] == "content_streaming"] == pieces


async def test_the_headers_and_the_frames(serve: Serve) -> None:
    box = await serve(*scripted(ScriptedProvider(["a\u2028b\u2029c\u0085d é 🌊"])))
    body = {"content": "Hello", "stream": True}
    answer = await box.client.post("/api/threads/messages", json=body, headers=await box.key())
    assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-cache"
    raw = (await answer.read()).decode()
    lines = [line for line in raw.splitlines() if line]
    assert all(line.startswith(("event: ", "data: {", ":")) for line in lines), lines
    said = [orjson.loads(line[6:]) for line in lines if line.startswith("data: ")]
    assert "".join(e["content"] for e in said if e["type"] == "content_streaming") == "a\u2028b\u2029c\u0085d é 🌊"


async def test_the_sequence_with_thinking_and_memory(serve: Serve) -> None:
    box = await serve(*scripted(literal([ReasoningDelta("hm "), ReasoningDelta("so"), "ok"])))
    async with sdk(box) as client:
        thread = await a_thread(client)
        for memory in ("Auto", "Readonly"):
            found = await drain(client.add_message(thread, "I like tea.", memory=memory, thinking={}, stream=True))
            kinds = list(dict.fromkeys(types(found)))
            assert kinds == [
                "run_started",
                "memory_retrieved",
                "reasoning_streaming",
                "content_streaming",
                "message_complete",
                "run_ended",
            ]
            thoughts = [e for e in found if e["type"] == "reasoning_streaming"]
            so_far = ""
            for thought in thoughts:
                so_far += thought["content"]
                assert thought["accumulated_reasoning"] == so_far
            assert so_far == "hm so"
            learns = found[-1]["memory_operation_id"]
            assert learns == (found[0]["run_id"] if memory == "Auto" else None)
            recalled = next(e["memories"] for e in found if e["type"] == "memory_retrieved")
            assert (recalled == []) == (memory == "Auto"), "what was learned by the first turn is there in the second"
        assert set(recalled[0]) == {"id", "memory", "score"}
        plain = await drain(client.add_message(thread, "I like tea.", stream=True))
        assert "memory_retrieved" not in types(plain)


async def test_long_thoughts_are_not_sent_again_and_again(serve: Serve) -> None:
    half = "x" * (REASONING_LIMIT // 2)
    gates = [asyncio.Event() for _ in range(3)]
    steps = [step for gate in gates for step in (ReasoningDelta(half), gate)]
    box = await serve(*scripted(ScriptedProvider([*steps, "ok"])))
    async with sdk(box) as client:
        thoughts = []
        async for event in await client.send_message("Why?", thinking={}, stream=True):
            if event["type"] == "reasoning_streaming":
                thoughts.append(event)
                gates[len(thoughts) - 1].set()
        assert "".join(t["content"] for t in thoughts) == half * 3
        assert ["accumulated_reasoning" in t for t in thoughts] == [True, True, False]


async def test_a_failure_after_the_first_byte_is_an_event(serve: Serve) -> None:
    box = await serve(*scripted(ScriptedProvider(["half ", ProviderError("the line is down")])))
    async with sdk(box) as client:
        seen: list[dict[str, Any]] = []

        async def listen() -> None:
            async for event in await client.send_message("a", stream=True):
                seen.append(event)  # noqa: PERF401 - what came before the failure counts

        with pytest.raises(exceptions.BackboardAPIError, match=r"^the line is down$") as failed:
            await listen()
        assert failed.value.status_code is None
        assert types(seen) == ["run_started", "content_streaming"]
        thread = await client.get_thread(seen[0]["thread_id"])
        assert [(m.content, m.status) for m in thread.messages] == [("a", "COMPLETED"), ("half ", "FAILED")]


async def test_a_refusal_before_the_first_byte_is_a_status(serve: Serve) -> None:
    box = await serve(*scripted(ScriptedProvider()))
    async with sdk(box) as client:
        for wanted, message in (
            (exceptions.BackboardNotFoundError, client.add_message("nowhere", "a", stream=True)),
            (exceptions.BackboardValidationError, client.send_message("", stream=True)),
            (exceptions.BackboardValidationError, client.send_message("a", llm_provider="nobody", stream=True)),
        ):
            with pytest.raises(wanted):
                await drain(message)


async def test_what_the_provider_rejects_is_an_event(serve: Serve) -> None:
    box = await serve(*scripted(ScriptedProvider([ProviderRejected("there is no model 'x'")])))
    body = {"content": "a", "model_name": "x", "stream": True}
    answer = await box.client.post("/api/threads/messages", json=body, headers=await box.key())
    found = [data for _, _, data in await events(answer)]
    assert answer.status == 200, "the run had begun"
    assert types(found) == ["run_started", "run_failed"]
    assert (found[-1]["error"], found[-1]["code"]) == ("there is no model 'x'", "provider_rejected")


async def test_a_cancelled_run_ends_its_stream(serve: Serve) -> None:
    box = await serve(*scripted(ScriptedProvider(["one ", asyncio.Event()], ["two"])))
    async with sdk(box) as client:
        stopped: list[dict[str, Any]] = []

        async def listen() -> None:
            async for event in await client.send_message("a", stream=True):
                if event["type"] == "content_streaming":
                    stopped.append(await client.cancel_run(event["thread_id"], event["run_id"]))  # noqa: PERF401

        with pytest.raises(exceptions.BackboardAPIError, match=r"^Run ended with status: cancelled$"):
            await listen()
        (event,) = stopped
        assert event["cancelled"] is True
        thread = await client.get_thread(event["thread_id"])
        assert [(m.content, m.status) for m in thread.messages] == [("a", "COMPLETED"), ("one ", "CANCELLED")]
        assert (await client.add_message(event["thread_id"], "b")).content == "two"


async def test_a_cancelled_run_ends_the_wait_for_its_answer(serve: Serve) -> None:
    provider = ScriptedProvider([asyncio.Event()])
    box = await serve(*scripted(provider))
    async with sdk(box) as client:
        waiting = asyncio.ensure_future(client.send_message("a"))
        while True:
            if provider.requests:
                break
            await asyncio.sleep(0.01)
        (thread,) = await client.list_threads()
        record = await box.services.conversations.store.get("conversation", str(thread.thread_id))
        assert record is not None
        await client.cancel_run(thread.thread_id, record.doc["active_run"])
        with pytest.raises(exceptions.BackboardAPIError, match="cancelled") as cancelled:
            await waiting
        assert cancelled.value.status_code == 409


@pytest.mark.parametrize("last", ["run_started", "memory_retrieved", "content_streaming", "message_complete"])
async def test_a_client_may_leave_at_any_event(serve: Serve, last: str) -> None:
    gate = asyncio.Event()
    if last == "message_complete":
        gate.set()
    box = await serve(*scripted(literal(["one ", gate, "two"], ["three"])))
    async with sdk(box) as client:
        stream = await client.send_message("I like tea.", memory="Auto", stream=True)
        async for event in stream:
            if event["type"] == last:
                break
        await stream.aclose()
        gate.set()
        said = await client.send_message("b", thread_id=event["thread_id"], memory="Readonly")
        assert said.content == "three"
        thread = await client.get_thread(event["thread_id"])
        assert [m.content for m in thread.messages] == ["I like tea.", "one two", "b", "three"]
        assert [m["memory"] for m in said.messages[-1]["retrieved_memories"]], "it was learned all the same"


async def test_silence_is_filled(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backchat.web.sse.PING_SECONDS", 0.05)
    gate = asyncio.Event()
    box = await serve(*scripted(ScriptedProvider([gate, "ok"])))
    who = await box.key()
    answer = await box.client.post("/api/threads/messages", json={"content": "a", "stream": True}, headers=who)
    head = b""
    while b": ping" not in head:
        head += await answer.content.readany()
    gate.set()
    assert (await events(answer))[-1][0] == "run_ended"


async def test_grounds_are_told_before_the_text(serve: Serve) -> None:
    box = await serve(THREADS)
    async with sdk(box) as client:
        assistant = await client.create_assistant(name="a")
        await client.add_memory(assistant.assistant_id, "Likes tea.")
        found = await drain(client.send_message("Hm", assistant_id=assistant.assistant_id, memory="Auto", stream=True))
        assert types(found).index("memory_retrieved") < types(found).index("content_streaming")
        assert [m["memory"] for m in next(e for e in found if e["type"] == "memory_retrieved")["memories"]] == [
            "Likes tea."
        ]
        assert "Likes tea." in text(found)


async def test_many_streams_at_once_do_not_mix(serve: Serve) -> None:
    box = await serve(THREADS)

    async def one(client: Any, number: int) -> Mapping[str, Any]:
        words = f"stream number {number} " + "word " * 20
        found = await drain(client.send_message(words, stream=True))
        assert text(found).strip() == words.strip()
        assert len({e["run_id"] for e in found}) == 1
        return found[0]

    async with sdk(box) as client:
        begun = await asyncio.gather(*(one(client, n) for n in range(20)))
        assert len({e["thread_id"] for e in begun}) == 20
