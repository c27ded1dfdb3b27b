"""What goes out: values of the domain as the threads dialect shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from backchat.domain.assistant import Assistant
from backchat.domain.conversation import Conversation
from backchat.domain.document import Document
from backchat.domain.memory import Memory, MemoryOperation, Recalled
from backchat.domain.message import File, Message, ToolCall, ToolResult
from backchat.domain.model import ModelInfo
from backchat.domain.times import stamp

STATUSES = {
    "complete": "COMPLETED",
    "running": "IN_PROGRESS",
    "waiting": "REQUIRES_ACTION",
    "cancelled": "CANCELLED",
    "failed": "FAILED",
    "interrupted": "FAILED",
}
OPERATIONS = {"pending": "PENDING", "completed": "COMPLETED", "error": "ERROR"}


def _stamp(moment: datetime | None) -> str | None:
    return stamp(moment) if moment is not None else None


def assistant(a: Assistant) -> dict[str, Any]:
    return {
        "assistant_id": a.id,
        "name": a.name,
        "description": a.description,
        "system_prompt": a.system,
        "tools": list(a.tools) or None,
        "tok_k": a.top_k,
        "embedding_provider": a.embedder,
        "embedding_model_name": a.embedding_model,
        "embedding_dims": a.embedding_dims,
        "memory_strategy": a.memory,
        "custom_fact_extraction_prompt": a.extraction_prompt,
        "custom_update_memory_prompt": a.update_prompt,
        "created_at": stamp(a.created_at),
    }


def thread(c: Conversation, messages: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    return {
        "thread_id": c.id,
        "assistant_id": c.assistant,
        "created_at": stamp(c.created_at),
        "metadata_": c.metadata,
        "messages": list(messages),
    }


def message(m: Message, documents: Mapping[str, Document]) -> dict[str, Any]:
    """``documents`` are those of the thread by id."""
    calls = tool_calls(m)
    results = [p for p in m.parts if type(p) is ToolResult]
    content: str | None = "\n".join([p.content for p in results]) if results else m.text
    shown: dict[str, Any] = {
        "message_id": m.id,
        "role": m.role,
        "content": content if content or not calls else None,
        "status": STATUSES[m.status],
        "created_at": stamp(m.created_at),
        "metadata_": m.metadata,
        "attachments": attachments(m, documents),
    }
    if calls:
        shown["tool_calls"] = calls
    if results:
        shown["tool_call_id"] = results[0].call
    return shown


def attachments(m: Message, documents: Mapping[str, Document]) -> list[dict[str, Any]] | None:
    return [attachment(p, documents.get(p.document)) for p in m.parts if type(p) is File] or None


def attachment(file: File, document: Document | None) -> dict[str, Any]:
    return {
        "document_id": file.document,
        "filename": file.name,
        "status": document.status if document else "deleted",
        "file_size_bytes": document.size if document else None,
        "summary": document.summary if document else None,
    }


def tool_calls(m: Message) -> list[dict[str, Any]]:
    return [tool_call(p) for p in m.parts if type(p) is ToolCall]


def tool_call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def document(d: Document) -> dict[str, Any]:
    _, dot, suffix = d.filename.rpartition(".")
    return {
        "document_id": d.id,
        "filename": d.filename,
        "status": d.status,
        "status_message": d.problem,
        "summary": d.summary,
        "created_at": stamp(d.created_at),
        "updated_at": stamp(d.updated_at),
        "processing_started_at": _stamp(d.started_at),
        "processing_completed_at": _stamp(d.completed_at),
        "file_size_bytes": d.size,
        "total_tokens": d.tokens,
        "chunk_count": d.chunks,
        "document_type": suffix.lower() if dot else None,
        "metadata_": d.metadata,
    }


def memory(m: Memory, score: float | None = None) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": m.id,
        "content": m.content,
        "metadata": m.metadata,
        "created_at": stamp(m.created_at),
        "updated_at": stamp(m.updated_at),
    }
    return shown if score is None else {**shown, "score": score}


def recalled(memories: Sequence[Recalled]) -> list[dict[str, Any]]:
    return [{"id": m.id, "memory": m.content, "score": m.score} for m in memories]


def operation(o: MemoryOperation) -> dict[str, Any]:
    return {
        "operation_id": o.id,
        "status": OPERATIONS[o.status],
        "memory_ids": list(o.memories),
        "result_count": len(o.memories),
        "error": o.problem,
        "created_at": stamp(o.created_at),
        "updated_at": stamp(o.updated_at),
    }


def model(m: ModelInfo) -> dict[str, Any]:
    return {
        "name": m.name,
        "provider": m.provider,
        "model_type": m.kind,
        "context_limit": m.context,
        "max_output_tokens": m.output,
        "embedding_dimensions": m.dimensions,
        "supports_streaming": m.kind == "llm",
        "supports_tools": m.tools,
        "supports_vision": m.vision,
        "supports_audio_input": m.audio_input,
        "supports_video_input": m.video_input,
        "supports_image_output": m.image_output,
        "supports_audio_output": m.audio_output,
        "supports_video_output": False,
        "supported_parameters": (["tools"] if m.tools else []) + (["thinking"] if m.reasoning else []),
        "input_cost_per_1m_tokens": m.price,
        "cached_input_cost_per_1m_tokens": m.cached_price,
        "image_input_cost_per_1m_tokens": m.image_price,
        "output_cost_per_1m_tokens": m.output_price,
        "last_updated": _day(m),
    }


def embedding_model(m: ModelInfo) -> dict[str, Any]:
    return {
        "name": m.name,
        "provider": m.provider,
        "embedding_dimensions": m.dimensions or 0,
        "context_limit": m.context,
        "last_updated": _day(m),
    }


def _day(m: ModelInfo) -> str | None:
    return f"{m.as_of.isoformat()}T00:00:00.000Z" if m.as_of is not None else None
