"""What comes between the steps of a request that has to do with vault keys."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import pytest

from backchat.domain.identity import Identity
from backchat.errors import Forbidden, InvalidCredentials, InvalidInput
from backchat.ports.storage import Query, Record
from backchat.services.account_records import USER
from backchat.services.kinds import KINDS
from backchat.services.vault_keys import Bearer
from backchat.testing.memory_store import MemoryStore
from keyring_desk import (
    Desk,
    Hurried,
    has_the_same,
    refused,
    stored_ring,
    token_id,
)


@pytest.mark.parametrize("verb", ["attend", "recover", "rotate", "issue", "make_recovery"])
async def test_a_holder_that_is_revoked_in_the_middle_gets_nothing(verb: str) -> None:
    store = Hurried()
    desk = Desk(store)
    first, waiting = await desk.issued(), await desk.issued()
    recovery = (await desk.keys.make_recovery(first)).text
    more = {"recover": [recovery], "issue": ["new"]}.get(verb, [])
    store.before(lambda: desk.accounts.revoke_key(token_id(waiting)))
    await getattr(desk.keys, verb)(first, *more)
    assert token_id(waiting) not in str(await stored_ring(desk))
    assert not await desk.is_let_in(waiting)


async def test_two_requests_of_one_token_at_once_leave_the_keys_once() -> None:
    store = Hurried()
    desk = Desk(store)
    first, waiting = await desk.issued(), await desk.issued()
    store.before(lambda: desk.keys.attend(first))
    await desk.keys.attend(first)
    store.before(lambda: desk.keys.attend(waiting))
    await desk.keys.attend(waiting)
    ring = await desk.ring()
    assert (set(ring.keys[0].wraps), ring.keys[0].grants) == ({token_id(first), token_id(waiting)}, {})
    await has_the_same(desk, waiting, await desk.keys.current(first))


async def test_a_giver_that_is_revoked_in_the_middle_gives_nothing() -> None:
    store = Hurried()
    desk = Desk(store)
    first, second = await desk.issued(), await desk.issued()
    await desk.called(first)
    store.before(lambda: desk.accounts.revoke_key(token_id(first)))
    await refused(desk.keys.issue(first, "new"))
    assert len(await desk.accounts.keys()) == 2
    assert set((await desk.ring()).holders) == {token_id(second)}


async def test_a_recovery_key_that_is_replaced_in_the_middle_gives_nothing() -> None:
    store = Hurried()
    desk = Desk(store)
    first, waiting = await desk.issued(), await desk.issued()
    recovery = (await desk.keys.make_recovery(first)).text
    store.before(lambda: desk.keys.make_recovery(first))
    await refused(desk.keys.recover(waiting, recovery), InvalidInput)
    assert token_id(waiting) not in (await desk.ring()).keys[0].wraps


class Pausing(MemoryStore):
    """``first`` comes before the account is looked at."""

    def __init__(self) -> None:
        super().__init__(KINDS)
        self.first: Callable[[], Awaitable[object]] | None = None

    async def get(self, kind: str, id: str) -> Record | None:
        await self._before(kind)
        return await super().get(kind, id)

    async def find(self, query: Query) -> Sequence[Record]:
        await self._before(query.kind)
        return await super().find(query)

    async def _before(self, kind: str) -> None:
        if kind == USER.name and self.first is not None:
            first, self.first = self.first, None
            await first()


async def test_an_account_that_is_deleted_in_the_middle_does_not_come_back() -> None:
    store = Pausing()
    desk = Desk(store)
    first = await desk.issued()
    recovery = (await desk.keys.make_recovery(first)).text
    ann = first.who.user
    store.first = lambda: desk.accounts.forget(ann)
    with pytest.raises((Forbidden, InvalidCredentials)):
        await desk.keys.issue(first, "late", scopes=["chat"])
    jwt = Bearer(Identity(user=ann), None)
    with pytest.raises(InvalidInput):
        await desk.keys.issue(jwt, "late", recovery=recovery)
    for kind in KINDS:
        assert not await store.find(Query(kind=kind.name)), kind.name


@pytest.mark.parametrize("way", ["other", "waiting", "recovery"])
async def test_an_issuer_that_is_revoked_in_the_middle_issues_nothing(way: str) -> None:
    """Also where it gives no key of its own."""
    store = Hurried()
    desk = Desk(store)
    first, waiting = await desk.issued(), await desk.issued()
    recovery = (await desk.keys.make_recovery(first)).text
    issuer = waiting if way == "waiting" else first
    more = {"recovery": recovery} if way == "recovery" else {"scopes": ["chat" if way == "other" else "pull"]}
    store.before(lambda: desk.accounts.revoke_key(token_id(issuer)))
    await refused(desk.keys.issue(issuer, "new", **more))
    assert len(await desk.accounts.keys()) == 2


async def test_two_that_are_issued_at_once_are_both_issued() -> None:
    store = Hurried()
    desk = Desk(store)
    first = await desk.issued()
    store.before(lambda: desk.keys.issue(first, "one"))
    await desk.keys.issue(first, "two")
    assert [(key.name, has) for key, has in await desk.keys.tokens(first)] == [
        ("key", True),
        ("one", True),
        ("two", True),
    ]
