"""Share links, for those who make them and for anybody who has one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from aiohttp import web

from backchat.errors import NotFound
from backchat.web.dialect import Call
from backchat_dialect_convos import shapes
from backchat_dialect_convos.answering import copied, json_answer, shown
from backchat_dialect_convos.cursor import cursor, place_of
from backchat_dialect_convos.public import anonymous

ORDERS: Mapping[str, Literal["created", "title"]] = {"createdAt": "created", "title": "title"}


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
    """A link is called a share here. What the body names and is not there is told of as it is."""
    return error if error.field is not None else NotFound("Share not found")


async def read_share(call: Call) -> web.Response:
    """A link is read by whoever has it, so that neither the account nor the real ids are in the answer."""
    try:
        found = await call.services.shares.read(call.path("shareId"))
    except NotFound:
        return web.Response(status=404)
    return await shown(lambda: anonymous(found), len(found.messages))


async def continue_share(call: Call) -> web.Response:
    body = call.body
    try:
        made = await call.services.shares.continue_(
            call.who, call.path("shareId"), target=body["targetMessageIndex"], revision=body["shareRevision"]
        )
    except NotFound:
        return web.Response(status=404)
    return await copied(made, 201)
