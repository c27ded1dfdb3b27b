"""Runs that wait: for the outputs of tools which the client runs, or for the user to allow calls of the server's tools.

They belong to no process: they are records, and survive any restart. When everything is in that one waits for, it runs
again; a new message, a cancel or the deletion of the conversation ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from backchat.domain.conversation import Conversation
from backchat.domain.message import Message, ToolCall, ToolResult
from backchat.domain.run import Decision, Run, RunEnded, ToolReturned
from backchat.errors import Cancelled, InvalidInput
from backchat.ports.storage import Change
from backchat.services.endings import failure_of
from backchat.services.runlog import event_put
from backchat.services.runstate import run_put
from backchat.services.stored import conversation_put, message_put

Outputs = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Pending:
    """What a run waits for: ``outputs`` of calls of the client's tools, and what the user says to ``decisions``."""

    outputs: Sequence[ToolCall]
    decisions: Sequence[ToolCall]


def pending(run: Run, asked: Message) -> Pending:
    """What a waiting run still waits for. ``asked`` is the message with its calls."""
    calls = [p for p in asked.parts if isinstance(p, ToolCall)]
    own = run.recipe.own_tools
    return Pending(
        [c for c in calls if c.name not in own],
        [c for c in calls if c.id in run.confirm and c.id not in run.decided],
    )


def given_up(run: Run, asked: Message | None, now: datetime, keep: timedelta) -> list[Change]:
    """What ends a waiting run as cancelled. ``asked`` is the message with its calls, None if that was deleted.

    The caller's batch also puts the conversation, with no active run or another one.
    """
    waited = "for a decision" if run.confirm else "for tool outputs"
    failure = failure_of(Cancelled(f"the reply was cancelled while it waited {waited}"))
    ended = replace(
        run, status="cancelled", confirm=(), decided={}, failure=failure, ended_at=now, expires_at=now + keep
    )
    message = run.answer if asked is not None else None
    last = RunEnded("cancelled", message, run.provider, run.model, failure, run.usage)
    changes: list[Change] = [run_put(ended), event_put(run.id, run.position + 1, last)]
    if asked is not None:
        changes.append(message_put(replace(asked, status="cancelled")))
    return changes


def checked(calls: Sequence[ToolCall], outputs: Outputs) -> Mapping[str, str]:
    """The output of each call by its id. Raises InvalidInput unless there is exactly one for each."""
    wanted = [c.id for c in calls]
    given: dict[str, str] = {}
    for id, text in outputs:
        if id not in wanted:
            raise InvalidInput(f"no tool call of this run has the id {id[:200]!r}", field="body.tool_outputs")
        if id in given:
            raise InvalidInput(f"two outputs for the tool call {id!r}", field="body.tool_outputs")
        given[id] = text
    require_all(wanted, given)
    return given


def require_all(wanted: Sequence[str], given: Mapping[str, object]) -> None:
    """Raises InvalidInput unless there is something for each call."""
    missing = [id for id in wanted if id not in given]
    if missing:
        raise InvalidInput(f"no output for the tool call {', '.join(map(repr, missing))}", field="body.tool_outputs")


def resumed(
    run: Run,
    asked: Message,
    after: str,
    conversation: Conversation,
    outputs: Mapping[str, str],
    now: datetime,
    new_id: Callable[[], str],
) -> tuple[Run, Conversation, list[Change]]:
    """What makes a run, given with all decisions and as it shall go on, a running one.

    The outputs become messages, and so does what the model is told of the calls that are not allowed. They follow the
    message with the id ``after``, the last one that was stored when it paused. What is allowed is still to be done.
    """
    calls = [p for p in asked.parts if isinstance(p, ToolCall)]
    denied = {id: ToolResult(id, _refusal(said)) for id, said in run.decided.items() if not said.allow}
    given = {**{id: ToolResult(id, text) for id, text in outputs.items()}, **denied}
    results = results_of(run, after, conversation, [given[c.id] for c in calls if c.id in given], now, new_id)
    told = [event_put(run.id, n, ToolReturned(result)) for n, result in enumerate(denied.values(), run.position + 1)]
    run = replace(
        run,
        status="running",
        parent=results[-1].id if results else after,
        position=run.position + len(told),
        began=run.position + len(told),
        confirm=(),
        decided={},
        allowed=tuple([replace(c, seal=None) for c in calls if c.id in run.decided and run.decided[c.id].allow]),
    )
    changes: list[Change] = [run_put(run), message_put(replace(asked, status="complete")), *told]
    changes += [message_put(m) for m in results]
    grown = replace(
        conversation,
        updated_at=now,
        leaf=run.parent,
        next_seq=conversation.next_seq + len(results),
        messages=conversation.messages + len(results),
        characters=conversation.characters + sum([len(text) for text in outputs.values()]),
    )
    changes.append(conversation_put(grown))
    return run, grown, changes


def _refusal(said: Decision) -> str:
    words = "The user did not allow this call."
    return f"{words} They said: {said.reason}" if said.reason else words


def results_of(
    run: Run,
    after: str,
    conversation: Conversation,
    results: Sequence[ToolResult],
    now: datetime,
    new_id: Callable[[], str],
) -> list[Message]:
    """A message for what each tool answered, each the child of the one before; the first is that of ``after``."""
    messages: list[Message] = []
    for n, result in enumerate(results):
        message = Message(
            id=new_id(),
            conversation=conversation.id,
            owner=conversation.owner,
            seq=conversation.next_seq + n,
            role="tool",
            parts=(result,),
            created_at=now,
            parent=messages[-1].id if messages else after,
            run=run.id,
        )
        messages.append(message)
    return messages
