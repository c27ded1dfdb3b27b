"""SIGKILL of the primary of three nodes amid 16 writers: nothing is lost or done twice, and writers see only a pause.

With ``--weak`` the store is content with the primary alone, and the campaign has to find losses.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Sequence
from pathlib import Path

from bench.arena import workplace
from bench.mongod import Mongod
from bench.processes import RIG_CORE, TARGET_CORE, NotReady
from bench.report import Cell, Report, note, percentile
from bench.soak.limits import Limits
from bench.soak.mongo_writers import DRIVERS, WRITERS, at_work, careless, check_all, opened, team

NODES = 3
TIMEOUT = 60.0
PATIENCE = 60.0


async def campaign(limits: Limits) -> Report:
    report = Report(
        "soak-mongo-primary",
        f"{limits.failovers} times SIGKILL of the primary of {NODES} nodes amid {WRITERS} writers, with each driver.",
    )
    with workplace(limits.directory) as directory, careless(limits.weak):
        report.add([await _with(driver, limits, directory / driver, report) for driver in DRIVERS])
    return report


async def _with(driver: str, limits: Limits, directory: Path, report: Report) -> dict[str, Cell]:
    chance = random.Random(limits.seed)
    writers, pauses, violations, kills = team(chance), list[float](), list[str](), 0
    nodes = [Mongod(directory / str(n)) for n in range(NODES)]
    try:
        for node in nodes:
            await asyncio.to_thread(_start, node)
        await asyncio.to_thread(nodes[0].initiate, *nodes[1:])
        await _healthy(nodes)
        url = f"mongodb://{','.join(node.address for node in nodes)}/?replicaSet={nodes[0].replica_set}"
        async with opened(url, driver, TIMEOUT) as store:
            while kills < limits.failovers and not limits.exhausted and not violations:
                seen = [len(writer.waits) for writer in writers]
                async with at_work(store, writers):
                    await asyncio.sleep(chance.uniform(0.5, 2))
                    primary = await _primary(nodes)
                    await asyncio.to_thread(primary.kill)
                    kills += 1
                    await _primary([node for node in nodes if node is not primary])
                    await asyncio.sleep(chance.uniform(0.5, 2))
                    await asyncio.to_thread(_start, primary)
                    await _healthy(nodes)
                pauses.append(max(max(w.waits[n:], default=0.0) for w, n in zip(writers, seen, strict=True)))
                violations = await check_all(store, writers)
                note(f"  {driver}: {kills} kills, longest pause {pauses[-1]:.1f} s, {len(violations)} violations")
    finally:
        for node in nodes:
            await asyncio.to_thread(node.stop)
    report.fault(driver, violations)
    unknown = sum(w.unknown for w in writers)
    if unknown:
        report.fault(f"{driver}, more than a pause", [f"{unknown} batches were not acknowledged"])
    if kills < limits.failovers and not violations:
        report.fault("time", [f"only {kills} of {limits.failovers} kills in {limits.minutes:g} minutes"])
    waits = [wait for writer in writers for wait in writer.waits]
    return {
        "driver": driver,
        "kills": kills,
        "batches acknowledged": sum(w.batches for w in writers),
        "not acknowledged": unknown,
        "lost, half or twice": len(violations),
        "pause median s": percentile(pauses, 0.5),
        "longest s": max(pauses),
        "batch p50 ms": 1000 * percentile(waits, 0.5),
    }


async def _primary(nodes: Sequence[Mongod]) -> Mongod:
    """The primary among nodes that are up. Raises NotReady."""
    for _ in range(int(PATIENCE / 0.1)):
        for node in nodes:
            if (await asyncio.to_thread(node.command, {"hello": 1}))["isWritablePrimary"]:
                return node
        await asyncio.sleep(0.1)
    raise NotReady("no primary")


async def _healthy(nodes: Sequence[Mongod]) -> None:
    """All nodes are primary or secondary, so that the next primary can be any of them. Raises NotReady."""
    for _ in range(int(PATIENCE / 0.1)):
        status = await asyncio.to_thread((await _primary(nodes)).command, {"replSetGetStatus": 1})
        if all(member["state"] in (1, 2) for member in status["members"]):
            return
        await asyncio.sleep(0.1)
    raise NotReady("a node does not come back")


def _start(node: Mongod) -> None:
    node.start()
    os.sched_setaffinity(node.pid, {TARGET_CORE, RIG_CORE})
