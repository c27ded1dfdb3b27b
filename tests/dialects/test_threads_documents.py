"""Documents and memories at the HTTP face: what uploads are refused, what a message waits for, who learns what."""

from __future__ import annotations

import asyncio
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from aiohttp import FormData

from backchat.testing.plugin import Serve
from backchat.testing.server import Box
from threads_box import THREADS, ask, drain, exceptions, literal, scripted, sdk, types


def files(*named: tuple[str, bytes], part: str = "file", **fields: str) -> FormData:
    data = FormData(fields, default_to_multipart=True)
    for name, content in named:
        data.add_field(part, BytesIO(content), filename=name)
    return data


async def an_assistant(box: Box, who: Any) -> str:
    _, made = await ask(box, "POST", "/assistants", who, json={"name": "a"})
    return str(made["assistant_id"])


async def test_uploads_that_are_refused(serve: Serve) -> None:
    box = await serve({**THREADS, "documents": {"max_size": "64KiB"}})
    ann = await box.key()
    path = f"/assistants/{await an_assistant(box, ann)}/documents"
    large = b"word " * (20 << 10)
    for body, status, words in (
        ({"data": files(("a.exe", b"x"))}, 400, ".exe"),
        ({"data": files(("..", b"x"))}, 400, "name"),
        ({"data": files(("a.txt", b"x"), ("b.txt", b"x"))}, 400, "file: must be exactly one file"),
        ({"data": files(("a.txt", large))}, 413, "large"),
        ({"data": files(("a.txt", large * 20))}, 413, "large"),
        ({"data": files(("a.txt", b"x"), part="document")}, 422, "file"),
        ({"data": files(file="text")}, 422, "file"),
        ({"json": {"file": "x"}}, 415, "multipart/form-data"),
    ):
        found, answer = await ask(box, "POST", path, ann, **body)
        assert found == status, (body, answer)
        assert words in str(answer["detail"])
    assert (await ask(box, "GET", path, ann))[1] == []


async def test_a_message_waits_for_documents(serve: Serve, tmp_path: Path) -> None:
    box = await serve(THREADS)
    (tmp_path / "a.md").write_text("The harbour opens at nine.")
    async with sdk(box) as client:
        assistant = await client.create_assistant(name="a")
        thread = await client.create_thread(assistant.assistant_id)
        await client.upload_document_to_thread(thread.thread_id, tmp_path / "a.md")
        said = await client.add_message(thread.thread_id, "When does the harbour open?")
        assert "opens at nine" in said.content
        again = await client.add_message(thread.thread_id, "When does the harbour open?", files=[tmp_path / "a.md"])
        assert len(await client.list_thread_documents(thread.thread_id)) == 2
        assert again.messages[-1]["retrieved_files"] == ["a.md"]
        events = await drain(client.add_message(thread.thread_id, "When does the harbour open?", stream=True))
        found = next(e for e in events if e["type"] == "files_retrieved")
        assert found["files"] == events[-1]["retrieved_files"] == ["a.md"]
        assert types(events).index("files_retrieved") < types(events).index("content_streaming")


async def test_documents_that_take_too_long(serve: Serve) -> None:
    box = await serve({**THREADS, "documents": {"wait": 0.001}})  # less than a process takes to start
    ann = await box.key()
    status, answer = await ask(
        box, "POST", "/threads/messages", ann, data=files(("a.md", b"# At nine"), part="files", content="When?")
    )
    assert status == 409
    assert "a.md" in answer["detail"]
    _, threads = await ask(box, "GET", "/threads", ann)
    (found,) = threads
    assert f"kept in thread {found['thread_id']}" in answer["detail"]
    body = {"thread_id": found["thread_id"], "content": "When?"}
    while True:
        status, said = await ask(box, "POST", "/threads/messages", ann, json=body)
        if status != 409:
            break
        assert "a.md" in said["detail"]
        await asyncio.sleep(0.05)
    assert status == 200
    assert said["retrieved_files"] == ["a.md"]


async def test_only_the_assistant_that_was_told_remembers(serve: Serve) -> None:
    box = await serve(*scripted(literal(["ok"])))
    async with sdk(box) as client:
        one, two = [await client.create_assistant(name=name) for name in ("one", "two")]
        told = "My name is Sarah and I live in Oslo."
        said = await client.send_message(told, assistant_id=one.assistant_id, memory="Auto")
        assert said.messages[-1]["memory_operation_id"] == said.run_id
        for more in ({}, {"memory": "off"}, {"memory": "Readonly"}, {"memory_pro": "readonly"}):
            said = await client.send_message("I like cheese.", assistant_id=one.assistant_id, **more)
            last = said.messages[-1]
            assert last["memory_operation_id"] is None
            assert (last["retrieved_memories"] is None) == (more in ({}, {"memory": "off"}))
        contents = [m.content for m in (await client.get_memories(one.assistant_id)).memories]
        assert any("Sarah" in c for c in contents)
        assert not any("cheese" in c for c in contents)
        other = await client.send_message("Who am I?", assistant_id=two.assistant_id, memory="Auto")
        assert other.messages[-1]["retrieved_memories"] == []
        known = await client.send_message("Who am I?", assistant_id=one.assistant_id, memory_pro="Auto")
        recalled = known.messages[-1]["retrieved_memories"]
        assert {m["memory"] for m in recalled} == set(contents)
        assert all(set(m) == {"id", "memory", "score"} and 0 <= m["score"] <= 1 for m in recalled)


async def test_what_two_memories_may_not_say(serve: Serve) -> None:
    box = await serve(THREADS)
    async with sdk(box) as client:
        assistant = (await client.create_assistant(name="a")).assistant_id
        first = await client.add_memory(assistant, "Likes tea.")
        assert (await client.add_memory(assistant, " Likes tea. "))["memory_id"] == first["memory_id"]
        second = await client.add_memory(assistant, "Likes coffee.")
        with pytest.raises(exceptions.BackboardAPIError, match="content: another memory") as refused:
            await client.update_memory(assistant, second["memory_id"], "Likes tea.")
        assert refused.value.status_code == 409
        with pytest.raises(exceptions.BackboardValidationError, match="content: a memory has at most"):
            await client.add_memory(assistant, "x" * 10_000)
    ann = await box.key()
    for method, path, body in (
        ("POST", "", {"content": "  "}),
        ("POST", "", {}),
        ("POST", "/search", {"query": ""}),
        ("POST", "/search", {"query": "a", "limit": 0}),
        ("GET", "?page=0", None),
        ("GET", "?page_size=101", None),
        ("GET", "?page=x", None),
    ):
        status, _ = await ask(box, method, f"/assistants/{assistant}/memories{path}", ann, json=body)
        assert status == 422, (path, body)
