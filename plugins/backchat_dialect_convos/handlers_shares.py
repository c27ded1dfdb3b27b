"""Share links, for those who make them and for anybody who has one."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Literal

from aiohttp import web

from backchat.domain.times import stamp
from backchat.errors import NotFound
from backchat.services.shares import Shared
from backchat.web.dialect import Call
from backchat_dialect_convos import shapes
from backchat_dialect_convos.answering import copied, json_answer, shown
from backchat_dialect_convos.cursor import cursor, place_of

ORDERS: Mapping[str, Literal["created", "title"]] = {"createdAt": "created", "title": "title"}
PUBLIC = (
    "sender", "text", "content", "isCreatedByUser", "model", "endpoint", "iconURL", "error", "unfinished", "createdAt",
    "updatedAt",
)  # fmt: skip
"""What strangers see of a message, beside ids that are made for one answer."""


async def list_shares(call: Call) -> web.Response:
    query = call.query
    found, after = await call.services.shares.find(
        call.who,
        words=query["search"] or "",
        order=ORDERS[query["sortBy"]],
        descending=query["sortDirection"],
        after=place_of(query["cursor"]),
        limit=query["pageSize"],
    )
    links = [shapes.listed_link(s) for s in found]
    return json_answer({"links": links, "nextCursor": cursor(after, of=2), "hasNextPage": after is not None})


async def get_link(call: Call) -> web.Response:
    id = call.path("conversationId")
    found = await call.services.shares.of(call.who, id)
    none = {"shareId": None, "conversationId": id}
    return json_answer({"success": found is not None, **(shapes.link(found) if found else none)})


async def create_share(call: Call) -> web.Response:
    target = call.body["targetMessageId"] or None
    made = await call.services.shares.create(call.who, call.path("conversationId"), target=target)
    return json_answer(shapes.link(made))


async def update_share(call: Call) -> web.Response:
    target = call.body["targetMessageId"] or None
    try:
        return json_answer(
            shapes.link(await call.services.shares.refresh(call.who, call.path("shareId"), target=target))
        )
    except NotFound as error:
        raise _gone(error) from None


async def delete_share(call: Call) -> web.Response:
    id = call.path("shareId")
    try:
        await call.services.shares.delete(call.who, id)
    except NotFound as error:
        raise _gone(error) from None
    return json_answer({"success": True, "shareId": id, "message": "Share deleted successfully"})


def _gone(error: NotFound) -> NotFound:
    """A link is called a share here; a message that it should lead to is still called a message."""
    return error if str(error).lower().startswith("message") else NotFound("Share not found")


async def read_share(call: Call) -> web.Response:
    """A link is read by whoever has it, so that neither the account nor the real ids are in the answer."""
    try:
        found = await call.services.shares.read(call.path("shareId"))
    except NotFound:
        return web.Response(status=404)
    return await shown(lambda: _anonymous(found), len(found.messages))


def _anonymous(found: Shared) -> dict[str, Any]:
    conversation = f"convo_{secrets.token_urlsafe(12)}"
    names = {m.id: f"msg_{secrets.token_urlsafe(12)}" for m in found.messages}
    messages = []
    for m in found.messages:
        whole = shapes.message(m)
        messages.append(
            {
                "messageId": names[m.id],
                "conversationId": conversation,
                "parentMessageId": names.get(m.parent or "", shapes.ROOT),
                **{name: whole[name] for name in PUBLIC if name in whole},
                **_without_files(whole),
            }
        )
    return {
        "shareId": found.share.id,
        "title": found.share.title,
        "createdAt": stamp(found.share.created_at),
        "updatedAt": stamp(found.share.updated_at),
        "conversationId": conversation,
        "shareRevision": found.revision,
        "messages": messages,
    }


def _without_files(message: Mapping[str, Any]) -> dict[str, Any]:
    """Pictures of this server are named by ids that are nobody's business."""
    content = message.get("content")
    if content is None:
        return {}
    shown = [
        {"type": "image_file", "image_file": {"type": part["image_file"].get("type")}} if _is_own(part) else part
        for part in content
    ]
    return {"content": shown}


def _is_own(part: Mapping[str, Any]) -> bool:
    return part.get("type") == "image_file" and isinstance(part.get("image_file"), dict)


async def continue_share(call: Call) -> web.Response:
    body = call.body
    made = await call.services.shares.continue_(
        call.who, call.path("shareId"), target=body["targetMessageIndex"], revision=body["shareRevision"]
    )
    return await copied(made, 201)
