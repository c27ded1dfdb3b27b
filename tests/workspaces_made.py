"""Accounts, workspaces with members, and conversations in them, for tests of what people do together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from archive_made import at, made
from backchat.domain.conversation import Conversation
from backchat.domain.identity import Identity, User
from backchat.domain.rights import Role
from backchat.ports.storage import Change, Put, Query, RecordStore
from backchat.services.account_records import user_doc
from nodes import Node, SlowStore

PEOPLE = ANN, BOB, CAT, DAN, EVE = [Identity(user=name) for name in ("ann", "bob", "cat", "dan", "eve")]


class Racing(SlowStore):
    """Does something else right before the next batch with such a change."""

    kind: str = ""
    change: type[Change] = Put
    first: Callable[[], Awaitable[Any]] | None = None

    def before(self, kind: str, first: Callable[[], Awaitable[Any]], change: type[Change] = Put) -> None:
        self.kind, self.first, self.change = kind, first, change

    async def apply(self, changes: Sequence[Change]) -> None:
        if self.first is not None and any(isinstance(c, self.change) and c.kind == self.kind for c in changes):
            first, self.first = self.first, None
            await first()
        await super().apply(changes)


async def accounts(store: RecordStore, *people: Identity) -> None:
    """An account of each, whose address is ``<name>@example.org``."""
    users = [
        User(
            id=p.user,
            name=p.user.title(),
            email=f"{p.user}@example.org",
            password_hash=None,
            role="user",
            settings={},
            created_at=at(0),
        )
        for p in people
    ]
    await store.apply([Put("user", user.id, user_doc(user)) for user in users])


async def office(one: Node, **roles: Role) -> str:
    """A workspace of ann's with these members, who join in this order."""
    id = (await one.services.workspaces.create(ANN, "Office")).id
    for user, role in roles.items():
        await one.services.workspaces.add(ANN, id, role, user=user)
    return id


async def placed(store: RecordStore, id: str, *texts: str, **more: Any) -> Conversation:
    """Store a conversation, ann's if nothing else is said, with these messages one after the other."""
    changes, conversation = made(id, *texts, **more)
    await store.apply(changes)
    return conversation


async def left(store: RecordStore, *kinds: str) -> dict[str, list[str]]:
    """The ids of what there is of these kinds."""
    found = {kind: [r.id for r in await store.find(Query(kind=kind, limit=1000))] for kind in kinds}
    return {kind: ids for kind, ids in found.items() if ids}
