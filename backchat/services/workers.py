"""Several processes on one store: who lives, whose runs are orphans, who is asked to stop; and what is kept too long.

Every process writes a ``worker`` record again and again. Runs of a process that has gone silent for a lease, or that is
known to be dead because it ran on this host, are orphans: any other process ends them as ``interrupted`` and keeps what
they had said. Silence is measured with one's own clock: the clocks of hosts differ, and they jump.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import structlog

from backchat.domain.run import MemoriesRecalled, Run, ToolReturned
from backchat.domain.times import stamp
from backchat.errors import Interrupted, StaleWrite
from backchat.ports.storage import Delete, Put, Query, Range, Record, RecordStore
from backchat.services.booking import booking, cut_off, unbooked
from backchat.services.endings import UNKNOWN, Ending, failure_of, unanswered, unclaimed
from backchat.services.engine import Engine
from backchat.services.jobs import Jobs
from backchat.services.leaving import last_words
from backchat.services.paging import purge_all
from backchat.services.reloads import Reload, reload_doc
from backchat.services.runlog import event_put, events_purge, read_events
from backchat.services.runs import Runs
from backchat.services.runstate import run_of, run_put
from backchat.services.said import Said
from backchat.services.stored import conversation_of

log = structlog.get_logger(source=__name__)
PAGE = 200
LISTEN = 0.5
AT_ONCE = 50
"""Runs that are ended side by side: they share commits, and what each has said is in memory."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process, told from every other: where pids mean the same, the pid, and seconds from boot to its start."""

    host: str
    pid: int
    started: float

    @classmethod
    def own(cls) -> Process:
        namespace, boot = "", f"{psutil.boot_time():.0f}"
        with suppress(OSError):
            namespace = os.readlink("/proc/self/ns/pid")
            boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return cls(f"{os.uname().nodename}/{boot}/{namespace}", os.getpid(), _since_boot(os.getpid()))

    def is_gone(self) -> bool:
        """Whether no such process lives here any more; only asked about processes of this host."""
        try:
            return abs(_since_boot(self.pid) - self.started) > 1
        except psutil.NoSuchProcess:
            return True
        except psutil.AccessDenied:
            return False


def _since_boot(pid: int) -> float:
    boot = psutil.boot_time()  # asked first: psutil adds it to the start, so a clock that jumped cancels out
    return float(psutil.Process(pid).create_time() - boot)


