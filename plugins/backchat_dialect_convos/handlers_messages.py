"""Messages: the tree of a conversation, and changes anywhere in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from aiohttp import web

from backchat.domain.content_items import FIELDS
from backchat.domain.message import Message, MessageStatus, Role
from backchat.errors import InvalidInput, NotFound
from backchat.services.trees import NewMessage
from backchat.web.dialect import Call
from backchat_dialect_convos import parts, shapes
from backchat_dialect_convos.answering import CHANNEL, json_answer, shown
from backchat_dialect_convos.cursor import Place, cursor, place_of

NEW = "new"
"""What stands for the id of a conversation that has not begun."""
KNOWN = frozenset((
    "messageId", "conversationId", "parentMessageId", "message", "text", "content", "isCreatedByUser", "model",
    "endpoint", "error", "unfinished", "metadata", "isTemporary", "createdAt", "updatedAt", "_id", "__v", "user",
    "files", FIELDS,
))  # fmt: skip
"""What is stored in a place of its own, or is the server's to say; the rest is kept under its name."""


async def list_messages(call: Call) -> web.Response:
    id = call.path("conversationId")
    if id == NEW:
        return json_answer([])
    messages = await call.services.trees.whole(call.who, id)
    return await shown(lambda: [shapes.message(m) for m in messages], len(messages))


async def get_message(call: Call) -> web.Response:
    id = call.path("conversationId")
    if id == NEW:
        return json_answer([])
    await call.services.conversations.open(call.who, id)
    try:
        found = [await call.services.trees.open(call.who, id, call.path("messageId"))]
    except NotFound:
        found = []
    return json_answer([shapes.message(m) for m in found])


async def find_messages(call: Call) -> web.Response:
    """Of a conversation, sorted and in pages; or those that a search finds; or none."""
    query = call.query
    place, size = place_of(query["cursor"]), query["pageSize"]
    if query["conversationId"]:
        messages = await call.services.trees.whole(call.who, query["conversationId"])
        if query["messageId"]:
            messages = [m for m in messages if m.id == query["messageId"]]
        return await shown(lambda: _page(messages, query, place), len(messages))
    if query["search"]:
        hits, after = await call.services.trees.search(call.who, query["search"], limit=size, after=_hit(place))
        found = [shapes.found(hit.message, hit.conversation) for hit in hits]
        return json_answer({"messages": found, "nextCursor": cursor(after)})
    return json_answer({"messages": [], "nextCursor": None})


def _hit(place: Place | None) -> tuple[str, str] | None:
    match place:
        case None:
            return None
        case (str(created), str(id)):
            return created, id
    raise InvalidInput("is none that this list gave", field="query.cursor")


def _page(messages: Sequence[Message], query: Mapping[str, Any], place: Place | None) -> dict[str, Any]:
    by = query["sortBy"]

    def at(m: dict[str, Any]) -> tuple[str, str]:
        return str(m.get(by, "")), m["messageId"]

    rows = sorted([shapes.message(m) for m in messages], key=at, reverse=query["sortDirection"])
    if place is not None:
        if place[:1] != (by,) or len(place) != 3:
            raise InvalidInput("is of a list in another order", field="query.cursor")
        after = (str(place[1]), str(place[2]))
        rows = [m for m in rows if (at(m) < after if query["sortDirection"] else at(m) > after)]
    page = rows[: query["pageSize"]]
    more = len(rows) > len(page)
    return {"messages": page, "nextCursor": cursor((by, *at(page[-1])), of=1) if more else None}


async def put_message(call: Call) -> web.Response:
    """Store a message; in a new conversation, if the path says so."""
    id, body = _conversation(call), call.body
    if id == NEW:
        made = await call.services.trees.begin(
            call.who, _new(body, None), temporary=body["isTemporary"], channel=CHANNEL
        )
        return json_answer(shapes.stored(made), 201)
    try:
        before = await _standing(call, id, body["messageId"])
        made = await call.services.trees.put(call.who, id, _new(body, before))
    except NotFound:
        if not _is_uuid(id):
            raise InvalidInput("Message not saved") from None
        raise
    return json_answer(shapes.stored(made), 201)


def _conversation(call: Call) -> str:
    """The id in the path. Raises InvalidInput if the body says another one."""
    id, body = call.path("conversationId"), call.body
    inner = body["message"] if isinstance(body["message"], dict) else {}
    if any(named not in (None, "", id) for named in (body["conversationId"], inner.get("conversationId"))):
        raise InvalidInput("Conversation ID mismatch")
    return id


async def _standing(call: Call, conversation: str, message: str | None) -> Message | None:
    await call.services.conversations.open(call.who, conversation, "rewrite")
    try:
        return await call.services.trees.open(call.who, conversation, message) if message else None
    except NotFound:
        return None


def _new(body: Mapping[str, Any], before: Message | None) -> NewMessage:
    taken = parts.taken(body["text"], body["content"], body.get("files"), before)
    if not taken.parts:
        raise InvalidInput("text is required")
    status: MessageStatus = "failed" if body["error"] else "interrupted" if body["unfinished"] else "complete"
    parent = body["parentMessageId"]
    metadata = body["metadata"]
    extra = {name: value for name, value in body.items() if name not in KNOWN and value is not None}
    extra |= {"files": taken.files} if taken.files else {}
    if taken.fields or (before is not None and FIELDS in before.extra):
        extra[FIELDS] = taken.fields
    if not isinstance(metadata, dict):
        extra |= {"metadata": metadata} if metadata is not None else {}
        metadata = {}
    return NewMessage(
        id=body["messageId"] or None,
        parent=None if parent in (None, "", shapes.ROOT) else parent,
        role=_role(body["isCreatedByUser"], before),
        parts=taken.parts,
        status=status,
        provider=body["endpoint"],
        model=body["model"],
        metadata=metadata,
        extra=extra,
    )


def _role(spoken: bool, before: Message | None) -> Role:
    """There are two sides of a conversation here; a message of a system or a tool is still one when it is changed."""
    if spoken:
        return "user"
    return before.role if before is not None and before.role != "user" else "assistant"


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


async def edit_message(call: Call) -> web.Response:
    body, index = call.body, call.body["index"]
    conversation, message = _conversation(call), call.path("messageId")
    if index is not None:
        if isinstance(index, bool) or not isinstance(index, int):
            raise InvalidInput("Invalid index")
        standing = await call.services.trees.open(call.who, conversation, message)
        index = parts.place(standing.parts, standing.extra, index)
    changed = await call.services.trees.edit(
        call.who, conversation, message, body["text"], model=body["model"], index=index
    )
    return json_answer(shapes.edited(changed))


async def set_feedback(call: Call) -> web.Response:
    conversation, message, feedback = _conversation(call), call.path("messageId"), call.body["feedback"]
    changed = await call.services.trees.annotate(call.who, conversation, message, {"feedback": feedback})
    told = {"messageId": changed.id, "conversationId": conversation, "feedback": changed.extra.get("feedback")}
    return json_answer(told)


async def delete_message(call: Call) -> web.Response:
    await call.services.trees.remove(call.who, _conversation(call), call.path("messageId"))
    return web.Response(status=204)
