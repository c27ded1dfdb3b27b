"""``python -m bench <name>|all``, the names being those below: measure, print Markdown, keep it in bench/results."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import uvloop

from bench import (
    append,
    following,
    idle,
    imports,
    ingest,
    lists,
    providers,
    retrieval,
    scale,
    search,
    streams,
    threads,
    ttft,
    turns,
    vault,
)
from bench.arena import Options, workplace
from bench.processes import RIG_CORE, TARGET_CORE, prepare_rig
from bench.report import Report, environment, note

MEASUREMENTS: dict[str, Callable[[Options], Coroutine[Any, Any, Report]]] = {
    "turns": turns.measure,
    "threads": threads.measure,
    "ttft": ttft.measure,
    "streams": streams.measure,
    "providers": providers.measure,
    "scale": scale.measure,
    "following": following.measure,
    "append": append.measure,
    "lists": lists.measure,
    "search": search.measure,
    "retrieval": retrieval.measure,
    "ingest": ingest.measure,
    "imports": imports.measure,
    "vault": vault.measure,
    "idle": idle.measure,
}


def parse(arguments: list[str]) -> tuple[list[str], Options]:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("what", nargs="+", choices=[*MEASUREMENTS, "all"])
    parser.add_argument("--short", action="store_true", help="seconds, not minutes: to see that it works")
    parser.add_argument("--rounds", type=int, help="how many interleaved rounds")
    parser.add_argument("--ports", type=int, default=9100, help="the first of three ports to use (9100)")
    parser.add_argument("--dir", type=Path, help="where data is kept meanwhile; a disk, not memory")
    parser.add_argument("--prefilled", type=Path, help="lists, search, vault: keep what is filled here, for again")
    parser.add_argument(
        "--storage", choices=["sqlite", "mongo", "mongo-motor"], default="sqlite", help="append, lists, search: on what"
    )
    given = parser.parse_args(arguments)
    if given.prefilled and given.storage != "sqlite":
        parser.error("--prefilled keeps SQLite files only")
    names = list(MEASUREMENTS) if "all" in given.what else given.what
    return names, Options(given.short, given.ports, given.dir, given.rounds, given.prefilled, given.storage)


def main() -> int:
    names, options = parse(sys.argv[1:])
    if TARGET_CORE == RIG_CORE:
        note("one core only: ratios hold, times do not")
    prepare_rig()
    failed = False
    for name in names:
        note(f"{name} ...")
        with workplace(options.directory) as directory:
            where = environment(directory)
        report = uvloop.run(MEASUREMENTS[name](options))
        report.publish(where)
        failed = failed or bool(report.faults)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
