"""What becomes of the workspaces and the shares of a user whose account is deleted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID, uuid4, uuid5

from backchat.domain.conversation import Conversation
from backchat.domain.rights import Role
from backchat.domain.times import stamp
from backchat.domain.workspace import Membership, Workspace
from backchat.ports.storage import Change, Delete, Purge, Query, RecordStore
from backchat.services.dissolving import clearing_job, dissolution
from backchat.services.paging import all_found
from backchat.services.retrying import retrying
from backchat.services.stored import CONVERSATION, conversation_of, conversation_put
from backchat.services.workspace_records import (
    MEMBERSHIP,
    WORKSPACE,
    member_id,
    membership_of,
    membership_put,
    workspace_of,
    workspace_put,
)

PAGE = 100
HEIRS: tuple[Role, ...] = ("admin", "member")
"""Who a workspace passes to: the longest-standing of the first role that somebody has."""


async def depart(store: RecordStore, user: str) -> bool:
    """End the memberships of a user, pass on what they own, and take back what was shared with them.

    A workspace with other members passes to one of them. So does the personal one, under another id: its own belongs to
    whoever has the id of the user, and a user whom tokens name may come back. One that has no other members is deleted;
    what former members have left in it follows, by a job of the next process that looks for some.
    False if there was nothing to do.
    """
    memberships = (("user", (user,)),)
    was_member = bool(await store.find(Query(kind=MEMBERSHIP.name, where=memberships, limit=1)))
    if was_member:
        await store.apply([Purge(MEMBERSHIP.name, memberships)])
    owned = await _pass_on(store, user)
    shared = await _take_back(store, user)
    return was_member or owned or shared


async def _pass_on(store: RecordStore, user: str) -> bool:
    query, found = Query(kind=WORKSPACE.name, where=(("owner", (user,)),), limit=PAGE), False
    while page := await store.find(query):
        found = True
        for record in page:
            await _inherit(store, record.id, user)
    return found


async def _inherit(store: RecordStore, id: str, user: str) -> None:
    async def attempt() -> None:
        record = await store.get(WORKSPACE.name, id)
        if record is None or record.doc["owner"] != user:
            return
        workspace = workspace_of(record)
        if workspace.personal and await store.get(WORKSPACE.name, _after(workspace)) is not None:  # it was begun before
            await _move(store, workspace)
            return
        heir = await _heir(store, id, user)
        if heir is None:
            await store.apply(dissolution(workspace, clearing_job(str(uuid4()), id, worker="")))
            return
        if workspace.personal:
            await store.apply(await _succession(store, workspace, heir))
            await _move(store, workspace)
            return
        passed = workspace_put(replace(workspace, owner=heir.user))
        risen = membership_put(replace(heir, role="owner"))
        await store.apply([passed, risen, Delete(MEMBERSHIP.name, member_id(id, user))])

    await retrying(attempt)


def _after(workspace: Workspace) -> str:
    """The id of the workspace that comes after a personal one. The next one of the same user has another."""
    return str(uuid5(UUID(workspace.id), stamp(workspace.created_at)))


async def _succession(store: RecordStore, workspace: Workspace, heir: Membership) -> list[Change]:
    """What makes another workspace in the place of a personal one, with its members, and leaves that without any.

    From then on nobody begins anything in the old one. Stale when somebody leaves it meanwhile.
    """
    query = Query(kind=MEMBERSHIP.name, where=(("workspace", (workspace.id,)),), limit=PAGE)
    there = [membership_of(record) for record in await all_found(store, query)]
    after = _after(workspace)
    changes: list[Change] = [workspace_put(replace(workspace, id=after, owner=heir.user, personal=False, version=0))]
    for m in there:
        if m.user != workspace.owner:
            role: Role = "owner" if m.user == heir.user else m.role
            changes.append(Delete(MEMBERSHIP.name, member_id(workspace.id, m.user), m.version))
            changes.append(membership_put(replace(m, workspace=after, role=role, version=0)))
    return [*changes, Purge(MEMBERSHIP.name, query.where)]


async def _move(store: RecordStore, workspace: Workspace) -> None:
    """Move what others have in a workspace to the one that came after it, and delete that.

    Its record goes last: whoever deletes the user again goes on with what is left.
    """

    def moved(conversation: Conversation) -> Conversation:
        return replace(conversation, workspace=_after(workspace))

    query = Query(kind=CONVERSATION.name, where=(("workspace", (workspace.id,)),), limit=PAGE)
    for record in await all_found(store, query):
        if record.doc["owner"] != workspace.owner:
            await _change(store, record.id, moved)
    memberships = Purge(MEMBERSHIP.name, (("workspace", (workspace.id,)),))
    await store.apply([Delete(WORKSPACE.name, workspace.id, workspace.version), memberships])


async def _heir(store: RecordStore, workspace: str, user: str) -> Membership | None:
    for role in HEIRS:
        where = (("workspace", (workspace,)), ("role", (role,)))
        for record in await store.find(Query(kind=MEMBERSHIP.name, where=where, order=("created",), limit=2)):
            if record.doc["user"] != user:
                return membership_of(record)
    return None


async def _take_back(store: RecordStore, user: str) -> bool:
    def unshared(conversation: Conversation) -> Conversation:
        return replace(conversation, grants=tuple([g for g in conversation.grants if g.user != user]))

    query, found = Query(kind=CONVERSATION.name, where=(("readers", (user,)),), limit=PAGE), False
    while page := await store.find(query):
        found = True
        for record in page:
            await _change(store, record.id, unshared)
    return found


async def _change(store: RecordStore, id: str, change: Callable[[Conversation], Conversation]) -> None:
    """Change a conversation as it is now, if it is there."""

    async def attempt() -> None:
        record = await store.get(CONVERSATION.name, id)
        if record is None:
            return
        conversation = conversation_of(record)
        changed = change(conversation)
        if changed != conversation:
            await store.apply([conversation_put(changed)])

    await retrying(attempt)
