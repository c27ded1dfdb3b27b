"""Work that outlives its request and its process: done once, in order, taken over, given up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count

import pytest

from backchat.errors import BackchatError, InvalidInput, NotConfigured, Unavailable
from backchat.ports.storage import Change, Delete, Kind, Put, Query
from backchat.services.jobs import JOB, Job, Jobs, job_put
from backchat.testing.memory_store import MemoryStore

NOTE = Kind(name="note", fields=("job",), indexes=(("job",),))


class Notes:
    """Makes a note of each job; ``gate`` holds work up, ``error`` fails it, ``stale`` are writes that lose."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.gate: asyncio.Event | None = None
        self.error: Exception | None = None
        self.stale = 0
        self.at_work = self.most = 0

    async def work(self, job: Job) -> Sequence[Change]:
        self.begun.append(job.id)
        self.at_work += 1
        self.most = max(self.most, self.at_work)
        try:
            await asyncio.sleep(0)
            if self.gate is not None:
                await self.gate.wait()
            if self.error is not None:
                raise self.error
        finally:
            self.at_work -= 1
        if self.stale:
            self.stale -= 1
            return [Put("note", "seen", {"job": job.id}, 99)]
        return [Put("note", f"{job.id} {job.payload['say']}", {"job": job.id}, 0)]

    async def failed(self, job: Job, error: BackchatError) -> Sequence[Change]:
        return [Put("note", f"{job.id} failed {error.code}", {"job": job.id}, 0)]


class World:
    """A store, and the jobs of any number of processes over it."""

    def __init__(self) -> None:
        self.store = MemoryStore([JOB, NOTE])
        self._ids = count(1)

    @asynccontextmanager
    async def process(self, name: str, notes: Notes, at_once: int = 10) -> AsyncIterator[Jobs]:
        async with Jobs(self.store, name, lambda: f"job{next(self._ids):03d}") as jobs:
            jobs.handle("note", notes, at_once=at_once)
            yield jobs

    async def add(self, jobs: Jobs, line: str = "a", say: str = "hi") -> Job:
        job = jobs.job("note", owner="ann", line=line, payload={"say": say})
        await self.store.apply([job_put(job)])
        jobs.start(job)
        return job

    async def noted(self) -> list[str]:
        return [r.id for r in await self.store.find(Query(kind="note"))]

    async def left(self) -> int:
        return await self.store.count(Query(kind="job"))


@pytest.fixture
def world() -> World:
    return World()


async def adopt(jobs: Jobs, dead: str) -> int:
    return await jobs.adopt(await jobs.idle(), lambda worker: worker == dead)


async def until(true: Callable[[], bool]) -> None:
    for _ in range(1000):
        if true():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came true")


async def test_done_once_and_gone(world: World) -> None:
    async with world.process("one", Notes()) as jobs:
        await world.add(jobs)
        assert await jobs.settled(["a"], 5)
        assert await world.noted() == ["job001 hi"]
        assert await world.left() == 0


async def test_a_lost_race_is_run_again(world: World) -> None:
    notes = Notes()
    notes.stale = 2
    async with world.process("one", notes) as jobs:
        await world.add(jobs)
        assert await jobs.settled(["a"], 5)
    assert notes.begun == ["job001"] * 3
    assert await world.noted() == ["job001 hi"]


async def test_a_line_is_in_order_and_lines_are_side_by_side(world: World) -> None:
    notes = Notes()
    notes.gate = asyncio.Event()
    async with world.process("one", notes) as jobs:
        for line in "aab":
            await world.add(jobs, line)
        await until(lambda: len(notes.begun) == 2)
        assert sorted(notes.begun) == ["job001", "job003"]
        notes.gate.set()
        assert await jobs.settled(["a", "b"], 5)
    assert notes.begun.index("job001") < notes.begun.index("job002")


async def test_no_more_at_once_than_allowed(world: World) -> None:
    notes = Notes()
    async with world.process("one", notes, at_once=2) as jobs:
        for n in range(8):
            await world.add(jobs, f"line {n}")
        assert await jobs.settled([f"line {n}" for n in range(8)], 5)
    assert notes.most == 2


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidInput("no"), "invalid_input"),
        (NotConfigured("gone"), "not_configured"),
        (RuntimeError("boom"), "internal"),
    ],
)
async def test_what_fails_is_told_to_its_handler(world: World, error: Exception, code: str) -> None:
    notes = Notes()
    notes.error = error
    async with world.process("one", notes) as jobs:
        await world.add(jobs)
        assert await jobs.settled(["a"], 5)
    assert await world.noted() == [f"job001 failed {code}"]


async def test_waiting_has_an_end(world: World) -> None:
    notes = Notes()
    notes.gate = asyncio.Event()
    async with world.process("one", notes) as jobs:
        await world.add(jobs)
        assert not await jobs.settled(["a"], 0.01)
        assert await jobs.settled(["other"], 0)
        notes.gate.set()
        assert await jobs.settled(["a"], 5)


async def test_what_a_process_leaves_another_takes_over(world: World) -> None:
    stuck, notes = Notes(), Notes()
    stuck.gate = asyncio.Event()
    async with world.process("one", stuck) as one:
        await world.add(one, say="first")
        await world.add(one, say="second")
        await until(lambda: bool(stuck.begun))
    assert await world.noted() == []
    async with world.process("two", notes) as two:
        assert await adopt(two, "none") == 0
        assert await adopt(two, "one") == 2
        assert await adopt(two, "one") == 0
        assert await two.settled(["a"], 5)
    assert await world.noted() == ["job001 first", "job002 second"]


