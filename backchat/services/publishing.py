"""Conversations that everybody may read who has their link."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from backchat.domain.conversation import Conversation
from backchat.domain.identity import Identity
from backchat.domain.message import Message
from backchat.errors import NotFound
from backchat.ports.storage import RecordStore
from backchat.services.conversations import Conversations
from backchat.services.deadlines import over
from backchat.services.paths import Path
from backchat.services.public_links import PUBLIC_LINK, link_delete, link_put
from backchat.services.retrying import retrying
from backchat.services.storable import askable
from backchat.services.stored import CONVERSATION, conversation_of, conversation_put

MOST = 2000
"""Messages that a link shows: anybody may ask for them, again and again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Publishing:
    store: RecordStore
    conversations: Conversations

    async def toggle(self, who: Identity, id: str) -> Conversation:
        """Publish it, or take it back if it is published. The link is the same every time.

        Raises like ``conversations.open`` for the action ``share``.
        """

        async def attempt() -> Conversation:
            before = await self.conversations.open(who, id, "share")
            after = replace(before, public=not before.public)
            link = link_put(after) if after.public else link_delete(after)
            member = self.conversations.access.required(who, before, "share")
            await self.store.apply([conversation_put(after), link, *member])
            return replace(after, version=after.version + 1)

        return await retrying(attempt)

    async def read(self, link: str) -> tuple[Conversation, Sequence[Message]]:
        """A published conversation as it is now, with its active path: only the messages of users and models.

        Of a path that is longer than ``MOST`` messages, its end.
        Raises NotFound, in the same words whatever the reason: unknown, malformed, taken back, its time over, or its
        owner has left the workspace.
        """
        conversation = await self._published(link)
        if conversation is None:
            raise NotFound("link not found")
        path = await Path(self.store, conversation.id, conversation.leaf).latest(MOST)
        return conversation, [m for m in path if m.role in ("user", "assistant")]

    async def _published(self, link: str) -> Conversation | None:
        if not askable(link):
            return None
        place = await self.store.get(PUBLIC_LINK.name, link)
        record = await self.store.get(CONVERSATION.name, place.doc["conversation"]) if place is not None else None
        if record is None or over(record, self.conversations.now()):
            return None
        conversation = conversation_of(record)
        if not conversation.public or conversation.link != link:
            return None
        standing = await self.conversations.access.standing(Identity(user=conversation.owner), conversation)
        return conversation if standing == "owner" else None
