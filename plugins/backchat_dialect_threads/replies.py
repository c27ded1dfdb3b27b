"""Answers in one piece."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
from aiohttp import web

from backchat.domain.memory import Recalled
from backchat.domain.message import Message, Reasoning, Usage
from backchat.domain.run import Run
from backchat.domain.times import stamp
from backchat.errors import BackchatError
from backchat.services.waiting import pending
from backchat.web.dialect import Call
from backchat_dialect_threads import shapes

_MARK = re.compile(r"\[(\d{1,4}(?:\s?[,;]\s?\d{1,4})*+)\]")
HIDDEN = "hidden"
"""Value of the run's option ``thinking`` where the caller does not want to see it."""


def json_answer(data: object) -> web.Response:
    return web.Response(body=orjson.dumps(data), content_type="application/json")


def removed(call: Call, what: str, name: str) -> web.Response:
    """What a deletion answers; ``name`` is that of the path's id."""
    now = call.services.conversations.now()
    return json_answer({"message": f"{what} deleted", name: call.path(name), "deleted_at": stamp(now)})


def token_counts(usage: Usage | None) -> dict[str, int | None]:
    if usage is None:
        return {"input_tokens": None, "output_tokens": None, "total_tokens": None}
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def operation_of(run: Run) -> str | None:
    """Id of the memory operation that a completed run starts."""
    return run.id if run.recipe.memory == "write" and run.recipe.assistant is not None else None


def shows_thinking(run: Run) -> bool:
    return run.recipe.reasoning is not None and run.options.get("thinking") != HIDDEN


def cited(run: Run, text: str, memories: Sequence[Recalled] | None) -> list[dict[str, Any]] | None:
    """The memories that the answer marks as used, by number; None where no marks were asked for or memory was off.

    What the model was shown is numbered from 1, the memories before the passages.
    """
    if not run.recipe.cite or memories is None:
        return None
    marked = {int(number) for mark in _MARK.findall(text) for number in re.findall(r"\d+", mark)}
    return [{"n": n, "id": m.id, "memory": m.content} for n, m in enumerate(memories, 1) if n in marked]


async def reply(call: Call, run_id: str, attachments: Sequence[dict[str, Any]] | None = None) -> dict[str, Any]:
    """Wait for a run to end or to want tool outputs, and show its answer. Raises what the run failed with."""
    run, message = await call.services.runs.result(call.who, run_id)
    memories, files = await call.services.runs.grounds(call.who, run)
    found = shown(run, message, memories, files, call.services.conversations.now())
    found["attachments"] = attachments
    usage = await context_usage(call, run, message)
    return found if usage is None else {**found, "context_usage": usage}


def shown(
    run: Run, message: Message | None, memories: Sequence[Recalled] | None, files: Sequence[str], now: datetime
) -> dict[str, Any]:
    waiting = run.status == "waiting"
    calls = _wanted(run, message) if message is not None and waiting else []
    thoughts = [p.text for p in message.parts if type(p) is Reasoning] if message is not None else []
    text = message.text if message is not None else ""
    return {
        "message": "Tool outputs required" if waiting else "Message added successfully",
        "thread_id": run.conversation,
        "assistant_id": run.recipe.assistant,
        "content": None if waiting and not text else text,
        "message_id": message.id if message is not None else None,
        "role": "assistant",
        "status": "REQUIRES_ACTION" if waiting else "COMPLETED",
        "tool_calls": calls or None,
        "run_id": run.id,
        "memory_operation_id": None if waiting else operation_of(run),
        "retrieved_memories": shapes.recalled(memories) if memories is not None else None,
        "memory_citations": cited(run, text, memories),
        "retrieved_files": list(files) or None,
        "reasoning": ("".join(thoughts) or None) if shows_thinking(run) else None,
        "model_provider": run.provider,
        "model_name": run.model,
        **token_counts(run.usage),
        "created_at": stamp(message.created_at if message is not None else now),
        "timestamp": stamp(now),
    }


def _wanted(run: Run, message: Message) -> list[dict[str, Any]]:
    """The calls that a waiting run still wants something for, in their order; the others the server has run."""
    waits = pending(run, message)
    ids = {call.id for call in (*waits.outputs, *waits.decisions)}
    return [call for call in shapes.tool_calls(message) if call["id"] in ids]


def noted(message: Message, assistant: str | None, attachments: Sequence[dict[str, Any]] | None) -> dict[str, Any]:
    """A message that was stored without being answered."""
    return {
        "message": "Message added successfully",
        "thread_id": message.conversation,
        "assistant_id": assistant,
        "content": message.text,
        "message_id": message.id,
        "role": "user",
        "status": "COMPLETED",
        "tool_calls": None,
        "run_id": None,
        "memory_operation_id": None,
        "retrieved_memories": None,
        "memory_citations": None,
        "retrieved_files": None,
        "reasoning": None,
        "model_provider": None,
        "model_name": None,
        **token_counts(None),
        "created_at": stamp(message.created_at),
        "attachments": attachments,
        "timestamp": stamp(message.created_at),
    }


def failed(run: Run, error: BackchatError, now: datetime) -> dict[str, Any]:
    """An answer that failed too late for a status of its own."""
    return {**shown(run, None, None, (), now), **_failure(error), "memory_operation_id": None, "attachments": None}


def refused(ids: Mapping[str, str | None], error: BackchatError, now: datetime) -> dict[str, Any]:
    """A request that was refused too late for a status of its own; ``ids`` are those that it named."""
    return {
        **ids,
        **_failure(error),
        "message_id": None,
        "role": "assistant",
        "tool_calls": None,
        "memory_operation_id": None,
        "retrieved_memories": None,
        "memory_citations": None,
        "retrieved_files": None,
        "reasoning": None,
        "model_provider": None,
        "model_name": None,
        **token_counts(None),
        "created_at": stamp(now),
        "attachments": None,
        "timestamp": stamp(now),
    }


def _failure(error: BackchatError) -> dict[str, Any]:
    return {
        "message": str(error),
        "content": None,
        "status": "CANCELLED" if error.code == "cancelled" else "FAILED",
    }


async def context_usage(call: Call, run: Run, message: Message | None) -> dict[str, Any] | None:
    """How full the model's context is, if the catalogue knows its size and the model said what it read."""
    usage = message.usage if message is not None else None
    if usage is None:
        return None
    limit = await call.services.catalogue.context(run.provider, run.model)
    if not limit:
        return None
    used = usage.input_tokens + usage.output_tokens
    return {
        "percent": round(100 * used / limit, 2),
        "used_tokens": used,
        "context_limit": limit,
        "summary_tokens": 0,
        "model": run.model,
    }
