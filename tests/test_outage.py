"""A store that does not answer: nobody waits for it longer than they must, and nothing that matters is lost."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import count

import pytest
from structlog.testing import capture_logs

from backchat.domain.identity import Identity
from backchat.errors import Unavailable
from backchat.ports.storage import Change, Delete, Query, Record
from backchat.services import leaving
from backchat.services.assembly import Parts, assembled
from backchat.services.jobs import Job, job_put
from backchat.services.kinds import KINDS
from backchat.services.providers import Configured, Providers
from backchat.services.saying import Say
from backchat.testing.memory_store import MemoryStore
from backchat.testing.provider import ScriptedProvider
from backchat.testing.server import Box
from backchat.web import pages
from backchat.web.logs import without_words
from nodes import Everything, Nothing, Quiet, node

ANN = Identity(user="ann")


class Silent(MemoryStore):
    """Answers nothing while ``silent`` is set."""

    def __init__(self) -> None:
        super().__init__(KINDS)
        self.silent = False

    async def _answer(self) -> None:
        if self.silent:
            await asyncio.Event().wait()

    async def apply(self, changes: Sequence[Change]) -> None:
        await self._answer()
        await super().apply(changes)

    async def get(self, kind: str, id: str) -> Record | None:
        await self._answer()
        return await super().get(kind, id)

    async def find(self, query: Query) -> Sequence[Record]:
        await self._answer()
        return await super().find(query)


class Endless:
    """Work that does not end by itself."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()

    async def work(self, job: Job) -> Sequence[Change]:
        self.begun.set()
        await asyncio.Event().wait()
        return ()

    async def failed(self, job: Job, error: Exception) -> Sequence[Change]:
        return ()


def parts(store: MemoryStore, provider: ScriptedProvider) -> Parts:
    ids = count(1)
    return Parts(
        store=store,
        providers=Providers({"scripted": Configured("scripted", "scripted", provider)}, "scripted", []),
        memory=Everything(),
        learner=Nothing(),
        meter=Quiet(),
        now=lambda: datetime(2026, 1, 1, tzinfo=UTC),
        new_id=lambda: f"x{next(ids):06d}",
    )


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaving, "PATIENCE", 0.05)
    monkeypatch.setattr(leaving, "AGAIN", 0.01)


@pytest.mark.usefixtures("hurried")
async def test_a_process_leaves_a_store_that_is_silent() -> None:
    """With a reply that is being made, a job that is being worked on, and an import that is to say that it is done."""
    store, endless = Silent(), Endless()
    with capture_logs() as lines:
        async with asyncio.timeout(5):
            async with assembled(parts(store, ScriptedProvider(["Hel", asyncio.Event()]))) as services:
                run = await services.turns.say(ANN, Say(text="hello"))
                async with asyncio.timeout(2):
                    async for _ in services.runs.follow(ANN, run.id):
                        break
                jobs = services.titles._jobs
                jobs.handle("endless", endless, at_once=1)
                job = jobs.job("endless", owner="ann", line="line", payload={})
                await store.apply([job_put(job)])
                jobs.start(job)
                await endless.begun.wait()
                await services.imports.begin(ANN, io.BytesIO(b"[]"), name="x.json")
                store.silent = True
    told = [line["work"] for line in lines if line["event"] == "server.left_undone"]
    assert told == ["runs", "imports", "jobs", "leaving"]
    store.silent = False
    left = await store.get("run", run.id)
    assert left is not None
    assert left.doc["status"] == "running"
    async with node(store) as other:  # type: ignore[arg-type]
        await store.apply([Delete("worker", record.id) for record in await store.find(Query(kind="worker"))])
        await other.workers.recover()
        assert [(role, text) for role, text, _ in await other.texts(run.conversation)] == [
            ("user", "hello"),
            ("assistant", "Hel"),
        ]
        ended = await store.get("run", run.id)
        assert ended is not None
        assert ended.doc["status"] == "interrupted"


@pytest.mark.usefixtures("hurried")
async def test_a_store_that_answers_slowly_is_waited_for() -> None:
    """Each takes as long as all may take together: something is done, so nothing is cut off."""
    ended = []

    async def end(n: int) -> None:
        await asyncio.sleep(0.03 * n)
        ended.append(n)

    with capture_logs() as lines:
        await leaving.wound_up([asyncio.create_task(end(n)) for n in range(1, 5)], "runs")
    assert ended == [1, 2, 3, 4]
    assert not lines


async def test_it_is_not_ready_and_says_so_soon(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(kind: str, id: str) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(pages, "PATIENCE", 0.01, raising=False)
    monkeypatch.setattr(box.services.runs.store, "get", silent)
    async with asyncio.timeout(2):
        assert (await box.client.get("/readyz")).status == 503


@pytest.mark.parametrize(("error", "frames"), [(Unavailable, False), (OSError, True)])
def test_an_outage_is_one_line_without_frames(error: Callable[[str], Exception], frames: bool) -> None:
    try:
        raise error("gone")
    except Exception:
        line = without_words(None, "error", {"event": "worker.failed", "exc_info": True})
    assert line["exception"] == getattr(error, "__name__", "")
    assert ("frames" in line) is frames
