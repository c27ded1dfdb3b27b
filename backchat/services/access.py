"""Who may do what, asked by every verb of a service: what a caller is to a thing, and what the rights make of that."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol, TypeVar

from backchat.domain.conversation import Conversation
from backchat.domain.identity import Identity
from backchat.domain.rights import Action, Role, Standing, allowed
from backchat.domain.workspace import Workspace, personal_workspace
from backchat.errors import Forbidden, NotFound, NotOwned
from backchat.ports.storage import Change, Condition, Query, RecordStore, Require
from backchat.services.deadlines import over
from backchat.services.paging import all_found
from backchat.services.stored import CONVERSATION, conversation_of
from backchat.services.workspace_records import MEMBERSHIP, member_id

Authorize = Callable[[Identity, Action, Standing, Conversation | Workspace], bool]
"""What the hook ``backchat_authorize`` answers. Pure, and called for every request."""

PAGE = 200


def by_table(who: Identity, action: Action, standing: Standing, thing: Conversation | Workspace) -> bool:
    """The answer of the core."""
    return allowed(action, standing)


class Owned(Protocol):
    @property
    def owner(self) -> str: ...


T = TypeVar("T", bound=Owned)


def owned(who: Identity, thing: T | None, what: str) -> T:
    """The thing, if it is the caller's. Raises NotFound, or NotOwned for another's, which reads alike."""
    if thing is None:
        raise NotFound(f"{what} not found")
    if thing.owner != who.user:
        raise NotOwned(f"{what} not found")
    return thing


class Access:
    """Rights on conversations and workspaces, as they are in the store at this moment: nothing is remembered."""

    def __init__(self, store: RecordStore, authorize: Authorize, now: Callable[[], datetime]) -> None:
        self._store, self._authorize, self._now = store, authorize, now

    async def open(self, who: Identity, id: str, action: Action = "read") -> Conversation:
        """A conversation that the caller may do this with. Raises NotFound for one whose time is over, and like
        ``require``.
        """
        record = await self._store.get(CONVERSATION.name, id)
        if record is None or over(record, self._now()):
            raise NotFound("conversation not found")
        conversation = conversation_of(record)
        await self.require(who, action, conversation)
        return conversation

    async def allows(self, who: Identity, action: Action, conversation: Conversation) -> bool:
        return self._authorize(who, action, await self.standing(who, conversation), conversation)

    async def require(self, who: Identity, action: Action, conversation: Conversation) -> None:
        """Raises NotFound or NotOwned, which read alike, for one that the caller may not read; else Forbidden."""
        standing = await self.standing(who, conversation)
        if self._authorize(who, action, standing, conversation):
            return
        if action != "read" and self._authorize(who, "read", standing, conversation):
            raise Forbidden("you may not do this in a conversation that is shared with you")
        raise NotOwned("conversation not found")

    def required(self, who: Identity, conversation: Conversation, action: Action) -> list[Change]:
        """What keeps a batch from being stored once the caller has left the workspace of the conversation.

        For whoever was let do this a moment ago, and now writes. After that StaleWrite they are let do it no more.
        Nothing where nobody's membership lets the caller in: in their own personal workspace, and where a plugin lets
        strangers do this.
        """
        if self._authorize(who, action, "stranger", conversation):
            return []
        return self.required_in(who, conversation.home)

    def required_in(self, who: Identity, workspace: str) -> list[Change]:
        """The same for a workspace that the caller is a member of. With its workspace goes a membership, too."""
        if workspace == personal_workspace(who.user):
            return []
        return [Require(MEMBERSHIP.name, member_id(workspace, who.user))]

    async def require_in(self, who: Identity, action: Action, workspace: Workspace | None) -> Workspace:
        """The workspace. Raises NotFound for one that the caller may not enter, else Forbidden."""
        if workspace is None:
            raise NotFound("workspace not found")
        role = await self.role(workspace.id, who.user)
        standing: Standing = role or "stranger"
        if not self._authorize(who, "enter", standing, workspace):
            raise NotOwned("workspace not found")
        if action != "enter" and not self._authorize(who, action, standing, workspace):
            raise Forbidden("your role in this workspace does not allow this")
        return workspace

    async def standing(self, who: Identity, conversation: Conversation) -> Standing:
        """What the caller is to a conversation. Reads nothing for who is in their own personal workspace."""
        role = await self.role(conversation.home, who.user)
        if role is None:
            return "stranger"
        if conversation.owner == who.user:
            return "owner"
        for grant in conversation.grants:
            if grant.user == who.user:
                return grant.permission
        return "member" if role == "member" else "admin"

    async def role(self, workspace: str, user: str) -> Role | None:
        """What a user is in a workspace; None for who is not a member."""
        if workspace == personal_workspace(user):
            return "owner"  # of nobody else ever: see ``departing``
        record = await self._store.get(MEMBERSHIP.name, member_id(workspace, user))
        role: Role | None = record.doc["role"] if record is not None else None
        return role

    async def reach(self, who: Identity) -> Condition:
        """What keeps the caller's conversations out of a list that lie in workspaces which they have left."""
        query = Query(kind=MEMBERSHIP.name, where=(("user", (who.user,)),), limit=PAGE)
        member = [str(record.doc["workspace"]) for record in await all_found(self._store, query)]
        # None: stored before there were workspaces. It stays when there are none of these: it also keeps a store from
        # taking this for what is best looked up in an index, where the list then has to be sorted.
        return "workspace", (None, personal_workspace(who.user), *member)
