"""The verbs on memories: facts that an assistant keeps about its user."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

import structlog

from backchat.domain.assistant import Assistant
from backchat.domain.identity import Identity
from backchat.domain.memory import Memory, MemoryOperation, Recalled
from backchat.domain.run import Run
from backchat.errors import Conflict, NotFound
from backchat.ports.storage import Change, Delete, Purge, Query, Record, RecordStore, Require
from backchat.services.access import owned
from backchat.services.embedders import Embedders
from backchat.services.jobs import Job, Jobs, job_put, jobs_purge
from backchat.services.memory_content import MOST_CONTENT, MOST_HISTORY, MOST_SOURCES, checked, superseded
from backchat.services.memory_copies import copied_memories
from backchat.services.memory_insights import MemoryInsights, insights_of
from backchat.services.memory_records import (
    MEMORY,
    MEMORY_OPERATION,
    MEMORY_RESET,
    memories_purge,
    memory_deletes,
    memory_of,
    memory_put,
    operation_of,
    operation_put,
    reset_put,
)
from backchat.services.memory_search import MemorySearch
from backchat.services.memory_words import digest
from backchat.services.retrying import retrying

log = structlog.get_logger(source=__name__)

TOPIC = "memory"
WAIT = 5.0
PAGE = 500

AssistantOf = Callable[[Identity, str], Awaitable[Assistant]]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryStats:
    """``limits``: ``max_content_length`` in characters, ``max_history`` and ``max_sources`` of one memory."""

    total: int
    last_updated: datetime | None
    limits: Mapping[str, int]


class Memories:
    """``assistant_of`` raises NotFound, or NotOwned for somebody else's; every verb of a caller asks it first.

    ``wait``  seconds that a recall waits at most for what is being learned
    """

    def __init__(
        self,
        store: RecordStore,
        *,
        jobs: Jobs,
        embedders: Embedders,
        assistant_of: AssistantOf,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
        wait: float = WAIT,
    ) -> None:
        self._store, self._jobs, self._assistant_of, self._wait = store, jobs, assistant_of, wait
        self._now, self._new_id = now, new_id
        self.search_index = MemorySearch(store, embedders, now)

    async def page(
        self, who: Identity, assistant: str, *, number: int | None = None, size: int = 25
    ) -> tuple[Sequence[Memory], int]:
        """The newest first, and how many there are in all; page ``number`` from 1, None: all of them."""
        await self._assistant_of(who, assistant)
        query = self._of(who.user, assistant, order=("created",), descending=True)
        if number is None:
            everything = [memory_of(r) for r in await self._records(query)]
            return everything, len(everything)
        found = await self._store.find(replace(query, limit=size, offset=(number - 1) * size))
        return [memory_of(r) for r in found], await self._store.count(query)

    async def add(
        self, who: Identity, assistant: str, content: str, metadata: Mapping[str, Any] | None = None
    ) -> Memory:
        """A memory of the caller's own making. One that says the same is returned as it is.

        Raises InvalidInput, and ProviderError when the embedding model fails.
        """
        content = checked(content)

        async def attempt() -> Memory:
            keeper = await self._assistant_of(who, assistant)
            if same := await self.saying(who.user, assistant, content):
                return same
            now = self._now()
            memory = Memory(
                id=self._new_id(),
                owner=who.user,
                assistant=assistant,
                content=content,
                created_at=now,
                updated_at=now,
                metadata=metadata or {},
            )
            vectors = await self.search_index.vector_puts(keeper, [memory])
            await self._store.apply([there(assistant), memory_put(memory), *vectors])
            return replace(memory, version=1)

        return await retrying(attempt)

    async def open(self, who: Identity, assistant: str, id: str) -> Memory:
        await self._assistant_of(who, assistant)
        record = await self._store.get(MEMORY.name, id)
        memory = owned(who, memory_of(record) if record else None, "memory")
        if memory.assistant != assistant:
            raise NotFound("memory not found")
        return memory

    async def update(
        self, who: Identity, assistant: str, id: str, content: str, metadata: Mapping[str, Any] | None = None
    ) -> Memory:
        """Say it otherwise; what it said before stays in its history. ``metadata`` None leaves that as it is.

        Raises Conflict when another memory says the same already.
        """
        content = checked(content)

        async def attempt() -> Memory:
            keeper = await self._assistant_of(who, assistant)
            memory = await self.open(who, assistant, id)
            same = await self.saying(who.user, assistant, content)
            if same is not None and same.id != id:
                raise Conflict("another memory of this assistant says the same", field="body.content")
            changed = superseded(memory, content, self._now())
            if metadata is not None:
                changed = replace(changed, metadata=metadata)
            vectors = await self.search_index.vector_puts(keeper, [changed])
            await self._store.apply([there(assistant), memory_put(changed), *vectors])
            return replace(changed, version=changed.version + 1)

        return await retrying(attempt)

    async def discard(self, who: Identity, assistant: str, id: str) -> Memory:
        """Delete one, with its history; returns what it was."""

        async def attempt() -> Memory:
            memory = await self.open(who, assistant, id)
            await self._store.apply(memory_deletes(memory))
            return memory

        return await retrying(attempt)

    async def reset(self, who: Identity, assistant: str) -> int:
        """Delete all, and learn nothing more from turns that have begun by now; returns how many there were."""
        of_it = self._of(who.user, assistant)
        waiting = Query(kind=MEMORY_OPERATION.name, where=(*of_it.where, ("status", ("pending",))))

        async def attempt() -> int:
            await self._assistant_of(who, assistant)
            total, now = await self._store.count(of_it), self._now()
            ended = [
                operation_put(replace(operation_of(r), status="completed", updated_at=now))
                for r in await self._records(waiting)
            ]
            gone = [*memories_purge(who.user, assistant), jobs_purge(who.user, [line_of(assistant)])]
            await self._store.apply([there(assistant), reset_put(who.user, assistant, now), *ended, *gone])
            return total

        total = await retrying(attempt)
        self.search_index.vectors.forget(assistant)
        return total

    async def search(self, who: Identity, assistant: str, query: str, limit: int) -> Sequence[tuple[Memory, float]]:
        """Those that match, best first, with scores from 0 to 1; with an embedder, the nearest in any case."""
        keeper = await self._assistant_of(who, assistant)
        return await self.search_index.ranked(who.user, keeper, query, limit, fill=False)

    async def stats(self, who: Identity, assistant: str) -> MemoryStats:
        await self._assistant_of(who, assistant)
        query = self._of(who.user, assistant, order=("updated",), descending=True, limit=1)
        newest = [memory_of(r) for r in await self._store.find(query)]
        limits = {"max_content_length": MOST_CONTENT, "max_history": MOST_HISTORY, "max_sources": MOST_SOURCES}
        return MemoryStats(
            total=await self._store.count(query),
            last_updated=newest[0].updated_at if newest else None,
            limits=limits,
        )

    async def insights(self, who: Identity, assistant: str) -> MemoryInsights:
        await self._assistant_of(who, assistant)
        return await insights_of(self._store, who.user, assistant)

    async def operation(self, who: Identity, id: str) -> MemoryOperation:
        """The learning from one turn, by the id of its run."""
        record = await self._store.get(MEMORY_OPERATION.name, id)
        operation = owned(who, operation_of(record) if record else None, "memory operation")
        await self._assistant_of(who, operation.assistant)
        return operation

    async def recall(self, owner: str, assistant: Assistant, question: str) -> Sequence[Recalled]:
        """What is remembered for a turn: the ``top_k`` best without a cut-off, the newest if nothing matches."""
        if not await self._jobs.settled([line_of(assistant.id)], self._wait, owners=[owner]):
            log.warning("memory.still_learning", assistant=assistant.id, waited=self._wait)
        found = await self.search_index.ranked(owner, assistant, question, assistant.top_k, fill=True)
        return [Recalled(m.id, m.content, score) for m, score in found]

    def learning(self, run: Run, now: datetime) -> tuple[list[Change], Job]:
        """The operation and the job that learns from a run's input: apply the changes, then start the job."""
        assistant = run.recipe.assistant
        if assistant is None:
            raise ValueError(f"run {run.id} has no assistant that could learn")
        operation = MemoryOperation(id=run.id, owner=run.owner, assistant=assistant, created_at=now, updated_at=now)
        job = self._jobs.job(TOPIC, owner=run.owner, line=line_of(assistant), payload={"run": run.id})
        return [operation_put(operation), job_put(job)], job

    def removal(self, owner: str, assistant: str) -> list[Change]:
        """What deletes everything that an assistant remembers of its owner, with the traces of learning it."""
        self.search_index.vectors.forget(assistant)
        operations = Purge(MEMORY_OPERATION.name, (("owner", (owner,)), ("assistant", (assistant,))))
        learning = jobs_purge(owner, [line_of(assistant)])
        return [*memories_purge(owner, assistant), operations, learning, Delete(MEMORY_RESET.name, assistant)]

    async def copy(self, source: Assistant, target: Assistant) -> int:
        """Give the target the memories of the source as they stand, without their history; returns how many.

        They are copied in batches of ``PAGE``: what fails in the middle leaves those before it. Raises NotFound when
        the target is deleted meanwhile.
        """
        query = self._of(source.owner, source.id, order=("created",), limit=PAGE)
        who, copied = Identity(user=target.owner), 0

        async def attempt(memories: Sequence[Memory]) -> int:
            await self._assistant_of(who, target.id)
            puts, new = await copied_memories(self._store, memories, target, self._now(), self._new_id)
            await self._store.apply([there(target.id), *puts])
            return new

        last: tuple[str, str] | None = None
        while True:
            page = await self._store.find(replace(query, after=last))
            if page:
                copied += await retrying(partial(attempt, [memory_of(r) for r in page]))
            if len(page) < PAGE:
                return copied
            last = (page[-1].doc["created"], page[-1].id)

    async def saying(self, owner: str, assistant: str, content: str) -> Memory | None:
        """The memory that says this, if there is one."""
        query = self._of(owner, assistant)
        query = replace(query, where=(*query.where, ("digest", (digest(content),))), limit=1)
        found = await self._store.find(query)
        return memory_of(found[0]) if found else None

    async def _records(self, query: Query) -> list[Record]:
        """All of them, page by page."""
        found: list[Record] = []
        last: tuple[str, ...] | None = None
        while True:
            page = await self._store.find(replace(query, after=last, limit=PAGE))
            found += page
            if len(page) < PAGE:
                return found
            last = (*[page[-1].doc[f] for f in query.order], page[-1].id)

    @staticmethod
    def _of(owner: str, assistant: str, **rest: Any) -> Query:
        return Query(kind=MEMORY.name, where=(("owner", (owner,)), ("assistant", (assistant,))), **rest)


def there(assistant: str) -> Require:
    """Comes first in every batch that stores memories: embedding them takes a while, and it may be deleted by then."""
    return Require("assistant", assistant)


def line_of(assistant: str) -> str:
    """The line of jobs in which an assistant learns: one turn after the other."""
    return f"{TOPIC}:{assistant}"
