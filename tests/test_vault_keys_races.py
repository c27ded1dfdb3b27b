"""Whatever the holders of a ring do at the same time: whoever may have a key has it in the end, and nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from itertools import cycle

from hypothesis import given, settings
from hypothesis import strategies as st

from backchat.errors import BackchatError
from backchat.ports.storage import Change, Query, Record
from backchat.sealing.tokens import parse
from backchat.services.keyrings import opened
from backchat.services.kinds import KINDS
from backchat.services.vault_keys import Bearer
from backchat.testing.memory_store import MemoryStore
from keyring_desk import Desk, token_id

CALL: ContextVar[int] = ContextVar("call", default=-1)
VERBS = (
    "issue",
    "issue with the recovery key",
    "create",
    "attend",
    "need",
    "rotate",
    "abandon",
    "revoke",
    "recovery",
    "recover",
)
Verb = Callable[[], Awaitable[object]]


class Stepped(MemoryStore):
    """Whoever asks it for something waits until it is their turn: ``turn`` picks one of those that wait."""

    def __init__(self, turn: Callable[[int], int]) -> None:
        super().__init__(KINDS)
        self._turn, self._waiting, self._busy = turn, dict[int, asyncio.Event](), 0
        self.batches = 0

    async def get(self, kind: str, id: str) -> Record | None:
        await self._step()
        return await super().get(kind, id)

    async def find(self, query: Query) -> Sequence[Record]:
        await self._step()
        return await super().find(query)

    async def apply(self, changes: Sequence[Change]) -> None:
        await self._step()
        await super().apply(changes)
        self.batches += 1

    async def _step(self) -> None:
        call = CALL.get()
        if call >= 0:
            mine = self._waiting[call] = asyncio.Event()
            self._busy -= 1
            self._next()
            await mine.wait()

    def _next(self) -> None:
        """One step at a time, when all that run have come to one: threads make no difference."""
        if self._busy == 0 and self._waiting:
            calls = sorted(self._waiting)
            self._busy += 1
            self._waiting.pop(calls[self._turn(len(calls))]).set()

    async def at_once(self, verbs: Sequence[Verb]) -> None:
        async def called(call: int, verb: Verb) -> None:
            CALL.set(call)
            try:
                await verb()
            except BackchatError:
                pass  # told that it cannot: what is left is what counts
            finally:
                self._busy -= 1
                self._next()

        self._busy = len(verbs)
        await asyncio.gather(*[called(n, verb) for n, verb in enumerate(verbs)])


class Model:
    """What somebody outside knows: which tokens there are, which of them ended, which keys a rotation has told."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.live: list[Bearer] = []
        self.revoked: set[str] = set()
        self.rotated: set[str] = set()
        self.recoveries: list[str] = []

    def verb(self, name: str, who: Bearer) -> Verb:
        keys, accounts = self.desk.keys, self.desk.accounts

        async def issue(recovery: str | None = None) -> None:
            await keys.attend(who)
            _, token, _ = await keys.issue(who, "further", recovery=recovery)
            self.live.append(await self.desk.caller(token))

        async def create() -> None:
            _, token = await accounts.create_key(await self.desk.user(), "alone")
            self.live.append(await self.desk.caller(token))

        async def rotate(abandon: bool = False) -> None:
            await keys.attend(who)
            self.rotated.add(await keys.rotate(who, abandon=abandon))

        async def revoke() -> None:
            await accounts.revoke_key(token_id(who))
            self.revoked.add(token_id(who))

        async def recovery() -> None:
            await keys.attend(who)
            self.recoveries.append((await keys.make_recovery(who)).text)

        async def recover() -> None:
            if self.recoveries:
                await keys.recover(who, self.recoveries[-1])

        return {
            "issue": issue,
            "issue with the recovery key": lambda: issue(self.recoveries[-1] if self.recoveries else None),
            "create": create,
            "attend": lambda: keys.attend(who),
            "need": lambda: self.desk.called(who),
            "rotate": rotate,
            "abandon": lambda: rotate(abandon=True),
            "revoke": revoke,
            "recovery": recovery,
            "recover": recover,
        }[name]


