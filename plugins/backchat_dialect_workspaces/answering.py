"""Answers: JSON; and the reply of a run, waited for or not."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from aiohttp import web

from backchat.domain.message import Message
from backchat.domain.run import Run
from backchat.errors import BackchatError, NotFound
from backchat.web.dialect import Call
from backchat.web.errors import problem_of
from backchat_dialect_workspaces import shapes
from backchat_dialect_workspaces.problems import body_of, code_of

CHANNEL = "workspaces"
MANY = 200
"""Messages from which on showing them takes long enough to be done in a thread."""
NEAR = 16
"""How many messages are looked at first for a reply, which is mostly among the newest."""
ASYNC, WAIT = "respond-async", "wait"
POLL = 1
"""Seconds after which a task may be asked for again."""
_PREFERENCE = re.compile(r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)")


def json_answer(data: object, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(body=orjson.dumps(data), status=status, content_type="application/json", headers=headers)


async def shown(messages: Sequence[Message], around: Sequence[Message]) -> list[dict[str, Any]]:
    if len(around) < MANY:
        return shapes.messages(messages, around)
    return await asyncio.to_thread(shapes.messages, messages, around)


# ---- replies --------------------------------------------------------------------------------------------------------


def preferred(call: Call) -> tuple[bool, str | None]:
    """Whether the answer is a task, and by which preference of the request (RFC 7240), if by one.

    Whoever prefers to wait is not given a task; how long they would is not looked at.
    """
    words = ",".join(call.request.headers.getall("Prefer", ())).split(",")
    given = {found[1].lower() for word in words if (found := _PREFERENCE.match(word))}
    if ASYNC in given:
        return True, ASYNC
    if WAIT in given:
        return False, WAIT
    return call.settings.async_agents, None


async def answered(call: Call, run: Run, status: int) -> web.Response:
    """The reply when it is there, with this status, or the task that makes it.

    What the user said is stored by now, and is in the answer whatever comes of it.
    """
    later, preference = preferred(call)
    headers = {"Preference-Applied": preference} if preference else {}
    if later:
        asked, _ = await reply(call, run)
        told = {**processing(run), "user_message": asked}
        return json_answer(told, 202, {**headers, "Location": _poll_path(call, run)})
    try:
        run, _ = await call.services.runs.result(call.who, run.id)
    except NotFound:  # the session was deleted meanwhile, or is no longer the caller's to see
        raise
    except BackchatError as error:
        problem = problem_of(error, {})
        asked, _ = await reply(call, run)
        return json_answer({**body_of(problem), "user_message": asked}, problem.status, {**headers, **problem.headers})
    asked, made = await reply(call, run)
    return json_answer({"user_message": asked, "ai_messages": made}, status, headers)


async def reply(call: Call, run: Run) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """The user's message, None if it was deleted, and what a run has made of it so far, as they are stored."""
    path = await _around(call, run)
    asked = [m for m in path if m.id == run.input]
    made = [m for m in path if m.run == run.id]
    told = await shown([*asked, *made], path)
    return (told[0] if asked else None), told[len(asked) :]


async def _around(call: Call, run: Run) -> Sequence[Message]:
    """Messages among which those of the run are: the end of the active path, or all if its answer has been replaced."""
    size, services = NEAR, call.services
    while True:
        path = await services.conversations.transcript(call.who, run.conversation, limit=size)
        found = {m.id for m in path}
        if run.input in found and (run.status != "completed" or run.answer in found):
            return path
        if len(path) < size:
            return await services.trees.whole(call.who, run.conversation)
        size *= 4


# ---- tasks ----------------------------------------------------------------------------------------------------------


def processing(run: Run) -> dict[str, Any]:
    return {"task_id": run.id, "status": "processing"}


async def task(call: Call, run: Run) -> web.Response:
    """How far a run is. Raises NotFound for one that ended too long ago."""
    if run.status in ("running", "waiting"):
        return json_answer(processing(run), headers={"Retry-After": str(POLL)})
    if run.expires_at is None or run.expires_at < call.services.conversations.now():
        raise NotFound("task not found")
    if run.status == "completed":
        asked, made = await reply(call, run)
        return json_answer({"task_id": run.id, "status": "completed", "user_message": asked, "ai_messages": made})
    return json_answer({"task_id": run.id, "status": "failed", "error": _why(run), "code": _code(run)})


CODES = ("provider_error", "timeout", "insufficient_credits", "cancelled", "server_restart")


def _code(run: Run) -> str:
    """One of CODES, or ``internal``."""
    code = code_of(run.failure.code) if run.failure is not None else run.status
    return code if code in CODES else "internal"


def _why(run: Run) -> str:
    return run.failure.message if run.failure is not None else f"the reply was {run.status}"


def _poll_path(call: Call, run: Run) -> str:
    messages = f"/api/workspaces/{call.opened.home}/chats/{run.conversation}/messages"
    return f"{messages}/agent-task-status/{run.id}/"
