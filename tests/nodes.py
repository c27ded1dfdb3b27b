"""Services over a store in memory, with scripted models: one process, or several on one store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from backchat.domain.identity import Identity
from backchat.domain.limits import Retention, Titling
from backchat.domain.message import Usage
from backchat.domain.run import Run
from backchat.domain.settings import ModelSettings
from backchat.domain.usage import Credits, UsageRecord
from backchat.ports.agents import Agent
from backchat.ports.learning import Learned, Lesson, Unlearned
from backchat.ports.memory import Ask, History, MemoryStrategy, Shown, Summary
from backchat.ports.storage import Change, Query, RecordStore
from backchat.ports.tools import Tool
from backchat.services.assembly import Parts, assemble
from backchat.services.calls import Calls
from backchat.services.kinds import KINDS
from backchat.services.ledger import Ledger
from backchat.services.providers import Configured, Providers
from backchat.services.runs import RunTimes
from backchat.services.saying import Say
from backchat.services.stored import conversation_put
from backchat.services.toolbox import Offered
from backchat.services.usage_records import usage_record_of
from backchat.testing.memory_store import MemoryStore
from backchat.testing.provider import ScriptedProvider

ANN, BOB = Identity(user="ann"), Identity(user="bob")


class Everything:
    async def select(self, history: History) -> Shown:
        return Shown(await history.latest(1000))

    async def review(self, history: History, ask: Ask) -> Summary | None:
        return None


class Nothing:
    async def learn(self, lesson: Lesson) -> Sequence[Learned | Unlearned]:
        return []


class Quiet:
    """A meter that remembers how runs ended."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    def run_started(self) -> None: ...
    def first_token(self, provider: str, seconds: float) -> None: ...
    def committed(self, batches: int) -> None: ...
    def asked_again(self, provider: str) -> None: ...
    def waiting(self, provider: str, more: int) -> None: ...
    def circuit(self, provider: str, is_open: bool) -> None: ...
    def run_ended(self, provider: str, status: str, usage: Usage | None) -> None:
        self.ended.append(status)


class SlowStore(MemoryStore):
    """Gives way before it commits, like a store that does I/O; ``hold`` stops commits until it is set."""

    def __init__(self) -> None:
        super().__init__(KINDS)
        self.commits: list[Sequence[Change]] = []
        self.hold: asyncio.Event | None = None
        self.broken = False
        self.failures = 0

    async def apply(self, changes: Sequence[Change]) -> None:
        await asyncio.sleep(0)
        if self.hold is not None:
            await self.hold.wait()
        if self.broken or self.failures:
            self.failures -= not self.broken
            raise OSError("disk full")
        await super().apply(changes)
        self.commits.append(changes)


def calls_over(store: RecordStore, providers: Providers) -> Calls:
    """Calls of models that cost nothing, over a store."""
    ids = count(1)
    ledger = Ledger(
        store, providers, Credits(), now=lambda: datetime(2026, 1, 1, tzinfo=UTC), new_id=lambda: f"u{next(ids)}"
    )
    return Calls(store, ledger)


class Node:
    """The services of one process over a store that several may share."""

    def __init__(
        self,
        store: SlowStore,
        *providers: ScriptedProvider,
        titles: Titling | None = None,
        retention: Retention | None = None,
        tools: Sequence[Tool | Offered] = (),
        agents: Mapping[str, Agent] | None = None,
        credits: Credits | None = None,
        memory: MemoryStrategy | None = None,
        strategies: Mapping[str, MemoryStrategy] | None = None,
        **times: Any,
    ) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)
        ids = count(1)
        self.store, self.meter = store, Quiet()
        names = {p.name: Configured(p.name, p.name, p) for p in providers}
        parts = Parts(
            store=store,
            providers=Providers(names, providers[0].name, [p.name for p in providers[1:]]),
            memory=memory or Everything(),
            strategies=strategies or {},
            learner=Nothing(),
            meter=self.meter,
            now=self.now,
            new_id=lambda: f"{id(self)}-{next(ids):06d}",
            titles=titles or Titling(),
            retention=retention or Retention(),
            tools=[tool if isinstance(tool, Offered) else Offered(tool) for tool in tools],
            agents=agents or {},
            credits=credits or Credits(),
            times=RunTimes(**times),
        )
        self.services, self.workers, self.jobs, self.engine = assemble(parts)
        self.runs, self.turns, self.conversations = self.services.runs, self.services.turns, self.services.conversations
        self.silence = 0.0
        self.workers.monotonic = lambda: self.silence

    def now(self) -> datetime:
        self.time += timedelta(milliseconds=1)
        return self.time

    async def say(self, text: str, who: Identity = ANN, **more: Any) -> Run:
        return await self.turns.say(who, Say(text=text, **more))

    async def set(self, conversation: str, **settings: Any) -> None:
        """Give a conversation these settings and no others."""
        here = await self.conversations.open(ANN, conversation)
        await self.store.apply([conversation_put(replace(here, settings=ModelSettings(**settings)))])

    async def begun(self, text: str = "hello", **settings: Any) -> str:
        """A conversation with one message and one answer, and these settings; its id."""
        run = await self.say(text)
        await self.runs.result(ANN, run.id)
        await self.set(run.conversation, **settings)
        return run.conversation

    async def booked(self) -> list[UsageRecord]:
        """What replies cost, each in the order in which its calls were made."""
        found = await self.store.find(Query(kind="usage", limit=1000))
        booked = [usage_record_of(record) for record in found]
        return sorted(booked, key=lambda u: (u.payer.run or "", [int(n) for n in u.id.split(".")[1:]]))

    async def read(self, run: Run, after: int = 0, who: Identity = ANN) -> list[tuple[int, Any]]:
        return [pair async for batch in self.runs.follow(who, run.id, after) for pair in batch]

    async def texts(self, conversation: str, who: Identity = ANN) -> list[tuple[str, str, str]]:
        found = await self.conversations.transcript(who, conversation, limit=100)
        return [(m.role, m.text, m.status) for m in found]


@asynccontextmanager
async def node(store: SlowStore, *providers: ScriptedProvider, **more: Any) -> AsyncIterator[Node]:
    """``more`` is what ``Node`` takes."""
    made = Node(store, *(providers or (ScriptedProvider(["Hel", "lo"]),)), **more)
    try:
        yield made
    finally:
        store.hold, store.broken = None, False
        await made.runs.drain(0)
        await made.runs.news.__aexit__()
        await made.jobs.__aexit__()
