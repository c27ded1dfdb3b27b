"""One import at work: reading in a thread, several conversations on their way to the store, and how far it is."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import BinaryIO

import structlog

from backchat.errors import BackchatError, InvalidInput, NotFound
from backchat.ports.importing import Importer, Unreadable
from backchat.services.import_building import Origin
from backchat.services.import_files import Entry, Meter, entries
from backchat.services.import_records import Import, ImportProblem, ImportStatus
from backchat.services.import_writing import Ready, Stopped, Writing
from backchat.services.storable import whole

log = structlog.get_logger(source=__name__)
PORTION, MANY = 256 << 10, 32
"""Bytes of JSON, and conversations, after which the thread hands over what it has read: each time costs a way there and
back."""
ON_THE_WAY, TOGETHER = 32 << 10, 2
"""Bytes of JSON, and conversations, that are being stored at the same time; one alone may have more. A store commits
them at once, and what others write waits for that: each word of a reply. More of them do not make it faster."""
MOST_PROBLEMS = 100
TITLE = 200
"""Characters of a title that are repeated with a problem."""


@dataclass(frozen=True, slots=True)
class Step:
    """An entry, read; ``what`` is what to store, or why there is nothing."""

    index: int
    size: int
    what: Ready | Unreadable


@dataclass(slots=True)
class Work:
    """``at`` is how far it is; ``stop`` says as what it ends before its time.

    ``changed`` is set, and then another one, when something new was stored about it; ``stopping`` when it is to stop.
    """

    at: Import
    meter: Meter
    writing: Writing
    importers: Sequence[Importer]
    stop: ImportStatus | None = None
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _index: int = 0

    def now(self) -> Import:
        return replace(self.at, read=min(self.at.size, self.meter.place))

    def end(self, status: ImportStatus) -> None:
        """Stop where it is."""
        self.stop = self.stop or status
        self.meter.stopped = True
        self.stopping.set()

    async def run(self, file: BinaryIO) -> None:
        """Import all that is in the file. What goes wrong is in ``at``; only a store that fails raises."""
        reading = entries(file, self.importers, self.meter)
        storing: dict[asyncio.Task[None], int] = {}
        try:
            more = True
            while more and self.stop is None:
                steps, more, problem = await asyncio.to_thread(self._read, reading)
                for step in steps:
                    if self.stop is not None:
                        break
                    storing[asyncio.create_task(self._store(step))] = step.size
                    await _room(storing)
                if self.stop is None and problem is not None:
                    self.at = replace(self.at, status="failed", problem=problem)
        finally:
            failed = await asyncio.gather(*storing, return_exceptions=True)
            await asyncio.to_thread(reading.close)
        for error in failed:
            if error is not None:
                raise error

    def _read(self, reading: Generator[Entry, None, None]) -> tuple[list[Step], bool, str | None]:
        """Some steps, whether there are more, and why the file cannot be read on."""
        steps: list[Step] = []
        size = 0
        try:
            while size < PORTION and len(steps) < MANY:
                entry = next(reading, None)
                if entry is None:
                    self.meter.place = self.at.size
                    return steps, False, None
                steps.append(Step(self._index, entry.size, self._prepared(entry)))
                self._index += 1
                size += entry.size
        except BackchatError as error:
            return steps, False, str(error)
        except Exception as error:  # an importer that fails must not take the server's other work with it
            log.error("import.unreadable", **_place(error))
            return steps, False, "the file could not be read because of a fault of the server"
        return steps, True, None

    def _prepared(self, entry: Entry) -> Ready | Unreadable:
        found = entry.found
        if isinstance(found, Unreadable):
            return found
        assert entry.importer is not None
        origin = Origin(self.at.owner, entry.importer.name)
        try:
            return self.writing.prepare(found, origin)
        except Exception as error:  # one entry that is not understood leaves the others alone
            log.error("import.unfit", **_place(error))
            return Unreadable(found.title, "it could not be converted because of a fault of the server")

    async def _store(self, step: Step) -> None:
        if isinstance(step.what, Unreadable):
            self._problem(step.index, step.what)
            return
        try:
            added = await self.writing.write(step.what)
        except Stopped:
            pass
        except NotFound:
            self.end("cancelled")
        except InvalidInput as error:
            self._problem(step.index, Unreadable(step.what.source.title, str(error)))
        else:
            if added:
                self.at = replace(self.at, imported=self.at.imported + 1)
            else:
                self.at = replace(self.at, skipped=self.at.skipped + 1)

    def _problem(self, index: int, what: Unreadable) -> None:
        title = whole(what.title)[:TITLE] if what.title else None
        problems = sorted([*self.at.problems, ImportProblem(index, title, whole(what.reason))], key=lambda p: p.index)
        self.at = replace(self.at, failed=self.at.failed + 1, problems=tuple(problems[:MOST_PROBLEMS]))


async def _room(storing: dict[asyncio.Task[None], int]) -> None:
    """Wait until another one may come. Raises what kept one from being stored."""
    while len(storing) >= TOGETHER or sum(storing.values()) > ON_THE_WAY:
        done, _ = await asyncio.wait(storing, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            del storing[task]
            task.result()


def _place(error: Exception) -> dict[str, str | int | None]:
    """Where it happened, without what it says: that may be content."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return {"error": type(error).__name__, "file": last.filename, "line": last.lineno}
