"""What is said in runs of other processes, for those who wait for it in this one.

If the store can be watched, it is, while anybody waits: one watch for all of them, and what it tells is shown without
asking the store again. Otherwise, and until the watch is there, and when it fails, each looks again and again by
themselves; with a watch they do that as well, but rarely: no event says that a run was deleted.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import structlog

from backchat.domain.run import RunEnded, RunPaused
from backchat.ports.abilities import Watched
from backchat.ports.storage import RecordStore
from backchat.services.runlog import EVENT, Numbered, numbered

log = structlog.get_logger(source=__name__)
POLL = 0.2
"""Seconds between two looks at the store, without a watch."""
INSURED = 20.0
"""With one."""
LINGER = 30.0
"""How long a watch goes on when nobody waits any more: the next one often comes soon."""
PAUSES = (1.0, 30.0)
"""Between a watch that has failed and the next: the first pause, and the longest."""
TAIL = 50
"""Events of a run that are kept for its readers. Whoever is further behind asks the store."""


class Heard:
    """What has been heard of a run, for any number of readers, who hold nothing of it.

    ``count`` grows with everything that is heard, and when something may have been missed; ``stops`` with what may mean
    that no process works on the run any more.
    """

    __slots__ = ("_tail", "_waiting", "count", "readers", "stops")

    def __init__(self) -> None:
        self.count = self.stops = self.readers = 0
        self._tail: list[Numbered] = []
        self._waiting: dict[asyncio.Future[None], None] = {}

    def add(self, event: Numbered) -> None:
        number, said = event
        if self._tail and number <= self._tail[-1][0]:
            return
        follows = bool(self._tail) and number == self._tail[-1][0] + 1
        self._tail = [*self._tail[1 - TAIL :], event] if follows else [event]
        self.stops += type(said) in (RunEnded, RunPaused)
        self._wake()

    def look(self) -> None:
        """Whoever waits is to look at the store."""
        self.stops += 1
        self._wake()

    def since(self, after: int) -> Sequence[Numbered] | None:
        """The events above ``after``; None if the store has to be asked."""
        if not self._tail or not self._tail[0][0] <= after + 1 <= self._tail[-1][0]:
            return None
        return self._tail[after + 1 - self._tail[0][0] :]

    def _wake(self) -> None:
        self.count += 1
        waiting, self._waiting = self._waiting, {}
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def more(self, count: int, seconds: float) -> None:
        """Wait until there is more than ``count``, but no longer than that."""
        if self.count > count:
            return
        future = asyncio.get_running_loop().create_future()
        self._waiting[future] = None
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await future
        finally:
            self._waiting.pop(future, None)


class News:
    """For one process. ``async with`` ends the watch, and the store must be open until then."""

    def __init__(self, store: RecordStore) -> None:
        self._store = store
        self._heard: dict[str, Heard] = {}
        self._watching: asyncio.Task[None] | None = None
        self._live = False
        self._ending: set[asyncio.Task[None]] = set()
        self._linger: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> News:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._end()
        await asyncio.gather(*self._ending, return_exceptions=True)

    @contextmanager
    def of(self, run: str) -> Iterator[Heard]:
        """What is heard of a run, for one reader. Look at ``count``, then at the store, then wait for more."""
        heard = self._heard.setdefault(run, Heard())
        heard.readers += 1
        self._stay()
        try:
            yield heard
        finally:
            heard.readers -= 1
            if not heard.readers:
                del self._heard[run]
                if not self._heard and self._watching is not None:
                    self._linger = asyncio.get_running_loop().call_later(LINGER, self._end)

    def patience(self) -> float:
        """Seconds until a reader that waits has to look at the store itself. A watch is begun if there is none."""
        if self._watching is None and isinstance(self._store, Watched):
            self._watching = asyncio.create_task(self._watch(self._store), name="news")
        return INSURED * random.uniform(0.8, 1.2) if self._live else POLL

    def _stay(self) -> None:
        """The watch goes on: somebody is there."""
        linger, self._linger = self._linger, None
        if linger is not None:
            linger.cancel()

    def _end(self) -> None:
        self._stay()
        if self._watching is not None:
            self._turn(live=False)
            ending, self._watching = self._watching, None
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
            ending.cancel()

    async def _watch(self, store: Watched) -> None:
        pause, longest = PAUSES
        while True:
            try:
                async with store.watch(EVENT.name, self._heard) as told:
                    self._tell(live=True)
                    pause, _ = PAUSES
                    async for records in told:
                        for record in records:
                            if (heard := self._heard.get(record.doc["run"])) is None:
                                continue
                            if record.version:
                                heard.add(numbered(record))
                            else:  # deleted already, and the run perhaps with it
                                heard.look()
            except Exception:  # they look by themselves until the store can be watched again
                log.exception("worker.failed", work="watch")
            finally:
                self._tell(live=False)
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)

    def _tell(self, *, live: bool) -> None:
        """Of one that is being ended nothing counts any more: there may be another one already."""
        if asyncio.current_task() is self._watching:
            self._turn(live=live)

    def _turn(self, *, live: bool) -> None:
        self._live = live
        for heard in self._heard.values():
            heard.look()
