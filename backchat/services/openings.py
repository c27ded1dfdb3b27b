"""Before a reply begins: where something is said, who answers there, and all that refuses it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from backchat.domain.assistant import Assistant
from backchat.domain.conversation import Conversation
from backchat.domain.identity import Identity
from backchat.domain.message import Message
from backchat.domain.usage import Payer
from backchat.errors import Forbidden, RunInProgress
from backchat.ports.storage import Change, RecordStore
from backchat.services.assistants import Assistants
from backchat.services.conversations import Conversations, required
from backchat.services.engine import Engine
from backchat.services.providers import Configured, Providers
from backchat.services.runs import Runs
from backchat.services.saying import Say, candidates, settled
from backchat.services.stored import MESSAGE, message_of


def payer_in(who: Identity, conversation: Conversation) -> Payer:
    return Payer(user=who.user, workspace=conversation.home, conversation=conversation.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Openings:
    conversations: Conversations
    assistants: Assistants
    runs: Runs
    engine: Engine
    providers: Providers
    new_id: Callable[[], str]

    def asked(self, who: Identity, say: Say, conversation: Conversation) -> tuple[Say, Sequence[Configured]]:
        """What is said, as ``settled`` in this conversation, and who is asked. Raises what refuses it."""
        if say.memory != "off" and who.user != conversation.owner:
            raise Forbidden("memories are for the owner of a conversation only")
        say = settled(self.providers, say, conversation.settings)
        self.engine.strategies.choose(say.strategy)
        return say, candidates(self.providers, self.engine.agents, say)

    async def assistant(self, conversation: Conversation) -> Assistant | None:
        """Who answers there: an assistant of the owner's, whoever asks."""
        if conversation.assistant is None:
            return None
        return await self.assistants.open(Identity(user=conversation.owner), conversation.assistant)

    def begun(self, who: Identity, say: Say, now: datetime) -> Conversation:
        """A new conversation to say it in."""
        return Conversation(
            id=self.new_id(),
            owner=who.user,
            title="",
            created_at=now,
            updated_at=now,
            channel=say.channel,
            assistant=say.assistant,
        )

    async def conversation(
        self, who: Identity, say: Say, now: datetime, *, replies: bool = True
    ) -> tuple[Conversation, list[Change]]:
        """Where it is said, and what belongs to the batch: it ends a run that waits there for tool outputs, and is
        stale if the caller has left meanwhile. What can be refused is refused.
        """
        if say.conversation is None:
            conversation = self.begun(who, say, now)
            if replies:
                await self.engine.ledger.check(payer_in(who, conversation))
            return conversation, required(say.assistant)
        while True:
            conversation = await self.conversations.open(who, say.conversation, "say")
            if conversation.assistant is None and say.assistant is not None:
                await self.conversations.access.require(who, "update", conversation)
            active = await self.runs.active(conversation)
            running = active is not None and active.status == "running"
            if replies:
                self.asked(who, say, conversation)
            if running and say.busy == "refuse":
                raise RunInProgress("a reply of this conversation is still running")
            if replies:
                await self.engine.ledger.check(payer_in(who, conversation))
            if not running:
                break
            await (self.runs.idle(conversation) if say.busy == "wait" else self.runs.stop_on(conversation))
        changes = await self.runs.given_up(active) if active is not None else []
        changes += self.conversations.access.required(who, conversation, "say")
        if conversation.assistant is None and say.assistant is not None:
            conversation = replace(conversation, assistant=say.assistant)
            changes += required(say.assistant)
        return conversation, changes

    async def refuse_running(self, who: Identity, id: str) -> None:
        """Raises RunInProgress if a reply of the conversation is being made, and like ``open``."""
        active = await self.runs.active(await self.conversations.open(who, id, "say"))
        if active is not None and active.status == "running":
            raise RunInProgress("a reply of this conversation is still running")


async def last_said(store: RecordStore, conversation: Conversation) -> Message | None:
    """What the user said last on the active path."""
    wanted = conversation.leaf
    while wanted is not None and (record := await store.get(MESSAGE.name, wanted)) is not None:
        message = message_of(record)
        if message.role == "user":
            return message
        wanted = message.parent
    return None
