"""Idempotency-Keys: each is kept with the run that it started, in the batch that stored the run."""

from __future__ import annotations

from datetime import datetime

from backchat.domain.identity import Identity
from backchat.domain.run import Run
from backchat.domain.times import stamp
from backchat.errors import IdempotencyMismatch, NotFound
from backchat.ports.storage import Put, RecordStore
from backchat.services.runs import Runs
from backchat.services.runstate import IDEMPOTENCY
from backchat.services.saying import Once


def once_put(who: Identity, once: Once, run: Run, until: datetime) -> Put:
    """Stale if the key was used already."""
    doc = {"fingerprint": once.fingerprint, "run": run.id, "expires": stamp(until)}
    return Put(IDEMPOTENCY.name, once.id(who), doc, 0)


async def earlier(store: RecordStore, runs: Runs, who: Identity, once: Once | None) -> Run | None:
    """The run that this key started before; IdempotencyMismatch if the request was another one."""
    record = await store.get(IDEMPOTENCY.name, once.id(who)) if once is not None else None
    if once is None or record is None:
        return None
    if record.doc["fingerprint"] != once.fingerprint:
        raise IdempotencyMismatch("this Idempotency-Key was used with another request")
    try:
        return await runs.open(who, record.doc["run"])
    except NotFound:
        raise NotFound("what this Idempotency-Key started was deleted") from None