async def told(model: Model) -> None:
    """All that live call, until nothing changes any more."""
    store = model.desk.store
    assert isinstance(store, Stepped)
    model.live = [bearer for bearer in model.live if token_id(bearer) not in model.revoked]
    for _ in range(4):
        before = store.batches
        for bearer in model.live:
            await model.desk.keys.attend(bearer)
        if store.batches == before:
            return
    raise AssertionError("there is always something to do")


async def whole(model: Model) -> None:
    """Keys that somebody has are everybody's, and the same; who was revoked has none, and is named nowhere."""
    live = {token_id(bearer): bearer for bearer in model.live}
    ring = await model.desk.ring()
    recovery = {id for id, holder in ring.holders.items() if holder.use == "recovery"}
    assert len(recovery) <= 1
    assert set(ring.holders) == set(live) | recovery
    assert set(live).isdisjoint(model.revoked)
    ids = [kept.id for kept in ring.keys]
    assert len(set(ids)) == len(ids)
    assert model.rotated <= set(ids)
    assert len(ids) == len(model.rotated) + (ids[0] not in model.rotated), "there is a first one, and those"
    secrets = {id: bearer.token for id, bearer in live.items() if bearer.token is not None}
    for text in model.recoveries:
        secret = parse(text)
        assert secret is not None
        if secret.id in recovery:
            secrets[secret.id] = secret
        else:
            assert opened(ring, secret) == {}
    for kept in ring.keys:
        assert not set(kept.grants) & set(live), "they have all called"
        having = [id for id in ring.holders if kept.has(id)]
        if any(id in live for id in having):
            assert set(having) == set(ring.holders)
        assert len({opened(ring, secrets[id])[kept.id].secret for id in having}) <= 1


async def played(groups: Sequence[Sequence[tuple[str, int]]], turns: Sequence[int], *, anchored: bool) -> None:
    """Groups of verbs, each by one of those that live, which run at the same time; ``turns`` says who goes on."""
    order = cycle(turns)
    model = Model(Desk(Stepped(lambda most: next(order) % most)))
    anchor = await model.desk.issued()
    model.live.append(anchor)
    for group in groups:
        model.live = [bearer for bearer in model.live if token_id(bearer) not in model.revoked]
        if not model.live:
            model.live.append(await model.desk.issued())
        calls = [(name, model.live[who % len(model.live)]) for name, who in group]
        store = model.desk.store
        assert isinstance(store, Stepped)
        await store.at_once(
            [model.verb(name, who) for name, who in calls if not (anchored and name == "revoke" and who is anchor)]
        )
    await told(model)
    await whole(model)
    if anchored:
        ring = await model.desk.ring()
        for bearer in model.live:
            assert bearer.token is not None
            assert len(opened(ring, bearer.token)) == len(ring.keys)


GROUPS = st.lists(
    st.lists(st.tuples(st.sampled_from(VERBS), st.integers(0, 3)), min_size=1, max_size=4), min_size=1, max_size=5
)
TURNS = st.lists(st.integers(0, 3), min_size=1, max_size=40)


@settings(max_examples=50, deadline=None)
@given(GROUPS, TURNS)
async def test_while_one_token_stays_every_other_has_all_keys_in_the_end(
    groups: list[list[tuple[str, int]]], turns: list[int]
) -> None:
    await played(groups, turns, anchored=True)


@settings(max_examples=50, deadline=None)
@given(GROUPS, TURNS)
async def test_no_key_that_somebody_has_is_kept_from_the_others(
    groups: list[list[tuple[str, int]]], turns: list[int]
) -> None:
    """Any of them may be revoked, so that keys are lost, and abandoned."""
    await played(groups, turns, anchored=False)
