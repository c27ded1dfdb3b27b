"""Assistants."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from backchat.errors import InvalidInput
from backchat.web.dialect import Call
from backchat_dialect_threads import shapes
from backchat_dialect_threads.replies import json_answer, removed
from backchat_dialect_threads.tools import checked_tools

NAMES = {
    "name": "name",
    "description": "description",
    "system_prompt": "system",
    "tools": "tools",
    "tok_k": "top_k",
    "embedding_provider": "embedder",
    "embedding_model_name": "embedding_model",
    "embedding_dims": "embedding_dims",
    "memory_strategy": "memory",
    "custom_fact_extraction_prompt": "extraction_prompt",
    "custom_update_memory_prompt": "update_prompt",
}
"""Fields of the wire, and what the service calls them."""


async def _given(call: Call) -> dict[str, Any]:
    given = {NAMES[name]: value for name, value in call.body.items()}
    if given.get("memory") not in (None, *call.services.strategies):
        raise InvalidInput(f"must be one of: {', '.join(call.services.strategies)}", field="body.memory_strategy")
    if "tools" in given:
        given["tools"] = await checked_tools(given["tools"] or ())
    return given


async def create_assistant(call: Call) -> web.Response:
    given = {name: value for name, value in (await _given(call)).items() if value is not None}
    return json_answer(shapes.assistant(await call.services.assistants.create(call.who, **given)))


async def list_assistants(call: Call) -> web.Response:
    found = await call.services.assistants.page(call.who, **call.query)
    return json_answer([shapes.assistant(a) for a in found])


async def get_assistant(call: Call) -> web.Response:
    return json_answer(shapes.assistant(await call.services.assistants.open(call.who, call.path("assistant_id"))))


async def update_assistant(call: Call) -> web.Response:
    changed = await call.services.assistants.update(call.who, call.path("assistant_id"), **await _given(call))
    return json_answer(shapes.assistant(changed))


async def delete_assistant(call: Call) -> web.Response:
    await call.services.assistants.discard(call.who, call.path("assistant_id"))
    return removed(call, "Assistant", "assistant_id")


async def clone_assistant(call: Call) -> web.Response:
    copy, documents, memories = await call.services.assistants.clone(
        call.who,
        call.path("assistant_id"),
        name=call.body["name"],
        system=call.body["system_prompt"],
        documents=call.body["copy_documents"],
        memories=call.body["copy_memories"],
    )
    return json_answer(
        {"assistant": shapes.assistant(copy), "documents_cloned": documents, "memories_cloned": memories}
    )
