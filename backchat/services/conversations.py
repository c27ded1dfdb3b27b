"""The verbs on conversations and their messages, except saying something (``backchat.services.turns``)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from backchat.domain.conversation import Conversation, given_title
from backchat.domain.identity import Identity
from backchat.domain.message import Message
from backchat.domain.rights import Action
from backchat.errors import NotFound, StaleWrite
from backchat.ports.storage import Change, Query, Range, Record, RecordStore, Require
from backchat.services.access import Access
from backchat.services.assistant_records import ASSISTANT
from backchat.services.belongings import being_read, belongings, erasure
from backchat.services.deadlines import living, over
from backchat.services.paths import PAGE, Path
from backchat.services.retrying import retrying
from backchat.services.stored import CONVERSATION, MESSAGE, conversation_of, conversation_put, message_of
from backchat.services.summary_records import line_of, outdated


def required(assistant: str | None) -> list[Change]:
    """What keeps a batch from being stored for an assistant that is deleted."""
    return [Require(ASSISTANT.name, assistant)] if assistant is not None else []


@dataclass(frozen=True, slots=True)
class Conversations:
    """``idle(conversation)`` waits until no run is active on it; ``stop(conversation)`` ends one that is.

    ``unread(conversation)`` stops the reading of the documents of one that is about to be deleted, ``drop(line)`` what
    this process does for jobs that were deleted.
    """

    store: RecordStore
    access: Access
    now: Callable[[], datetime]
    new_id: Callable[[], str]
    idle: Callable[[Conversation], Awaitable[None]]
    stop: Callable[[Conversation], Awaitable[None]]
    unread: Callable[[Conversation], Awaitable[None]]
    drop: Callable[[str], None]

    async def create(
        self, who: Identity, *, assistant: str | None = None, channel: str, metadata: Mapping[str, Any] | None = None
    ) -> Conversation:
        """An empty conversation. That the assistant is the caller's is for the caller to see to."""
        now = self.now()
        conversation = Conversation(
            id=self.new_id(),
            owner=who.user,
            title="",
            created_at=now,
            updated_at=now,
            channel=channel,
            assistant=assistant,
            metadata=metadata or {},
        )
        try:
            await self.store.apply([conversation_put(conversation), *required(assistant)])
        except StaleWrite:
            raise NotFound("assistant not found") from None
        return replace(conversation, version=1)

    async def open(self, who: Identity, id: str, action: Action = "read") -> Conversation:
        """One that the caller may do this with.

        Raises NotFound, also for one whose time is over; NotOwned, which reads alike, for one that the caller may not
        read, and Forbidden for what the caller may not do with one that they may.
        """
        return await self.access.open(who, id, action)

    async def browse(self, who: Identity, *, channel: str | None = None, limit: int) -> Sequence[Conversation]:
        """The caller's conversations that have messages, newest activity first.

        In this and every other list: without those in workspaces that the caller has left.
        """
        of = (("channel", (channel,)),) if channel is not None else ()
        where = (("owner", (who.user,)), ("temporary", (False,)), await self.access.reach(who), *of)
        query = Query(
            kind="conversation",
            where=where,
            ranges=(Range("messages", low=1), living(self.now())),
            order=("updated",),
            descending=True,
            limit=limit,
        )
        return [conversation_of(r) for r in await self.store.find(query)]

    async def page(
        self, who: Identity, *, assistant: str | None = None, skip: int, limit: int
    ) -> Sequence[Conversation]:
        """The caller's conversations, of one assistant or of all, newest activity first; empty ones too."""
        of = (("assistant", (assistant,)),) if assistant is not None else ()
        query = Query(
            kind="conversation",
            where=(("owner", (who.user,)), ("temporary", (False,)), await self.access.reach(who), *of),
            ranges=(living(self.now()),),
            order=("updated",),
            descending=True,
            limit=limit,
            offset=skip,
        )
        return [conversation_of(r) for r in await self.store.find(query)]

    async def whole(self, who: Identity, id: str) -> Sequence[Message]:
        """The active path, oldest first."""
        conversation = await self.open(who, id)
        return await Path(self.store, id, conversation.leaf).latest(conversation.next_seq)

    async def adopt(self, who: Identity, id: str, assistant: str) -> Conversation:
        """Give a conversation without an assistant this one; that it is the caller's is for the caller to see to."""

        async def attempt() -> Conversation:
            conversation = await self.open(who, id, "update")
            if conversation.assistant is not None:
                return conversation
            if await self.store.get(ASSISTANT.name, assistant) is None:
                raise NotFound("assistant not found")
            conversation = replace(conversation, assistant=assistant)
            member = self.access.required(who, conversation, "update")
            await self.store.apply([conversation_put(conversation), *required(assistant), *member])
            return replace(conversation, version=conversation.version + 1)

        return await retrying(attempt)

    async def transcript(self, who: Identity, id: str, *, limit: int) -> Sequence[Message]:
        """The newest ``limit`` messages of the active path, oldest first."""
        conversation = await self.open(who, id)
        return await Path(self.store, id, conversation.leaf).latest(limit)

    async def rename(self, who: Identity, id: str, title: str) -> Conversation:
        """Give it this title, trimmed and cut (see ``given_title``). It is the newest conversation then."""

        async def attempt() -> Conversation:
            conversation = await self.open(who, id, "update")
            now = max(self.now(), conversation.updated_at)
            conversation = replace(conversation, title=given_title(title), updated_at=now)
            member = self.access.required(who, conversation, "update")
            await self.store.apply([conversation_put(conversation), *member])
            return replace(conversation, version=conversation.version + 1)

        return await retrying(attempt)

    async def discard(self, who: Identity, id: str) -> None:
        """Delete a conversation with everything that belongs to it. A run on it is cancelled and its reply dropped.

        One whose time is over is NotFound, but gone after that: whoever deletes all that there is comes to an end.
        """

        async def attempt() -> None:
            await self.stop(await self.open(who, id, "delete"))
            conversation = await self.open(who, id, "delete")
            await self.erase([conversation], self.access.required(who, conversation, "delete"))

        await self.expire(id)
        await retrying(attempt)

    async def expire(self, id: str) -> bool:
        """Like ``clear``, but only if its time is over."""
        return await self._clear(id, lambda record: over(record, self.now()))

    async def clear(self, id: str) -> bool:
        """Delete a conversation like ``discard``, whoever's it is: what the server does itself asks for no rights.

        False if it is not there.
        """
        return await self._clear(id, lambda record: True)

    async def _clear(self, id: str, due: Callable[[Record], bool]) -> bool:
        async def found() -> Conversation | None:
            record = await self.store.get(CONVERSATION.name, id)
            return conversation_of(record) if record is not None and due(record) else None

        async def attempt() -> bool:
            if (conversation := await found()) is not None:
                await self.stop(conversation)
            if (conversation := await found()) is not None:
                await self.erase([conversation])
            return conversation is not None

        return await retrying(attempt)

    async def erase(self, conversations: Sequence[Conversation], needed: Sequence[Change] = ()) -> None:
        """Delete conversations of one owner with everything that belongs to them; no run is active on them.

        ``needed`` is what whoever asked for it requires. Raises StaleWrite when anything was written to one of them
        meanwhile.
        """
        for conversation in await being_read(self.store, conversations):
            await self.unread(conversation)
        await self.store.apply([*await erasure(self.store, conversations), *needed])
        for conversation in conversations:
            self.drop(line_of(conversation.id))

    async def truncate(self, who: Identity, id: str, keep: int) -> tuple[int, int]:
        """Keep the ``keep`` newest messages and delete the others; returns how many were kept and deleted.

        Waits for a running reply, which counts as a message; one that waits for tool outputs is cancelled.
        """

        async def attempt() -> tuple[int, int]:
            before = await self.open(who, id, "rewrite")
            await self.idle(before)
            conversation = await self.open(who, id, "rewrite")
            if conversation.active_run not in (None, before.active_run):
                raise StaleWrite("a reply began meanwhile")
            if conversation.active_run is not None:
                await self.stop(conversation)
                conversation = await self.open(who, id, "rewrite")
            if keep >= conversation.messages:
                return conversation.messages, 0
            kept, characters = await self._newest(id, keep)
            cut = kept[0].seq if kept else conversation.next_seq
            leaf = conversation.leaf if any(m.id == conversation.leaf for m in kept) else None
            changed = replace(
                conversation,
                messages=len(kept),
                characters=characters,
                leaf=leaf or (kept[-1].id if kept else None),
            )
            member = self.access.required(who, conversation, "rewrite")
            gone = [*await belongings(self.store, [id], cut), *outdated(conversation)]
            await self.store.apply([conversation_put(changed), *gone, *member])
            self.drop(line_of(id))
            return len(kept), conversation.messages - len(kept)

        return await retrying(attempt)

    async def _newest(self, id: str, keep: int) -> tuple[list[Message], int]:
        """The newest messages of every branch, oldest first, and the length of their texts together."""
        found: list[Message] = []
        while len(found) < keep:
            query = Query(
                kind=MESSAGE.name,
                where=(("conversation", (id,)),),
                order=("seq",),
                descending=True,
                after=(found[-1].seq, found[-1].id) if found else None,
                limit=min(PAGE, keep - len(found)),
            )
            page = await self.store.find(query)
            found += [message_of(r) for r in page]
            if len(page) < query.limit:
                break
        found.reverse()
        return found, sum(len(m.text) for m in found)
