"""Messages of a session, which are those of its active path; and the tasks that make them."""

from __future__ import annotations

from aiohttp import web

from backchat.domain.conversation import Conversation
from backchat.errors import InvalidInput, NotFound
from backchat.services.saying import Say
from backchat.services.workspace_conversations import status_of
from backchat.web.dialect import Call
from backchat_dialect_workspaces.answering import CHANNEL, answered, json_answer, shown, task
from backchat_dialect_workspaces.paging import paged, window


async def list_messages(call: Call) -> web.Response:
    skip, size = window(call)
    found = await call.services.workspace_conversations.messages(
        call.who, call.opened.id, role=call.query["role"], skip=skip, limit=size
    )
    return json_answer(paged(call, await shown(found.shown, found.around), found.count))


async def get_message(call: Call) -> web.Response:
    found = await call.services.workspace_conversations.message(call.who, call.opened.id, call.path("message_id"))
    return json_answer((await shown(found.shown, found.around))[0])


async def delete_message(call: Call) -> web.Response:
    """Delete one message; a branch that is not shown is not here."""
    session, message = call.opened.id, call.path("message_id")
    await call.services.workspace_conversations.message(call.who, session, message)
    await call.services.trees.remove(call.who, session, message, splice=True, busy="refuse")
    return web.Response(status=204)


async def send_message(call: Call) -> web.Response:
    _require_active(call.opened)
    say = Say(text=call.body["content"], conversation=call.opened.id, channel=CHANNEL, busy="refuse")
    return await answered(call, await call.services.turns.say(call.who, say), 201)


async def regenerate(call: Call) -> web.Response:
    _require_active(call.opened)
    return await answered(call, await call.services.turns.again(call.who, call.opened.id), 200)


async def task_status(call: Call) -> web.Response:
    run = await call.services.runs.open(call.who, call.path("task_id"))
    if run.conversation != call.opened.id:
        raise NotFound("task not found")
    return await task(call, run)


def _require_active(session: Conversation) -> None:
    status = status_of(session)
    if status != "active":
        raise InvalidInput(f"this session is {status}: it takes no messages")