async def test_who_is_taken_for_dead_and_is_not_writes_nothing(world: World) -> None:
    slow, notes = Notes(), Notes()
    slow.gate = asyncio.Event()
    async with world.process("one", slow) as one, world.process("two", notes) as two:
        await world.add(one)
        await until(lambda: bool(slow.begun))
        assert await adopt(two, "one") == 1
        assert await two.settled(["a"], 5)
        slow.gate.set()
        await until(lambda: not slow.at_work)
    assert await world.noted() == ["job001 hi"]


def at_work() -> list[asyncio.Task[object]]:
    return [t for t in asyncio.all_tasks() if t.get_name().startswith("job ")]


async def crash() -> None:
    """End the process's tasks as a kill does: without a word."""
    tasks = at_work()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_a_job_that_kills_its_process_is_given_up(world: World) -> None:
    begun: list[str] = []
    dead = ""
    for name in ("one", "two", "three", "four"):
        notes = Notes()
        notes.gate = asyncio.Event()
        async with world.process(name, notes, at_once=1) as jobs:
            if name == "one":
                await world.add(jobs, "a")
                await world.add(jobs, "b")
            else:
                assert await adopt(jobs, dead) == 2
            if name == "four":
                notes.gate.set()
                assert await jobs.settled(["a", "b"], 5)
            else:
                await until(lambda notes=notes: bool(notes.begun))  # type: ignore[misc]
                await crash()
        begun += notes.begun
        dead = name
    assert begun == ["job001"] * 3 + ["job002"]
    assert await world.noted() == ["job001 failed internal", "job002 hi"]


async def test_stopping_in_good_order_does_not_count(world: World) -> None:
    dead = ""
    for n in range(6):
        notes = Notes()
        notes.gate = asyncio.Event()
        async with world.process(f"p{n}", notes) as jobs:
            await (adopt(jobs, dead) if dead else world.add(jobs))
            await until(lambda notes=notes: bool(notes.begun))  # type: ignore[misc]
            if n == 5:
                notes.gate.set()
                assert await jobs.settled(["a"], 5)
        dead = f"p{n}"
    assert await world.noted() == ["job001 hi"]


async def test_a_job_of_its_own_that_nobody_started(world: World) -> None:
    async with world.process("one", Notes()) as jobs:
        job = jobs.job("note", owner="ann", line="a", payload={"say": "hi"})
        await world.store.apply([job_put(job)])
        assert await adopt(jobs, "none") == 0  # it may be just about to be started
        assert await adopt(jobs, "none") == 1
        jobs.start(job)
        assert await jobs.settled(["a"], 5)
    assert await world.noted() == ["job001 hi"]


async def test_nobody_is_kept_waiting_by_anothers_many(world: World) -> None:
    notes = Notes()
    notes.gate = asyncio.Event()
    async with world.process("one", notes, at_once=2) as jobs:
        for n in range(6):
            await world.add(jobs, f"ann {n}")
        await until(lambda: len(notes.begun) == 2)
        late = jobs.job("note", owner="bob", line="bob", payload={"say": "hi"})
        await world.store.apply([job_put(late)])
        jobs.start(late)
        for _ in range(20):  # this store never waits: after these turns of the loop it stands in line
            await asyncio.sleep(0)
        notes.gate.set()
        assert await jobs.settled([*(f"ann {n}" for n in range(6)), "bob"], 5)
    assert notes.begun.index(late.id) == 2


async def test_the_lightest_of_one_owner_goes_first(world: World) -> None:
    notes = Notes()
    notes.gate = asyncio.Event()
    async with world.process("one", notes, at_once=1) as jobs:
        await world.add(jobs, "first")
        await until(lambda: len(notes.begun) == 1)
        for n, weight in enumerate((300, 100, 200)):
            job = jobs.job("note", owner="ann", line=f"line {n}", payload={"say": "hi"}, weight=weight)
            await world.store.apply([job_put(job)])
            jobs.start(job)
        for _ in range(20):  # this store never waits: after these turns of the loop all stand in line
            await asyncio.sleep(0)
        notes.gate.set()
        assert await jobs.settled(["first", "line 0", "line 1", "line 2"], 5)
    assert notes.begun == ["job001", "job003", "job004", "job002"]


async def test_what_was_for_something_deleted_is_stopped(world: World) -> None:
    notes = Notes()
    notes.gate = asyncio.Event()
    async with world.process("one", notes, at_once=1) as jobs:
        job = await world.add(jobs)
        await until(lambda: bool(notes.at_work))
        await world.store.apply([Delete("job", job.id)])
        jobs.drop("a")
        await world.add(jobs, "b")
        await until(lambda: len(notes.begun) == 2)
        notes.gate.set()
        assert await jobs.settled(["b"], 5)
    assert await world.noted() == ["job002 hi"]


async def test_stopped_before_its_first_step_it_is_forgotten(world: World) -> None:
    async with world.process("one", Notes()) as jobs:
        await world.add(jobs)
        stopped = at_work()
        jobs.drop("a")  # before the loop came to it; what it was for is there after all
        await asyncio.wait(stopped)
        assert await adopt(jobs, "none") == 0
        assert await adopt(jobs, "none") == 1
        assert await jobs.settled(["a"], 5)
    assert await world.noted() == ["job001 hi"]


async def test_a_store_that_does_not_answer_is_not_the_jobs_fault(world: World) -> None:
    notes = Notes()
    notes.error = Unavailable("the database is locked")
    async with world.process("one", notes) as jobs:
        await world.add(jobs)
        await asyncio.wait(at_work())
        notes.error = None
        assert await adopt(jobs, "none") == 0
        assert await adopt(jobs, "none") == 1
        assert await jobs.settled(["a"], 5)
    assert await world.noted() == ["job001 hi"]
