"""Runs: handing in tool outputs, and cancelling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from aiohttp import web

from backchat.errors import NotFound
from backchat.web.dialect import Call
from backchat_dialect_threads.answering import Answering, Begun
from backchat_dialect_threads.replies import json_answer
from backchat_dialect_threads.tools import checked_tools
from backchat_dialect_threads.wishes import effort_of


async def submit_outputs(call: Call) -> web.StreamResponse:
    thread, run, tools = call.path("thread_id"), call.path("run_id"), call.body["tools"]

    async def begin() -> Begun:
        going = await call.services.turns.answer(
            call.who,
            thread,
            run,
            _outputs(call.body["tool_outputs"]),
            tools=await checked_tools(tools) if tools is not None else None,
            reasoning=effort_of(call.body["thinking"]),
        )
        return Begun(run=going)

    return await Answering(call=call, streams=call.query["stream"], thread=thread, run=run).answer(begin())


async def submit_outputs_simply(call: Call) -> web.StreamResponse:
    thread = call.body["thread_id"]

    async def begin() -> Begun:
        outputs = _outputs(call.body["tool_outputs"])
        return Begun(run=await call.services.turns.answer(call.who, thread, None, outputs))

    return await Answering(call=call, streams=call.body["stream"], thread=thread).answer(begin())


async def cancel_run(call: Call) -> web.Response:
    thread, id = call.path("thread_id"), call.path("run_id")
    await call.services.conversations.open(call.who, thread, "say")
    run = await call.services.runs.open(call.who, id)
    if run.conversation != thread:
        raise NotFound("run not found")
    run = await call.services.runs.cancel(call.who, id)
    return json_answer({"thread_id": thread, "run_id": id, "cancelled": run.status == "cancelled"})


def _outputs(given: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Call id and text of each output; what is not text goes to the model as JSON."""
    return [
        (g["tool_call_id"], g["output"] if isinstance(g["output"], str) else orjson.dumps(g["output"]).decode())
        for g in given
    ]
