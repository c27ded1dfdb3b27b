"""Copies of conversations, or of parts of their trees, each stored in one batch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from backchat.domain.conversation import Conversation
from backchat.domain.identity import Identity
from backchat.domain.limits import Retention
from backchat.domain.message import Image, Message
from backchat.domain.workspace import personal_workspace
from backchat.errors import NotFound, StaleWrite
from backchat.ports.storage import Change, Put, RecordStore, Require
from backchat.services.assistant_records import ASSISTANT
from backchat.services.conversations import Conversations, required
from backchat.services.extents import Extent, begun_at, reached
from backchat.services.retrying import retrying
from backchat.services.stored import CONVERSATION, conversation_of, conversation_put, message_put
from backchat.services.tag_records import Tag, tag_put
from backchat.services.tagging import tags_for
from backchat.services.tree_copies import Renamed, copied_documents, copied_images, copied_messages
from backchat.services.tree_reading import tree_of

__all__ = ["UNTITLED", "Copy", "Extent", "Forks"]

Copy = tuple[Conversation, Sequence[Message]]
UNTITLED = "Imported Chat"
"""The title of a copy of what has none: the name that other clients give it."""


@dataclass(frozen=True, slots=True)
class _Made:
    """Copies as they are once ``puts`` are applied, and the length of their texts together."""

    ids: Renamed
    stored: Sequence[Message]
    puts: Sequence[Put]
    characters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Forks:
    store: RecordStore
    conversations: Conversations
    retention: Retention
    now: Callable[[], datetime]
    new_id: Callable[[], str]

    async def fork(self, who: Identity, id: str, message: str, extent: Extent, *, split_for: str | None = None) -> Copy:
        """A new conversation of the messages that ``extent`` reaches from ``message``.

        With ``split_for`` the copy begins at the depth of ``message``, and that message is the target. Raises NotFound
        for messages that are not in the conversation, InvalidInput for a target above that depth, and DocumentsPending.
        """
        source, messages = await self._snapshot(who, id)
        target = message if split_for is None else split_for

        def chosen() -> list[Message]:
            if split_for is None:
                return reached(messages, target, extent)
            return reached(begun_at(messages, message, target), target, extent)

        if {message, target} - {m.id for m in messages}:
            raise NotFound("Message not found")
        return await self.copy(who, source, await asyncio.to_thread(chosen), target=target)

    async def duplicate(self, who: Identity, id: str, *, title: str | None = None) -> Copy:
        """A copy of every message of every branch. Raises NotFound and DocumentsPending."""
        source, messages = await self._snapshot(who, id)
        return await self.copy(who, source, messages, target=source.leaf, title=title)

    async def copy(
        self,
        who: Identity,
        source: Conversation,
        messages: Sequence[Message],
        *,
        target: str | None,
        title: str | None = None,
    ) -> Copy:
        """A new conversation of the caller, of these messages of ``source``, by seq; all of it, or nothing, is stored.

        The active path ends with the copy of ``target``, or else of the newest message. A parent that is not among the
        messages makes a root. ``title`` None is that of the source. That the caller may read the source is for the
        caller to see to: whoever does not own it gets the messages and their images only, in their personal workspace,
        without the settings, the assistant and its documents, the tags and the place in lists. A copy of one's own
        stays in the workspace of the source. No copy is shared with anybody. Raises NotFound if the source is deleted
        meanwhile, and DocumentsPending.
        """
        own = who.user == source.owner

        async def attempt() -> Copy:
            if await self.store.get(CONVERSATION.name, source.id) is None:
                raise NotFound("conversation not found")
            conversation = self._conversation(who, source, title)
            if conversation.assistant and await self.store.get(ASSISTANT.name, conversation.assistant) is None:
                raise NotFound("conversation not found")  # it goes with its assistant
            documents: Mapping[str, str] = {}
            changes: list[Change] = [Require(CONVERSATION.name, source.id), *required(conversation.assistant)]
            if own:
                access = self.conversations.access
                if await access.role(conversation.home, who.user) is None:
                    raise NotFound("conversation not found")
                changes += access.required_in(who, conversation.home)
                documents, more = await copied_documents(self.store, source, conversation.id, self.new_id)
                tags = await self._tags(source)
                conversation = replace(conversation, tags=tuple([tag.tag for tag in tags]))
                changes += [*more, *map(tag_put, tags)]
            made = await asyncio.to_thread(self._made, who, conversation.id, messages, documents)
            last = made.ids.messages.get(target) if target is not None else None
            conversation = replace(
                conversation,
                leaf=last or (made.stored[-1].id if made.stored else None),
                next_seq=len(made.stored) + 1,
                messages=len(made.stored),
                characters=made.characters,
            )
            changes += [conversation_put(conversation), *made.puts]
            changes += await copied_images(self.store, source.id, made.stored, made.ids.images)
            await self.store.apply(changes)
            return replace(conversation, version=1), made.stored

        return await retrying(attempt)

    async def _snapshot(self, who: Identity, id: str) -> tuple[Conversation, Sequence[Message]]:
        """A conversation with its tree, both as they were at one moment."""
        conversation = await self.conversations.open(who, id)
        while True:
            messages = await tree_of(self.store, id)
            again = await self.conversations.open(who, id)
            if again.version == conversation.version:
                return conversation, messages
            conversation = again

    async def _tags(self, source: Conversation) -> list[Tag]:
        """The tags that the source has now: they may have other names than in the snapshot. Raises NotFound."""
        record = await self.store.get(CONVERSATION.name, source.id)
        if record is None:
            raise NotFound("conversation not found")
        tags = await tags_for(self.store, source.owner, conversation_of(record).tags, self.now(), self.new_id)
        if not all(tag.version for tag in tags):
            again = await self.store.get(CONVERSATION.name, source.id)
            if again is None or again.version != record.version:
                raise StaleWrite("a tag was renamed or deleted meanwhile")
        return tags

    def _conversation(self, who: Identity, source: Conversation, title: str | None) -> Conversation:
        """The copy without its messages and tags."""
        now, name = self.now(), source.title if title is None else title
        own = who.user == source.owner
        empty = Conversation(
            id=self.new_id(),
            owner=who.user,
            title=name if name.strip() else UNTITLED,
            created_at=now,
            updated_at=now,
            channel=source.channel,
            expires_at=self.retention.deadline(own and source.temporary, now),
            workspace=source.home if own else personal_workspace(who.user),
        )
        if not own:
            return empty
        return replace(
            empty,
            assistant=source.assistant,
            archived_at=source.archived_at,
            pinned=source.pinned,
            temporary=source.temporary,
            options=source.options,
            metadata=source.metadata,
            settings=source.settings,
        )

    def _made(
        self, who: Identity, conversation: str, messages: Sequence[Message], documents: Mapping[str, str]
    ) -> _Made:
        """Runs in a thread: there may be very many."""
        images = {p.file for m in messages for p in m.parts if isinstance(p, Image)}
        ids = Renamed(
            messages={m.id: self.new_id() for m in messages},
            images={id: self.new_id() for id in images},
            documents=documents,
        )
        copies = copied_messages(who, conversation, messages, ids)
        return _Made(
            ids,
            stored=[replace(m, version=1) for m in copies],
            puts=[message_put(m) for m in copies],
            characters=sum(len(m.text) for m in copies),
        )
