"""What assistants remember."""

from __future__ import annotations

from aiohttp import web

from backchat.domain.times import stamp
from backchat.web.dialect import Call
from backchat_dialect_threads import shapes
from backchat_dialect_threads.replies import json_answer

PAGE_SIZE = 25


async def list_memories(call: Call) -> web.Response:
    number, size = call.query["page"], call.query["page_size"]
    if number is None and size is not None:
        number = 1
    size = size or PAGE_SIZE
    found, total = await call.services.memories.page(call.who, call.path("assistant_id"), number=number, size=size)
    listed = {"memories": [shapes.memory(m) for m in found], "total_count": total}
    if number is not None:
        listed |= {"page": number, "page_size": size, "total_pages": -(-total // size)}
    return json_answer(listed)


async def add_memory(call: Call) -> web.Response:
    made = await call.services.memories.add(
        call.who, call.path("assistant_id"), call.body["content"], call.body["metadata"] or {}
    )
    return json_answer({"success": True, "message": "Memory added", "memory_id": made.id, "content": made.content})


async def get_memory(call: Call) -> web.Response:
    found = await call.services.memories.open(call.who, call.path("assistant_id"), call.path("memory_id"))
    return json_answer(shapes.memory(found))


async def update_memory(call: Call) -> web.Response:
    changed = await call.services.memories.update(
        call.who, call.path("assistant_id"), call.path("memory_id"), call.body["content"], call.body["metadata"]
    )
    return json_answer(shapes.memory(changed))


async def delete_memory(call: Call) -> web.Response:
    await call.services.memories.discard(call.who, call.path("assistant_id"), call.path("memory_id"))
    return json_answer({"success": True, "message": "Memory deleted"})


async def reset_memories(call: Call) -> web.Response:
    count = await call.services.memories.reset(call.who, call.path("assistant_id"))
    return json_answer({"success": True, "message": f"{count} {'memory' if count == 1 else 'memories'} deleted"})


async def search_memories(call: Call) -> web.Response:
    found = await call.services.memories.search(
        call.who, call.path("assistant_id"), call.body["query"], call.body["limit"]
    )
    return json_answer({"memories": [shapes.memory(m, score) for m, score in found], "total_count": len(found)})


async def memory_stats(call: Call) -> web.Response:
    found = await call.services.memories.stats(call.who, call.path("assistant_id"))
    last = stamp(found.last_updated) if found.last_updated is not None else None
    return json_answer({"total_memories": found.total, "last_updated": last, "limits": found.limits})


async def memory_insights(call: Call) -> web.Response:
    found = await call.services.memories.insights(call.who, call.path("assistant_id"))
    return json_answer(
        {
            "snapshot": found.snapshot,
            "contentSignals": found.signals,
            "breakdown": found.breakdown,
            "operations": found.operations,
        }
    )


async def memory_operation(call: Call) -> web.Response:
    return json_answer(shapes.operation(await call.services.memories.operation(call.who, call.path("operation_id"))))
