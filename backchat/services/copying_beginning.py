"""Whether one store may be copied into another, and how such a copy begins or is given up."""

from __future__ import annotations

from collections.abc import Callable

from backchat.errors import Conflict
from backchat.ports.abilities import Journaled
from backchat.ports.storage import Delete, Put, RecordStore
from backchat.services.copying_marks import marked, other_process, unfinished_business
from backchat.services.copying_reading import is_empty
from backchat.services.copying_records import COPYING, HEAD, SOURCE, Copy, copy_of, copy_put, source_put
from backchat.services.copying_servers import listed, running


async def check_pair(source: RecordStore, target: RecordStore, new_id: Callable[[], str]) -> None:
    """Raise Conflict if nothing can be copied, whatever is in the target: it is the same store, or the source is empty
    or not whole, or is served and cannot note what changes."""
    id = f"probe.{new_id()}"
    await source.apply([Put(COPYING.name, id, {}, 0)])
    try:
        same = await target.get(COPYING.name, id) is not None
    finally:
        await source.apply([Delete(COPYING.name, id)])
    if same:
        raise Conflict("FROM and TO are the same storage")
    if business := await unfinished_business(source):
        raise Conflict(f"FROM holds {business}")
    if await is_empty(source):
        raise Conflict("FROM holds nothing: is it the right storage? (see --data)")
    if not isinstance(source, Journaled) and (servers := await running(source)):
        raise Conflict(f"FROM cannot note what changes while it is copied: stop its servers first ({listed(servers)})")


async def check_unserved(target: RecordStore, *, replaced: bool) -> None:
    """Raise Conflict if a server runs on the target, or another process copies into it.

    A server elsewhere may be gone, and nobody here can tell: it does not count if the target is going to be emptied.
    """
    servers = [server for server in await running(target) if server.here or not replaced]
    if servers:
        gone = "" if all(server.here for server in servers) else "; if it is gone, --replace deletes what TO holds"
        raise Conflict(f"a server runs on TO: stop it first ({listed(servers)}){gone}")
    if other := await other_process(target):
        raise Conflict(f"another process copies into TO: {other}")


async def unfinished(source: RecordStore, target: RecordStore) -> bool:
    """Whether the target holds an unfinished copy of the source."""
    head, name = await target.get(*HEAD), await source.get(*SOURCE)
    return head is not None and name is not None and copy_of(head).id == name.doc["copy"]


async def begin(source: RecordStore, target: RecordStore, new_id: Callable[[], str]) -> Copy:
    """Begin a copy, or find the one that is there and can be gone on with.

    Raises Conflict for a target that holds anything else, and a source that does not know any more what was changed
    since the copy was begun.
    """
    record = await target.get(*HEAD)
    if record is not None:
        copy = copy_of(record)
        await _check_unfinished(source, target, copy)
        copy = await marked(copy.id, copy.phase, copy.position)
        await target.apply([copy_put(copy)])
        return copy
    if not await is_empty(target):
        raise Conflict("TO is not empty, and holds no unfinished copy of FROM")
    id, position = new_id(), None
    await source.apply([source_put(id)])
    if isinstance(source, Journaled):
        await source.end_journal()  # that of a copy before, which this one puts an end to
        position = await source.begin_journal()
    copy = await marked(id, "records", position)
    await target.apply([copy_put(copy)])
    return copy


async def give_up(source: RecordStore) -> None:
    """The source notes changes no more, and does not know a copy that was begun."""
    if isinstance(source, Journaled):
        await source.end_journal()
    await source.apply([Delete(*SOURCE)])


async def _check_unfinished(source: RecordStore, target: RecordStore, copy: Copy) -> None:
    if not await unfinished(source, target):
        raise Conflict(
            "TO holds an unfinished copy of another storage, or one that was given up; --replace deletes what it holds"
            if copy.phase not in ("restoring", "emptying")
            else f"TO holds {await unfinished_business(target)}"
        )
    if copy.phase == "done":
        return
    if copy.position is None or not isinstance(source, Journaled):
        raise Conflict("an unfinished copy of a storage that cannot note what changes: make it anew with --replace")
    try:
        await source.journal(copy.position, 1)
    except Conflict as error:
        raise Conflict(
            "FROM does not know any more what has changed since the copy was begun: make it anew with --replace"
        ) from error
