"""Links under which anybody can read a conversation as it was when it was shared.

What came later is not shown: messages, branches, another title. A shared message itself is shown as it stands: what its
author corrects or deletes in a conversation, because it should not have been said, must not stay public.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from backchat.domain.conversation import Conversation
from backchat.domain.identity import Identity
from backchat.domain.message import Message
from backchat.errors import Conflict, InvalidInput, NotFound
from backchat.ports.storage import Condition, Delete, Query, Record, RecordStore, Require, Scalar
from backchat.services.access import owned
from backchat.services.conversations import Conversations
from backchat.services.deadlines import living
from backchat.services.extents import reached
from backchat.services.forks import Copy, Forks
from backchat.services.paging import pages
from backchat.services.retrying import retrying
from backchat.services.share_records import SHARE, WHOLE, Share, share_of, share_put
from backchat.services.stored import CONVERSATION, MESSAGE
from backchat.services.tree_reading import tree_of

Order = Literal["created", "title"]
PAGE = 500
LINKS = 20
"""Links of one conversation that are looked at together; there is seldom more than one."""
MANY = 200
"""Messages from which on hashing them takes long enough to be done in a thread."""
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
        """Raises NotFound, and Conflict if the conversation is shared, with the same target, already.

        A link of which nothing is left to show makes room for the new one.
        """
        id = secrets.token_urlsafe(RANDOM_BYTES)

        async def attempt() -> Share:
            shown = await self._showable(who, conversation, target)
            where = (("conversation", (conversation,)), ("target", (target or WHOLE,)))
            same = await self.store.find(Query(kind=SHARE.name, where=where, limit=1))
            if await self._showing([share_of(record) for record in same]):
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
            needed = [Require(CONVERSATION.name, conversation)]
            if target is not None:
                needed.append(Require(MESSAGE.name, target))
            dead = [Delete(SHARE.name, record.id, record.version) for record in same]
            await self.store.apply([*needed, *dead, share_put(share)])
            return replace(share, version=1)

        return await retrying(attempt)

    async def of(self, who: Identity, conversation: str) -> Share | None:
        """The newest link to a conversation that shows something. Raises NotFound if there is no such conversation."""
        await self.conversations.open(who, conversation, "share")
        where = (("conversation", (conversation,)),)
        query = Query(kind=SHARE.name, where=where, order=("created",), descending=True, limit=LINKS)
        async for page in pages(self.store, query):
            if showing := await self._showing([share_of(record) for record in page]):
                return showing[0]
        return None

    async def shared(self, who: Identity, conversations: Sequence[str]) -> frozenset[str]:
        """Which of these conversations have a link that shows something."""
        if not conversations:
            return frozenset()
        where = (("conversation", tuple(conversations)), ("owner", (who.user,)))
        found: set[str] = set()
        async for page in pages(self.store, Query(kind=SHARE.name, where=where, limit=PAGE)):
            shares = [share_of(record) for record in page if record.doc["conversation"] not in found]
            found |= {share.conversation for share in await self._showing(shares)}
        return frozenset(found)

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
        reach = await self.conversations.access.reach(who)
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
            there = await self._living([record.doc["conversation"] for record in page], reach)
            shares = [share_of(record) for record in page if record.doc["conversation"] in there]
            found += await self._showing(shares)
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
        """What anybody may see. Raises NotFound, also when the conversation is gone or its time is over.

        A link of somebody who has left the workspace of the conversation shows nothing, until they are back.
        """
        share = await self._share(id)
        if share is None:
            raise NotFound("link not found")
        try:
            conversation = await self.conversations.open(Identity(user=share.owner), share.conversation)
        except NotFound:
            raise NotFound("link not found") from None
        tree = await tree_of(self.store, conversation.id, below=share.until)
        shown = replace(conversation, title=share.title, updated_at=share.updated_at)

        def work() -> Shared:
            messages = tree if share.target is None else reached(tree, share.target, "path")
            return Shared(share, shown, messages, _revision(share, messages))

        found = work() if len(tree) < MANY else await asyncio.to_thread(work)
        if not found.messages:  # they were deleted, or the one that the path leads to was
            raise NotFound("link not found")
        return found

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
            messages = await asyncio.to_thread(reached, messages, messages[target].id, "path")
        source = shown.conversation
        leaf = source.leaf if any(m.id == source.leaf for m in messages) else messages[-1].id
        return await self.forks.copy(who, source, messages, target=leaf)

    async def _showable(self, who: Identity, id: str, target: str | None) -> Conversation:
        """The conversation, if it has what is to be shown. Raises NotFound."""
        conversation = await self.conversations.open(who, id, "share")
        if target is not None:
            record = await self.store.get(MESSAGE.name, target)
            if record is None or record.doc["conversation"] != id or record.doc["seq"] >= conversation.next_seq:
                raise NotFound("message not found", field="body.targetMessageId")
        elif not conversation.messages:
            raise NotFound("there is nothing to share in this conversation yet")
        return conversation

    async def _showing(self, shares: Sequence[Share]) -> list[Share]:
        """Those of them of which something is left to show, in their order."""
        aims = tuple({share.target for share in shares if share.target is not None})
        targets: Mapping[str, Record] = {}
        if aims:
            shown = tuple({share.conversation for share in shares})
            query = Query(kind=MESSAGE.name, where=(("conversation", shown), ("id", aims)), limit=len(aims))
            targets = {record.id: record for record in await self.store.find(query)}
        found: list[Share] = []
        for share in shares:
            record = await self._first(share) if share.target is None else targets.get(share.target)
            if record and record.doc["conversation"] == share.conversation and record.doc["seq"] < share.until:
                found.append(share)
        return found

    async def _first(self, share: Share) -> Record | None:
        """The first of the messages that a link with every branch shows."""
        where = (("conversation", (share.conversation,)),)
        query = Query(kind=MESSAGE.name, where=where, order=("seq",), limit=1)
        return next(iter(await self.store.find(query)), None)

    async def _share(self, id: str) -> Share | None:
        record = await self.store.get(SHARE.name, id)
        return share_of(record) if record is not None else None

    async def _own(self, who: Identity, id: str) -> Share:
        share = owned(who, await self._share(id), "link")
        try:
            await self.conversations.open(who, share.conversation, "share")
        except NotFound:
            raise NotFound("link not found") from None
        return share

    async def _living(self, conversations: Sequence[str], reach: Condition) -> frozenset[Scalar]:
        """Those of them whose time is not over, and which lie where the owner still is."""
        if not conversations:
            return frozenset()
        ids: Condition = ("id", tuple(set(conversations)))
        query = Query(
            kind=CONVERSATION.name, where=(ids, reach), ranges=(living(self.now()),), limit=len(conversations)
        )
        return frozenset([record.id for record in await self.store.find(query)])


def _place(after: tuple[Scalar, ...] | None, order: Order, descending: bool) -> tuple[str, str] | None:
    match after:
        case None:
            return None
        case (by, bool(down), str(value), str(id)) if (by, down) == (order, descending):
            return value, id
    raise InvalidInput("this place is not one of a list in this order", field="query.cursor")


def _revision(share: Share, messages: Sequence[Message]) -> str:
    seen = hashlib.sha256(f"{share.id}\0{share.version}".encode())
    for message in messages:
        seen.update(f"\0{message.id}\0{message.version}".encode())
    return seen.hexdigest()[:32]
