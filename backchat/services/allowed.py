"""Calls of the server's tools that the user has allowed: they are run when the run goes on, before the model is asked.

What they answer is logged as it comes, and becomes messages in one batch with the run that has no such calls any more.
Whoever finds a run with some, as its process was killed, knows that they may have been run and runs none of them again;
what the log does not tell of them, nobody knows (``backchat.services.endings``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import uuid4

from backchat.domain.message import ToolCall, ToolResult
from backchat.domain.run import StatusNote, ToolReturned
from backchat.errors import Internal, Interrupted, NotFound, StaleWrite
from backchat.ports.storage import RecordStore
from backchat.services.finishing import through
from backchat.services.growing import grown
from backchat.services.live_runs import LiveRun
from backchat.services.runstate import run_put
from backchat.services.said import Said
from backchat.services.stored import conversation_of, conversation_put, message_put
from backchat.services.toolbox import Toolbox
from backchat.services.waiting import results_of


async def run_allowed(
    store: RecordStore, toolbox: Toolbox, live: LiveRun, said: Said, now: Callable[[], datetime]
) -> None:
    """Run them side by side, and store what they answered. Raises what ends the run, if that cannot be.

    What one answers is in the log and in ``said`` as soon as it has: it is not lost if another one never does.
    """

    async def run(call: ToolCall) -> ToolResult:
        result = await toolbox.call(call)
        said.add(ToolReturned(result))
        live.log.add(ToolReturned(result))
        return result

    if live.run.allowed:
        labels = dict.fromkeys([call.name.replace("_", " ") for call in live.run.allowed])
        live.log.add(StatusNote(f"Using {', '.join(labels)}"))
        live.calling = True
        results = await asyncio.gather(*[run(call) for call in live.run.allowed])
        await through(_keep(store, live, results, now))


async def _keep(store: RecordStore, live: LiveRun, results: Sequence[ToolResult], now: Callable[[], datetime]) -> None:
    run, seen = live.run, 0
    while True:
        record = await store.get("run", run.id)
        at = await store.get("conversation", run.conversation)
        if record is None or at is None:
            raise NotFound("the conversation was deleted while its reply was being made")
        if record.version != run.version:
            raise Interrupted("another process took this reply over")
        if at.version == seen:
            raise Internal("what tools answered is refused, though nothing has changed")  # it would be for ever
        conversation, seen = conversation_of(at), at.version
        messages = results_of(run, run.parent, conversation, results, now(), lambda: str(uuid4()))
        for message in messages:
            conversation = grown(conversation, message)
        going = replace(run, parent=messages[-1].id, allowed=())
        changes = [run_put(going), *map(message_put, messages), conversation_put(conversation)]
        try:
            await live.log.commit(changes)
        except StaleWrite:
            continue
        live.run = replace(going, version=run.version + 1)
        return
