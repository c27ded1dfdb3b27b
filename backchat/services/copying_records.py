"""How a copy of a store is stored: its progress, in the store that is copied into, and a name in the other one.

Ids of the kind, none of which is ever copied:

copy                in the target: which copy it is, and how far it is; gone when it is finished. Also while it is
                    restored into or emptied (``copying_marks``)
stored.<n>          in the target: every record up to this place is stored; of several of them the furthest counts
aside.<kind>.<id>   in the target: this record did not fit beside others, and waits until they have changed as well
source              in the source: which copy was begun last; it stays
probe.<random>      in the source, for a moment: whether both are one store
backup              in a backup: what it was when it was made (``backing_up``)
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from backchat.ports.abilities import Place
from backchat.ports.storage import Delete, Kind, Put, Query, Range, Record

COPYING = Kind(name="copying")
Phase = Literal["records", "changes", "done", "restoring", "emptying"]
_HEAD, _SOURCE, _ASIDE, _STORED = "copy", "source", "aside.", "stored."


@dataclass(frozen=True, slots=True)
class Copy:
    """``position`` is the journal's, up to which changes are taken over; None for a source that has none.

    ``host``, ``pid`` and ``started`` are of the process that works on it, or did (``workers.Process``).
    """

    id: str
    phase: Phase
    position: str | None
    host: str
    pid: int
    started: float


HEAD = (COPYING.name, _HEAD)
SOURCE = (COPYING.name, _SOURCE)
BACKUP = (COPYING.name, "backup")


def copy_put(copy: Copy) -> Put:
    return Put(*HEAD, asdict(copy))


def copy_of(record: Record) -> Copy:
    return Copy(**record.doc)


def source_put(copy: str) -> Put:
    return Put(*SOURCE, {"copy": copy})


def stored_put(lane: int, place: Place) -> Put:
    kind, id = place
    return Put(COPYING.name, f"{_STORED}{lane:03d}", {"kind": kind, "id": id})


def stored_of(record: Record) -> Place:
    return record.doc["kind"], record.doc["id"]


def aside_put(place: Place) -> Put:
    kind, id = place
    return Put(COPYING.name, f"{_ASIDE}{kind}.{id}", {"kind": kind, "id": id})


def aside_delete(place: Place) -> Delete:
    kind, id = place
    return Delete(COPYING.name, f"{_ASIDE}{kind}.{id}")


ASIDE_QUERY = Query(kind=COPYING.name, ranges=(Range("id", _ASIDE, _ASIDE[:-1] + "/"),))
STORED_QUERY = Query(kind=COPYING.name, ranges=(Range("id", _STORED, _STORED[:-1] + "/"),), limit=1000)
