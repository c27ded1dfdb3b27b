"""Cases of the SDK: assistants, threads, messages and runs."""

from __future__ import annotations

import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from backchat.testing.server import Box
from sdk_cases import a_document, case, recent
from threads_box import WEATHER, drain, exceptions, models, text, types

# ---- assistants -----------------------------------------------------------------------------------------------------


@case
async def create_assistant(client: Any, box: Box, directory: Path) -> None:
    made = await client.create_assistant(
        name="Sée",
        description="of the sea",
        system_prompt="Answer in verse.",
        tools=[WEATHER],
        tok_k=7,
        custom_fact_extraction_prompt="Find facts.",
        custom_update_memory_prompt="Keep facts.",
    )
    assert isinstance(made.assistant_id, uuid.UUID)
    assert (made.name, made.description, made.system_prompt, made.tok_k) == ("Sée", "of the sea", "Answer in verse.", 7)
    assert (made.custom_fact_extraction_prompt, made.custom_update_memory_prompt) == ("Find facts.", "Keep facts.")
    assert made.tools[0].function.parameters.properties["location"].description == "City name"
    assert recent(made.created_at)
    plain = await client.create_assistant(name="B")
    assert (plain.tok_k, plain.tools, plain.system_prompt) == (10, None, None)
    with pytest.raises(exceptions.BackboardValidationError, match="embedding_provider"):
        await client.create_assistant(name="C", embedding_provider="nobody", embedding_model_name="x", embedding_dims=3)


@case
async def list_assistants(client: Any, box: Box, directory: Path) -> None:
    made = [await client.create_assistant(name=name) for name in ("a", "b", "A", "b")]
    ids = [a.assistant_id for a in reversed(made)]
    assert [a.assistant_id for a in await client.list_assistants()] == ids
    assert [a.assistant_id for a in await client.list_assistants(skip=1, limit=2)] == ids[1:3]
    assert [a.name for a in await client.list_assistants(name="b")] == ["b", "b"]
    assert [a.name for a in await client.list_assistants(name="a")] == ["a"]
    assert await client.list_assistants(name="") == []


@case
async def get_assistant(client: Any, box: Box, directory: Path) -> None:
    made = await client.create_assistant(name="a", tools=[WEATHER])
    assert await client.get_assistant(made.assistant_id) == made
    for nowhere in ("invalid_id", uuid.uuid4()):
        with pytest.raises(exceptions.BackboardNotFoundError, match="assistant not found"):
            await client.get_assistant(nowhere)


@case
async def update_assistant(client: Any, box: Box, directory: Path) -> None:
    made = await client.create_assistant(name="a", system_prompt="s", tools=[WEATHER], tok_k=3)
    changed = await client.update_assistant(made.assistant_id, name="b")
    assert changed == made.model_copy(update={"name": "b"})
    assert await client.update_assistant(made.assistant_id) == changed
    changed = await client.update_assistant(
        made.assistant_id, tools=[], tok_k=99, description="", custom_update_memory_prompt="u"
    )
    assert (changed.tools, changed.tok_k, changed.description) == (None, 99, "")
    assert (changed.system_prompt, changed.custom_update_memory_prompt) == ("s", "u")
    assert await client.get_assistant(made.assistant_id) == changed


@case
async def delete_assistant(client: Any, box: Box, directory: Path) -> None:
    made = await client.create_assistant(name="a")
    thread = await client.create_thread(made.assistant_id)
    document = await a_document(client, directory, made)
    gone = await client.delete_assistant(made.assistant_id)
    assert gone["assistant_id"] == str(made.assistant_id)
    assert recent(datetime.fromisoformat(gone["deleted_at"]))
    for lost in (
        client.get_assistant(made.assistant_id),
        client.delete_assistant(made.assistant_id),
        client.get_thread(thread.thread_id),
        client.get_document_status(document.document_id),
    ):
        with pytest.raises(exceptions.BackboardNotFoundError):
            await lost


