"""Sharing a conversation with other members of its workspace.

A share holds while whoever has it is a member. That of one who leaves is kept, shows nothing, and holds again when they
come back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import uuid4

from backchat.domain.conversation import Conversation
from backchat.domain.identity import Identity, User
from backchat.domain.rights import Permission
from backchat.domain.times import moment, stamp
from backchat.domain.workspace import Grant
from backchat.errors import InvalidInput, NotFound
from backchat.ports.storage import Query, RecordStore, Require
from backchat.services.access import Access
from backchat.services.accounts import Accounts
from backchat.services.conversations import Conversations
from backchat.services.retrying import retrying
from backchat.services.storable import askable
from backchat.services.stored import conversation_put
from backchat.services.workspace_records import MEMBERSHIP, member_id

MOST = 1000
"""Users that one conversation is shared with: its record has all of them."""


@dataclass(frozen=True, slots=True)
class Granted:
    grant: Grant
    user: User


@dataclass(frozen=True, slots=True, kw_only=True)
class Grants:
    store: RecordStore
    access: Access
    accounts: Accounts
    conversations: Conversations
    now: Callable[[], datetime]

    async def give(
        self,
        who: Identity,
        conversation: str,
        permission: Permission | None,
        *,
        user: str | None = None,
        email: str | None = None,
    ) -> tuple[Granted, bool]:
        """Share it with a user, or change what they may; and whether it was not shared with them before.

        ``permission`` None: ``view`` for a new share; the others stay as they are. Exactly one of ``user``, an id, and
        ``email`` is given. Raises InvalidInput (``body.user_id`` or ``body.email``) for oneself, and, in the same
        words, for an unknown user and for one who is not a member of the workspace; and for more than ``MOST`` users.
        """
        field = "body.user_id" if email is None else "body.email"

        async def attempt() -> tuple[Granted, bool]:
            shared = await self.conversations.open(who, conversation, "share")
            id = user if email is None else await self._id(email)
            if id in (who.user, shared.owner):
                raise InvalidInput("a conversation is not shared with its owner", field=field)
            if id is None or not await self._members(shared.home, [id]):
                raise InvalidInput("there is no such user in this workspace", field=field)
            account = (await self.accounts.users_of([id]))[id]
            before = next((g for g in shared.grants if g.user == id), None)
            if before is not None and permission in (None, before.permission):
                return Granted(before, account), False
            allowed = permission or "view"
            if before is not None:
                grant = replace(before, permission=allowed)
                grants = tuple([grant if g is before else g for g in shared.grants])
            else:
                grant = Grant(
                    id=str(uuid4()),
                    user=id,
                    permission=allowed,
                    shared_by=who.user,
                    created_at=moment(stamp(self.now())),
                )
                grants = (*await self._room(shared, field), grant)
            member = Require(MEMBERSHIP.name, member_id(shared.home, id))
            own = self.access.required(who, shared, "share")
            await self.store.apply([conversation_put(replace(shared, grants=grants)), member, *own])
            return Granted(grant, account), before is None

        return await retrying(attempt)

    async def of(self, who: Identity, conversation: str) -> Sequence[Granted]:
        """With whom it is shared, oldest first, also those who have left the workspace. For who may share it."""
        shared = await self.conversations.open(who, conversation, "share")
        users = await self.accounts.users_of(sorted({g.user for g in shared.grants}))
        return [Granted(g, users[g.user]) for g in shared.grants]

    async def revoke(
        self,
        who: Identity,
        conversation: str,
        *,
        grant: str | None = None,
        user: str | None = None,
        email: str | None = None,
    ) -> None:
        """Take a share back, at once; whoever it is shared with may give up their own. Exactly one of the three.

        Raises like ``conversations.open`` for the action ``share``, and NotFound if there is no such share.
        """

        async def attempt() -> None:
            shared = await self.conversations.open(who, conversation)
            id = user if email is None else await self._id(email)
            ended = next((g for g in shared.grants if (g.id == grant if grant is not None else g.user == id)), None)
            own = ended is not None and ended.user == who.user
            if not own:
                await self.access.require(who, "share", shared)
            if ended is None:
                raise NotFound("share not found")
            left = tuple([g for g in shared.grants if g is not ended])
            member = self.access.required(who, shared, "read" if own else "share")
            await self.store.apply([conversation_put(replace(shared, grants=left)), *member])

        await retrying(attempt)

    async def _id(self, email: str) -> str | None:
        found = await self.accounts.user_by_email(email)
        return found.id if found is not None else None

    async def _members(self, workspace: str, users: Sequence[str]) -> frozenset[str]:
        """Those of the users who are members now."""
        asked = tuple([user for user in users if askable(user)])
        ids = tuple([member_id(workspace, user) for user in asked])
        if not ids:
            return frozenset()
        where = (("user", asked), ("id", ids), ("workspace", (workspace,)))
        found = await self.store.find(Query(kind=MEMBERSHIP.name, where=where, limit=len(ids)))
        return frozenset([str(record.doc["user"]) for record in found])

    async def _room(self, shared: Conversation, field: str) -> tuple[Grant, ...]:
        """The shares that a new one comes to. At the limit, those of users who have left make room."""
        if len(shared.grants) < MOST:
            return shared.grants
        there = await self._members(shared.home, [g.user for g in shared.grants])
        left = tuple([g for g in shared.grants if g.user in there])
        if len(left) >= MOST:
            raise InvalidInput(f"a conversation can be shared with at most {MOST} users", field=field)
        return left
