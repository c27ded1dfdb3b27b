"""The mark of a store that is not whole: it is being copied or restored into, or emptied for that, or was so once.

Its record is the ``copy`` of ``copying_records``. It is there before anything else is stored, and goes last.
"""

from __future__ import annotations

import asyncio

from backchat.ports.storage import RecordStore
from backchat.services.copying_records import HEAD, Copy, Phase, copy_of
from backchat.services.workers import Process


async def marked(id: str, phase: Phase, position: str | None = None) -> Copy:
    """A mark of this process."""
    own = await asyncio.to_thread(Process.own)
    return Copy(id, phase, position, own.host, own.pid, own.started)


async def unfinished_business(store: RecordStore) -> str | None:
    """For people: what a store that is not whole holds, and what to do; None for one that is."""
    record = await store.get(*HEAD)
    if record is None:
        return None
    match copy_of(record).phase:
        case "restoring":
            return "an unfinished restore: begin it anew with backchat restore --replace"
        case "emptying":
            return "what is left of a replacement that was cut off: begin it anew with --replace"
        case _:
            return "an unfinished copy: finish it with the same backchat copy, or fill it anew with --replace"


async def other_process(store: RecordStore) -> int | None:
    """The id of another process of this host that copies or restores into a store."""
    record = await store.get(*HEAD)
    if record is None:
        return None
    copy, own = copy_of(record), await asyncio.to_thread(Process.own)
    process = Process(copy.host, copy.pid, copy.started)
    if process.pid == own.pid or process.host != own.host or await asyncio.to_thread(process.is_gone):
        return None
    return process.pid
