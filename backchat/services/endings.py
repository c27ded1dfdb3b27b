"""How a run ends or pauses: what it said becomes a message, in one batch with run, conversation and last event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import NAMESPACE_OID, uuid4, uuid5

from backchat.domain.conversation import Conversation
from backchat.domain.message import Message, MessageStatus, ToolResult
from backchat.domain.run import Failure, Run, RunEnded, RunPaused, RunStatus
from backchat.errors import (
    BackchatError,
    Cancelled,
    InsufficientCredits,
    Internal,
    Interrupted,
    NotConfigured,
    ProviderCredentials,
    ProviderError,
    ProviderRejected,
    ProviderThrottled,
    ProviderTimeout,
)
from backchat.ports.storage import Change, RecordStore
from backchat.services.growing import grown
from backchat.services.runstate import run_put
from backchat.services.said import Said, told_usage
from backchat.services.stored import conversation_put, message_put

_MESSAGE_STATUS: dict[RunStatus, MessageStatus] = {
    "waiting": "waiting",
    "completed": "complete",
    "failed": "failed",
    "cancelled": "cancelled",
    "interrupted": "interrupted",
}
UNKNOWN = "Error: the reply ended before the answer of this tool was stored. It may have done what it was asked to do."
"""What the model is told of a call that the user has allowed, and of which nobody knows what came of it."""
NEVER_RUN = "Error: the reply ended before this tool was run."
_ERRORS: dict[str, type[BackchatError]] = {
    e.code: e
    for e in (
        Cancelled,
        InsufficientCredits,
        Internal,
        Interrupted,
        NotConfigured,
        ProviderCredentials,
        ProviderError,
        ProviderRejected,
        ProviderThrottled,
        ProviderTimeout,
    )
}


def failure_of(error: BackchatError) -> Failure:
    return Failure(error.kind.value, error.code, str(error))


def error_of(failure: Failure) -> BackchatError:
    """The error that was kept as a failure."""
    return _ERRORS.get(failure.code, Internal)(failure.message)


async def unclaimed(store: RecordStore, run: Run) -> Run:
    """The run with an id for its answer that no message has: clients may store messages under ids of their own."""
    while await store.get("message", run.answer) is not None:
        run = replace(run, answer=str(uuid5(NAMESPACE_OID, run.answer)))
    return run


def unanswered(run: Run, said: Said, told: str) -> list[ToolResult]:
    """What the model is ``told`` of the calls that the user has allowed, and which have answered nothing."""
    return [ToolResult(call.id, told) for call in run.allowed if call.id not in said.earlier]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The outcome of a run, or of a part of it that ends with tool calls for the client (``waiting``); who gave it.

    ``tried`` are the providers that did not answer before, and is kept with the answer. ``confirm`` are the ids of the
    calls that wait for the user to allow them. ``position`` is the number that the event of this ending will have.
    """

    status: RunStatus
    provider: str
    model: str
    failure: Failure | None = None
    finish: str = "stop"
    tried: Sequence[Mapping[str, str]] = ()
    confirm: tuple[str, ...] = ()
    position: int = 0

    def changes(
        self, run: Run, conversation: Conversation, said: Said, now: datetime, keep: timedelta
    ) -> tuple[Run, Message | None, list[Change], RunEnded | RunPaused]:
        """The run, the answer if anything was said, and what to apply together with the log's last event.

        ``said`` has something for each call that was allowed and whose answer is no message yet (``unanswered``).
        The answer is the last message of the model; its id is the one that the run promised.
        """
        waits, used = self.status == "waiting", said.usage
        messages = self._messages(run, conversation, said, now)
        ended = replace(
            run,
            status=self.status,
            provider=self.provider,
            model=self.model,
            parent=messages[-1].id if waits and messages[-1].role == "tool" else run.parent,
            position=self.position if waits else run.position,
            confirm=self.confirm if waits else (),
            allowed=(),
            usage=run.usage + used if run.usage and used else run.usage or used,
            failure=self.failure,
            ended_at=None if waits else now,
            expires_at=None if waits else now + keep,
        )
        touched = replace(conversation, active_run=run.id if waits else None, updated_at=now)
        for message in messages:
            touched = grown(touched, message)
        if run.again is not None and not waits and not self._takes_place(run, conversation):
            touched = replace(touched, leaf=conversation.leaf)
        changes: list[Change] = [run_put(ended), *map(message_put, messages), conversation_put(touched)]
        answer = next((m for m in messages if m.id == run.answer), None)
        last: RunEnded | RunPaused
        if waits:
            last = RunPaused(run.answer, self.provider, self.model, self.confirm)
        else:
            message_id = run.answer if answer is not None else None
            last = RunEnded(self.status, message_id, self.provider, self.model, self.failure, ended.usage, self.finish)
        return ended, answer, changes, last

    def _takes_place(self, run: Run, conversation: Conversation) -> bool:
        """Whether the active path goes on to an answer that was made anew: also a broken one where there is none."""
        if conversation.leaf == run.input:
            return True
        return self.status == "completed" and conversation.leaf == run.again

    def _messages(self, run: Run, conversation: Conversation, said: Said, now: datetime) -> list[Message]:
        """What was said and what tools answered, each the child of the one before.

        First what came of calls that were allowed: it is not to seem that they were never made.
        """
        steps = [s for s in said.steps if s.parts()]
        made = Message(
            id="", conversation=conversation.id, owner=conversation.owner, seq=0, role="tool", parts=(), created_at=now
        )
        messages: list[Message] = []

        def add(**fields: Any) -> None:
            id = fields.pop("id", None) or str(uuid4())
            parent = messages[-1].id if messages else run.parent
            seq = conversation.next_seq + len(messages)
            messages.append(replace(made, id=id, seq=seq, parent=parent, run=run.id, **fields))

        for call in run.allowed:
            add(parts=(ToolResult(call.id, said.earlier[call.id]),))
        for step in steps:
            last = step is steps[-1]
            metadata: dict[str, Any] = {}
            if last and self.finish != "stop":
                metadata["finish"] = self.finish
            if last and self.tried:
                metadata["tried"] = list(self.tried)
            add(
                id=run.answer if last else None,
                role="assistant",
                parts=step.parts(),
                status=_MESSAGE_STATUS[self.status] if last else "complete",
                provider=step.ended.provider if step.ended else self.provider,
                model=step.ended.model if step.ended else self.model,
                usage=told_usage(step.ended),
                metadata=metadata,
            )
            for result in step.results:
                add(parts=(result,))
        return messages
