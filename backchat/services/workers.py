"""Several processes on one store: who lives, whose runs are orphans, who is asked to stop; and what is kept too long.

Every process keeps a ``worker`` record fresh. A process whose record has run out, or that is known to be dead because
it ran on this host, leaves orphans: any other process ends them as ``interrupted`` and keeps what they had said.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import psutil
import structlog

from backchat.domain.run import Run
from backchat.domain.times import stamp
from backchat.errors import Interrupted, StaleWrite
from backchat.ports.storage import Delete, Purge, Put, Query, Range, RecordStore
from backchat.services.endings import Ending, Said, failure_of
from backchat.services.runlog import event_put, events_purge, read_events
from backchat.services.runs import Runs
from backchat.services.runstate import run_of, run_put
from backchat.services.stored import conversation_of

log = structlog.get_logger(source=__name__)
PAGE = 200
LISTEN = 0.5


@dataclass(frozen=True, slots=True)
class Process:
    """A process by what tells it from every other: where pids mean the same, the pid, and when it started."""

    host: str
    pid: int
    started: float

    @classmethod
    def own(cls) -> Process:
        namespace = ""
        with suppress(OSError):
            namespace = os.readlink("/proc/self/ns/pid")
        host = f"{os.uname().nodename}/{psutil.boot_time():.0f}/{namespace}"
        return cls(host, os.getpid(), psutil.Process().create_time())

    def is_gone(self) -> bool:
        """Whether no such process lives here any more; only asked about processes of this host."""
        try:
            return bool(abs(psutil.Process(self.pid).create_time() - self.started) > 1)
        except psutil.NoSuchProcess:
            return True
        except psutil.AccessDenied:
            return False


@dataclass(slots=True)
class Workers:
    store: RecordStore
    runs: Runs
    now: Callable[[], datetime]
    process: Process | None = None
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def __aenter__(self) -> Workers:
        await self.beat()
        await self.recover()
        self._tasks = [asyncio.create_task(self._keep()), asyncio.create_task(self._listen())]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.store.apply([Delete("worker", self.runs.worker)])

    async def _keep(self) -> None:
        pause = self.runs.times.lease.total_seconds() / 3
        while True:
            await asyncio.sleep(pause)
            try:
                await self.beat()
                await self.recover()
                await self.sweep()
            except Exception:  # a store that fails now may answer at the next beat; the lease bounds the harm
                log.exception("worker.beat_failed")

    async def _listen(self) -> None:
        """Stop runs of this process that were cancelled in another one."""
        mine = (("worker", (self.runs.worker,)),)
        while True:
            await asyncio.sleep(LISTEN)
            if not self.runs.live:
                continue
            try:
                for record in await self.store.find(Query(kind="cancel", where=mine)):
                    if live := self.runs.live.get(record.id):
                        live.stop("cancelled")
                    await self.store.apply([Delete("cancel", record.id)])
            except Exception:  # as above: asked again in a moment
                log.exception("worker.listen_failed")

    async def beat(self) -> Process:
        """Say that this process lives, for as long as a lease."""
        if self.process is None:
            self.process = await asyncio.to_thread(Process.own)
        process = self.process
        expires = stamp(self.now() + self.runs.times.lease)
        doc = {"expires": expires, "host": process.host, "pid": process.pid, "started": process.started}
        await self.store.apply([Put("worker", self.runs.worker, doc)])
        return process

    async def recover(self) -> int:
        """End the orphans of every dead process, and runs whose end this one failed to write; returns how many."""
        ended = 0
        for worker in await self.store.find(Query(kind="worker", limit=1000)):
            if worker.id == self.runs.worker or not await self._dead(worker.doc):
                continue
            running = Query(kind="run", where=(("status", ("running",)), ("worker", (worker.id,))), limit=PAGE)
            while orphans := await self.store.find(running):
                for record in orphans:
                    ended += await self._interrupt(run_of(record))
            with suppress(StaleWrite):
                await self.store.apply([Delete("worker", worker.id, worker.version)])
        for id in list(self.runs.lost):
            lost = await self.store.get("run", id)
            if lost is not None and lost.doc["status"] == "running":
                ended += await self._interrupt(run_of(lost))
            self.runs.lost.discard(id)
        if ended:
            log.info("worker.recovered", runs=ended)
        return ended

    async def _dead(self, doc: Mapping[str, Any]) -> bool:
        if doc["expires"] < stamp(self.now()):
            return True
        if self.process is None or doc["host"] != self.process.host:
            return False
        return await asyncio.to_thread(Process(doc["host"], doc["pid"], doc["started"]).is_gone)

    async def _interrupt(self, run: Run) -> bool:
        """Write the end that a dead process could not. False if somebody else has done it."""
        said, last = Said(), 0
        while batch := await read_events(self.store, run.id, last):
            for seq, event in batch:
                said.add(event)
                last = seq
        record = await self.store.get("conversation", run.conversation)
        try:
            if record is None:  # deleted: nothing to keep
                await self.store.apply([Delete("run", run.id, run.version), events_purge(run.id)])
                return False
            error = Interrupted("the server stopped before the reply was complete")
            ending = Ending(status="interrupted", provider=run.provider, model=run.model, failure=failure_of(error))
            _, _, changes, end = ending.changes(run, conversation_of(record), said, self.now(), self.runs.times.keep)
            await self.store.apply([*changes, event_put(run.id, last + 1, end)])
        except StaleWrite:
            return False
        return True

    async def sweep(self) -> None:
        """Drop event logs and idempotency keys that have been kept as long as they should."""
        now = stamp(self.now())
        await self.store.apply([Purge("idempotency", ranges=(Range("expires", high=now),))])
        query = Query(kind="run", ranges=(Range("expires", high=now),), limit=PAGE)
        while due := await self.store.find(query):
            for record in due:
                run = run_of(record)
                with suppress(StaleWrite):
                    await self.store.apply([run_put(replace(run, expires_at=None)), events_purge(run.id)])
