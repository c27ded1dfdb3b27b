"""Assistants at the services: what belongs to them goes with them, whatever happens at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from backchat.domain.assistant import Assistant
from backchat.errors import InvalidInput, NotFound, NotOwned
from backchat.ports.storage import Change, Delete, Put, Query
from backchat.services.jobs import job_put
from backchat.testing.provider import ScriptedProvider
from nodes import ANN, BOB, Node, SlowStore, node

KINDS = (
    "assistant",
    "conversation",
    "message",
    "run",
    "document",
    "chunk",
    "blob",
    "memory",
    "memory_operation",
    "job",
)


class Racing(SlowStore):
    """Does something else right before a batch that puts this kind."""

    kind: str = ""
    first: Callable[[], Awaitable[Any]] | None = None

    async def apply(self, changes: Sequence[Change]) -> None:
        if self.first is not None and any(isinstance(c, Put) and c.kind == self.kind for c in changes):
            first, self.first = self.first, None
            await first()
        await super().apply(changes)

    async def left(self) -> dict[str, int]:
        counts = {kind: await self.count(Query(kind=kind)) for kind in KINDS}
        return {kind: count for kind, count in counts.items() if count}


@pytest.fixture
async def store() -> Racing:
    return Racing()


async def furnished(one: Node) -> Assistant:
    """An assistant with a document, memories, and two threads."""
    services = one.services
    assistant = await services.assistants.create(ANN, name="A", system="Be brief.")
    await services.memories.add(ANN, assistant.id, "I like tea", {})
    for _ in range(2):
        thread = await services.conversations.create(ANN, assistant=assistant.id, channel="threads")
        await one.runs.result(ANN, (await one.say("hi", conversation=thread.id)).id)
        await services.documents.add(ANN, filename="a.mp3", mime="audio/mpeg", data=b"x", conversation=thread.id)
    await services.documents.add(ANN, filename="b.mp3", mime="audio/mpeg", data=b"y", assistant=assistant.id)
    return assistant


async def test_everything_goes_with_it(store: Racing) -> None:
    async with node(store) as one:
        assistant = await furnished(one)
        with pytest.raises(NotOwned):
            await one.services.assistants.discard(BOB, assistant.id)
        await one.services.assistants.discard(ANN, assistant.id)
        assert await store.left() == {}
        with pytest.raises(NotFound):
            await one.services.assistants.discard(ANN, assistant.id)


async def test_what_a_killed_server_left_is_deleted_by_the_next(store: Racing) -> None:
    async with node(store) as one:
        assistant = await furnished(one)
        job = one.jobs.job("assistant", owner="ann", line="x", payload={"assistant": assistant.id})
        await store.apply([Delete("assistant", assistant.id), job_put(job)])
    async with node(store) as two, two.workers:
        assert await two.jobs.settled([job.line], 5)
        assert await store.left() == {}


async def say(one: Node, assistant: Assistant) -> None:
    await one.say("hi", assistant=assistant.id)


async def create(one: Node, assistant: Assistant) -> None:
    await one.conversations.create(ANN, assistant=assistant.id, channel="threads")


async def document(one: Node, assistant: Assistant) -> None:
    await one.services.documents.add(ANN, filename="c.mp3", mime="audio/mpeg", data=b"z", assistant=assistant.id)


async def memory(one: Node, assistant: Assistant) -> None:
    await one.services.memories.add(ANN, assistant.id, "I like coffee", {})


@pytest.mark.parametrize(
    ("kind", "late"), [("conversation", say), ("conversation", create), ("document", document), ("memory", memory)]
)
async def test_what_comes_too_late_is_refused(
    store: Racing, kind: str, late: Callable[[Node, Assistant], Awaitable[None]]
) -> None:
    async with node(store) as one:
        assistant = await furnished(one)
        store.kind = kind

        async def first() -> None:
            await one.services.assistants.discard(ANN, assistant.id)

        store.first = first
        with pytest.raises(NotFound):
            await late(one, assistant)
        assert store.first is None
        assert await store.left() == {}


async def test_deleting_a_thread_and_its_assistant_at_once(store: Racing) -> None:
    async with node(store) as one:
        assistant = await furnished(one)
        threads = await one.conversations.page(ANN, assistant=assistant.id, skip=0, limit=10)
        deletions = [one.conversations.discard(ANN, t.id) for t in threads]
        done = await asyncio.gather(
            one.services.assistants.discard(ANN, assistant.id), *deletions, return_exceptions=True
        )
        assert done[0] is None
        assert all(isinstance(e, NotFound) for e in done[1:] if e is not None)
        assert await store.left() == {}


async def test_a_clone_has_everything_and_stands_alone(store: Racing) -> None:
    async with node(store) as one:
        services = one.services
        source = await furnished(one)
        clone, documents, memories = await services.assistants.clone(
            ANN, source.id, name=None, system=None, documents=True, memories=True
        )
        assert (clone.name, clone.system, documents, memories) == ("A Copy", "Be brief.", 1, 1)
        await services.assistants.discard(ANN, source.id)
        (copy,) = await services.documents.of(ANN, assistant=clone.id)
        assert await services.documents.content(ANN, copy.id) == b"y"
        found, total = await services.memories.page(ANN, clone.id, number=None, size=10)
        assert ([m.content for m in found], total) == (["I like tea"], 1)
        await services.assistants.discard(ANN, clone.id)
        assert await store.left() == {}


async def test_a_clone_that_fails_leaves_nothing(store: Racing) -> None:
    async with node(store) as one:
        source = await furnished(one)
        before = await store.left()
        store.kind = "memory"

        async def first() -> None:
            raise InvalidInput("no")

        store.first = first
        with pytest.raises(InvalidInput):
            await one.services.assistants.clone(ANN, source.id, name=None, system=None, documents=True, memories=True)
        assert await store.left() == before


async def test_one_default_however_many_ask_at_once(store: Racing) -> None:
    async with node(store, ScriptedProvider(["ok"])) as one:
        found = await asyncio.gather(*[one.services.assistants.default(ANN) for _ in range(5)])
        assert len({a.id for a in found}) == 1
        assert (await one.services.assistants.default(BOB)).id != found[0].id
        await one.services.assistants.discard(ANN, found[0].id)
        assert (await one.services.assistants.default(ANN)).id != found[0].id
