"""Pushes from three platforms at once, held against what section 4 of the vault's contract says of one after the other.

Each run is random, by its seed. Three tasks push, push again, seal, restore, delete and read; between two phases the
vault key is renewed and the cap changes. Of what they were answered there must be some order, in which nothing comes
before what had ended when it began, that gives ``Model``, which does one thing after the other, the same answers; and
what is stored in the end must be what it has then.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, Literal

import pytest

from backchat.domain.identity import Identity
from backchat.domain.vault import PlainPush, Push, SealedContent, SealedPush, VaultEntry, VaultMessage
from backchat.errors import InvalidInput, NotFound, VersionConflict
from backchat.ports.storage import Change, Query, Record, RecordStore
from backchat.sealing.content import open_sealed, seal
from backchat.sealing.failures import CannotOpen
from backchat.sealing.keys import new_key
from backchat.services.kinds import KINDS
from backchat.services.vault import VaultFilter
from backchat.services.vault_keys import Bearer
from backchat.testing.memory_store import MemoryStore
from sizes import many
from sqlite_files import opened
from vault_desk import Desk, HeldKeys, as_bytes, bearer, everything, issued
from vault_model import FIELDS, SAID, Answer, Done, Model, Phase, Place, explained, hashed, texts


class Yielding:
    """A store in memory where others come in between, as they do in one that does I/O."""

    def __init__(self, dice: random.Random) -> None:
        self._store, self._dice = MemoryStore(KINDS), dice

    async def _rest(self) -> None:
        for _ in range(self._dice.randrange(3)):
            await asyncio.sleep(0)

    async def get(self, kind: str, id: str) -> Record | None:
        await self._rest()
        found = await self._store.get(kind, id)
        await self._rest()
        return found

    async def find(self, query: Query) -> Sequence[Record]:
        await self._rest()
        found = await self._store.find(query)
        await self._rest()
        return found

    async def apply(self, changes: Sequence[Change]) -> None:
        await self._rest()
        await self._store.apply(changes)
        await self._rest()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class Run:
    """One user with three tokens, each of a platform of its own, over one or two processes."""

    def __init__(self, seed: int, dice: random.Random, stores: Sequence[RecordStore]) -> None:
        self.dice, self.user, self.keys, self.clock = dice, f"user{seed}", HeldKeys(), count()
        self.desks = [Desk(store, self.keys) for store in stores]
        self.tokens = [bearer(self.user, platform) for platform in ("One", "two", "THREE")]
        self.private = new_key()
        self.ivs = [dice.randbytes(12) for _ in range(3)]
        self.seen: dict[tuple[int, int], tuple[str | None, SealedContent]] = {}
        self.done: list[list[Done]] = [[], [], []]
        self.phase = Phase((self.keys.rotated(self.user),), None)

    async def play(self, phases: int, each: int) -> None:
        for _ in range(phases):
            await asyncio.gather(*[self._work(which, each) for which in range(3)])
            cap = self.dice.choice((None, 1, 2, 3))
            self.phase = Phase((*self.phase.keys, self.keys.rotated(self.user)), cap)
            self.desks = [desk.capped(cap) for desk in self.desks]

    async def _work(self, which: int, each: int) -> None:
        desk = self.desks[which % len(self.desks)]
        for _ in range(each):
            numbers = [d.answer[1] for task in self.done for d in task if d.answer[0] == "ok"]
            what = self.dice.random()
            if what < 0.1 and numbers:
                await self._delete(which, desk, self.dice.choice(numbers))
            elif what < 0.20 and numbers:
                await self._read(desk, self.dice.choice(numbers))
            else:
                await self._push(which, desk)

    async def _push(self, which: int, desk: Desk) -> None:
        dice, before = self.dice, [done for done in self.done[which] if done.push is not None]
        by = self.tokens[which]
        await issued(desk.store, by)
        if before and dice.random() < 0.25:
            place, push, said = before[-1].place, before[-1].push, before[-1].said
            assert push is not None
        else:
            platform = dice.choice(("Shared", "SHARED", "shared", None))
            place = ((platform or by.who.platform or "").lower(), dice.choice("ab"))
            content, said = self._content(place)
            details = {f: self._detail(f) for f in FIELDS if dice.random() < 0.15}
            base = self._base(place)
            push = Push(chat=place[1], content=content, platform=platform, base=base, details=details)
        phase, began = self.phase, next(self.clock)
        answer = await self._answer(desk, by, push)
        done = Done(phase, began, next(self.clock), answer, place, push, said)
        self.done[which].append(done)
        if answer[0] == "ok":
            await self._look(desk, answer[1], answer[2])

    async def _answer(self, desk: Desk, by: Bearer, push: Push) -> Answer:
        try:
            pushed = await desk.vault.push(by, push)
        except VersionConflict as error:
            return ("conflict", error.version)
        except InvalidInput as error:
            return (error.field,)
        return ("ok", pushed.entry, pushed.version, pushed.outcome)

    def _content(self, place: Place) -> tuple[PlainPush | SealedPush, tuple[str, ...] | None]:
        dice, said = self.dice, self.dice.choice(SAID)
        how = dice.random()
        if how < 0.5:
            return PlainPush(messages=[VaultMessage("user", text) for text in said]), said
        if how < 0.6 and self.seen:
            key_id, sealed = dice.choice(list(self.seen.values()))
            return SealedPush(sealed=sealed, messages=9, key=key_id), self._opened(place, key_id, sealed)
        key = self.private if how < 0.7 else dice.choice(self.phase.keys)
        kind = dice.random()
        taken = [sealed.iv for _, sealed in self.seen.values()] or self.ivs
        iv = dice.choice(self.ivs) if kind < 0.3 else dice.choice(taken) if kind < 0.4 else dice.randbytes(12)
        content_hash = hashed(said, key) if dice.random() < 0.6 else None
        told = dice.choice(("mine", None)) if key is self.private else key.id
        sealed = seal(texts(said), key, *place, iv)
        return SealedPush(sealed=sealed, messages=len(said), content_hash=content_hash, key=told), (
            None if key is self.private else said
        )

    def _detail(self, name: str) -> Any:
        return self.dice.choice((None, ("x",), ("x", "y"))) if name == "tags" else self.dice.choice((None, "x", "y"))

    def _base(self, place: Place) -> int | None:
        kind = self.dice.random()
        if kind < 0.75:
            return None
        known = [d.answer[2] for task in self.done for d in task if d.place == place and d.answer[0] == "ok"]
        return max(known, default=0) if kind < 0.93 else self.dice.randrange(4)

    async def _delete(self, which: int, desk: Desk, number: int) -> None:
        phase, began = self.phase, next(self.clock)
        answer: Answer = ("deleted",)
        try:
            await desk.vault.delete(self.tokens[which].who, number)
        except NotFound:
            answer = ("not there",)
        self.done[which].append(Done(phase, began, next(self.clock), answer, deleted=number))

    async def _look(self, desk: Desk, number: int, version: int) -> None:
        """Note how a version was sealed. It may be gone by now."""
        try:
            _, of, sealed = await desk.vault.version(Identity(user=self.user), number, version)
        except NotFound:
            return
        read = as_bytes(sealed)
        assert self.seen.setdefault((number, version), (of.key, read)) == (of.key, read), "a version has changed"

    async def _read(self, desk: Desk, number: int) -> None:
        """Whatever is going on, what is read is whole."""
        who = Identity(user=self.user)
        try:
            _, versions = await desk.vault.versions(who, number)
        except NotFound:
            pass
        else:
            assert [v.number for v in versions] == list(range(versions[0].number, versions[-1].number + 1))
        async for group in desk.vault.pull(who, VaultFilter(), limit=100):
            for entry, sealed in group:
                self._is_whole(entry, as_bytes(sealed))

    def _is_whole(self, entry: VaultEntry, sealed: SealedContent) -> None:
        assert len(sealed.data) == entry.size
        said = self._opened((entry.platform, entry.chat), entry.key, sealed)
        if said is not None and entry.content_hash is not None:
            assert hashed(said, self.keys.named(self.user, entry.key)) == entry.content_hash

    async def check(self) -> None:
        """Everything that was answered, and everything that is there."""
        ends = list(explained(Model(self.seen), self.done))
        assert ends, f"no order of this explains it: {self.done}"
        there = await self._stored()
        assert there in [self._expected(end) for end in ends], f"{there} is none of the ends of {self.done}"

    def _expected(self, model: Model) -> dict[int, Any]:
        return {
            e.number: (
                *place,
                e.details,
                {n: (v.messages, v.key, v.content_hash, v.said) for n, v in e.versions.items()},
            )
            for place, e in model.entries.items()
        }

    async def _stored(self) -> dict[int, Any]:
        """The same, read and opened; there is nothing besides it in the store."""
        who, desk = Identity(user=self.user), self.desks[-1]
        found: dict[int, Any] = {}
        groups = [group async for group in desk.vault.pull(who, VaultFilter(), limit=100)]
        for entry, latest in [pair for group in groups for pair in group]:
            _, versions = await desk.vault.versions(who, entry.number)
            assert (versions[0].number, versions[-1].number) == (entry.oldest, entry.latest)
            read = {v.number: (await desk.vault.version(who, entry.number, v.number))[1:] for v in versions}
            assert read[entry.latest][1] == latest
            times = [v.created_at for v in versions]
            assert times == sorted(set(times))
            assert times[-1] <= entry.updated_at
            details = (entry.title, entry.category, entry.topic, entry.model, entry.tags)
            opened = {
                n: (
                    v.messages,
                    v.key,
                    v.content_hash,
                    self._opened((entry.platform, entry.chat), v.key, as_bytes(sealed)),
                )
                for n, (v, sealed) in read.items()
            }
            found[entry.number] = (entry.platform, entry.chat, details, opened)
        kept = sum([len(versions) for *_, versions in found.values()])
        for kind, expected in (("vault_entry", len(found)), ("vault_version", kept), ("vault_content", kept)):
            mine = [doc for _, doc in (await everything(desk.store, kind)).values() if doc["owner"] == self.user]
            assert len(mine) == expected
        assert await desk.vault.count(who, VaultFilter()) == len(found)
        return found

    def _opened(self, place: Place, key: str | None, sealed: SealedContent) -> tuple[str, ...] | None:
        """What it says; None if it is sealed under a key of its sender, or for another place."""
        held = next((k for k in self.phase.keys if k.id == key), None)
        try:
            plain = open_sealed(sealed, held, *place) if held is not None else None
        except CannotOpen:
            return None
        return next((said for said in SAID if texts(said) == plain), None)


Where = Literal["memory", "sqlite"]


@asynccontextmanager
async def stores(where: Where, processes: int, path: Path, dice: random.Random) -> AsyncIterator[list[RecordStore]]:
    async with AsyncExitStack() as stack:
        if where == "memory":
            yield [Yielding(dice)] * processes
        else:
            yield [await stack.enter_async_context(opened(path, KINDS)) for _ in range(processes)]


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize(("where", "runs"), [("memory", 240), ("sqlite", 64)])
async def test_answers_are_those_of_some_order(where: Where, runs: int, processes: int, tmp_path: Path) -> None:
    dice = random.Random(0)
    async with stores("sqlite", processes, tmp_path / "backchat.db", dice) as files:
        for seed in range(many(runs)):
            dice.seed(seed)
            async with stores("memory", processes, tmp_path, dice) as memories:
                run = Run(seed, dice, files if where == "sqlite" else memories)
                await run.play(phases=3, each=5)
                await run.check()


async def test_the_model_refuses_what_never_happened() -> None:
    """Of answers that were changed afterwards no order is found."""
    refused = 0
    for seed in range(6):
        dice = random.Random(seed)
        run = Run(seed, dice, [Yielding(dice)])
        await run.play(phases=2, each=5)
        for task in run.done:
            for n, done in enumerate(task):
                if done.answer[0] == "ok":
                    changed = ("ok", done.answer[1], done.answer[2] + 1, done.answer[3])
                    task[n] = replace(done, answer=changed)
                    refused += next(explained(Model(run.seen), run.done), None) is None
                    task[n] = done
                    assert next(explained(Model(run.seen), run.done), None) is not None
    assert refused > 60
