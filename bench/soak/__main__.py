"""``python -m bench.soak [<campaign> ...|all]``: exit status 1, and a line for each, when anything is violated."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import uvloop

from bench.arena import workplace
from bench.processes import prepare_rig
from bench.report import Report, environment, note
from bench.soak import cluster, copying, drops, kills, ledger, mongo_kills, mongo_primary, once, tasks
from bench.soak.limits import Limits

GRACE_SECONDS = 120.0
"""Beyond the minutes given, for the step under way."""
CAMPAIGNS: dict[str, Callable[[Limits], Coroutine[Any, Any, Report]]] = {
    "kills": kills.campaign,
    "once": once.campaign,
    "drops": drops.campaign,
    "ledger": ledger.campaign,
    "tasks": tasks.campaign,
    "cluster": cluster.campaign,
    "copying": copying.campaign,
    "mongo-kills": mongo_kills.campaign,
    "mongo-primary": mongo_primary.campaign,
}


def parse(arguments: list[str]) -> tuple[list[str], Limits]:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("what", nargs="*", default=["all"], help=f"{', '.join(CAMPAIGNS)} or all (the default)")
    default = Limits()
    for name, words in (
        ("kills", "how often the server is killed"),
        ("streams", "open streams at each kill"),
        ("posts", "equal POSTs in one campaign of idempotency"),
        ("repeats", "campaigns of idempotency of each kind"),
        ("drops", "streams dropped by their clients"),
        ("runs", "runs of all kinds that are booked"),
        ("tasks", "tasks at once in two server processes"),
        ("readers", "streams through nginx when one of three processes is killed"),
        ("messages", "messages in the store that is copied"),
        ("mongo-kills", "how often mongod is killed, with each driver"),
        ("failovers", "how often the primary of three nodes is killed, with each driver"),
        ("ports", "the first of three ports to use"),
        ("seed", "of the random moments"),
    ):
        value = getattr(default, name.replace("-", "_"))
        parser.add_argument(f"--{name}", type=int, default=value, help=f"{words} ({value})")
    parser.add_argument(
        "--storage",
        choices=["sqlite", "mongo", "mongo-motor"],
        default=default.storage,
        help="cluster: on what; copying: by which driver",
    )
    parser.add_argument(
        "--weak", action="store_true", help="mongo-kills, mongo-primary: w=1, to see that losses are found"
    )
    parser.add_argument("--minutes", type=float, default=default.minutes, help=f"at most ({default.minutes:g})")
    parser.add_argument("--dir", dest="directory", type=Path, help="where data is kept meanwhile; a disk, not memory")
    given = vars(parser.parse_args(arguments))
    what = given.pop("what")
    unknown = set(what) - {*CAMPAIGNS, "all"}
    if unknown:
        parser.error(f"unknown campaign {', '.join(sorted(unknown))}")
    return list(CAMPAIGNS) if "all" in what else what, Limits(**given)


async def bounded(name: str, limits: Limits) -> Report:
    """The campaign, or a report that it does not end: a server that hangs must not hang the rig."""
    try:
        async with asyncio.timeout(60 * limits.minutes + GRACE_SECONDS):
            return await CAMPAIGNS[name](limits)
    except TimeoutError:
        report = Report(f"soak-{name}", "The campaign did not end.")
        report.fault("time", [f"no end within {limits.minutes:g} minutes"])
        return report


def main() -> int:
    names, limits = parse(sys.argv[1:])
    prepare_rig()
    faults: list[str] = []
    for name in names:
        note(f"{name} ...")
        with workplace(limits.directory) as directory:
            where = environment(directory)
        report = uvloop.run(bounded(name, limits))
        report.publish(where)
        faults += report.faults
    for fault in faults:
        note(f"VIOLATED {fault}")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
