"""From an entry of the vault to a conversation like every other: its owner hands in what is in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from backchat.domain.conversation import Conversation
from backchat.domain.identity import Identity
from backchat.domain.limits import Retention
from backchat.domain.message import Role, Text
from backchat.domain.vault import UNTITLED, VaultEntry, VaultMessage
from backchat.errors import InvalidInput, StaleWrite
from backchat.ports.importing import SourceConversation, SourceMessage
from backchat.ports.storage import Put, RecordStore, Require
from backchat.services.import_building import Origin, built
from backchat.services.import_trees import STEP
from backchat.services.retrying import retrying
from backchat.services.tag_records import tag_put
from backchat.services.tagging import tags_for
from backchat.services.vault_reading import entry_numbered
from backchat.services.vault_records import ENTRY
from backchat.services.vault_times import moment_of

CHANNEL = "vault"


class Adopting:
    def __init__(
        self,
        *,
        store: RecordStore,
        retention: Retention,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
    ) -> None:
        self._store, self._retention, self._now, self._new_id = store, retention, now, new_id

    async def adopt(self, who: Identity, number: int, messages: Sequence[VaultMessage]) -> Conversation:
        """A new conversation in the caller's own workspace, with these messages and the entry's title, platform,
        category, tags and model, stored in one batch; the entry stays as it is. From then on it is readable on the
        server like all conversations.

        Raises NotFound, and InvalidInput (``body.messages``) if they cannot be a conversation.
        """
        if not messages:
            raise InvalidInput("a conversation needs at least one message", field="body.messages")
        entry = await entry_numbered(self._store, who, number)
        conversation, puts = await asyncio.to_thread(self._made, entry, messages)

        async def attempt() -> None:
            tags = await tags_for(self._store, who.user, conversation.tags, self._now(), self._new_id)
            try:
                await self._store.apply([Require(ENTRY.name, entry.id), *puts, *map(tag_put, tags)])
            except StaleWrite:
                await entry_numbered(self._store, who, number)
                raise

        await retrying(attempt)
        return replace(conversation, version=1)

    def _made(self, entry: VaultEntry, messages: Sequence[VaultMessage]) -> tuple[Conversation, list[Put]]:
        """The conversation, and what stores it. Runs in a thread: there may be very many messages."""
        ids = [self._new_id() for _ in messages]
        said = [
            _message(m, id, parent, entry.model) for m, id, parent in zip(messages, ids, [None, *ids[:-1]], strict=True)
        ]
        # What comes before the first message that has a time does not push that on.
        begun = next((m.created_at - n * STEP for n, m in enumerate(said) if m.created_at is not None), None)
        source = SourceConversation(
            id=self._new_id(),
            messages=said,
            title=entry.title,
            untitled=UNTITLED,
            created_at=begun or entry.created_at,
            updated_at=None if begun else entry.updated_at,
            channel=CHANNEL,
            tags=entry.tags,
            options=_given(endpoint=entry.platform, model=entry.model),
            metadata=_given(platform=entry.platform, category=entry.category),
        )
        # Under ids of its own, not under those that an import would find again: each time it is another conversation.
        made = built(source, Origin(entry.owner, CHANNEL), self._retention, self._now(), id=source.id)
        made = replace(made, conversation=replace(made.conversation, source=f"{CHANNEL}:{entry.number}"))
        return made.conversation, made.changes()


def _message(m: VaultMessage, id: str, parent: str | None, model: str | None) -> SourceMessage:
    """What a tool said is the model's: there is no call that it could be the answer to, and services refuse answers to
    none. Whose it was stays with it.
    """
    role: Role = "assistant" if m.role == "tool" else m.role
    return SourceMessage(
        id=id,
        role=role,
        parts=(Text(m.content),),
        parent=parent,
        created_at=moment_of(m.timestamp),
        model=model if m.role == "assistant" else None,
        metadata={"role": m.role} if m.role != role else {},
        extra={"sender": m.role} if m.role in ("system", "tool") else {},
    )


def _given(**values: str | None) -> Mapping[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
