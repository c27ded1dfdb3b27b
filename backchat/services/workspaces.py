"""The verbs on workspaces and their members."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from backchat.domain.identity import Identity, User
from backchat.domain.rights import Action, Role
from backchat.domain.times import moment, stamp
from backchat.domain.workspace import Membership, Workspace, personal_workspace
from backchat.errors import InvalidInput, NotFound
from backchat.ports.storage import Delete, Query, RecordStore, Require
from backchat.services.access import Access
from backchat.services.account_records import USER
from backchat.services.accounts import Accounts
from backchat.services.conversations import Conversations
from backchat.services.dissolving import TOPIC, Emptying, clearing_job, dissolution
from backchat.services.jobs import Job, Jobs
from backchat.services.paging import all_found
from backchat.services.retrying import retrying
from backchat.services.storable import askable
from backchat.services.workspace_records import (
    MEMBERSHIP,
    WORKSPACE,
    member_id,
    membership_of,
    membership_put,
    workspace_of,
    workspace_put,
)

PERSONAL = "Personal"
"""The name that a personal workspace begins with."""
NAME_MAX = 255
PAGE = 200


@dataclass(frozen=True, slots=True)
class Member:
    membership: Membership
    user: User


class Workspaces:
    """Every user has a personal one; it is there from the first time that they ask for any.

    Whoever leaves one, or is removed, loses at that moment what is in it: what was shared with them, and their own
    conversations there. Both stay as they are, and are theirs again when they come back.
    """

    def __init__(
        self,
        store: RecordStore,
        access: Access,
        accounts: Accounts,
        conversations: Conversations,
        jobs: Jobs,
        *,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
    ) -> None:
        self._store, self._access, self._accounts = store, access, accounts
        self._jobs, self._clock, self._new_id = jobs, now, new_id
        jobs.handle(TOPIC, Emptying(store, conversations.clear), at_once=2)

    def _now(self) -> datetime:
        return moment(stamp(self._clock()))  # as exact as it is stored

    async def page(self, who: Identity, *, skip: int, limit: int) -> tuple[Sequence[tuple[Workspace, Role]], int]:
        """The workspaces that the caller is a member of with their role there, the personal one first, then oldest
        membership first; and how many there are. All of their memberships are read: nobody is in very many.
        """
        await self._personal(who)
        query = Query(kind=MEMBERSHIP.name, where=(("user", (who.user,)),), order=("created",), limit=PAGE)
        roles: dict[str, Role] = {r.doc["workspace"]: r.doc["role"] for r in await all_found(self._store, query)}
        home = personal_workspace(who.user)
        page = sorted(roles, key=lambda id: id != home)[skip : skip + limit]
        if not page:
            return [], len(roles)
        found = await self._store.find(Query(kind=WORKSPACE.name, where=(("id", tuple(page)),), limit=len(page)))
        there = {record.id: workspace_of(record) for record in found}
        return [(there[id], roles[id]) for id in page if id in there], len(roles)

    async def open(self, who: Identity, id: str, action: Action = "enter") -> tuple[Workspace, Role]:
        """Raises NotFound for one that there is not, and NotOwned, which reads alike, for one that the caller may not
        enter; Forbidden for what their role does not allow. Whoever may enter without being a member counts as one.
        """
        if id == personal_workspace(who.user):
            await self._personal(who)
        record = await self._store.get(WORKSPACE.name, id)
        workspace = await self._access.require_in(who, action, workspace_of(record) if record is not None else None)
        return workspace, await self._access.role(id, who.user) or "member"

    async def _personal(self, who: Identity) -> None:
        """Make the caller's personal workspace if it is not there."""

        async def attempt() -> None:
            id = personal_workspace(who.user)
            if await self._store.get(WORKSPACE.name, id) is None:
                await self._make(id, who, PERSONAL, personal=True)

        await retrying(attempt)

    async def _make(self, id: str, who: Identity, name: str, *, personal: bool) -> Workspace:
        now = self._now()
        workspace = Workspace(id=id, name=name, owner=who.user, created_at=now, updated_at=now, personal=personal)
        first = Membership(workspace=id, user=who.user, role="owner", created_at=now)
        await self._store.apply([workspace_put(workspace), membership_put(first)])
        return replace(workspace, version=1)

    async def create(self, who: Identity, name: str) -> Workspace:
        """A workspace of the caller, who is its first member. Raises InvalidInput (``body.name``)."""
        return await self._make(self._new_id(), who, _named(name), personal=False)

    async def rename(self, who: Identity, id: str, name: str) -> Workspace:
        """Raises like ``open``, and InvalidInput (``body.name``)."""

        async def attempt() -> Workspace:
            workspace, _ = await self.open(who, id, "rename")
            workspace = replace(workspace, name=_named(name), updated_at=max(self._now(), workspace.updated_at))
            await self._store.apply([workspace_put(workspace)])
            return replace(workspace, version=workspace.version + 1)

        return await retrying(attempt)

    async def dissolve(self, who: Identity, id: str) -> None:
        """Delete a workspace. It and its memberships are gone at once, its conversations soon after, by a job.

        Raises like ``open``, and InvalidInput for a personal one.
        """

        async def attempt() -> Job:
            workspace, _ = await self.open(who, id, "dissolve")
            if workspace.personal:
                raise InvalidInput("a personal workspace cannot be deleted")
            job = clearing_job(self._new_id(), id, self._jobs.worker)
            await self._store.apply(dissolution(workspace, job))
            return job

        self._jobs.start(await retrying(attempt))

    async def members(self, who: Identity, id: str, *, skip: int, limit: int) -> tuple[Sequence[Member], int]:
        """Oldest membership first; and how many there are."""
        await self.open(who, id)
        query = Query(kind=MEMBERSHIP.name, where=(("workspace", (id,)),), order=("created",), limit=limit, offset=skip)
        page = [membership_of(record) for record in await self._store.find(query)]
        users = await self._accounts.users_of([m.user for m in page])
        return [Member(m, users[m.user]) for m in page], await self._store.count(query)

    async def add(
        self, who: Identity, id: str, role: Role | None, *, user: str | None = None, email: str | None = None
    ) -> tuple[Member, bool]:
        """Make a user a member, or give a member another role; and whether they were none before.

        ``role`` None: ``member`` for a new one; others keep theirs. Exactly one of ``user``, an id, and ``email`` is
        given. Raises like ``open``, and InvalidInput (``body.user_id``
        or ``body.email``) for an account that there is not, for the role of the owner, and for the owner's own role.
        """
        field = "body.user_id" if email is None else "body.email"

        async def attempt() -> tuple[Member, bool]:
            await self.open(who, id, "manage_members")
            if role == "owner":
                raise InvalidInput("the role of the owner cannot be given", field="body.role")
            known = await self._known(user, email)
            if known is None:
                raise InvalidInput("there is no such user", field=field)
            there = await self._membership(id, known[0].id)
            if there is not None and there.role == "owner":
                raise InvalidInput("the owner of a workspace keeps that role", field=field)
            if there is not None and role in (None, there.role):
                return Member(there, known[0]), False
            member = Membership(workspace=id, user=known[0].id, role=role or "member", created_at=self._now())
            if there is not None:
                member = replace(there, role=member.role)
            # Neither a workspace nor an account that goes at this moment has members and memberships afterwards.
            await self._store.apply([membership_put(member), Require(WORKSPACE.name, id), known[1]])
            return Member(replace(member, version=member.version + 1), known[0]), there is None

        return await retrying(attempt)

    async def _known(self, user: str | None, email: str | None) -> tuple[User, Require] | None:
        """A user, and the record that shows that there is one: the account, or what a caller without one has."""
        if user is None:
            found = await self._accounts.user_by_email(email or "")
            return (found, Require(USER.name, found.id)) if found is not None else None
        if not askable(user):
            return None
        if (found := await self._accounts.user(user)) is not None:
            return found, Require(USER.name, user)
        home = personal_workspace(user)
        if await self._store.get(WORKSPACE.name, home) is None:
            return None
        return (await self._accounts.users_of([user]))[user], Require(WORKSPACE.name, home)

    async def remove(self, who: Identity, id: str, user: str) -> None:
        """End a membership: of anybody by who manages them, of oneself by everybody.

        Raises like ``open``, NotFound for who is no member, InvalidInput for the owner.
        """

        async def attempt() -> None:
            await self.open(who, id, "enter" if user == who.user else "manage_members")
            member = await self._membership(id, user)
            if member is None:
                raise NotFound("member not found")
            if member.role == "owner":
                raise InvalidInput("the owner of a workspace stays in it")
            await self._store.apply([Delete(MEMBERSHIP.name, member_id(id, user), member.version)])

        await retrying(attempt)

    async def _membership(self, workspace: str, user: str) -> Membership | None:
        if not askable(user):
            return None
        record = await self._store.get(MEMBERSHIP.name, member_id(workspace, user))
        return membership_of(record) if record is not None else None


def _named(name: str) -> str:
    name = name.strip()
    if not name:
        raise InvalidInput("a workspace needs a name", field="body.name")
    if len(name) > NAME_MAX:
        raise InvalidInput(f"must be at most {NAME_MAX} characters", field="body.name")
    return name
