"""Which servers run on a store, as far as their records tell from here."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from backchat.ports.storage import Query, RecordStore
from backchat.services.runstate import WORKER
from backchat.services.workers import Process


@dataclass(frozen=True, slots=True)
class Server:
    """``worker`` is the id of its record. ``here``: on this host, where it is known to be alive.

    Of one elsewhere it is only known that it has not taken its leave.
    """

    worker: str
    node: str
    pid: int
    here: bool

    def __str__(self) -> str:
        return f"process {self.pid}" + ("" if self.here else f" on {self.node}")


async def running(store: RecordStore) -> Sequence[Server]:
    """The servers that have not said that they stop, without those that are known to be gone."""
    own = await asyncio.to_thread(Process.own)
    found: list[Server] = []
    for record in await store.find(Query(kind=WORKER.name, limit=1000)):
        process = Process(record.doc["host"], record.doc["pid"], record.doc["started"])
        here = process.host == own.host
        if not here or not await asyncio.to_thread(process.is_gone):
            found.append(Server(record.id, process.host.partition("/")[0], process.pid, here))
    return found


def listed(servers: Sequence[Server]) -> str:
    """For people: the first few of them."""
    rest = f" and {len(servers) - 5} more" if len(servers) > 5 else ""
    return ", ".join(map(str, servers[:5])) + rest