@dataclass(slots=True)
class Workers:
    """``monotonic`` gives seconds; ``Runs.beaten`` is its value at the last beat.

    ``reload``: how this process fared when it last read its configuration; None if nobody can ask it to do so again.
    """

    store: RecordStore
    runs: Runs
    jobs: Jobs
    engine: Engine
    now: Callable[[], datetime]
    monotonic: Callable[[], float] = time.monotonic
    process: Process | None = None
    reload: Reload | None = None
    _heard: dict[str, tuple[int, float]] = field(default_factory=dict)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def __aenter__(self) -> Workers:
        await self.beat()
        await self.recover()
        pause = self.runs.times.lease.total_seconds() / 3
        # Apart from each other: a long sweep must not keep the beat waiting.
        for each, seconds in ((self.beat, pause), (self._tidy, pause), (self._listen, LISTEN)):
            self._tasks.append(asyncio.create_task(self._again(each, seconds)))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await last_words(self._leave(), "leaving")

    async def _leave(self) -> None:
        await self.beat()  # after it every earlier write is done: a run stored by a request that was cut off is seen
        await self.recover(leaving=True)
        await self.store.apply([Delete("worker", self.runs.worker)])

    async def _again(self, work: Callable[[], Coroutine[Any, Any, object]], seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await work()
            except Exception:  # a store that fails now may answer the next time; the lease bounds the harm
                log.exception("worker.failed", work=work.__name__.strip("_"))

    async def _tidy(self) -> None:
        await self.recover()
        await self.sweep()

    async def _listen(self) -> None:
        """Stop runs of this process that were cancelled in another one."""
        if not self.runs.live:
            return
        for record in await self.store.find(Query(kind="cancel", where=(("worker", (self.runs.worker,)),))):
            if live := self.runs.live.get(record.id):
                live.stop("cancelled")
            await self.store.apply([Delete("cancel", record.id)])

    async def beat(self) -> None:
        """Say that this process lives."""
        if self.process is None:
            self.process = await asyncio.to_thread(Process.own)
        own = self.process
        doc: dict[str, Any] = {"at": stamp(self.now()), "host": own.host, "pid": own.pid, "started": own.started}
        if self.reload is not None:
            doc["reload"] = reload_doc(self.reload)
        await self.store.apply([Put("worker", self.runs.worker, doc)])
        self.runs.beaten = self.monotonic()

    async def recover(self, *, leaving: bool = False) -> int:
        """End every orphan, and take over the jobs of dead processes; returns how many runs were ended.

        Orphans are the running runs of dead processes and of those nobody knows, and those of this process whose end it
        could not write; when it is ``leaving``, all that it has left behind.
        """
        running, idle = await self._running(), await self.jobs.idle()  # before the processes: nothing is older than its
        workers = {w.id: w for w in await self.store.find(Query(kind="worker", limit=1000))}
        dead = {id for id, w in workers.items() if id != self.runs.worker and await self._is_dead(w)}
        orphans: list[Run] = []
        for run in running:
            if run.worker == self.runs.worker:
                orphan = run.id not in self.runs.live and (leaving or run.id in self.runs.lost)
            else:
                orphan = run.worker in dead or run.worker not in workers
            if orphan:
                orphans.append(run)
        ended = 0
        for n in range(0, len(orphans), AT_ONCE):
            ended += sum(await asyncio.gather(*[self._interrupt(run) for run in orphans[n : n + AT_ONCE]]))
        self.runs.lost &= {run.id for run in running}
        taken = 0 if leaving else await self.jobs.adopt(idle, lambda worker: worker in dead or worker not in workers)
        for id in dead - {run.worker for run in running}:  # with nothing left of theirs
            with suppress(StaleWrite):
                await self.store.apply([Delete("worker", id, workers[id].version)])
        if ended or taken:
            log.info("worker.recovered", runs=ended, jobs=taken)
        return ended

    async def _running(self) -> list[Run]:
        found: list[Run] = []
        while True:
            after = (found[-1].id,) if found else None
            page = await self.store.find(Query(kind="run", where=(("status", ("running",)),), after=after, limit=PAGE))
            found += [run_of(r) for r in page]
            if len(page) < PAGE:
                return found

    async def _is_dead(self, worker: Record) -> bool:
        version, since = self._heard.get(worker.id, (0, 0.0))
        now = self.monotonic()
        if version != worker.version:
            self._heard[worker.id] = (worker.version, now)
        elif now - since > self.runs.times.lease.total_seconds():
            return True
        return await self._is_gone(worker.doc)

    async def _is_gone(self, doc: Mapping[str, Any]) -> bool:
        if self.process is None or doc["host"] != self.process.host:
            return False
        return await asyncio.to_thread(Process(doc["host"], doc["pid"], doc["started"]).is_gone)

    async def _interrupt(self, run: Run) -> bool:
        """Write the end that a dead process could not. False if somebody else has done it, or deleted the run.

        Also if it cannot be written now: the next look finds the run again, and others do not wait for it.
        """
        try:
            return await self._end(run)
        except StaleWrite:
            return False
        except Exception:
            log.exception("run.not_recovered", run=run.id)
            return False

    async def _end(self, run: Run) -> bool:
        said, grounds, last = Said(), [], run.began  # what it said before it paused is a message already
        while batch := await read_events(self.store, run.id, last):
            for seq, event in batch:
                said.add(event)
                last = seq
                if type(event) is MemoriesRecalled:
                    grounds.append(event)
        unknown = [ToolReturned(result) for result in unanswered(run, said, UNKNOWN)]
        for event in unknown:
            said.add(event)
        cut = await cut_off(self.store, self.engine.strategies, run, said, grounds)
        booked: list[Put] = []
        if cut is not None:
            said.add(cut)
            booked = await unbooked(self.store, [booking(self.engine.ledger, run, cut, len(said.calls))])
        record = await self.store.get("conversation", run.conversation)
        asked = Delete("cancel", run.id)
        if record is None:
            await self.store.apply([Delete("run", run.id, run.version), events_purge(run.id), asked, *booked])
            return False
        error = Interrupted("the server stopped before the reply was complete")
        run = await unclaimed(self.store, run)
        ending = Ending(status="interrupted", provider=run.provider, model=run.model, failure=failure_of(error))
        _, _, changes, end = ending.changes(run, conversation_of(record), said, self.now(), self.runs.times.keep)
        told = [event_put(run.id, n, event) for n, event in enumerate([*unknown, end], last + 1)]
        await self.store.apply([*changes, *booked, *told, asked])
        return True

    async def sweep(self) -> None:
        """Drop event logs, idempotency keys and windows of rate limits that have been kept as long as they should."""
        now = stamp(self.now())
        over = (Range("expires", high=now),)
        for kind in ("idempotency", "rate"):
            await purge_all(self.store, kind, ranges=over)
        query = Query(kind="run", ranges=(Range("expires", high=now),), limit=PAGE)
        while due := await self.store.find(query):
            await asyncio.gather(*[self._forget(run_of(record)) for record in due])  # together: they share commits

    async def _forget(self, run: Run) -> None:
        with suppress(StaleWrite):
            await self.store.apply([run_put(replace(run, expires_at=None)), events_purge(run.id)])
