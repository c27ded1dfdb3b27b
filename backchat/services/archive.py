"""A user's conversations as a collection: sorted, filtered and searched lists, and what is done to many at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from backchat.domain.conversation import Conversation
from backchat.domain.identity import Identity
from backchat.errors import InvalidInput
from backchat.ports.storage import Change, Condition, Query, Record, RecordStore, Scalar
from backchat.services.conversations import Conversations
from backchat.services.deadlines import living
from backchat.services.list_search import searched
from backchat.services.retrying import retrying
from backchat.services.stored import CONVERSATION, conversation_of, conversation_put

Order = Literal["updated", "created", "title", "archived"]
_FIELDS: dict[Order, tuple[str, ...]] = {
    "updated": ("updated",),
    "created": ("created", "updated"),
    "title": ("title", "updated"),
    "archived": ("archived_at", "created"),
}
"""What each order sorts by before the id: none of it is ever null, and an index has it in this order."""
BATCH = 200
"""Conversations that are changed or deleted together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a list shows. Temporary conversations are in none, and none in workspaces that the caller has left.

    pinned  only pinned ones;  tags  with one of these;  words  all of them in the title, or in one of the messages
    order   ties are broken by the last activity (for ``archived``: by the creation), then by id, in the same direction
    after   a place that a page before this one ended at
    """

    archived: bool = False
    pinned: bool = False
    tags: Sequence[str] = ()
    words: str | None = None
    order: Order = "updated"
    descending: bool = True
    after: tuple[Scalar, ...] | None = None
    limit: int = 25


@dataclass(frozen=True, slots=True)
class Page:
    """``after`` is the place that the next page begins after; None at the end."""

    conversations: Sequence[Conversation]
    after: tuple[Scalar, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    store: RecordStore
    conversations: Conversations
    now: Callable[[], datetime]

    async def find(self, who: Identity, wanted: Wanted) -> Page:
        """One page of a list. A place of another order than the wanted one is an InvalidInput (``query.cursor``)."""
        query = self._query(who, await self._reach(who), wanted)
        if wanted.words is not None and wanted.words.strip():
            found = await searched(self.store, query, wanted.words)
        else:
            found = await self.store.find(query)
        page = found[: wanted.limit]
        after = _place(wanted, page[-1]) if page and len(found) > len(page) else None
        return Page([conversation_of(r) for r in page], after)

    async def _reach(self, who: Identity) -> Condition:
        return await self.conversations.access.reach(who)

    def _query(self, who: Identity, reach: Condition, wanted: Wanted) -> Query:
        """What is to be in the list; one more than fits on the page."""
        pinned = (("pinned", (True,)),) if wanted.pinned else ()
        tags = (("tags", tuple(wanted.tags)),) if wanted.tags else ()
        own = (("owner", (who.user,)), ("archived", (wanted.archived,)), ("temporary", (False,)), reach)
        return Query(
            kind=CONVERSATION.name,
            where=(*own, *pinned, *tags),
            ranges=(living(self.now()),),
            order=_FIELDS[wanted.order],
            descending=wanted.descending,
            after=_beyond(wanted),
            limit=wanted.limit + 1,
        )

    async def put_away(self, who: Identity, id: str, archived: bool) -> Conversation:
        """Archive a conversation, or take it back. One that is archived keeps the time since when it is."""

        def change(conversation: Conversation) -> Conversation:
            if archived == (conversation.archived_at is not None):
                return conversation
            return replace(conversation, archived_at=self.now() if archived else None)

        return await self._change(who, id, change)

    async def put_all_away(self, who: Identity) -> int:
        """Archive every conversation that is not, with one time for all; returns how many."""
        now, count = self.now(), 0
        # Least active first: one in which something is said meanwhile moves on, to where it is met again.
        place: tuple[Scalar, ...] | None = None

        async def attempt() -> Sequence[Record]:
            reach = await self._reach(who)  # what was stale may be that the caller has left
            query = replace(self._query(who, reach, Wanted(descending=False)), limit=BATCH, after=place)
            page = await self.store.find(query)
            there = [conversation_of(record) for record in page]
            puts = [conversation_put(replace(c, archived_at=now)) for c in there]
            await self.store.apply([*puts, *self._members(who, there)])
            return page

        while page := await retrying(attempt):
            count += len(page)
            place = (*[page[-1].doc[field] for field in _FIELDS["updated"]], page[-1].id)
        return count

    async def pin(self, who: Identity, id: str, pinned: bool) -> Conversation:
        return await self._change(who, id, lambda conversation: replace(conversation, pinned=pinned))

    async def _change(self, who: Identity, id: str, change: Callable[[Conversation], Conversation]) -> Conversation:
        async def attempt() -> Conversation:
            conversation = await self.conversations.open(who, id, "update")
            changed = change(conversation)
            if changed == conversation:
                return conversation
            member = self.conversations.access.required(who, changed, "update")
            await self.store.apply([conversation_put(changed), *member])
            return replace(changed, version=changed.version + 1)

        return await retrying(attempt)

    async def discard_all(self, who: Identity) -> Sequence[Conversation]:
        """Delete every conversation of the caller that they may delete, archived and temporary ones too.

        Returns what they were.

        Those whose time is over go as well, and are not among what is returned. Running replies are cancelled and
        dropped. All of a conversation goes at once, but not all conversations.
        """
        gone: list[Conversation] = []
        now = self.now()

        async def attempt() -> Sequence[Conversation]:
            where = (("owner", (who.user,)), await self._reach(who))
            own = Query(kind=CONVERSATION.name, where=where, order=("updated",), limit=BATCH)
            page = await self._idle(own)
            if page:
                await self.conversations.erase(page, self._members(who, page))
            return page

        while page := await retrying(attempt):
            gone += [c for c in page if c.expires_at is None or c.expires_at >= now]
        return gone

    def _members(self, who: Identity, conversations: Sequence[Conversation]) -> list[Change]:
        """What keeps a batch from being stored once the caller has left one of the workspaces that these are in."""
        homes = sorted({c.home for c in conversations})
        return [change for home in homes for change in self.conversations.access.required_in(who, home)]

    async def _idle(self, query: Query) -> Sequence[Conversation]:
        """The conversations that a query finds, after all runs on them are cancelled."""
        page = [conversation_of(r) for r in await self.store.find(query)]
        busy = [c for c in page if c.active_run is not None]
        for conversation in busy:
            await self.conversations.stop(conversation)
        return [conversation_of(r) for r in await self.store.find(query)] if busy else page


def _place(wanted: Wanted, last: Record) -> tuple[Scalar, ...]:
    values = [last.doc[field] for field in _FIELDS[wanted.order]]
    return (wanted.order, wanted.descending, *values, last.id)


def _beyond(wanted: Wanted) -> tuple[Scalar, ...] | None:
    """The place that the store goes on after, if the wanted page has one before it."""
    if wanted.after is None:
        return None
    fields = _FIELDS[wanted.order]
    place = tuple([value for value in wanted.after[2:] if isinstance(value, str)])
    # Equal as a whole: neither too long, nor with something else than text in it.
    if wanted.after != (wanted.order, wanted.descending, *place) or len(place) != len(fields) + 1:
        raise InvalidInput("not the cursor of a list in this order", field="query.cursor")
    return place
