"""Links under which anybody can read a conversation as it was when it was shared.

What came later is not shown: messages, branches, another title. A shared message itself is shown as it stands: what its
author corrects or deletes in a conversation, because it should not have been said, must not stay public.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from backchat.domain.conversation import Conversation
from backchat.domain.identity import Identity
from backchat.domain.message import Message
from backchat.errors import Conflict, InvalidInput, NotFound
from backchat.ports.storage import Condition, Delete, Query, Range, RecordStore, Require, Scalar
from backchat.services.access import owned
from backchat.services.conversations import Conversations, living
from backchat.services.extents import rooted
from backchat.services.forks import Copy, Forks
from backchat.services.retrying import retrying
from backchat.services.share_records import SHARE, WHOLE, Share, share_of, share_put
from backchat.services.stored import CONVERSATION, MESSAGE, message_of

Order = Literal["created", "title"]
PAGE = 500
RANDOM_BYTES = 18


@dataclass(frozen=True, slots=True)
class Shared:
    """What a link shows: messages by seq, parents before their children. ``revision`` changes whenever that does."""

    share: Share
    conversation: Conversation
    messages: Sequence[Message]
    revision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    store: RecordStore
    conversations: Conversations
    forks: Forks
    now: Callable[[], datetime]

    async def create(self, who: Identity, conversation: str, *, target: str | None = None) -> Share:
        """Raises NotFound, and Conflict if the conversation is shared, with the same target, already."""
        id = secrets.token_urlsafe(RANDOM_BYTES)

        async def attempt() -> Share:
            shown = await self._showable(who, conversation, target)
            where = (("conversation", (conversation,)), ("target", (target or WHOLE,)))
            if await self.store.find(Query(kind=SHARE.name, where=where, limit=1)):
                raise Conflict("this conversation is shared already")
            now = self.now()
            share = Share(
                id=id,
                owner=who.user,
                conversation=conversation,
                title=shown.title,
                until=shown.next_seq,
                target=target,
                created_at=now,
                updated_at=now,
            )
            await self.store.apply([Require(CONVERSATION.name, conversation), share_put(share)])
            return replace(share, version=1)

        return await retrying(attempt)

    async def of(self, who: Identity, conversation: str) -> Share | None:
        """The newest link to a conversation. Raises NotFound if there is no such conversation."""
        await self.conversations.open(who, conversation)
        where = (("conversation", (conversation,)),)
        query = Query(kind=SHARE.name, where=where, order=("created",), descending=True, limit=1)
        found = await self.store.find(query)
        return share_of(found[0]) if found else None

    async def shared(self, who: Identity, conversations: Sequence[str]) -> frozenset[str]:
        """Which of these conversations have a link."""
        if not conversations:
            return frozenset()
        where = (("conversation", tuple(conversations)), ("owner", (who.user,)))
        found = await self.store.values(Query(kind=SHARE.name, where=where, limit=len(conversations)), "conversation")
        return frozenset([str(id) for id in found])

    async def find(
        self,
        who: Identity,
        *,
        words: str = "",
        order: Order = "created",
        descending: bool = True,
        after: tuple[Scalar, ...] | None = None,
        limit: int = 25,
    ) -> tuple[Sequence[Share], tuple[Scalar, ...] | None]:
        """A page of the caller's links, and the place that the next one begins after.

        ``words``: all of them in the title. Raises InvalidInput (``query.cursor``) for a place in another order.
        """
        place = _place(after, order, descending)
        found: list[Share] = []
        while len(found) <= limit:
            query = Query(
                kind=SHARE.name,
                where=(("owner", (who.user,)),),
                words=words.strip(),
                order=(order,),
                descending=descending,
                after=place,
                limit=limit + 1,
            )
            page = await self.store.find(query)
            there = await self._living([record.doc["conversation"] for record in page])
            found += [share_of(record) for record in page if record.doc["conversation"] in there]
            if len(page) < query.limit:
                break
            place = (page[-1].doc[order], page[-1].id)
        if len(found) <= limit:
            return found, None
        last = share_put(found[limit - 1])
        return found[:limit], (order, descending, last.doc[order], last.id)

    async def refresh(self, who: Identity, id: str, *, target: str | None = None) -> Share:
        """Show the conversation as it is now; without a ``target``, up to the one that the link has, if it has one.

        Raises NotFound, also for somebody else's; Conflict if there is another link to this target.
        """

        async def attempt() -> Share:
            share = await self._own(who, id)
            aim = share.target if target is None else target
            shown = await self._showable(who, share.conversation, aim)
            where = (("conversation", (share.conversation,)), ("target", (aim or WHOLE,)))
            same = await self.store.find(Query(kind=SHARE.name, where=where, limit=1))
            if same and same[0].id != id:
                raise Conflict("there is another link to this message")
            share = replace(share, title=shown.title, until=shown.next_seq, target=aim, updated_at=self.now())
            await self.store.apply([share_put(share)])
            return replace(share, version=share.version + 1)

        return await retrying(attempt)

    async def delete(self, who: Identity, id: str) -> None:
        """Raises NotFound, also for somebody else's."""
        await self._own(who, id)
        await self.store.apply([Delete(SHARE.name, id)])

    async def read(self, id: str) -> Shared:
        """What anybody may see. Raises NotFound, also when the conversation is gone or its time is over."""
        share = await self._share(id)
        if share is None:
            raise NotFound("link not found")
        try:
            conversation = await self.conversations.open(Identity(user=share.owner), share.conversation)
        except NotFound:
            raise NotFound("link not found") from None
        messages = await self._messages(conversation.id, share.until)
        if share.target is not None:
            messages = _path(messages, share.target)
        if not messages:  # they were deleted, or the one that the path leads to was
            raise NotFound("link not found")
        shown = replace(conversation, title=share.title, updated_at=share.updated_at)
        return Shared(share, shown, messages, _revision(share, messages))

    async def continue_(
        self, who: Identity, id: str, *, target: int | None = None, revision: str | None = None
    ) -> Copy:
        """The caller's own copy of what a link shows, or of the path to its ``target``-th message, counted from 0.

        Raises NotFound; Conflict if what it shows is no longer of this revision; InvalidInput if there is no such
        message.
        """
        shown = await self.read(id)
        if revision is not None and revision != shown.revision:
            raise Conflict("what this link shows has changed")
        messages = shown.messages
        if target is not None:
            if not 0 <= target < len(messages):
                raise InvalidInput("this link shows no such message", field="body.targetMessageIndex")
            messages = _path(messages, messages[target].id)
        source = shown.conversation
        leaf = source.leaf if any(m.id == source.leaf for m in messages) else messages[-1].id
        return await self.forks.copy(who, source, messages, target=leaf)

    async def _showable(self, who: Identity, id: str, target: str | None) -> Conversation:
        """The conversation, if it has what is to be shown. Raises NotFound."""
        conversation = await self.conversations.open(who, id)
        if target is not None:
            record = await self.store.get(MESSAGE.name, target)
            if record is None or record.doc["conversation"] != id or record.doc["seq"] >= conversation.next_seq:
                raise NotFound("message not found")
        elif not conversation.messages:
            raise NotFound("there is nothing to share in this conversation yet")
        return conversation

    async def _share(self, id: str) -> Share | None:
        record = await self.store.get(SHARE.name, id)
        return share_of(record) if record is not None else None

    async def _own(self, who: Identity, id: str) -> Share:
        share = owned(who, await self._share(id), "link")
        if not await self._living([share.conversation]):
            raise NotFound("link not found")
        return share

    async def _living(self, conversations: Sequence[str]) -> frozenset[Scalar]:
        """Those of them whose time is not over."""
        if not conversations:
            return frozenset()
        ids: Condition = ("id", tuple(set(conversations)))
        query = Query(kind=CONVERSATION.name, where=(ids,), ranges=(living(self.now()),), limit=len(conversations))
        return frozenset([record.id for record in await self.store.find(query)])

    async def _messages(self, conversation: str, until: int) -> list[Message]:
        """All of every branch below a seq, by seq. A parent that was deleted is None."""
        found: list[Message] = []
        where, ranges = (("conversation", (conversation,)),), (Range("seq", high=until),)
        while True:
            after = (found[-1].seq, found[-1].id) if found else None
            query = Query(kind=MESSAGE.name, where=where, ranges=ranges, order=("seq",), after=after, limit=PAGE)
            page = await self.store.find(query)
            found += [message_of(record) for record in page]
            if len(page) < PAGE:
                return rooted(found)


def _place(after: tuple[Scalar, ...] | None, order: Order, descending: bool) -> tuple[str, str] | None:
    match after:
        case None:
            return None
        case (by, bool(down), str(value), str(id)) if (by, down) == (order, descending):
            return value, id
    raise InvalidInput("this place is not one of a list in this order", field="query.cursor")


def _path(messages: Sequence[Message], target: str) -> list[Message]:
    """The message and those it follows, oldest first; none if it is not among them. ``messages`` are by seq."""
    found: list[Message] = []
    wanted: str | None = target
    for message in reversed(messages):
        if message.id == wanted:
            found.append(message)
            wanted = message.parent
    return found[::-1]


def _revision(share: Share, messages: Sequence[Message]) -> str:
    seen = hashlib.sha256(f"{share.id}\0{share.version}".encode())
    for message in messages:
        seen.update(f"\0{message.id}\0{message.version}".encode())
    return seen.hexdigest()[:32]
