"""Work that outlives the request that asked for it, and the process that began it.

A job is a record, stored in the batch that makes it necessary; the process that stored it starts it. What finishes a
job is one batch too, with the job's own deletion in it, so that it is done once or not at all. Jobs of a dead process
are taken over by another one, or by the next start (``backchat.services.workers``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import structlog

from backchat.errors import BackchatError, Internal, NotConfigured, StaleWrite, Unavailable
from backchat.ports.storage import Change, Delete, Kind, Purge, Put, Query, Record, RecordStore
from backchat.services.leaving import last_words
from backchat.services.paging import all_found
from backchat.services.slots import Slots

log = structlog.get_logger(source=__name__)

JOB = Kind(
    name="job",
    fields=("owner", "line", "worker"),
    indexes=(("owner", "line"),),
    partition="owner",
)
POLL = 0.2
PAGE = 200
MOST_ATTEMPTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """``topic`` names the handler. Jobs of one ``line`` run one after the other, in the order of their ids.

    weight    how much work it is, in comparison with others of the topic
    attempts  how many processes have begun it, but for those that stopped in good order
    """

    id: str
    topic: str
    owner: str
    line: str
    worker: str
    payload: Mapping[str, Any] = field(default_factory=dict)
    weight: int = 0
    attempts: int = 0
    version: int = 0


class Handler(Protocol):
    """Does the jobs of a topic. Both verbs answer the changes that finish the job, and write nothing of that before.

    They are asked again when somebody else wrote first or the store did not answer, and by another process when this
    one dies. A job that was begun three times in vain is given up.
    """

    async def work(self, job: Job) -> Sequence[Change]: ...

    async def failed(self, job: Job, error: BackchatError) -> Sequence[Change]:
        """What to write when ``work`` raised."""
        ...


After = Callable[[Job], Awaitable[None]]


def job_put(job: Job) -> Put:
    doc = {
        "topic": job.topic,
        "owner": job.owner,
        "line": job.line,
        "worker": job.worker,
        "payload": job.payload,
        "weight": job.weight,
        "attempts": job.attempts,
    }
    return Put("job", job.id, doc, job.version)


def job_of(record: Record) -> Job:
    d = record.doc
    return Job(
        id=record.id,
        topic=d["topic"],
        owner=d["owner"],
        line=d["line"],
        worker=d["worker"],
        payload=d["payload"],
        weight=d["weight"],
        attempts=d["attempts"],
        version=record.version,
    )


def jobs_purge(owner: str, lines: Sequence[str]) -> Purge:
    """What drops the jobs of an owner in these lines."""
    return Purge("job", (("owner", (owner,)), ("line", tuple(lines))))


@dataclass(frozen=True, slots=True)
class Topic:
    handler: Handler
    slots: Slots
    after: After | None


class Jobs:
    """The jobs of one process. ``worker`` is its id; ``new_id`` gives ids that grow with time."""

    def __init__(self, store: RecordStore, worker: str, new_id: Callable[[], str]) -> None:
        self._store, self.worker, self._new_id = store, worker, new_id
        self._topics: dict[str, Topic] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._lines: dict[str, str] = {}
        self._begun: dict[str, Job] = {}
        self._unstarted: set[str] = set()

    async def __aenter__(self) -> Jobs:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop; what is not done stays in the store for the next process, and this beginning does not count."""
        begun = list(self._begun.values())
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if begun:
            await last_words(self._put_back(begun), "jobs")

    async def _put_back(self, begun: Sequence[Job]) -> None:
        for job in begun:
            with suppress(StaleWrite):
                await self._store.apply([job_put(replace(job, attempts=job.attempts - 1))])

    def handle(self, topic: str, handler: Handler, *, at_once: int, after: After | None = None) -> None:
        """``at_once``: how many jobs of the topic this process works on at the same time.

        ``after`` is called when a job is done and committed; nothing may depend on it.
        """
        self._topics[topic] = Topic(handler, Slots(at_once), after)

    def job(self, topic: str, *, owner: str, line: str, payload: Mapping[str, Any], weight: int = 0) -> Job:
        """A job of this process. Apply its ``job_put`` together with what makes it necessary, then ``start`` it."""
        id, worker = self._new_id(), self.worker
        return Job(id=id, topic=topic, owner=owner, line=line, worker=worker, payload=payload, weight=weight)

    def start(self, job: Job) -> None:
        """Begin a job whose put is committed."""
        if job.id in self._tasks:
            return
        job = replace(job, version=job.version + 1)
        task = asyncio.create_task(self._run(job), name=f"job {job.topic} {job.id}")
        # Not at the end of the work itself: a task that is stopped before its first step does nothing at all.
        task.add_done_callback(lambda _: self._forget(job.id))
        self._tasks[job.id], self._lines[job.id] = task, job.line

    def _forget(self, id: str) -> None:
        for kept in (self._tasks, self._lines, self._begun):
            kept.pop(id, None)

    def drop(self, line: str) -> None:
        """Stop working on what is in this line; its jobs were deleted with what they were for."""
        for id, task in self._tasks.items():
            if self._lines[id] == line:
                task.cancel()

    async def settled(self, lines: Sequence[str], seconds: float, *, owners: Sequence[str] | None = None) -> bool:
        """Wait until no job of these lines is left, in any process; False if that takes longer.

        ``owners`` are those of all jobs of these lines, if the caller knows them.
        """
        where = (("line", tuple(lines)),) if owners is None else (("owner", tuple(owners)), ("line", tuple(lines)))
        query = Query(kind="job", where=where, limit=PAGE)
        try:
            async with asyncio.timeout(seconds):
                while left := await self._store.find(query):
                    mine = [self._tasks[r.id] for r in left if r.id in self._tasks]
                    await (asyncio.wait(mine) if mine else asyncio.sleep(POLL))
        except TimeoutError:
            return False
        return True

    async def idle(self) -> Sequence[Job]:
        """The jobs that this process does not work on."""
        found = await all_found(self._store, Query(kind="job", limit=PAGE))
        return [job_of(record) for record in found if record.id not in self._tasks]

    async def adopt(self, idle: Sequence[Job], is_dead: Callable[[str], bool]) -> int:
        """Take over those of dead processes, and those of this one that nobody has started; returns how many.

        ``idle`` was read before the processes that ``is_dead`` knows: a job is never older than its process. One of
        this process must have been idle the time before as well: it may be just about to be started.
        """
        taken = 0
        own = {job.id for job in idle if job.worker == self.worker}
        for job in idle:
            orphan = is_dead(job.worker) if job.id not in own else job.id in self._unstarted
            if orphan and job.topic in self._topics and job.id not in self._tasks:
                job = replace(job, worker=self.worker)
                with suppress(StaleWrite):
                    await self._store.apply([job_put(job)])
                    self.start(job)
                    taken += 1
        self._unstarted = own
        return taken

    async def _run(self, job: Job) -> None:
        try:
            topic = self._topics[job.topic]
            await self._turn(job)
            async with topic.slots.one(job.owner, job.weight):
                done = await self._work(job, topic.handler)
            if done and topic.after is not None:
                await topic.after(job)
        except Exception:
            log.exception("job.crashed", job=job.id, topic=job.topic)

    async def _work(self, job: Job, handler: Handler) -> bool:
        """Whether the job was done; if not, it is given up, or no longer this process' own."""
        error: BackchatError | None = Internal(f"this was begun {MOST_ATTEMPTS} times and never finished")
        if job.attempts < MOST_ATTEMPTS:
            job = replace(job, attempts=job.attempts + 1)
            try:
                await self._store.apply([job_put(job)])
            except StaleWrite:
                return False
            job = replace(job, version=job.version + 1)
            self._begun[job.id] = job
            error = await self._attempt(job, handler.work)
        if error is None:
            return True
        log.warning("job.failed", job=job.id, topic=job.topic, code=error.code)
        failed = error

        async def give_up(job: Job) -> Sequence[Change]:
            return await handler.failed(job, failed)

        await self._attempt(job, give_up)
        return False

    async def _attempt(self, job: Job, work: Callable[[Job], Awaitable[Sequence[Change]]]) -> BackchatError | None:
        while True:
            try:
                await self._store.apply([*await work(job), Delete("job", job.id, job.version)])
            except StaleWrite:
                record = await self._store.get("job", job.id)
                if record is None or record.version != job.version:
                    return None  # taken over, or dropped with what it was for
            except Unavailable as error:
                if not isinstance(error, NotConfigured):
                    raise  # the store does not answer: the job stays in it, and is begun again
                return error
            except BackchatError as error:
                return error
            except Exception:
                log.exception("job.crashed", job=job.id, topic=job.topic)
                return Internal("internal error")
            else:
                return None

    async def _turn(self, job: Job) -> None:
        """Wait for the earlier jobs of the line."""
        query = Query(kind="job", where=(("owner", (job.owner,)), ("line", (job.line,))), limit=1)
        while True:
            first = await self._store.find(query)
            if not first or first[0].id >= job.id:
                return
            task = self._tasks.get(first[0].id)
            await (asyncio.wait([task]) if task is not None else asyncio.sleep(POLL))
