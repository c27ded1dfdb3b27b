"""How soon, and at what cost, a process shows what another one says: two processes on one store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.arena import Options, warm_up, workplace
from bench.load import Target, failure, open_connections, read
from bench.processes import RIG_CORE, TARGET_CORE, upstream
from bench.procfs import cpu_seconds
from bench.report import Cell, Report, percentile
from bench.script import Script, script
from bench.server import Backchat, backchat, configuration
from bench.stores import storage
from bench.wire import Connection, Exchange, request

TALKING, GAP_MS = 10, 50
SILENT_MS = 120_000
STORAGES = ("sqlite", "mongo", "mongo-motor")


@dataclass(frozen=True, slots=True)
class Pair:
    """``here`` makes the replies, ``there`` shows them. ``keeper`` is the process of a database server."""

    name: str
    here: Target
    there: Target
    keeper: int | None


@contextmanager
def pair(name: str, directory: Path, options: Options) -> Iterator[Pair]:
    with ExitStack() as stack:
        stack.enter_context(upstream(options.ports, directory))
        place = stack.enter_context(storage(name, directory))
        config = configuration(options.ports, storage=place.section, window=4)
        servers: list[Backchat] = []
        for number in (1, 2):
            own = directory / str(number)
            own.mkdir()
            servers.append(stack.enter_context(backchat(own, options.ports + number, config)))
        key = servers[0].create_key()
        for server, core in zip(servers, (RIG_CORE, TARGET_CORE), strict=True):
            server.start(core=core)
        yield Pair(name, servers[0].target(key), servers[1].target(key), place.pid)


async def begun(at: Pair, asked: Sequence[Script]) -> tuple[list[Connection], list[Exchange], list[Exchange]]:
    """Replies that are made here and followed there, from their first token on; and all connections."""
    here, there = await open_connections(at.here, len(asked)), await open_connections(at.there, len(asked))
    made = []
    for connection, one in zip(here, asked, strict=True):
        made.append(connection.start(at.here.turn(one)))
        await asyncio.sleep(0.01)
    await asyncio.gather(*[exchange.first for exchange in made])
    runs = [read(exchange).run for exchange in made]
    followed = [
        connection.start(request("GET", f"/api/chat/stream/{run}", key=at.there.key))
        for connection, run in zip(there, runs, strict=True)
    ]
    await asyncio.gather(*[exchange.first for exchange in followed])
    return [*here, *there], made, followed


async def talking(at: Pair, tokens: int) -> tuple[dict[str, Cell], list[str]]:
    """Of each token that reached both clients: how much later it reached the one that follows."""
    scripts = [script(tokens, gap=GAP_MS, stamped=True) for _ in range(TALKING)]
    connections, made, followed = await begun(at, scripts)
    before = cpu_seconds(at.there.pid)
    async with asyncio.timeout(60 + tokens * GAP_MS / 1000):
        await asyncio.gather(*[exchange.done for exchange in (*made, *followed)])
    cpu = cpu_seconds(at.there.pid) - before
    late, faults = [], []
    for asked, own, other in zip(scripts, made, followed, strict=True):
        first, second = read(own), read(other)
        faults += [fault for fault in (failure(asked, own, first), failure(asked, other, second)) if fault]
        shown = {arrived - transit: arrived for arrived, transit in first.transits}
        times = {arrived - transit: arrived for arrived, transit in second.transits}
        # Not the first second: what was said before somebody followed came with the first look.
        written = sorted(shown.keys() & times.keys())[1000 // GAP_MS :]
        late += [(times[at] - shown[at]) / 1e6 for at in written]
    for connection in connections:
        connection.drop()
    row: dict[str, Cell] = {
        "storage": at.name,
        "tokens": len(late),
        "later p50 ms": percentile(late, 0.5),
        "p95": percentile(late, 0.95),
        "p99": percentile(late, 0.99),
        "CPU share of the process that follows": cpu / (tokens * GAP_MS / 1000),
    }
    return row, faults


async def silent(at: Pair, count: int, seconds: float) -> dict[str, Cell]:
    """Of replies of which nothing comes for a long time: what it costs to wait for them."""
    await asyncio.sleep(1)
    pids = [at.there.pid, *([at.keeper] if at.keeper is not None else [])]
    shares: list[list[float]] = []
    connections: list[Connection] = []
    for wanted in (0, count):
        if wanted:
            connections, _, _ = await begun(at, [script(2, gap=SILENT_MS) for _ in range(wanted)])
            await asyncio.sleep(3)
        before = [cpu_seconds(pid) for pid in pids]
        await asyncio.sleep(seconds)
        shares.append([(cpu_seconds(pid) - then) / seconds for pid, then in zip(pids, before, strict=True)])
    for connection in connections:
        connection.drop()
    idle, waiting = shares
    return {
        "storage": at.name,
        "followed": count,
        "CPU share, nobody follows": idle[0],
        "all are followed": waiting[0],
        "of the database server, nobody follows": idle[1] if at.keeper is not None else None,
        "all are followed ": waiting[1] if at.keeper is not None else None,
    }


async def measure(options: Options) -> Report:
    count, seconds = options.pick(50, 300), options.pick(4, 20)
    tokens = options.pick(100, 400)
    report = Report(
        "following",
        f"Two processes on one store. Replies are made in one, {1000 // GAP_MS} tokens a second each, and followed in "
        "the other; `later` is what lies between a token's arrival at a client of the first and at one of the second.",
    )
    rows, waits = [], []
    for name in STORAGES:
        with workplace(options.directory) as directory, pair(name, directory, options) as at:
            for target in (at.here, at.there):
                await warm_up(target, clients=8, turns=options.pick(4, 20))
            row, faults = await talking(at, tokens)
            rows.append(row)
            report.fault(name, faults)
            waits.append(await silent(at, count, seconds))
    report.add(rows, f"{TALKING} replies at once.")
    report.add(waits, f"Replies that say nothing for {seconds} s.")
    return report
