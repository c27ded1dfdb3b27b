"""Conversations from the exports of other products, and of backchat."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import BinaryIO

import structlog

from backchat.domain.identity import Identity
from backchat.domain.limits import ImportLimits, Retention
from backchat.domain.times import stamp
from backchat.errors import BackchatError, Draining, RateLimited, StaleWrite, TooLarge
from backchat.ports.importing import Importer
from backchat.ports.storage import Delete, Purge, Range, RecordStore
from backchat.services.access import Access, owned
from backchat.services.import_files import Meter
from backchat.services.import_records import IMPORT, Import, import_of, import_put
from backchat.services.import_work import Work
from backchat.services.import_writing import Writing
from backchat.services.leaving import wound_up
from backchat.services.retrying import retrying
from backchat.services.runstate import WORKER
from backchat.services.slots import Slots
from backchat.services.storable import whole

log = structlog.get_logger(source=__name__)
TICK = 0.5
"""Seconds between two records of how far an import is, and between two looks at one of another process."""
PATIENCE = 5.0
"""Seconds that a cancellation waits for the end."""
ATTEMPTS = 5
MOST_AT_ONCE, RETRY = 5, 10
"""Imports of a user that a process has not ended, and the seconds after which a further one may try again."""
NAME = 255


@dataclass(slots=True)
class Live:
    work: Work
    task: asyncio.Task[None]


class Imports:
    """Each conversation is imported wholly or not at all, and never twice. ``worker`` is the id of this process."""

    def __init__(
        self,
        store: RecordStore,
        access: Access,
        importers: Sequence[Importer],
        limits: ImportLimits,
        retention: Retention,
        worker: str,
        *,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
    ) -> None:
        self._store, self._access, self._importers, self.limits = store, access, importers, limits
        self._retention, self._worker, self._now, self._new_id = retention, worker, now, new_id
        self._slots = Slots(limits.at_once)
        self._live: dict[str, Live] = {}
        self._begun = Counter[str]()
        self._closed = False

    async def __aenter__(self) -> Imports:
        await self._store.apply([self._old()])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """What still runs stops between two conversations, and is ``interrupted``; nothing begins any more."""
        self._closed = True
        running = list(self._live.values())
        for live in running:
            live.work.end("interrupted")
        await wound_up([live.task for live in running], "imports")

    async def begin(self, who: Identity, file: BinaryIO, *, name: str) -> Import:
        """Start to import a file, which this then owns and closes. It need not be JSON: problems are in the result.

        Raises TooLarge, Draining, and RateLimited for one who has as many at work or waiting as are taken.
        """
        self._begun[who.user] += 1  # at once, for others of the same user begin at the same time
        try:
            if self._begun[who.user] > MOST_AT_ONCE:
                raise RateLimited(
                    f"you have {MOST_AT_ONCE} imports that have not ended; wait until one has", retry_after=RETRY
                )
            size = await asyncio.to_thread(file.seek, 0, os.SEEK_END)
            if size > self.limits.max_size:
                raise TooLarge(f"the file is larger than {self.limits.max_size} bytes", field="file")
            if self._closed:
                raise Draining("the server is shutting down")
            now = self._now()
            begun = Import(
                id=self._new_id(),
                owner=who.user,
                worker=self._worker,
                name=whole(name)[:NAME],
                size=size,
                created_at=now,
            )
            await self._store.apply([self._old(), import_put(begun, now)])
            if self._closed:  # meanwhile
                await self._store.apply([Delete(IMPORT.name, begun.id)])
                raise Draining("the server is shutting down")
        except BaseException:
            self._begun[who.user] -= 1
            await asyncio.to_thread(file.close)
            raise
        begun = replace(begun, version=1)
        meter = Meter(self.limits)
        writing = Writing(
            store=self._store,
            access=self._access,
            id=begun.id,
            retention=self._retention,
            now=self._now,
            new_id=self._new_id,
            stopped=lambda: meter.stopped,
        )
        work = Work(begun, meter, writing, self._importers)
        self._live[begun.id] = Live(work, asyncio.create_task(self._run(work, file)))
        return begun

    async def open(self, who: Identity, id: str) -> Import:
        """How far it is. One of a process that has died is ``interrupted``. Raises NotFound."""
        if (live := self._live.get(id)) is not None:
            return owned(who, live.work.now(), "import")
        record = await self._store.get(IMPORT.name, id)
        found = owned(who, import_of(record) if record else None, "import")
        if found.status == "running" and await self._is_lost(found):
            return replace(found, status="interrupted")
        return found

    async def _is_lost(self, running: Import) -> bool:
        own = running.worker == self._worker
        return own or await self._store.get(WORKER.name, running.worker) is None

    async def follow(self, who: Identity, id: str) -> AsyncGenerator[Import, None]:
        """How far it is now, and whenever that changes, to its end; at most some times a second."""
        last: Import | None = None
        while True:
            live = self._live.get(id)
            changed = live.work.changed if live is not None else None
            found = await self.open(who, id)
            if last is None or replace(found, version=0) != replace(last, version=0):
                yield found
                last = found
            if found.status != "running":
                return
            if changed is not None:
                await changed.wait()
            else:
                await asyncio.sleep(TICK)

    async def ended(self, who: Identity, id: str, seconds: float) -> Import:
        """Wait for its end, for so long at most."""
        found = await self.open(who, id)
        async with aclosing(self.follow(who, id)) as steps:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    async for step in steps:
                        found = step
        return found if found.status != "running" else await self.open(who, id)

    async def cancel(self, who: Identity, id: str) -> Import:
        """Stop between two conversations; what is imported stays."""
        found = await self.open(who, id)
        if found.status != "running":
            return found
        if (live := self._live.get(id)) is not None:
            live.work.end("cancelled")
        else:
            await retrying(lambda: self._ask(who, id))
        return await self.ended(who, id, PATIENCE)

    async def _ask(self, who: Identity, id: str) -> None:
        """Have another process stop it."""
        record = await self._store.get(IMPORT.name, id)
        found = owned(who, import_of(record) if record else None, "import")
        if found.status == "running":
            await self._store.apply([import_put(replace(found, cancelled=True), self._now())])

    async def _run(self, work: Work, file: BinaryIO) -> None:
        over = asyncio.Event()
        telling = asyncio.create_task(self._tell(work, over))
        try:
            async with self._turn(work) as is_mine:
                if is_mine:
                    await work.run(file)
        except Exception:
            log.exception("import.failed")
            work.at = replace(work.at, status="failed", problem="the storage does not answer")
        finally:
            over.set()
            await telling
            await asyncio.to_thread(file.close)
            await self._ended(work)

    @asynccontextmanager
    async def _turn(self, work: Work) -> AsyncIterator[bool]:
        """Wait for it; False if the work is stopped before."""
        slot = self._slots.one(work.at.owner, work.at.size)
        entering = asyncio.create_task(slot.__aenter__())
        stopping = asyncio.create_task(work.stopping.wait())
        try:
            await asyncio.wait((entering, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            entering.cancel()
            with suppress(asyncio.CancelledError):
                await entering
        if entering.cancelled():
            yield False
            return
        try:
            yield work.stop is None
        finally:
            await slot.__aexit__(None, None, None)

    async def _ended(self, work: Work) -> None:
        at = work.now()
        status = work.stop or (at.status if at.status != "running" else "done")
        work.at = replace(at, status=status, ended_at=self._now())
        for _ in range(ATTEMPTS):
            if await self._told(work):
                break
            await asyncio.sleep(TICK)
        del self._live[work.at.id]
        self._begun[work.at.owner] -= 1
        work.changed.set()

    async def _tell(self, work: Work, over: asyncio.Event) -> None:
        """Write down how far it is, again and again."""
        told = work.now()
        while not over.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK):
                    await over.wait()
            if over.is_set():
                return
            if replace(work.now(), version=0) != replace(told, version=0):
                told = work.now()
                await self._told(work)
            else:
                await self._look(work)

    async def _look(self, work: Work) -> None:
        """Whether another process has asked for its end, or it is gone."""
        try:
            record = await self._store.get(IMPORT.name, work.at.id)
        except BackchatError as error:  # it is looked at again
            log.warning("import.not_looked_at", error=type(error).__name__)
            return
        if record is None or import_of(record).cancelled:
            work.end("cancelled")

    async def _told(self, work: Work) -> bool:
        """Write down how far it is. A store that fails now may answer the next time."""
        try:
            await retrying(lambda: self._note(work))
        except Exception as error:
            log.warning("import.not_told", error=type(error).__name__)
            return False
        return True

    async def _note(self, work: Work) -> None:
        """Store how far it is. Another process may have asked for its end, or the user is gone, and with them all."""
        try:
            await self._store.apply([import_put(work.now(), self._now())])
        except StaleWrite:
            record = await self._store.get(IMPORT.name, work.at.id)
            if record is None:
                work.end("cancelled")
                return
            there = import_of(record)
            if there.cancelled:
                work.end("cancelled")
            work.at = replace(work.at, cancelled=there.cancelled, version=there.version)
            raise
        work.at = replace(work.at, version=work.at.version + 1)
        changed, work.changed = work.changed, asyncio.Event()
        changed.set()

    def _old(self) -> Purge:
        return Purge(IMPORT.name, ranges=(Range("expires", high=stamp(self._now())),))
