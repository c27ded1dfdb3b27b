"""The verbs on assistants."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from backchat.domain.assistant import Assistant
from backchat.domain.identity import Identity
from backchat.errors import BackchatError, InvalidInput, NotFound
from backchat.ports.storage import Change, Delete, Query, RecordStore
from backchat.services.access import owned
from backchat.services.assistant_records import ASSISTANT, assistant_of, assistant_put
from backchat.services.embedders import Embedders
from backchat.services.jobs import Job, Jobs, job_put
from backchat.services.retrying import retrying

PAGE = 100


TOPIC = "assistant"
SETTLE = 30.0
"""Seconds that the caller of a deletion waits for it to be complete; it goes on after that."""


class HasDocuments(Protocol):
    async def copy(self, source: Assistant, target: Assistant) -> int: ...
    async def removal(self, owner: str, assistant: str) -> list[Change]: ...


class HasMemories(Protocol):
    async def copy(self, source: Assistant, target: Assistant) -> int: ...
    def removal(self, owner: str, assistant: str) -> list[Change]: ...


@dataclass(frozen=True, slots=True)
class Clearing:
    """The handler of the jobs that delete what hung on a deleted assistant; ``clear`` deletes a conversation."""

    store: RecordStore
    documents: HasDocuments
    memories: HasMemories
    clear: Callable[[str], Awaitable[bool]]

    async def work(self, job: Job) -> Sequence[Change]:
        """Nothing new can come to hang on it: whatever is stored for an assistant requires its record."""
        id = job.payload["assistant"]
        where = (("owner", (job.owner,)), ("assistant", (id,)))
        while page := await self.store.find(Query(kind="conversation", where=where, limit=PAGE)):
            for record in page:
                await self.clear(record.id)
        return [*await self.documents.removal(job.owner, id), *self.memories.removal(job.owner, id)]

    async def failed(self, job: Job, error: BackchatError) -> Sequence[Change]:
        return []


class Assistants:
    """The assistants of every user; each sees only their own."""

    def __init__(
        self,
        store: RecordStore,
        embedders: Embedders,
        jobs: Jobs,
        *,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
    ) -> None:
        self._store, self._embedders, self._jobs, self._now, self._new_id = store, embedders, jobs, now, new_id
        self._clearing: Clearing

    def hang(self, clearing: Clearing) -> None:
        """Say what hangs on assistants: it is made with this object at hand, so it comes later."""
        self._clearing = clearing
        self._jobs.handle(TOPIC, clearing, at_once=4)

    async def open(self, who: Identity, id: str) -> Assistant:
        """Raises NotFound, or NotOwned for somebody else's."""
        record = await self._store.get(ASSISTANT.name, id)
        return owned(who, assistant_of(record) if record else None, "assistant")

    async def create(self, who: Identity, *, name: str, **fields: Any) -> Assistant:
        """``fields`` are those of ``Assistant``. Raises InvalidInput for an embedder that there is not."""
        now = self._now()
        assistant = Assistant(id=self._new_id(), owner=who.user, name=name, created_at=now, updated_at=now, **fields)
        self._check_embedder(assistant)
        await self._store.apply([assistant_put(assistant)])
        return replace(assistant, version=1)

    def _check_embedder(self, assistant: Assistant) -> None:
        embedder = self._embedders.find(assistant.embedder)
        if assistant.embedder is None and embedder is None:
            return  # what it asks for is kept, for programs that always ask; nothing is found by meaning here
        if embedder is None:
            there = ", ".join(self._embedders.configured) or "none"
            problem = f"no embedder {assistant.embedder!r} is configured on this server; there are: {there}"
            raise InvalidInput(problem, field="body.embedding_provider")
        if assistant.embedding_model not in (None, embedder.model):
            problem = f"the embedder has the model {embedder.model}"
            raise InvalidInput(problem, field="body.embedding_model_name")
        if assistant.embedding_dims not in (None, embedder.dimensions):
            problem = f"the vectors of {embedder.model} have {embedder.dimensions} dimensions"
            raise InvalidInput(problem, field="body.embedding_dims")

    async def page(self, who: Identity, *, skip: int, limit: int, name: str | None = None) -> Sequence[Assistant]:
        """The caller's assistants, newest first; with ``name`` those of exactly that name."""
        named = (("name", (name,)),) if name is not None else ()
        query = Query(
            kind=ASSISTANT.name,
            where=(("owner", (who.user,)), *named),
            order=("created",),
            descending=True,
            limit=limit,
            offset=skip,
        )
        return [assistant_of(r) for r in await self._store.find(query)]

    async def default(self, who: Identity) -> Assistant:
        """The caller's default assistant, made when it is first asked for."""

        async def attempt() -> Assistant:
            mine = (("owner", (who.user,)), ("main", (who.user,)))
            found = await self._store.find(Query(kind=ASSISTANT.name, where=mine, limit=1))
            if found:
                return assistant_of(found[0])
            return await self.create(who, name="Default assistant", default=True)

        return await retrying(attempt)

    async def update(self, who: Identity, id: str, **fields: Any) -> Assistant:
        """Change the given fields and no other."""

        async def attempt() -> Assistant:
            assistant = replace(await self.open(who, id), updated_at=self._now(), **fields)
            await self._store.apply([assistant_put(assistant)])
            return replace(assistant, version=assistant.version + 1)

        return await retrying(attempt)

    async def clone(
        self, who: Identity, id: str, *, name: str | None, system: str | None, documents: bool, memories: bool
    ) -> tuple[Assistant, int, int]:
        """A copy with the indexed documents and the memories, as wanted; and how many there were of each.

        They are copied one after the other; if that fails, the copy is deleted again.
        """
        source, now = await self.open(who, id), self._now()
        target = replace(
            source,
            id=self._new_id(),
            name=f"{source.name} Copy" if name is None else name,
            system=source.system if system is None else system,
            created_at=now,
            updated_at=now,
            default=False,
            version=0,
        )
        await self._store.apply([assistant_put(target)])
        target = replace(target, version=1)
        try:
            n = await self._clearing.documents.copy(source, target) if documents else 0
            m = await self._clearing.memories.copy(source, target) if memories else 0
        except BaseException:
            with suppress(NotFound):
                await self.discard(who, target.id)
            raise
        return target, n, m

    async def discard(self, who: Identity, id: str) -> None:
        """Delete an assistant; its conversations, documents and memories follow, and are waited for."""

        async def attempt() -> Job:
            assistant = await self.open(who, id)
            job = self._jobs.job(TOPIC, owner=who.user, line=f"assistant {id}", payload={"assistant": id})
            await self._store.apply([Delete(ASSISTANT.name, id, assistant.version), job_put(job)])
            return job

        job = await retrying(attempt)
        self._jobs.start(job)
        await self._jobs.settled([job.line], SETTLE, owners=[job.owner])