@case
async def clone_assistant(client: Any, box: Box, directory: Path) -> None:
    source = await client.create_assistant(name="a", system_prompt="s", tools=[WEATHER], tok_k=4)
    document = await a_document(client, directory, source)
    await client.add_memory(source.assistant_id, "Likes tea.")
    copy = await client.clone_assistant(source.assistant_id)
    assert (copy.assistant.name, copy.documents_cloned, copy.memories_cloned) == ("a Copy", 1, 1)
    assert copy.assistant.assistant_id != source.assistant_id
    assert (copy.assistant.system_prompt, copy.assistant.tok_k, copy.assistant.tools) == ("s", 4, source.tools)
    (copied,) = await client.list_assistant_documents(copy.assistant.assistant_id)
    assert copied.document_id != document.document_id
    assert (copied.filename, copied.status, copied.chunk_count) == ("notes.md", "indexed", document.chunk_count)
    await client.reset_memories(source.assistant_id)
    await client.delete_document(document.document_id)
    assert [m.content for m in (await client.get_memories(copy.assistant.assistant_id)).memories] == ["Likes tea."]
    said = await client.send_message("When does the harbour open?", assistant_id=copy.assistant.assistant_id)
    assert "opens at nine" in said.content
    bare = await client.clone_assistant(
        copy.assistant.assistant_id, name="n", system_prompt="t", copy_documents=False, copy_memories=False
    )
    assert (bare.documents_cloned, bare.memories_cloned) == (0, 0)
    assert (bare.assistant.name, bare.assistant.system_prompt) == ("n", "t")


# ---- threads --------------------------------------------------------------------------------------------------------


@case
async def create_thread(client: Any, box: Box, directory: Path) -> None:
    assistant = await client.create_assistant(name="a")
    thread = await client.create_thread(assistant.assistant_id)
    assert isinstance(thread.thread_id, uuid.UUID)
    assert thread.messages == []
    assert recent(thread.created_at)
    with pytest.raises(exceptions.BackboardNotFoundError):
        await client.create_thread(uuid.uuid4())


@case
async def list_threads(client: Any, box: Box, directory: Path) -> None:
    assistants = [await client.create_assistant(name=name) for name in "ab"]
    threads = [await client.create_thread(a.assistant_id) for a in (*assistants, assistants[0])]
    await client.add_message(threads[0].thread_id, "Hello")
    ids = [t.thread_id for t in (threads[0], threads[2], threads[1])]
    assert [t.thread_id for t in await client.list_threads()] == ids
    assert [t.thread_id for t in await client.list_threads(skip=1, limit=1)] == ids[1:2]


@case
async def list_threads_for_assistant(client: Any, box: Box, directory: Path) -> None:
    a, b = [await client.create_assistant(name=name) for name in "ab"]
    threads = [await client.create_thread(x.assistant_id) for x in (a, b, a)]
    listed = await client.list_threads_for_assistant(a.assistant_id)
    assert [t.thread_id for t in listed] == [threads[2].thread_id, threads[0].thread_id]
    assert [t.thread_id for t in await client.list_threads_for_assistant(a.assistant_id, skip=1)] == [
        threads[0].thread_id
    ]
    with pytest.raises(exceptions.BackboardNotFoundError):
        await client.list_threads_for_assistant("nobody")


@case
async def get_thread(client: Any, box: Box, directory: Path) -> None:
    said = await client.send_message("Hello", metadata={"mood": "glad"})
    thread = await client.get_thread(said.thread_id)
    assert str(thread.thread_id) == said.thread_id
    assert [(m.role, m.content, m.status) for m in thread.messages] == [
        (models.MessageRole.USER, "Hello", "COMPLETED"),
        (models.MessageRole.ASSISTANT, said.content, "COMPLETED"),
    ]
    assert thread.messages[0].metadata_ == {"mood": "glad"}
    assert str(thread.messages[1].message_id) == said.messages[-1]["message_id"]
    assert all(recent(m.created_at) for m in thread.messages)


@case
async def delete_thread(client: Any, box: Box, directory: Path) -> None:
    said = await client.send_message("Hello")
    gone = await client.delete_thread(said.thread_id)
    assert gone["thread_id"] == said.thread_id
    assert recent(datetime.fromisoformat(gone["deleted_at"]))
    with pytest.raises(exceptions.BackboardNotFoundError):
        await client.delete_thread(said.thread_id)
    assert await client.list_threads() == []


# ---- messages and runs ----------------------------------------------------------------------------------------------


