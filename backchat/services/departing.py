"""What becomes of the workspaces and the shares of a user whose account is deleted."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

from backchat.domain.rights import Role
from backchat.domain.workspace import Membership
from backchat.ports.storage import Delete, Purge, Query, RecordStore
from backchat.services.dissolving import clearing_job, dissolution
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

    A workspace with other members passes to one of them, the personal one too, which is personal no longer. One that
    has none is deleted; what former members have left in it follows, by a job of the next process that looks for some.
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
        heir = await _heir(store, id, user)
        if heir is None:
            await store.apply(dissolution(workspace, clearing_job(str(uuid4()), id, worker="")))
            return
        passed = workspace_put(replace(workspace, owner=heir.user, personal=False))
        risen = membership_put(replace(heir, role="owner"))
        await store.apply([passed, risen, Delete(MEMBERSHIP.name, member_id(id, user))])

    await retrying(attempt)


async def _heir(store: RecordStore, workspace: str, user: str) -> Membership | None:
    for role in HEIRS:
        where = (("workspace", (workspace,)), ("role", (role,)))
        for record in await store.find(Query(kind=MEMBERSHIP.name, where=where, order=("created",), limit=2)):
            if record.doc["user"] != user:
                return membership_of(record)
    return None


async def _take_back(store: RecordStore, user: str) -> bool:
    query, found = Query(kind=CONVERSATION.name, where=(("readers", (user,)),), limit=PAGE), False
    while page := await store.find(query):
        found = True
        for record in page:
            await _unshare(store, record.id, user)
    return found


async def _unshare(store: RecordStore, id: str, user: str) -> None:
    async def attempt() -> None:
        record = await store.get(CONVERSATION.name, id)
        if record is None:
            return
        conversation = conversation_of(record)
        left = tuple([g for g in conversation.grants if g.user != user])
        if left != conversation.grants:
            await store.apply([conversation_put(replace(conversation, grants=left))])

    await retrying(attempt)
