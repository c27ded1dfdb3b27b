"""The readers of a run, wherever it is worked on: from its log, as long as they may read it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import timedelta

from backchat.domain.identity import Identity
from backchat.domain.message import Message
from backchat.domain.run import MemoriesRecalled, Run, RunEnded, RunPaused
from backchat.domain.workspace import personal_workspace
from backchat.errors import NotFound
from backchat.ports.storage import RecordStore
from backchat.services.access import Access
from backchat.services.endings import error_of
from backchat.services.live_runs import LiveRun
from backchat.services.news import News
from backchat.services.runlog import PAGE, Numbered, RunLog, read_events
from backchat.services.runstate import run_of
from backchat.services.stored import message_of

ACTIVE = ("running", "waiting")


@dataclass(frozen=True, slots=True)
class Following:
    """``live`` are the runs that this process works on, ``news`` is about the others.

    ``recheck``: how often it is asked whether a reader still may. It is asked before whatever they are shown, too; but
    not about those who cannot lose what they read.
    """

    store: RecordStore
    access: Access
    live: Mapping[str, LiveRun]
    news: News
    recheck: timedelta

    async def follow(
        self, who: Identity, id: str, after: int, past_pauses: bool
    ) -> AsyncGenerator[Sequence[Numbered], None]:
        """See ``Runs.follow``."""
        run = await self._run(id)
        if run is None:
            return
        tick = None if _lasts(who, run) else self.recheck.total_seconds()
        async with aclosing(self._events(id, after, past_pauses, tick)) as batches:
            async for batch in batches:
                if tick is not None:
                    await self.access.open(who, run.conversation)
                if who.user != run.owner:
                    batch = [pair for pair in batch if type(pair[1]) is not MemoriesRecalled]
                if batch:
                    yield batch

    async def result(self, who: Identity, id: str) -> tuple[Run, Message | None]:
        """See ``Runs.result``."""
        live = self.live.get(id)
        run = await self._run(id)
        if run is not None and not _lasts(who, run):
            await self._watched(who, run, live)
        if live is not None:
            await self.end_of(live)
            if live.error is not None:
                raise live.error
            if live.answer is not None:
                return live.run, live.answer
        if live is not None or (run is not None and run.status == "running"):
            run = await self.ended(id)
        if run is None:
            raise NotFound("the conversation was deleted while its reply was being made")
        if run.failure is not None:
            raise error_of(run.failure)
        message = await self.store.get("message", run.answer)
        return run, message_of(message) if message is not None else None

    async def end_of(self, live: LiveRun) -> None:
        """Wait until this process works on the run no more."""
        while not live.log.ended:
            await live.log.changed()

    async def ended(self, id: str) -> Run | None:
        """The run once no process works on it (any more)."""
        with self.news.of(id) as heard:
            while True:
                stops, count = heard.stops, heard.count
                record = await self.store.get("run", id)
                if record is None or record.doc["status"] != "running":
                    return run_of(record) if record is not None else None
                time = asyncio.get_running_loop().time
                until = time() + self.news.patience()
                while heard.stops == stops and (left := until - time()) > 0:
                    await heard.more(count, left)
                    count = heard.count

    async def _run(self, id: str) -> Run | None:
        """The run, at least as far as it does not change."""
        if (live := self.live.get(id)) is not None:
            return live.run
        record = await self.store.get("run", id)
        return run_of(record) if record is not None else None

    async def _events(
        self, id: str, after: int, past_pauses: bool, tick: float | None
    ) -> AsyncGenerator[Sequence[Numbered], None]:
        """The batches of ``follow``; and an empty one whenever nothing has been said for ``tick`` seconds."""
        position, done = after, None
        while True:
            live = self._live(id, done)
            batches = (
                self._told(id, position, ACTIVE if past_pauses else ("running",), tick, done)
                if live is None
                else self._logged(live.log, position, tick)
            )
            async with aclosing(batches):
                async for batch in batches:
                    batch = batch if past_pauses else _to_pause(batch)
                    yield batch
                    if batch:
                        position, last = batch[-1]
                        if type(last) is RunEnded or (type(last) is RunPaused and not past_pauses):
                            return
            if live is None and self._live(id, done) is None:
                return
            done = live or done

    def _live(self, id: str, done: LiveRun | None) -> LiveRun | None:
        """The run, if this process works on it, and not just what a reader is done with."""
        live = self.live.get(id)
        return live if live is not done else None

    async def _logged(self, log: RunLog, position: int, tick: float | None) -> AsyncGenerator[Sequence[Numbered], None]:
        """What a run of this process says, until it works on it no more, or the reader has to ask the store."""
        time = asyncio.get_running_loop().time
        spoken = time()
        while True:
            if log.last > position:
                batch = await log.since(position)
                if not batch:  # deleted meanwhile, or no longer kept
                    return
                yield batch
                spoken, position = time(), batch[-1][0]
            elif log.ended:
                return
            elif tick is None:
                await log.changed()
            elif (left := spoken + tick - time()) > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await log.changed()
            else:
                yield ()
                spoken = time()

    async def _told(
        self, id: str, position: int, active: Sequence[str], tick: float | None, done: LiveRun | None
    ) -> AsyncGenerator[Sequence[Numbered], None]:
        """What a run of another process says, until it is not active any more, or this process works on it."""
        time = asyncio.get_running_loop().time
        spoken = time()
        with self.news.of(id) as heard:
            while self._live(id, done) is None:
                count = heard.count
                batch = heard.since(position)
                if batch is None:
                    batch = await read_events(self.store, id, position)
                    if not batch:
                        record = await self.store.get("run", id)
                        if record is None or record.doc["status"] not in active:
                            batch = await read_events(self.store, id, position)
                            if not batch:
                                return
                if batch:
                    yield batch
                    spoken, position = time(), batch[-1][0]
                    if len(batch) >= PAGE:
                        continue
                until = time() + self.news.patience()
                while heard.count == count and (left := until - time()) > 0:
                    await heard.more(count, left if tick is None else min(left, spoken + tick - time()))
                    if tick is not None and time() >= spoken + tick:
                        yield ()
                        spoken = time()

    async def _watched(self, who: Identity, run: Run, live: LiveRun | None) -> None:
        """Wait until no process works on the run. Raises NotFound as soon as the caller may not read of it."""

        async def end() -> None:
            await (self.end_of(live) if live is not None else self.ended(run.id))

        ending = asyncio.create_task(end())
        try:
            while not ending.done():
                await asyncio.wait({ending}, timeout=self.recheck.total_seconds())
                await self.access.open(who, run.conversation)
            await ending
        finally:
            ending.cancel()


def _lasts(who: Identity, run: Run) -> bool:
    """Whether the caller may read of a run for as long as it is there: nobody leaves their personal workspace."""
    return run.owner == who.user and run.workspace == personal_workspace(who.user)


def _to_pause(batch: Sequence[Numbered]) -> Sequence[Numbered]:
    """The batch up to and including its first pause."""
    for n, (_, event) in enumerate(batch, 1):
        if type(event) is RunPaused:
            return batch[:n]
    return batch