@case
async def add_message(client: Any, box: Box, directory: Path) -> None:
    assistant = await client.create_assistant(name="a")
    thread = await client.create_thread(assistant.assistant_id)
    said = await client.add_message(thread.thread_id, "Tell me of the sea", llm_provider="echo", model_name="echo-1")
    assert said.content == "Tell me of the sea"
    assert (said.status, said.tool_calls) == ("COMPLETED", None)
    assert (said.thread_id, said.assistant_id) == (str(thread.thread_id), str(assistant.assistant_id))
    last = said.messages[-1]
    assert (last["role"], last["model_provider"], last["model_name"]) == ("assistant", "echo", "echo-1")
    assert last["total_tokens"] == last["input_tokens"] + last["output_tokens"] > 0
    events = await drain(client.add_message(thread.thread_id, "And of the land", stream=True))
    assert types(events)[0] == "run_started"
    assert types(events)[-2:] == ["message_complete", "run_ended"]
    assert text(events) == events[-2]["content"] == "And of the land"


@case
async def send_message(client: Any, box: Box, directory: Path) -> None:
    first = await client.send_message("Hello")
    assert first.content == "Hello"
    again = await client.send_message("Again", thread_id=first.thread_id)
    assert (again.thread_id, again.assistant_id) == (first.thread_id, first.assistant_id)
    other = await client.send_message("Else")
    assert other.thread_id != first.thread_id
    assert other.assistant_id == first.assistant_id, "the user's default assistant"
    events = await drain(client.send_message("Streamed", stream=True))
    assert {e["thread_id"] for e in events} - {first.thread_id, other.thread_id}
    assert len({(e["thread_id"], e["assistant_id"], e["run_id"]) for e in events}) == 1
    assert text(events) == "Streamed"


async def _asked(client: Any) -> Any:
    return await client.send_message("What is the weather in Oslo?", tools=[WEATHER])


@case
async def submit_tool_outputs(client: Any, box: Box, directory: Path) -> None:
    asked = await _asked(client)
    assert (asked.status, asked.content) == ("REQUIRES_ACTION", None)
    (call,) = asked.tool_calls
    assert call.function.name == "get_current_weather"
    assert isinstance(call.function.parsed_arguments["location"], str)
    outputs = [models.ToolOutput(tool_call_id=call.id, output="18 degrees")]
    done = await client.submit_tool_outputs(asked.thread_id, asked.run_id, outputs)
    assert (done.status, done.role, done.run_id) == ("COMPLETED", models.MessageRole.ASSISTANT, asked.run_id)
    assert "18 degrees" in done.content
    thread = await client.get_thread(asked.thread_id)
    assert [m.role for m in thread.messages] == ["user", "assistant", "tool", "assistant"]
    assert thread.messages[-1].message_id == done.message_id


@case
async def submit_tool_outputs_simple(client: Any, box: Box, directory: Path) -> None:
    asked = await _asked(client)
    outputs = [{"tool_call_id": asked.tool_calls[0].id, "output": "cold"}]
    done = await client.submit_tool_outputs_simple(asked.thread_id, outputs)
    assert done.status == "COMPLETED"
    assert "cold" in done.content
    asked = await client.send_message("What is the weather in Rome?", tools=[WEATHER], thread_id=asked.thread_id)
    outputs = [{"tool_call_id": asked.tool_calls[0].id, "output": "warm"}]
    events = await drain(client.submit_tool_outputs_simple(asked.thread_id, outputs, stream=True))
    assert types(events)[-2:] == ["message_complete", "run_ended"]
    assert "warm" in text(events)


@case
async def cancel_run(client: Any, box: Box, directory: Path) -> None:
    asked = await _asked(client)
    wanted = {"thread_id": asked.thread_id, "run_id": asked.run_id, "cancelled": True}
    assert await client.cancel_run(asked.thread_id, asked.run_id) == wanted
    assert await client.cancel_run(asked.thread_id, asked.run_id) == wanted
    ended = await client.send_message("Hello")
    assert await client.cancel_run(ended.thread_id, ended.run_id) == {
        "thread_id": ended.thread_id,
        "run_id": ended.run_id,
        "cancelled": False,
    }
    with pytest.raises(exceptions.BackboardNotFoundError):
        await client.cancel_run(asked.thread_id, ended.run_id)
