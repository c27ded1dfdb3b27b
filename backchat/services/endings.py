"""How a run ends or pauses: what it said becomes a message, in one batch with run, conversation and last event."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import NAMESPACE_OID, uuid5

from backchat.domain.conversation import Conversation
from backchat.domain.message import Message, MessageStatus, Part, Reasoning, Text, ToolCall, Usage
from backchat.domain.pieces import Pieces
from backchat.domain.run import (
    Failure,
    ReasoningDelta,
    Run,
    RunEnded,
    RunEvent,
    RunPaused,
    RunStatus,
    TextDelta,
    ToolCalled,
)
from backchat.errors import (
    BackchatError,
    Cancelled,
    Internal,
    Interrupted,
    ProviderCredentials,
    ProviderError,
    ProviderRejected,
    ProviderThrottled,
    ProviderTimeout,
)
from backchat.ports.storage import Change, RecordStore
from backchat.services.growing import grown
from backchat.services.runstate import run_put
from backchat.services.stored import conversation_put, message_put

_MESSAGE_STATUS: dict[RunStatus, MessageStatus] = {
    "waiting": "waiting",
    "completed": "complete",
    "failed": "failed",
    "cancelled": "cancelled",
    "interrupted": "interrupted",
}
_ERRORS: dict[str, type[BackchatError]] = {
    e.code: e
    for e in (
        Cancelled,
        Internal,
        Interrupted,
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


@dataclass(slots=True)
class Said:
    """What a run has said so far."""

    text: Pieces = field(default_factory=Pieces)
    reasoning: Pieces = field(default_factory=Pieces)
    calls: list[ToolCall] = field(default_factory=list)

    def add(self, event: RunEvent) -> None:
        if type(event) is TextDelta:
            self.text.add(event.text)
        elif type(event) is ReasoningDelta:
            self.reasoning.add(event.text)
        elif type(event) is ToolCalled:
            self.calls.append(event.call)

    def parts(self) -> tuple[Part, ...]:
        parts: list[Part] = []
        if reasoning := str(self.reasoning):
            parts.append(Reasoning(reasoning))
        if text := str(self.text):
            parts.append(Text(text))
        return (*parts, *self.calls)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The outcome of a run, or of a part of it that ends with tool calls for the client (``waiting``); who gave it.

    ``usage`` is that of this part; ``position`` the number that the event of this ending will have.
    """

    status: RunStatus
    provider: str
    model: str
    usage: Usage | None = None
    failure: Failure | None = None
    finish: str = "stop"
    position: int = 0

    def changes(
        self, run: Run, conversation: Conversation, said: Said, now: datetime, keep: timedelta
    ) -> tuple[Run, Message | None, list[Change], RunEnded | RunPaused]:
        """The run, the answer if anything was said, and what to apply together with the log's last event."""
        parts, waits = said.parts(), self.status == "waiting"
        ended = replace(
            run,
            status=self.status,
            provider=self.provider,
            model=self.model,
            position=self.position if waits else run.position,
            usage=run.usage + self.usage if run.usage and self.usage else run.usage or self.usage,
            failure=self.failure,
            ended_at=None if waits else now,
            expires_at=None if waits else now + keep,
        )
        answer: Message | None = None
        touched = replace(conversation, active_run=run.id if waits else None, updated_at=now)
        changes: list[Change] = [run_put(ended)]
        if parts:
            answer = Message(
                id=run.answer,
                conversation=conversation.id,
                owner=conversation.owner,
                seq=conversation.next_seq,
                role="assistant",
                parts=parts,
                created_at=now,
                parent=run.parent,
                status=_MESSAGE_STATUS[self.status],
                run=run.id,
                provider=self.provider,
                model=self.model,
                usage=self.usage,
                metadata={"finish": self.finish} if self.finish != "stop" else {},
            )
            touched = grown(touched, answer)
            changes.append(message_put(answer))
        changes.append(conversation_put(touched))
        last: RunEnded | RunPaused
        if waits:
            last = RunPaused(run.answer, self.provider, self.model)
        else:
            message = run.answer if parts else None
            last = RunEnded(self.status, message, self.provider, self.model, self.failure, ended.usage)
        return ended, answer, changes, last
