"""Backups: all of a store as it was at one moment, in a file of the ``sqlite`` backend that knows what it holds.

The file is a store like any other: it can be served, copied and read. What it knows of itself is a record of the kind
``copying``, which no copy takes along. It is as empty of processes as if all had taken their leave, so that whoever
serves it ends the replies that were being made.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from backchat.domain.times import moment, stamp
from backchat.errors import Conflict, Unavailable
from backchat.ports.abilities import Examined, Frozen, Saved
from backchat.ports.storage import Delete, Purge, Put, Query, Range, Record, RecordStore
from backchat.services.copying_digests import Summary, Tally, summary
from backchat.services.copying_marks import marked, unfinished_business
from backchat.services.copying_reading import Reader, held
from backchat.services.copying_records import BACKUP, COPYING, HEAD, copy_put
from backchat.services.copying_servers import Server, running
from backchat.services.copying_writing import transfer
from backchat.services.runstate import WORKER

Stage = Literal["saving", "reading", "restoring", "comparing"]
Told = Callable[[Stage, int, int | None], None]
"""Called with how much of how much is done: pages of a file while ``saving`` in one go, records otherwise."""
OpenFile = Callable[[str], AbstractAsyncContextManager[RecordStore]]
"""Opens a file of the ``sqlite`` backend, which is made if it is not there."""
LOOK = 0.5
_PASSING = (COPYING.name, WORKER.name)
"""Kinds that say something of processes and files, not of what people have stored."""


@dataclass(frozen=True, slots=True)
class Note:
    """What a backup knows of itself: when it was made and by which version of backchat, and what it held then."""

    at: datetime
    version: str
    held: Summary


@dataclass(frozen=True, slots=True)
class Finding:
    """What an examination of a backup has found. ``problems`` are empty if all is well; ``note`` is None if there is
    none, as in a file that was copied by other means.
    """

    held: Summary
    note: Note | None
    problems: Sequence[str]


async def back_up(
    store: RecordStore, path: str, open_file: OpenFile, *, now: datetime, version: str, told: Told
) -> Note:
    """Write a store as it is now into a new file at ``path``, while others write to the store, and read it back.

    Raises Conflict for a store that is not whole, or can neither save itself nor be read as it was at one moment, and
    if the file does not hold what was read; Unavailable if the store cannot be read or the file not be written.
    """
    if business := await unfinished_business(store):
        raise Conflict(f"the storage holds {business}")
    read: Summary | None = None
    if isinstance(store, Saved):
        await store.save(path, lambda done, total: told("saving", done, total))
    elif isinstance(store, Frozen):
        async with store.frozen() as still, open_file(path) as target:
            read = await _written(still, target, told)
    else:
        raise Conflict("this storage can neither save itself nor be read as it was at one moment: use its own tools")
    async with open_file(path) as target:
        await target.apply([Purge(kind, ranges=(Range("id", ""),)) for kind in _PASSING])
        found = await examined(target, told)
        if found.problems:
            raise Conflict(f"the backup is damaged: {found.problems[0]}")
        if read is not None and found.held != read:
            raise Conflict("the backup does not hold what was read for it")
        note = Note(now, version, found.held)
        await target.apply([_note_put(note)])
    return note


async def examined(backup: RecordStore, told: Told) -> Finding:
    """Read all of a backup, and compare it with what it held when it was made. Problems name no content."""
    problems = [*await backup.examine()] if isinstance(backup, Examined) else []
    if business := await unfinished_business(backup):
        problems.append(f"it holds {business}")
    record = await backup.get(*BACKUP)
    note = _note_of(record) if record is not None else None
    total, done = await held(backup), 0

    def read(records: int) -> None:
        nonlocal done
        done += records
        told("reading", done, total)

    try:
        found = await summary(backup, read)
    except (Unavailable, ValueError) as error:  # a document that is no JSON any more is the latter
        problems.append(f"a record after the first {done} cannot be read ({type(error).__name__})")
        return Finding(Summary({}, ""), note, problems)
    if note is not None and found != note.held:
        problems += _differences(note.held, found)
    return Finding(found, note, problems)


async def restore(backup: RecordStore, holds: Summary, target: RecordStore, told: Told) -> None:
    """Store all of a backup, which was examined and ``holds`` this, in an empty store, and read it back.

    The store is marked until then. Raises Conflict if that is not the same.
    """
    total, done = sum(holds.counts.values()), 0

    def stored(records: int, size: int) -> None:
        nonlocal done
        done += records
        told("restoring", done, total)

    def read(records: int) -> None:
        nonlocal done
        done += records
        told("comparing", done, total)

    await target.apply([copy_put(await marked("", "restoring"))])
    await transfer(backup, target, stored)
    done = 0
    if await summary(target, read) != holds:
        raise Conflict("the storage does not hold what is in the backup: does a server run on it?")
    await target.apply([Delete(*HEAD)])


async def served(store: RecordStore, seconds: float, waiting: Callable[[], None]) -> Sequence[Server]:
    """The servers that run on a store. Of those elsewhere, the ones that show a sign of life within so many seconds.

    ``waiting`` is called before that is waited for, which is so only if there may be some elsewhere.
    """
    found = await running(store)
    if here := [server for server in found if server.here]:
        return here
    if not found:
        return []
    waiting()
    then, wanted = await _signs(store), {server.worker: server for server in found}
    for _ in range(math.ceil(seconds / LOOK)):
        await asyncio.sleep(LOOK)
        now = await _signs(store)
        if alive := [wanted[id] for id in wanted.keys() & now.keys() if now[id] != then.get(id)]:
            return alive
    return []


async def _signs(store: RecordStore) -> dict[str, int]:
    """By process, the version of its record: it grows with each beat (``workers.Workers.beat``)."""
    return {record.id: record.version for record in await store.find(Query(kind=WORKER.name, limit=1000))}


async def _written(still: RecordStore, target: RecordStore, told: Told) -> Summary:
    """Store everything but what is passing; returns what it was."""
    tally, total, done = Tally(), await held(still), 0
    async for page in Reader(still).everything():
        if page.records[0].kind not in _PASSING:
            await target.apply([Put(r.kind, r.id, r.doc, 0) for r in page.records])
            await tally.add(page)
        done += len(page.records)
        told("saving", done, total)
    return tally.summary


def _differences(then: Summary, now: Summary) -> list[str]:
    kinds = sorted({*then.counts, *now.counts})
    counts = [(kind, then.counts.get(kind, 0), now.counts.get(kind, 0)) for kind in kinds]
    found = [
        f"{kind}: {before:,} records when it was made, {after:,} now"
        for kind, before, after in counts
        if before != after
    ]
    return found or [f"records have been changed since it was made: its digest was {then.digest}, and is {now.digest}"]


def _note_put(note: Note) -> Put:
    doc = {
        "at": stamp(note.at),
        "version": note.version,
        "counts": note.held.counts,
        "digest": note.held.digest,
    }
    return Put(*BACKUP, doc)


def _note_of(record: Record) -> Note:
    d = record.doc
    return Note(moment(d["at"]), d["version"], Summary(d["counts"], d["digest"]))
