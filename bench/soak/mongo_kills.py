"""SIGKILL of mongod amid 16 writers, again and again, data on a disk: nothing acknowledged is lost, nothing is half.

With ``--weak`` the store does not wait for the journal, and the campaign has to find losses.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from pathlib import Path

from bench.arena import workplace
from bench.mongod import Mongod
from bench.processes import RIG_CORE, TARGET_CORE
from bench.report import Cell, Report, note, percentile
from bench.soak.limits import Limits
from bench.soak.mongo_writers import DRIVERS, WRITERS, at_work, careless, check_all, opened, team

TIMEOUT = 30.0


async def campaign(limits: Limits) -> Report:
    report = Report(
        "soak-mongo-kills", f"{limits.mongo_kills} times SIGKILL of mongod amid {WRITERS} writers, with each driver."
    )
    with workplace(limits.directory) as directory, careless(limits.weak):
        report.add([await _with(driver, limits, directory / driver, report) for driver in DRIVERS])
    return report


async def _with(driver: str, limits: Limits, directory: Path, report: Report) -> dict[str, Cell]:
    chance = random.Random(limits.seed)
    writers, downtimes, violations, kills = team(chance), list[float](), list[str](), 0
    server = Mongod(directory)
    try:
        await asyncio.to_thread(_start, server)
        await asyncio.to_thread(server.initiate)
        async with opened(server.url, driver, TIMEOUT) as store:
            while kills < limits.mongo_kills and not limits.exhausted and not violations:
                async with at_work(store, writers):
                    await asyncio.sleep(chance.uniform(0.3, 1.5))
                    began = time.monotonic()
                    await asyncio.to_thread(server.kill)
                    kills += 1
                    await asyncio.to_thread(_start, server)
                    downtimes.append(time.monotonic() - began)
                    await asyncio.sleep(chance.uniform(0.3, 1.0))
                violations = await check_all(store, writers)
                batches = sum(writer.batches for writer in writers)
                note(f"  {driver}: {kills} kills, {batches} batches, {len(violations)} violations")
    finally:
        await asyncio.to_thread(server.stop)
    report.fault(driver, violations)
    if kills < limits.mongo_kills and not violations:
        report.fault("time", [f"only {kills} of {limits.mongo_kills} kills in {limits.minutes:g} minutes"])
    waits = [wait for writer in writers for wait in writer.waits]
    return {
        "driver": driver,
        "kills": kills,
        "batches acknowledged": sum(w.batches for w in writers),
        "not said": sum(w.unknown for w in writers),
        "lost or half": len(violations),
        "answers again after s (median)": percentile(downtimes, 0.5),
        "at the latest": max(downtimes),
        "batch p50 ms": 1000 * percentile(waits, 0.5),
        "longest s": max(waits),
    }


def _start(server: Mongod) -> None:
    server.start()
    os.sched_setaffinity(server.pid, {TARGET_CORE, RIG_CORE})
