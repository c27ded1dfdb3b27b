"""Tags, which LibreChat's client calls bookmarks."""

from __future__ import annotations

from aiohttp import web

from backchat.web.dialect import Call
from backchat_dialect_convos import shapes
from backchat_dialect_convos.answering import json_answer


async def list_tags(call: Call) -> web.Response:
    return json_answer([shapes.tag(t) for t in await call.services.tags.all(call.who)])


async def create_tag(call: Call) -> web.Response:
    body = call.body
    made = await call.services.tags.create(
        call.who,
        body["tag"],
        description=body["description"],
        conversation=body["conversationId"] if body["addToConversation"] else None,
    )
    return json_answer(shapes.tag(made))


async def update_tag(call: Call) -> web.Response:
    body = call.body
    changed = await call.services.tags.update(
        call.who,
        call.path("tag"),
        name=body["tag"],
        description=body["description"],
        position=body["position"],
    )
    return json_answer(shapes.tag(changed))


async def delete_tag(call: Call) -> web.Response:
    return json_answer(shapes.tag(await call.services.tags.delete(call.who, call.path("tag"))))


async def tag_convo(call: Call) -> web.Response:
    kept = await call.services.tags.attach(call.who, call.path("conversationId"), call.body["tags"])
    return json_answer(list(kept))
