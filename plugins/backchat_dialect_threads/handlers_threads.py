"""Threads: conversations, seen from here."""

from __future__ import annotations

from aiohttp import web

from backchat.domain.document import Document
from backchat.web.dialect import Call
from backchat_dialect_threads import shapes
from backchat_dialect_threads.replies import json_answer, removed
from backchat_dialect_threads.wishes import CHANNEL


async def create_thread(call: Call) -> web.Response:
    assistant = await call.services.assistants.open(call.who, call.path("assistant_id"))
    made = await call.services.conversations.create(
        call.who, assistant=assistant.id, channel=CHANNEL, metadata=call.body["metadata"] or {}
    )
    return json_answer(shapes.thread(made))


async def list_threads(call: Call) -> web.Response:
    found = await call.services.conversations.page(call.who, **call.query)
    return json_answer([shapes.thread(c) for c in found])


async def list_assistant_threads(call: Call) -> web.Response:
    assistant = await call.services.assistants.open(call.who, call.path("assistant_id"))
    found = await call.services.conversations.page(call.who, assistant=assistant.id, **call.query)
    return json_answer([shapes.thread(c) for c in found])


async def get_thread(call: Call) -> web.Response:
    id = call.path("thread_id")
    conversation = await call.services.conversations.open(call.who, id)
    messages = await call.services.conversations.whole(call.who, id)
    documents: dict[str, Document] = {}
    if await call.services.access.allows(call.who, "attach", conversation):
        documents = {d.id: d for d in await call.services.documents.of(call.who, conversation=id)}
    return json_answer(shapes.thread(conversation, [shapes.message(m, documents) for m in messages]))


async def delete_thread(call: Call) -> web.Response:
    await call.services.conversations.discard(call.who, call.path("thread_id"))
    return removed(call, "Thread", "thread_id")
