"""Conversations: lists, one of them, and what is done to it or to all."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from aiohttp import web

from backchat.domain.conversation import Conversation
from backchat.errors import Forbidden, InvalidInput, NotFound, NotOwned
from backchat.services.archive import Order, Wanted
from backchat.web.dialect import Call
from backchat_dialect_convos import shapes
from backchat_dialect_convos.answering import document, json_answer
from backchat_dialect_convos.cursor import cursor, place_of

ORDERS: Mapping[str, Order] = {
    "updatedAt": "updated",
    "createdAt": "created",
    "title": "title",
    "archivedAt": "archived",
}
TITLE_SECONDS = 15.5
NO_TITLE = "Title not found or method not implemented for the conversation's endpoint"
NOT_YOURS = "User not authorized for this conversation"


async def list_convos(call: Call) -> web.Response:
    query = call.query
    if query["projectId"] not in (None, "", "unassigned"):  # there are no projects here, so nothing is in one
        return json_answer({"conversations": [], "nextCursor": None})
    wanted = Wanted(
        archived=query["isArchived"],
        pinned=query["pinned"],
        tags=[tag for tag in query["tags"] if tag],
        words=query["search"],
        order=ORDERS[query["sortBy"]],
        descending=query["sortDirection"],
        after=place_of(query["cursor"]),
        limit=query["limit"],
    )
    page = await call.services.archive.find(call.who, wanted)
    shared = await call.services.shares.shared(call.who, [c.id for c in page.conversations])
    found = [shapes.listed(c, c.id in shared) for c in page.conversations]
    return json_answer({"conversations": found, "nextCursor": cursor(page.after, of=2)})


async def get_convo(call: Call) -> web.Response:
    try:
        return await document(call, await call.services.conversations.open(call.who, call.path("conversationId")))
    except NotFound:
        return web.Response(status=404)


async def gen_title(call: Call) -> web.Response:
    try:
        title = await call.services.titles.title(call.who, call.path("conversationId"), TITLE_SECONDS)
    except NotFound:
        title = None
    return json_answer({"message": NO_TITLE}, 404) if title is None else json_answer({"title": title})


async def update_convo(call: Call) -> web.Response:
    arg = call.body["arg"]
    renamed = await _permitted(call.services.conversations.rename(call.who, arg["conversationId"], arg["title"]))
    return await document(call, renamed, 201)


async def archive_convo(call: Call) -> web.Response:
    arg = call.body["arg"]
    put = call.services.archive.put_away(call.who, arg["conversationId"], arg["isArchived"])
    taken_back: Mapping[str, None] = {} if arg["isArchived"] else {"archivedAt": None}
    return await document(call, await _permitted(put), more=taken_back)


async def archive_all(call: Call) -> web.Response:
    return json_answer({"archivedCount": await call.services.archive.put_all_away(call.who)})


async def pin_convo(call: Call) -> web.Response:
    arg = call.body["arg"]
    return await document(call, await call.services.archive.pin(call.who, arg["conversationId"], arg["pinned"]))


async def delete_convo(call: Call) -> web.Response:
    arg = call.body["arg"]
    id = arg["conversationId"]
    if not any(arg.values()):
        raise InvalidInput("no parameters provided")
    if not id:
        if arg["source"] == "button":
            return web.Response(text="No conversationId provided")
        raise InvalidInput("conversationId is required")
    if not isinstance(id, str):
        raise InvalidInput("Invalid conversationId")
    try:
        conversation = await call.services.conversations.open(call.who, id, "delete")
        await call.services.conversations.discard(call.who, id)
    except NotFound:
        return _deleted([])
    return _deleted([conversation])


async def delete_all(call: Call) -> web.Response:
    return _deleted(await call.services.archive.discard_all(call.who))


def _deleted(conversations: Sequence[Conversation]) -> web.Response:
    told: dict[str, Any] = {
        "acknowledged": True,
        "deletedCount": len(conversations),
        "messages": {"acknowledged": True, "deletedCount": sum(c.messages for c in conversations)},
        "conversationIds": [c.id for c in conversations],
    }
    return json_answer(told, 201)


async def _permitted(change: Awaitable[Conversation]) -> Conversation:
    """Here a stranger's conversation is not hidden behind a 404."""
    try:
        return await change
    except NotOwned:
        raise Forbidden(NOT_YOURS) from None
