"""Imports as records: what is known of each while it runs, and for some time after."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from backchat.domain.times import moment, stamp
from backchat.ports.storage import Kind, Put, Record

IMPORT = Kind(name="import", fields=("owner", "worker", "expires"), indexes=(("expires",),), partition="owner")
KEPT = timedelta(days=1)
"""For how long it is known how an import went, after the last that was heard of it."""
ImportStatus = Literal["running", "done", "failed", "cancelled", "interrupted"]


@dataclass(frozen=True, slots=True)
class ImportProblem:
    """Why an entry was not imported. ``index`` counts the entries of the file (or of all files of a zip) from 0."""

    index: int
    title: str | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """An import and how far it is.

    read, size  bytes of the file
    imported    conversations that were added, or grew;  skipped  ones that were there already
    problems    the first hundred;  ``failed`` counts them all
    problem     why the file as a whole could not be read to its end, if it could not
    cancelled   somebody wants it to stop
    """

    id: str
    owner: str
    worker: str
    name: str
    size: int
    created_at: datetime
    status: ImportStatus = "running"
    read: int = 0
    imported: int = 0
    skipped: int = 0
    failed: int = 0
    problems: tuple[ImportProblem, ...] = ()
    problem: str | None = None
    ended_at: datetime | None = None
    cancelled: bool = False
    version: int = 0


def import_put(i: Import, now: datetime) -> Put:
    """Store an import as the successor of the version it carries."""
    doc = {
        "owner": i.owner,
        "worker": i.worker,
        "name": i.name,
        "size": i.size,
        "created": stamp(i.created_at),
        "status": i.status,
        "read": i.read,
        "imported": i.imported,
        "skipped": i.skipped,
        "failed": i.failed,
        "problems": [[p.index, p.title, p.reason] for p in i.problems],
        "problem": i.problem,
        "ended": stamp(i.ended_at) if i.ended_at is not None else None,
        "cancelled": i.cancelled,
        "expires": stamp(now + KEPT),
    }
    return Put(IMPORT.name, i.id, doc, i.version)


def import_of(record: Record) -> Import:
    d = record.doc
    return Import(
        id=record.id,
        owner=d["owner"],
        worker=d["worker"],
        name=d["name"],
        size=d["size"],
        created_at=moment(d["created"]),
        status=d["status"],
        read=d["read"],
        imported=d["imported"],
        skipped=d["skipped"],
        failed=d["failed"],
        problems=tuple([ImportProblem(*p) for p in d["problems"]]),
        problem=d["problem"],
        ended_at=moment(d["ended"]) if d["ended"] else None,
        cancelled=d["cancelled"],
        version=record.version,
    )
