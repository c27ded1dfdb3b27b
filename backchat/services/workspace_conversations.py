"""The conversations of a workspace that somebody may see, and their settings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from backchat.domain.conversation import Conversation, given_title
from backchat.domain.identity import Identity
from backchat.domain.message import Role
from backchat.domain.settings import ModelSettings
from backchat.domain.times import moment, stamp
from backchat.domain.usage import Payer
from backchat.errors import Forbidden, NotFound
from backchat.ports.storage import Change as Stored
from backchat.ports.storage import Condition, Query, Record, RecordStore, Require
from backchat.services.conversations import Conversations
from backchat.services.deadlines import living
from backchat.services.ledger import Ledger
from backchat.services.paging import all_found, pages
from backchat.services.paths import Excerpt, Path
from backchat.services.retrying import retrying
from backchat.services.stored import CONVERSATION, conversation_of, conversation_put
from backchat.services.workspace_records import WORKSPACE
from backchat.services.workspaces import Workspaces

Status = Literal["active", "completed", "archived"]
Order = Literal["updated", "created", "title"]
"""Also the name of the field that it sorts by, before the id."""
PAGE = 200
_OF: Mapping[Status | None, tuple[Condition, ...]] = {
    None: (),
    "active": (("archived", (False,)), ("completed", (False,))),
    "completed": (("archived", (False,)), ("completed", (True,))),
    "archived": (("archived", (True,)),),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is to be different; None stays as it is, and so do the options that are not named.

    ``settings`` makes the new ones of those that there are when it is stored, so that of two changes at once neither is
    lost.
    """

    title: str | None = None
    status: Status | None = None
    settings: Callable[[ModelSettings], ModelSettings] | None = None
    options: Mapping[str, Any] | None = None


