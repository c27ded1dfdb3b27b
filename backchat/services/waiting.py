"""Runs that wait for the outputs of tools which the client runs.

They belong to no process: they are records, and survive any restart. Outputs make them run again; a new message, a
cancel or the deletion of the conversation ends them.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from backchat.domain.conversation import Conversation
from backchat.domain.message import Message, ToolCall, ToolResult
from backchat.domain.run import Run, RunEnded
from backchat.errors import Cancelled, InvalidInput
from backchat.ports.storage import Change
from backchat.services.endings import failure_of
from backchat.services.runlog import event_put
from backchat.services.runstate import run_put
from backchat.services.stored import conversation_put, message_put

Outputs = Sequence[tuple[str, str]]


def given_up(run: Run, asked: Message | None, now: datetime, keep: timedelta) -> list[Change]:
    """What ends a waiting run as cancelled. ``asked`` is the message with its calls, None if that was deleted.

    The caller's batch also puts the conversation, with no active run or another one.
    """
    failure = failure_of(Cancelled("the reply was cancelled while it waited for tool outputs"))
    ended = replace(run, status="cancelled", failure=failure, ended_at=now, expires_at=now + keep)
    message = run.answer if asked is not None else None
    last = RunEnded("cancelled", message, run.provider, run.model, failure, run.usage)
    changes: list[Change] = [run_put(ended), event_put(run.id, run.position + 1, last)]
    if asked is not None:
        changes.append(message_put(replace(asked, status="cancelled")))
    return changes


def checked(asked: Message, own: Container[str], outputs: Outputs) -> Mapping[str, str]:
    """The output of each call, in the order of the calls; those of the server's ``own`` tools it has answered itself.

    Raises InvalidInput unless there is exactly one for each.
    """
    calls = [p.id for p in asked.parts if isinstance(p, ToolCall) and p.name not in own]
    given: dict[str, str] = {}
    for id, text in outputs:
        if id not in calls:
            raise InvalidInput(f"no tool call of this run has the id {id[:200]!r}", field="body.tool_outputs")
        if id in given:
            raise InvalidInput(f"two outputs for the tool call {id!r}", field="body.tool_outputs")
        given[id] = text
    missing = [id for id in calls if id not in given]
    if missing:
        raise InvalidInput(f"no output for the tool call {', '.join(map(repr, missing))}", field="body.tool_outputs")
    return {id: given[id] for id in calls}


def resumed(
    run: Run,
    asked: Message,
    after: str,
    own: Container[str],
    conversation: Conversation,
    outputs: Outputs,
    now: datetime,
    new_id: Callable[[], str],
) -> tuple[Run, Conversation, list[Change]]:
    """What puts the outputs into the conversation and makes the run, given as it shall go on, a running one.

    They follow the message with the id ``after``, the last one that was stored when it paused. Raises InvalidInput
    like ``checked``.
    """
    results = _results(run, after, conversation, checked(asked, own, outputs), now, new_id)
    run = replace(run, status="running", parent=results[-1].id, began=run.position)
    changes: list[Change] = [run_put(run), message_put(replace(asked, status="complete"))]
    changes += [message_put(m) for m in results]
    grown = replace(
        conversation,
        updated_at=now,
        leaf=results[-1].id,
        next_seq=conversation.next_seq + len(results),
        messages=conversation.messages + len(results),
        characters=conversation.characters + sum(len(text) for _, text in outputs),
    )
    changes.append(conversation_put(grown))
    return run, grown, changes


def _results(
    run: Run,
    after: str,
    conversation: Conversation,
    outputs: Mapping[str, str],
    now: datetime,
    new_id: Callable[[], str],
) -> list[Message]:
    """A message for each output, each the child of the one before."""
    results: list[Message] = []
    for n, (call, text) in enumerate(outputs.items()):
        message = Message(
            id=new_id(),
            conversation=conversation.id,
            owner=conversation.owner,
            seq=conversation.next_seq + n,
            role="tool",
            parts=(ToolResult(call, text),),
            created_at=now,
            parent=results[-1].id if results else after,
            run=run.id,
        )
        results.append(message)
    return results
