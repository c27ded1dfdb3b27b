"""Runs: handing in tool outputs, and cancelling."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import orjson
from aiohttp import web

from backchat.domain.run import Decision
from backchat.errors import InvalidInput, NotFound
from backchat.web.dialect import Call
from backchat_dialect_threads.answering import Answering, Begun
from backchat_dialect_threads.replies import json_answer
from backchat_dialect_threads.tools import checked_tools
from backchat_dialect_threads.wishes import effort_of

YES = ("approve", "approved", "yes", "allow")
MOST_REASON = 2000
"""Characters of a reason; the rest is cut off."""


async def submit_outputs(call: Call) -> web.StreamResponse:
    thread, run, tools = call.path("thread_id"), call.path("run_id"), call.body["tools"]

    async def begin() -> Begun:
        more = {
            "tools": await checked_tools(tools) if tools is not None else None,
            "reasoning": effort_of(call.body["thinking"]),
        }
        return await _hand_in(call, thread, run, **more)

    return await Answering(call=call, streams=call.query["stream"], thread=thread, run=run).answer(begin())


async def submit_outputs_simply(call: Call) -> web.StreamResponse:
    thread = call.body["thread_id"]

    async def begin() -> Begun:
        return await _hand_in(call, thread, None)

    return await Answering(call=call, streams=call.body["stream"], thread=thread).answer(begin())


async def cancel_run(call: Call) -> web.Response:
    thread, id = call.path("thread_id"), call.path("run_id")
    await call.services.conversations.open(call.who, thread, "say")
    run = await call.services.runs.open(call.who, id)
    if run.conversation != thread:
        raise NotFound("run not found")
    run = await call.services.runs.cancel(call.who, id)
    return json_answer({"thread_id": thread, "run_id": id, "cancelled": run.status == "cancelled"})


async def _hand_in(call: Call, thread: str, run: str | None, **more: Any) -> Begun:
    """Hand in the outputs of the request; of a call that the user is asked about, the output is their answer."""
    turns, given = call.services.turns, call.body["tool_outputs"]
    waiting = await turns.waiting(call.who, thread, run)
    outputs = [(g["tool_call_id"], _text(g["output"])) for g in given if g["tool_call_id"] not in waiting.confirm]
    said = [(g["tool_call_id"], decision_of(g["output"])) for g in given if g["tool_call_id"] in waiting.confirm]
    decisions = dict(said)
    if len(decisions) < len(said):
        raise InvalidInput("two outputs for one tool call", field="body.tool_outputs")
    return Begun(run=await turns.answer(call.who, thread, waiting.id, outputs, decisions=decisions, **more))


def _text(output: Any) -> str:
    """An output as the model is told it: what is not text, as JSON."""
    return output if isinstance(output, str) else orjson.dumps(output).decode()


def decision_of(output: Any) -> Decision:
    """``{"approve": true}`` (or ``allow``), or one of YES, allows a call; anything else does not, and is the reason."""
    said = output
    if isinstance(output, str):
        with suppress(orjson.JSONDecodeError):
            said = orjson.loads(output)
    allowed = said.get("approve", said.get("allow")) if isinstance(said, dict) else None
    if isinstance(allowed, bool):
        reason = said.get("reason")
        return Decision(allowed, "" if reason is None or allowed else _text(reason)[:MOST_REASON])
    text = said if isinstance(said, str) else _text(output)
    if text.strip().casefold() in YES:
        return Decision(True)
    return Decision(False, text.strip()[:MOST_REASON])