def status_of(conversation: Conversation) -> Status:
    """``archived`` goes before ``completed``."""
    if conversation.archived_at is not None:
        return "archived"
    return "completed" if conversation.completed else "active"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceConversations:
    store: RecordStore
    workspaces: Workspaces
    conversations: Conversations
    ledger: Ledger
    now: Callable[[], datetime]
    new_id: Callable[[], str]

    async def page(
        self,
        who: Identity,
        workspace: str,
        *,
        status: Status | None = None,
        search: str = "",
        order: Order = "updated",
        descending: bool = True,
        skip: int,
        limit: int,
    ) -> tuple[Sequence[Conversation], int]:
        """The caller's own conversations there, and those that are shared with them; and how many there are.

        ``search``: the title has this text in it, in whatever case. Temporary ones are in no list, and none whose time
        is over. Raises NotFound for the workspace.

        Of the caller's own the store finds the page; a search reads all of them, some at a time, because no index has
        parts of words. Those that are shared with them are few, and all of them are read.
        """
        await self.workspaces.open(who, workspace)
        visible = Query(
            kind=CONVERSATION.name,
            where=(("temporary", (False,)), *_OF[status]),
            ranges=(living(self.now()),),
            order=(order,),
            descending=descending,
            limit=PAGE,
        )
        sought = search.casefold()
        shared = await self._shared(who, workspace, visible, sought)
        # However the shared ones lie among the caller's own, what comes before this is not on the page.
        before = max(0, skip - len(shared))
        size = limit + len(shared)
        own = replace(visible, where=(("workspace", (workspace,)), ("owner", (who.user,)), *visible.where))
        found: Sequence[Record]
        if sought:
            found, count = await self._sought(own, sought, before, size)
        else:
            window = self.store.find(replace(own, offset=before, limit=size))
            found, count = await asyncio.gather(window, self.store.count(own))
        merged = sorted([*found, *shared], key=lambda record: (record.doc[order], record.id), reverse=descending)
        page = merged[skip - before : skip - before + limit]
        return [conversation_of(record) for record in page], count + len(shared)

    async def _shared(self, who: Identity, workspace: str, visible: Query, sought: str) -> list[Record]:
        # Without the workspace, so that the store looks up the reader and not everything in the workspace.
        found = await all_found(self.store, replace(visible, where=(("readers", (who.user,)), *visible.where)))
        return [record for record in found if record.doc["workspace"] == workspace and _has(record, sought)]

    async def _sought(self, own: Query, sought: str, before: int, size: int) -> tuple[list[Record], int]:
        """A window of those that a query finds with this text in their title; and how many there are."""
        window: list[Record] = []
        count = 0
        async for page in pages(self.store, own):
            for record in page:
                if _has(record, sought):
                    if before <= count < before + size:
                        window.append(record)
                    count += 1
        return window, count

    async def open(self, who: Identity, workspace: str, id: str) -> Conversation:
        """One of this workspace that the caller may read. Raises NotFound for either."""
        await self.workspaces.open(who, workspace)
        conversation = await self.conversations.open(who, id)
        if conversation.home != workspace:
            raise NotFound("conversation not found")
        return conversation

    async def messages(self, who: Identity, id: str, *, role: Role | None = None, skip: int, limit: int) -> Excerpt:
        """Messages of its active path, of this role if one is given. Raises like ``conversations.open``."""
        return await (await self._path(who, id)).excerpt(skip=skip, limit=limit, role=role)

    async def message(self, who: Identity, id: str, message: str) -> Excerpt:
        """One message of its active path. Raises NotFound, also for one of another branch."""
        found = await (await self._path(who, id)).one(message)
        if found is None:
            raise NotFound("message not found")
        return found

    async def _path(self, who: Identity, id: str) -> Path:
        conversation = await self.conversations.open(who, id)
        return Path(self.store, id, conversation.leaf)

    async def create(self, who: Identity, workspace: str, given: Change, *, channel: str) -> Conversation:
        """An empty conversation. Raises NotFound for the workspace, InsufficientCredits before anything is stored."""
        # Nothing comes to lie in a workspace that goes at this moment, nor in one that the caller is put out of.
        needed: list[Stored] = [Require(WORKSPACE.name, workspace)]
        needed += self.conversations.access.required_in(who, workspace)

        async def attempt() -> Conversation:
            await self.workspaces.open(who, workspace)
            if await self.conversations.access.role(workspace, who.user) is None:  # let in by a plugin
                raise Forbidden("conversations in a workspace are begun by its members")
            await self.ledger.check(Payer(user=who.user, workspace=workspace))
            now = self._now()
            conversation = Conversation(
                id=self.new_id(),
                owner=who.user,
                title="",
                created_at=now,
                updated_at=now,
                channel=channel,
                workspace=workspace,
            )
            conversation = _changed(conversation, given, now)
            await self.store.apply([conversation_put(conversation), *needed])
            return replace(conversation, version=1)

        return await retrying(attempt)

    async def update(self, who: Identity, id: str, change: Change) -> Conversation:
        """Settings hold from the next message on. Raises like ``conversations.open`` for the action ``update``.

        It is the newest conversation then, unless only its status is another.
        """

        async def attempt() -> Conversation:
            before = await self.conversations.open(who, id, "update")
            after = _changed(before, change, self._now())
            if after == before:
                return before
            member = self.conversations.access.required(who, before, "update")
            await self.store.apply([conversation_put(after), *member])
            return replace(after, version=after.version + 1)

        return await retrying(attempt)

    def _now(self) -> datetime:
        return moment(stamp(self.now()))  # as exact as it is stored


def _has(record: Record, sought: str) -> bool:
    return sought in record.doc["title"].casefold()


def _changed(before: Conversation, change: Change, now: datetime) -> Conversation:
    after = before
    if change.title is not None:
        after = replace(after, title=given_title(change.title))
    if change.settings is not None:
        after = replace(after, settings=change.settings(after.settings))
    if change.options is not None:
        after = replace(after, options={**after.options, **change.options})
    if after != before:
        after = replace(after, updated_at=max(now, before.updated_at))
    match change.status:
        case "archived":
            return replace(after, archived_at=after.archived_at or now)
        case "completed" | "active":
            return replace(after, archived_at=None, completed=change.status == "completed")
    return after
