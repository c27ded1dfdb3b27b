"""Stores with something of every kind in them, stores that fail, and all that a store holds, for tests of copies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from typing import Any

import psutil

from backchat.ports.storage import Change, Put, Query, Record, RecordStore, Scalar
from backchat.services.copying import Copying, Step
from backchat.services.copying_beginning import begin, check_pair, check_unserved
from backchat.services.copying_digests import Differences
from backchat.services.kinds import COPIED, KINDS
from backchat.services.workers import Process

Docs = dict[tuple[str, str], Any]
_KINDS = {kind.name: kind for kind in KINDS}
_numbers = iter(range(10**9))
_PARENT = psutil.Process().ppid()
_ALIVE = Process(Process.own().host, _PARENT, psutil.Process(_PARENT).create_time() - psutil.boot_time())


def made(kind: str, n: int, /, **more: Any) -> Put:
    """A record as far as its kind declares it, and some more; no two of them share a unique value."""
    declared = _KINDS[kind]
    doc: dict[str, Any] = {field: f"{field}-{n:05d}" for field in (*declared.fields, *declared.text)}
    doc |= {field: ["one", f"two {n}"] for field in declared.lists}
    doc |= {"nested": {"n": n, "none": None, "floats": [0.1, 1.0, -5e-324]}, "text": "naïve \U0001f600\x00\n"}
    return Put(kind, f"{kind}-{n:05d}", {**doc, **more})


async def fill(store: RecordStore, each: int = 3) -> None:
    """Some of every kind that is copied, and a few large ones."""
    await store.apply([made(kind, n) for kind in COPIED for n in range(each)])
    await store.apply(
        [made(kind, 900 + n, data="x" * 400_000) for kind in ("blob_chunk", "vault_content") for n in (1, 2)]
    )


async def docs(store: RecordStore) -> Docs:
    """Everything in it that is copied."""
    found: Docs = {}
    for kind in COPIED:
        found |= {(r.kind, r.id): r.doc for r in await store.find(Query(kind=kind, limit=1_000_000))}
    return found


async def copying_records(store: RecordStore) -> list[str]:
    return [record.id for record in await store.find(Query(kind="copying"))]


def server(*, here: bool = True) -> Put:
    """The record of a server that runs: the one that started this process, or one on another host."""
    process = _ALIVE if here else Process("far/boot/ns", 7, 1.0)
    return Put("worker", f"server-{next(_numbers)}", {"at": "now", **asdict(process)})


async def copied(
    source: RecordStore,
    target: RecordStore,
    told: Callable[[Step], None] = lambda step: None,
    *,
    once: bool = False,
    verify: bool = True,
) -> Differences:
    """As the command does it."""
    await check_pair(source, target, new_id)
    await check_unserved(target, replaced=False)
    copy = await begin(source, target, new_id)
    return await Copying(source, target, copy, told).run(once=once, verify=verify)


def new_id() -> str:
    return f"id-{next(_numbers)}"


class Between:
    """A store with somebody between it and its user, who does something before a call goes on."""

    def __init__(
        self,
        store: RecordStore,
        *,
        before_find: Callable[[Query], Awaitable[None]] | None = None,
        before_apply: Callable[[Sequence[Change]], Awaitable[Sequence[Change] | None]] | None = None,
    ) -> None:
        self.store, self.before_find, self.before_apply = store, before_find, before_apply

    async def get(self, kind: str, id: str) -> Record | None:
        return await self.store.get(kind, id)

    async def find(self, query: Query) -> Sequence[Record]:
        if self.before_find is not None:
            await self.before_find(query)
        return await self.store.find(query)

    async def count(self, query: Query) -> int:
        return await self.store.count(query)

    async def values(self, query: Query, field: str) -> Sequence[Scalar]:
        return await self.store.values(query, field)

    async def apply(self, changes: Sequence[Change]) -> None:
        """``before_apply`` may give other changes in their place."""
        if self.before_apply is not None:
            changes = await self.before_apply(changes) or changes
        await self.store.apply(changes)

    async def compact(self) -> None:
        await self.store.compact()


class JournaledBetween(Between):
    store: Any

    async def begin_journal(self) -> str:
        position: str = await self.store.begin_journal()
        return position

    async def journal(self, position: str, limit: int) -> tuple[Sequence[tuple[str, str]], str]:
        found: tuple[Sequence[tuple[str, str]], str] = await self.store.journal(position, limit)
        return found

    async def end_journal(self) -> None:
        await self.store.end_journal()
