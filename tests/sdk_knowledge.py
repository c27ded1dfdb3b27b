"""Cases of the SDK: documents, memories, models, and what is left."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from backchat.testing.server import Box
from sdk_cases import a_document, case, read, recent
from threads_box import exceptions, models

# ---- documents ------------------------------------------------------------------------------------------------------


@case
async def upload_document_to_assistant(client: Any, box: Box, directory: Path) -> None:
    assistant = await client.create_assistant(name="a")
    file = directory / "Tides & é.md"
    file.write_text("High tide is at seven. " * 40, "utf-8")
    fresh = await client.upload_document_to_assistant(assistant.assistant_id, file)
    assert fresh.filename == "Tides & é.md"
    assert fresh.status in ("pending", "processing", "indexed")
    assert fresh.file_size_bytes == file.stat().st_size
    done = await read(client, fresh)
    assert (done.status, done.document_type) == (models.DocumentStatus.INDEXED, "md")
    assert done.chunk_count > 0
    assert done.total_tokens > 0
    assert "High tide" in done.summary
    assert recent(done.processing_completed_at)
    said = await client.send_message("When is high tide?", assistant_id=assistant.assistant_id)
    assert "at seven" in said.content
    assert said.messages[-1]["retrieved_files"] == ["Tides & é.md"]


@case
async def upload_document_to_thread(client: Any, box: Box, directory: Path) -> None:
    assistant = await client.create_assistant(name="a")
    here, there = [await client.create_thread(assistant.assistant_id) for _ in range(2)]
    file = directory / "key.txt"
    file.write_text("The key is under the mat.", "utf-8")
    await read(client, await client.upload_document_to_thread(here.thread_id, file))
    said = await client.add_message(here.thread_id, "Where is the key?")
    assert "under the mat" in said.content
    other = await client.add_message(there.thread_id, "Where is the key?")
    assert "under the mat" not in other.content


@case
async def list_assistant_documents(client: Any, box: Box, directory: Path) -> None:
    a, b = [await client.create_assistant(name=name) for name in "ab"]
    documents = [await a_document(client, directory, a, words) for words in ("One.", "Two.")]
    assert [d.document_id for d in await client.list_assistant_documents(a.assistant_id)] == [
        d.document_id for d in documents
    ]
    assert await client.list_assistant_documents(b.assistant_id) == []


@case
async def list_thread_documents(client: Any, box: Box, directory: Path) -> None:
    assistant = await client.create_assistant(name="a")
    thread = await client.create_thread(assistant.assistant_id)
    await a_document(client, directory, assistant)
    assert await client.list_thread_documents(thread.thread_id) == []
    document = await client.upload_document_to_thread(thread.thread_id, directory / "notes.md")
    assert [d.document_id for d in await client.list_thread_documents(thread.thread_id)] == [document.document_id]


@case
async def get_document_status(client: Any, box: Box, directory: Path) -> None:
    assistant = await client.create_assistant(name="a")
    document = await a_document(client, directory, assistant)
    assert (await client.get_document_status(document.document_id)).status == models.DocumentStatus.INDEXED
    (directory / "broken.pdf").write_bytes(b"this is no PDF")
    broken = await client.upload_document_to_assistant(assistant.assistant_id, directory / "broken.pdf")
    broken = await read(client, broken)
    assert broken.status == models.DocumentStatus.FAILED
    assert broken.status_message


@case
async def delete_document(client: Any, box: Box, directory: Path) -> None:
    assistant = await client.create_assistant(name="a")
    document = await a_document(client, directory, assistant)
    gone = await client.delete_document(document.document_id)
    assert gone["document_id"] == str(document.document_id)
    assert await client.list_assistant_documents(assistant.assistant_id) == []
    with pytest.raises(exceptions.BackboardNotFoundError):
        await client.delete_document(document.document_id)
    said = await client.send_message("When does the harbour open?", assistant_id=assistant.assistant_id)
    assert "nine" not in said.content


# ---- memories -------------------------------------------------------------------------------------------------------


async def remembering(client: Any, *facts: str) -> tuple[Any, list[str]]:
    assistant = await client.create_assistant(name="a")
    added = [await client.add_memory(assistant.assistant_id, fact) for fact in facts]
    return assistant.assistant_id, [a["memory_id"] for a in added]


@case
async def get_memories(client: Any, box: Box, directory: Path) -> None:
    id, ids = await remembering(client, "Likes tea.", "Lives in Oslo.", "Has a dog.")
    everything = await client.get_memories(id)
    assert ([m.id for m in everything.memories], everything.total_count, everything.page) == (ids[::-1], 3, None)
    second = await client.get_memories(id, page=2, page_size=2)
    assert [m.content for m in second.memories] == ["Likes tea."]
    assert (second.total_count, second.page, second.page_size, second.total_pages) == (3, 2, 2, 2)
    assert (await client.get_memories(id, page_size=2)).page == 1
    assert (await client.get_memories(id, page=1)).page_size == 25


@case
async def add_memory(client: Any, box: Box, directory: Path) -> None:
    assistant = await client.create_assistant(name="a")
    added = await client.add_memory(assistant.assistant_id, "Likes tea.", metadata={"from": "form"})
    assert added["success"] is True
    memory = await client.get_memory(assistant.assistant_id, added["memory_id"])
    assert (memory.content, memory.metadata) == ("Likes tea.", {"from": "form"})
    said = await client.send_message("What do you know?", assistant_id=assistant.assistant_id, memory="Readonly")
    assert "Likes tea." in said.content


@case
async def get_memory(client: Any, box: Box, directory: Path) -> None:
    id, (memory,) = await remembering(client, "Likes tea.")
    found = await client.get_memory(id, memory)
    assert (found.id, found.content) == (memory, "Likes tea.")
    assert recent(datetime.fromisoformat(found.created_at))
    other, _ = await remembering(client)
    for assistant, wanted in ((id, "nothing"), (other, memory)):
        with pytest.raises(exceptions.BackboardNotFoundError):
            await client.get_memory(assistant, wanted)


@case
async def update_memory(client: Any, box: Box, directory: Path) -> None:
    id, (memory,) = await remembering(client, "Likes tea.")
    changed = await client.update_memory(id, memory, "Likes coffee.", metadata={"a": 1})
    assert (changed.id, changed.content, changed.metadata) == (memory, "Likes coffee.", {"a": 1})
    assert await client.get_memory(id, memory) == changed
    kept = await client.update_memory(id, memory, "Likes cocoa.")
    assert kept.metadata == {"a": 1}
    with pytest.raises(exceptions.BackboardNotFoundError):
        await client.update_memory(id, "nothing", "Likes water.")


@case
async def delete_memory(client: Any, box: Box, directory: Path) -> None:
    id, (first, second) = await remembering(client, "Likes tea.", "Has a dog.")
    assert (await client.delete_memory(id, first))["success"] is True
    assert [m.id for m in (await client.get_memories(id)).memories] == [second]
    with pytest.raises(exceptions.BackboardNotFoundError):
        await client.delete_memory(id, first)


@case
async def reset_memories(client: Any, box: Box, directory: Path) -> None:
    id, _ = await remembering(client, "Likes tea.", "Has a dog.")
    other, _ = await remembering(client, "Likes tea.")
    assert (await client.reset_memories(id))["success"] is True
    assert (await client.get_memories(id)).total_count == 0
    assert (await client.get_memories(other)).total_count == 1


@case
async def search_memories(client: Any, box: Box, directory: Path) -> None:
    id, ids = await remembering(client, "Likes green tea.", "Has a dog named Rex.", "Lives in Oslo.")
    found = await client.search_memories(id, "What is the dog called?", limit=1)
    assert [m["id"] for m in found["memories"]] == [ids[1]]
    assert found["total_count"] == 1
    assert 0 <= found["memories"][0]["score"] <= 1
    with pytest.raises(exceptions.BackboardAPIError) as refused:
        await client.search_memories(id, "dog", limit=51)
    assert refused.value.status_code == 422


@case
async def get_memory_stats(client: Any, box: Box, directory: Path) -> None:
    id, _ = await remembering(client)
    empty = await client.get_memory_stats(id)
    assert (empty.total_memories, empty.last_updated) == (0, None)
    await client.add_memory(id, "Likes tea.")
    stats = await client.get_memory_stats(id)
    assert stats.total_memories == 1
    assert recent(datetime.fromisoformat(stats.last_updated))
    assert stats.limits["max_content_length"] > 0


@case
async def get_memory_insights(client: Any, box: Box, directory: Path) -> None:
    id, _ = await remembering(client, "Likes tea.", "Has a dog.")
    found = await client.get_memory_insights(id)
    assert set(found) == {"snapshot", "contentSignals", "breakdown", "operations"}
    assert found["snapshot"]["total_memories"] == 2
    assert found["contentSignals"]["average_length"] == 10
    assert found["breakdown"]["by_source"] == {"learned": 0, "added": 2}
    assert found["operations"]["total"] == 0


@case
async def get_memory_operation_status(client: Any, box: Box, directory: Path) -> None:
    said = await client.send_message("My name is Sarah and I live in Oslo.", memory="Auto")
    id = said.messages[-1]["memory_operation_id"]
    operation = await client.get_memory_operation_status(id)
    while operation.status not in ("COMPLETED", "ERROR"):
        await asyncio.sleep(0.02)
        operation = await client.get_memory_operation_status(id)
    assert (operation.operation_id, operation.status) == (id, "COMPLETED")
    memories = (await client.get_memories(said.assistant_id)).memories
    assert operation.result_count == len(memories) > 0
    assert set(operation.memory_ids) == {m.id for m in memories}
    assert recent(operation.updated_at)
    with pytest.raises(exceptions.BackboardNotFoundError):
        await client.get_memory_operation_status("nothing")


# ---- models ---------------------------------------------------------------------------------------------------------


@case
async def list_models(client: Any, box: Box, directory: Path) -> None:
    found = await client.list_models()
    assert [(m.name, m.provider, m.model_type) for m in found.models] == [("echo-1", "echo", "llm")]
    assert found.total == 1
    nothing: Mapping[str, Any]
    for nothing in (
        {"skip": 1},
        {"model_type": "embedding"},
        {"provider": "openai"},
        {"supports_tools": False},
        {"min_context": 10**6},
    ):
        assert (await client.list_models(**nothing)).models == [], nothing
    assert (await client.list_models(model_type="LLM", provider="ECHO", supports_tools=True, limit=9999)).total == 1
    assert (await client.list_models(skip=-1, limit=0)).total == 1, "the SDK sends these as they are"


@case
async def get_model(client: Any, box: Box, directory: Path) -> None:
    for name in ("echo-1", "ECHO-1", "echo/echo-1"):
        assert (await client.get_model(name)).name == "echo-1"
    with pytest.raises(exceptions.BackboardNotFoundError):
        await client.get_model("openai/gpt-4o")


@case
async def list_models_by_provider(client: Any, box: Box, directory: Path) -> None:
    assert [m.name for m in (await client.list_models_by_provider("echo")).models] == ["echo-1"]
    assert (await client.list_models_by_provider("openai")).total == 0


@case
async def list_providers(client: Any, box: Box, directory: Path) -> None:
    found = await client.list_providers()
    assert (found.providers, found.total) == (["echo"], 1)


@case
async def list_embedding_models(client: Any, box: Box, directory: Path) -> None:
    found = await client.list_embedding_models()
    assert [m.provider for m in found.models] == ["lite"]
    dims = found.models[0].embedding_dimensions
    assert (await client.list_embedding_models(min_dimensions=dims, max_dimensions=dims, provider="Lite")).total == 1
    assert (await client.list_embedding_models(min_dimensions=dims + 1)).total == 0


@case
async def list_embedding_providers(client: Any, box: Box, directory: Path) -> None:
    assert (await client.list_embedding_providers()).providers == ["lite"]


@case
async def get_embedding_model(client: Any, box: Box, directory: Path) -> None:
    (model,) = (await client.list_embedding_models()).models
    assert await client.get_embedding_model(model.name.upper()) == model
    made = await client.create_assistant(
        name="a",
        embedding_provider="lite",
        embedding_model_name=model.name,
        embedding_dims=model.embedding_dimensions,
    )
    assert (made.embedding_provider, made.embedding_model_name) == ("lite", model.name)
    assert made.embedding_dims == model.embedding_dimensions
    with pytest.raises(exceptions.BackboardNotFoundError):
        await client.get_embedding_model("text-embedding-3-large")


@case
async def list_image_models(client: Any, box: Box, directory: Path) -> None:
    found = await client.list_image_models(supports_vision=True)
    assert (found.models, found.total) == ([], 0)


@case
async def list_image_providers(client: Any, box: Box, directory: Path) -> None:
    assert (await client.list_image_providers()).providers == []


@case
async def get_image_model(client: Any, box: Box, directory: Path) -> None:
    with pytest.raises(exceptions.BackboardNotFoundError, match="no such model"):
        await client.get_image_model("openai/gpt-image-1")


@case
async def list_video_models(client: Any, box: Box, directory: Path) -> None:
    found = await client.list_video_models()
    assert (found.models, found.total) == ([], 0)


@case
async def get_video_model(client: Any, box: Box, directory: Path) -> None:
    with pytest.raises(exceptions.BackboardNotFoundError, match="no such model"):
        await client.get_video_model("google/veo 3")


# ---- sockets and the rest -------------------------------------------------------------------------------------------


@case
async def connect_realtime(client: Any, box: Box, directory: Path) -> None:
    with pytest.raises(exceptions.BackboardAPIError, match="no realtime sessions"):
        await client.connect_realtime(provider="openai", model="gpt-realtime")


@case
async def stream_voice(client: Any, box: Box, directory: Path) -> None:
    with pytest.raises(exceptions.BackboardAPIError, match="no voice sessions"):
        await client.stream_voice(str(uuid.uuid4()), {"voice": {"stt": {}}})


@case
async def aclose(client: Any, box: Box, directory: Path) -> None:
    assert await client.list_threads() == []
    await client.aclose()
    with pytest.raises(RuntimeError, match="closed"):
        await client.list_threads()
