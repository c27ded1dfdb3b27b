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
from backchat.services.runlog import Numbered, read_events
from backchat.services.runstate import run_of
from backchat.services.stored import message_of

POLL = 0.2
ACTIVE = ("running", "waiting")


@dataclass(frozen=True, slots=True)
class Following:
    """``live`` are the runs that this process works on. ``recheck``: how often it is asked whether a reader still may.

    It is asked before whatever they are shown, too; but not about those who cannot lose what they read.
    """

    store: RecordStore
    access: Access
    live: Mapping[str, LiveRun]
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
        while True:
            record = await self.store.get("run", id)
            if record is None or record.doc["status"] != "running":
                return run_of(record) if record is not None else None
            await asyncio.sleep(POLL)

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
        position, live = after, self.live.get(id)
        time = asyncio.get_running_loop().time
        heard = time()
        while True:
            if tick is not None and time() - heard >= tick:
                yield ()
                heard = time()
            if live is None:
                batch: Sequence[Numbered] = await read_events(self.store, id, position)
            elif live.log.last > position:
                batch = await live.log.since(position)
                if not batch:  # deleted meanwhile, or no longer kept
                    live = None
                    continue
            elif live.log.ended:
                live, batch = None, ()
                continue
            elif tick is None:
                await live.log.changed()
                continue
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(heard + tick):
                        await live.log.changed()
                continue
            if batch:
                batch = batch if past_pauses else _to_pause(batch)
                yield batch
                heard = time()
                position, last = batch[-1]
                if type(last) is RunEnded or (type(last) is RunPaused and not past_pauses):
                    return
            elif live is None:
                record = await self.store.get("run", id)
                if record is None or record.doc["status"] not in (ACTIVE if past_pauses else ("running",)):
                    if await read_events(self.store, id, position, 1):
                        continue
                    return
                await asyncio.sleep(POLL)
                live = self.live.get(id)

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
