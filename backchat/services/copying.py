"""A copy of one store in another, also of one that is served meanwhile; it can be killed and gone on with.

1. The source notes from now on what changes (``ports.abilities.Journaled``).
2. All its records are stored in the target (``copying_writing``).
3. What has changed is taken over, again and again (``copying_changes``), until no server runs on the source any more.
4. Both are compared, record by record (``copying_digests``): already while it is served, and when it is not, what has
   changed since. Then the source's journal ends.

How far it is is stored in the target, in the batches themselves. Versions of records are each store's own counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from backchat.errors import Conflict
from backchat.ports.abilities import Journaled, Place
from backchat.ports.storage import Purge, Query, Range, RecordStore
from backchat.services.copying_changes import Changes
from backchat.services.copying_digests import Differences, compare, differing
from backchat.services.copying_patience import Waits, patient
from backchat.services.copying_reading import held
from backchat.services.copying_records import COPYING, Copy, copy_put
from backchat.services.copying_servers import Server, listed, running
from backchat.services.copying_writing import stored_up_to, transfer
from backchat.services.kinds import COPIED

PAUSE = 0.25
FEW = 50
"""Changes that may be outstanding when a copy is as good as up to date: a served store always has some."""
MOST_SINCE = 100_000
"""Records that are remembered to have changed since both stores were compared; beyond that they are compared anew."""
LOOKS = 20
"""How often a record is looked at that differs because it is being changed."""

Stage = Literal["records", "changes", "servers", "digests"]


@dataclass(frozen=True, slots=True)
class Step:
    """How far it is. ``records`` and ``size`` in bytes: stored by this process; ``done`` of ``total`` at this stage.

    ``servers`` are those whose end is waited for.
    """

    stage: Stage
    done: int
    total: int | None
    records: int
    size: int
    servers: Sequence[Server] = ()


Told = Callable[[Step], None]


@dataclass(slots=True)
class Copying:
    """Carries on a copy that was begun (``copying_beginning``). ``waits`` is told when a store cannot be reached."""

    source: RecordStore
    target: RecordStore
    copy: Copy
    told: Told
    waits: Waits = lambda error: None
    _records: int = 0
    _size: int = 0
    _stage: Stage = "records"
    _done: int = 0
    _total: int | None = None
    _taken: int = 0
    _since: set[Place] | None = None

    def __post_init__(self) -> None:
        self.source, self.target = patient(self.source, self.waits), patient(self.target, self.waits)

    async def run(self, *, once: bool, verify: bool) -> Differences:
        """To the end. With ``once`` that is the first moment at which the target is up to date, servers or not.

        Returns how the target differs in the end, which is not at all; without ``verify`` nobody has looked. Raises
        Conflict when the source has forgotten what was changed, when a server was started on one that notes nothing,
        for records that do not fit, and when others have written to the target.
        """
        found = Differences()
        if self.copy.phase == "records":
            await self._all_records()
        if self.copy.phase == "changes":
            found = await self._up_to_date(once=once, verify=verify)
            if not found.count:
                await self._check_left_alone()
                self.copy = replace(self.copy, phase="done", position=None)
                await self.target.apply([copy_put(self.copy)])
        if self.copy.phase == "done":
            await self._tidy()
        return found

    async def _all_records(self) -> None:
        after = await stored_up_to(self.target)
        there = await held(self.target) if after is not None else 0
        self._begin("records", done=there, total=await held(self.source))
        await transfer(self.source, self.target, self._stored, after=after, noted=True)
        self.copy = replace(self.copy, phase="changes")
        await self.target.apply([copy_put(self.copy)])

    async def _up_to_date(self, *, once: bool, verify: bool) -> Differences:
        if not isinstance(self.source, Journaled):
            if servers := await running(self.source):
                raise Conflict(
                    f"a server was started on FROM meanwhile ({listed(servers)}), which cannot note what changes: "
                    "stop it, and copy anew with --replace"
                )
            return await self._compared() if verify else Differences()
        changes = Changes(self.source, self.target, self.copy, self._stored)
        try:
            return await self._follow(changes, once=once, verify=verify)
        finally:
            self.copy = changes.copy

    async def _follow(self, changes: Changes, *, once: bool, verify: bool) -> Differences:
        self._begin("changes")
        while True:
            servers = await running(self.source)  # before the changes: of one that has gone nothing comes after them
            taken = await self._take(changes)
            if len(taken) >= FEW:
                self._tell("changes")
                continue
            fitted, left = await changes.take_aside()
            if not left and (not taken if not servers else once):
                return await self._verdict(changes) if verify else Differences()
            if left and not (servers or taken or fitted):
                raise Conflict(
                    f"{left} records of FROM cannot be stored in TO, because others there have the same unique values"
                )
            if verify and not once and not left and self._since is None:  # now, so that the stop is a short one
                found = await self._compared_beside(changes)
                if found.count:
                    return found
                self._begin("changes", done=self._taken)
            else:
                self._tell("servers" if servers and not once else "changes", servers)
            await asyncio.sleep(PAUSE)

    async def _take(self, changes: Changes) -> Sequence[Place]:
        taken = await changes.take()
        self._taken += len(taken)
        if self._stage == "changes":
            self._done = self._taken
        if self._since is not None:
            self._since.update(taken)
            if len(self._since) > MOST_SINCE:
                self._since = None
        return taken

    async def _verdict(self, changes: Changes) -> Differences:
        """How the target differs: of what was compared before, what has changed since is looked at again."""
        if self._since is None:
            return await self._compared_beside(changes)
        return await self._unchanging(changes, await differing(self.source, self.target, [*self._since]))

    async def _compared(self) -> Differences:
        self._begin("digests", total=await held(self.source))
        return await compare(self.source, self.target, self._looked_at)

    async def _compared_beside(self, changes: Changes) -> Differences:
        """Compare both while the source is written to. What changes from now on is remembered."""
        self._since = set()
        found = await self._compared()
        if found.count > len(found.places):  # more than have just been changed
            return found
        return await self._unchanging(changes, found.places)

    async def _unchanging(self, changes: Changes, places: Sequence[Place]) -> Differences:
        """Those that differ though nobody has just changed them."""
        found = Differences()
        for _ in range(LOOKS):
            if not places:
                break
            await self._catch_up(changes)
            places = await differing(self.source, self.target, places)
            since = await self._catch_up(changes)
            for place in places:
                if place not in since:
                    found.add(*place)
            places = [place for place in places if place in since]
            await asyncio.sleep(PAUSE)
        return found

    async def _catch_up(self, changes: Changes) -> set[Place]:
        """What was changed until now is taken over; returns which records that was about."""
        found: set[Place] = set()
        while taken := await self._take(changes):
            found.update(taken)
            if len(taken) < FEW:
                break
        await changes.take_aside()
        return found

    async def _check_left_alone(self) -> None:
        if servers := await running(self.target):
            raise Conflict(
                f"a server was started on TO meanwhile ({listed(servers)}): stop it, and begin anew with --replace"
            )
        if await running(self.source):  # with ``once``: they go on writing
            return
        for kind in COPIED:
            here, there = [await store.count(Query(kind=kind)) for store in (self.source, self.target)]
            if here != there:
                raise Conflict(
                    f"FROM or TO was written to in the end ({kind}: {here:,} records in FROM, {there:,} in TO): "
                    "start the same command again, or begin anew with --replace"
                )

    async def _tidy(self) -> None:
        if isinstance(self.source, Journaled):
            await self.source.end_journal()
        await self.target.apply([Purge(COPYING.name, ranges=(Range("id", ""),))])

    def _begin(self, stage: Stage, *, done: int = 0, total: int | None = None) -> None:
        self._stage, self._done, self._total = stage, done, total
        self._tell(stage)

    def _stored(self, records: int, size: int) -> None:
        self._records += records
        self._size += size
        if self._stage == "records":
            self._looked_at(records)

    def _looked_at(self, records: int) -> None:
        self._done += records
        self._tell(self._stage)

    def _tell(self, stage: Stage, servers: Sequence[Server] = ()) -> None:
        self.told(Step(stage, self._done, self._total, self._records, self._size, servers))
