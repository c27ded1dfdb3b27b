"""The verbs on conversations and their messages, except saying something (``backchat.services.turns``)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from backchat.domain.conversation import Conversation
from backchat.domain.identity import Identity
from backchat.domain.message import Message
from backchat.errors import StaleWrite
from backchat.ports.storage import Change, Delete, Purge, Query, Range, RecordStore
from backchat.services.access import owned
from backchat.services.files import FILE, FILE_CHUNK
from backchat.services.paths import PAGE, Path
from backchat.services.runlog import events_purge
from backchat.services.runstate import RUN
from backchat.services.stored import CONVERSATION, MESSAGE, conversation_of, conversation_put, message_of

T = TypeVar("T")


async def retrying(attempt: Callable[[], Awaitable[T]]) -> T:
    """Run a read-then-write again for as long as somebody else wrote first. Each round somebody has got ahead."""
    while True:
        try:
            return await attempt()
        except StaleWrite:
            continue


@dataclass(frozen=True, slots=True)
class Conversations:
    """``idle(conversation)`` waits until no run is active on it; ``stop(conversation)`` ends one that is."""

    store: RecordStore
    now: Callable[[], datetime]
    idle: Callable[[Conversation], Awaitable[None]]
    stop: Callable[[Conversation], Awaitable[None]]

    async def open(self, who: Identity, id: str) -> Conversation:
        """Raises NotFound, or NotOwned for somebody else's."""
        record = await self.store.get("conversation", id)
        return owned(who, conversation_of(record) if record else None, "conversation")

    async def browse(self, who: Identity, *, channel: str | None = None, limit: int) -> Sequence[Conversation]:
        """The caller's conversations that have messages, newest activity first."""
        where = (("owner", (who.user,)), *((("channel", (channel,)),) if channel is not None else ()))
        query = Query(
            kind="conversation",
            where=where,
            ranges=(Range("messages", low=1),),
            order=("updated",),
            descending=True,
            limit=limit,
        )
        return [conversation_of(r) for r in await self.store.find(query)]

    async def transcript(self, who: Identity, id: str, *, limit: int) -> Sequence[Message]:
        """The newest ``limit`` messages of the active path, oldest first."""
        conversation = await self.open(who, id)
        return await Path(self.store, id, conversation.leaf).latest(limit)

    async def rename(self, who: Identity, id: str, title: str) -> Conversation:
        async def attempt() -> Conversation:
            conversation = replace(await self.open(who, id), title=title)
            await self.store.apply([conversation_put(conversation)])
            return replace(conversation, version=conversation.version + 1)

        return await retrying(attempt)

    async def discard(self, who: Identity, id: str) -> None:
        """Delete a conversation with everything that belongs to it. A run on it is cancelled and its reply dropped."""

        async def attempt() -> None:
            await self.stop(await self.open(who, id))
            conversation = await self.open(who, id)
            await self.store.apply(
                [Delete(CONVERSATION.name, id, conversation.version), *await self._belongings(id, None)]
            )

        await retrying(attempt)

    async def _belongings(self, id: str, below: int | None) -> list[Change]:
        """What to purge with the messages of seqs under ``below`` (None: all): files, runs and their logs."""
        where, ranges = (("conversation", (id,)),), (Range("seq", high=below),) if below is not None else ()
        changes: list[Change] = [Purge(kind.name, where, ranges) for kind in (MESSAGE, FILE, FILE_CHUNK, RUN)]
        last: tuple[str] | None = None
        while True:
            page = await self.store.find(Query(kind=RUN.name, where=where, ranges=ranges, after=last, limit=PAGE))
            changes += [events_purge(record.id) for record in page]
            if len(page) < PAGE:
                return changes
            last = (page[-1].id,)

    async def truncate(self, who: Identity, id: str, keep: int) -> tuple[int, int]:
        """Keep the ``keep`` newest messages and delete the others; returns how many were kept and deleted.

        Waits for a running reply, which counts as a message.
        """

        async def attempt() -> tuple[int, int]:
            before = await self.open(who, id)
            await self.idle(before)
            conversation = await self.open(who, id)
            if conversation.active_run not in (None, before.active_run):
                raise StaleWrite("a reply began meanwhile")
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
            await self.store.apply([conversation_put(changed), *await self._belongings(id, cut)])
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
