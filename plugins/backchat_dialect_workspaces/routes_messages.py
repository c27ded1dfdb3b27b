"""The routes of messages and tasks."""

from __future__ import annotations

from backchat.web.dialect import Route
from backchat_dialect_workspaces import answers, schemas
from backchat_dialect_workspaces import handlers_messages as messages
from backchat_dialect_workspaces.opening import session
from backchat_dialect_workspaces.routes_sessions import ONE as SESSION
from backchat_dialect_workspaces.statuses import BODY, MISSING, REFUSED, REPLIES, UNFIT, statuses

ALL = f"{SESSION}messages/"
ONE = f"{ALL}{{message_id:(?!(?:regenerate|agent-task-status)(?:/|$))[^/]+}}/"
"""What is no id is not taken for one; it may be any text otherwise, for other dialects let clients name messages."""
PREFER = {"Prefer": "`respond-async` for a task, `wait` for the reply; the server's `async_agents` without either"}

ROUTES = [
    Route(
        method="GET",
        path=ALL,
        handler=messages.list_messages,
        opens=session(),
        summary="List messages, oldest first",
        query=schemas.MessagesQuerySchema(),
        answer=answers.MessagesSchema(),
        statuses=statuses(UNFIT, MISSING, ok="A page"),
    ),
    Route(
        method="POST",
        path=ALL,
        handler=messages.send_message,
        opens=session("say"),
        summary="Say something; the reply is in the answer, or made by a task",
        body=schemas.MessageSchema(),
        headers=PREFER,
        answer=answers.ReplySchema(),
        statuses={
            **statuses(BODY, MISSING, REFUSED, REPLIES, ok="The message and its reply", status=201),
            202: "The task that makes the reply; Location says where to ask for it",
        },
    ),
    Route(
        method="POST",
        path=f"{ALL}regenerate/",
        handler=messages.regenerate,
        opens=session("say"),
        summary="Answer the last message of a user again, in place of the answer that it has",
        headers=PREFER,
        answer=answers.ReplySchema(),
        statuses={
            **statuses(UNFIT, MISSING, REFUSED, REPLIES, ok="The message and its new reply"),
            202: "The task that makes the reply; Location says where to ask for it",
        },
    ),
    Route(
        method="GET",
        path=f"{ALL}agent-task-status/{{task_id}}/",
        handler=messages.task_status,
        opens=session(),
        summary="How far a task is",
        answer=answers.TaskSchema(),
        statuses=statuses(MISSING, ok="How far it is"),
    ),
    Route(
        method="GET",
        path=ONE,
        handler=messages.get_message,
        opens=session(),
        summary="A message",
        answer=answers.MessageAnswerSchema(),
        statuses=statuses(MISSING, ok="The message"),
    ),
    Route(
        method="DELETE",
        path=ONE,
        handler=messages.delete_message,
        opens=session("withdraw"),
        summary="Delete one message",
        statuses=statuses(MISSING, REFUSED, {409: "A reply of this session is being made"}, ok="Deleted", status=204),
    ),
]
