"""What a turn costs on each storage, with one process and with two on the same store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench.arena import Options, warm_up, workplace
from bench.load import Round, Target, open_connections, run_round
from bench.processes import RIG_CORE, TARGET_CORE, relay, upstream
from bench.procfs import cpu_seconds
from bench.report import Cell, Report, percentile
from bench.script import script
from bench.server import Backchat, backchat, configuration
from bench.stores import storage

CLIENTS, TOKENS, GAP_MS = 32, 64, 20
STORAGES = ("sqlite", "mongo", "mongo-motor")


@dataclass(frozen=True, slots=True)
class Site:
    """A storage, and processes that share it. ``keeper`` is the process of a database server."""

    name: str
    targets: list[Target]
    keeper: int | None
    busy: list[Round] = field(default_factory=list)
    paced: list[Round] = field(default_factory=list)
    kept: list[float] = field(default_factory=list)


@contextmanager
def site(name: str, count: int, directory: Path, ports: list[int], upstream_port: int) -> Iterator[Site]:
    with ExitStack() as stack:
        place = stack.enter_context(storage(name, directory))
        config = configuration(upstream_port, storage=place.section, window=4)
        servers: list[Backchat] = []
        for number, port in enumerate(ports[:count]):
            own = directory / str(number)
            own.mkdir(parents=True)
            servers.append(stack.enter_context(backchat(own, port, config)))
        key = servers[0].create_key()
        for server, core in zip(servers, (TARGET_CORE, RIG_CORE), strict=False):
            server.start(core=core)
        yield Site(f"{name}, {count}", [server.target(key) for server in servers], place.pid)


async def one_round(site: Site, turns: int, gap: int | None) -> tuple[Round, float]:
    """All clients, spread over the processes; and the CPU seconds of a database server."""
    each = CLIENTS // len(site.targets)
    kept = cpu_seconds(site.keeper) if site.keeper is not None else 0.0
    made = [await open_connections(target, each) for target in site.targets]

    def asked() -> object:
        return script(TOKENS, gap=gap, stamped=True) if gap is not None else script(TOKENS)

    spread = TOKENS * gap / 1000 if gap is not None else 0.0
    rounds = await asyncio.gather(
        *[
            run_round(target, connections, turns, asked, spread=spread)  # type: ignore[arg-type]
            for target, connections in zip(site.targets, made, strict=True)
        ]
    )
    for connection in [one for connections in made for one in connections]:
        connection.drop()
    whole = Round(
        turns=sum(r.turns for r in rounds),
        seconds=max(r.seconds for r in rounds),
        cpu=sum(r.cpu for r in rounds),
        starved=max(r.starved for r in rounds),
    )
    for one in rounds:
        for name in ("first_tokens", "first_transits", "transits", "durations", "failures"):
            getattr(whole, name).extend(getattr(one, name))
    return whole, (cpu_seconds(site.keeper) - kept if site.keeper is not None else 0.0)


def row(name: str, busy: list[Round], paced: list[Round], kept: list[float]) -> dict[str, Cell]:
    transits = [t / 1e6 for r in paced for t in r.transits]
    first = [t / 1e6 for r in paced for t in r.first_transits]
    return {
        "storage, processes": name,
        "turns/s": median(r.turns / r.seconds for r in busy),
        "CPU ms a turn": median(r.cpu_ms_per_turn for r in busy),
        "of the database": median(1000 * k / r.turns for k, r in zip(kept, busy, strict=True)) if kept else 0.0,
        "turn p50 ms": percentile([d / 1e6 for r in busy for d in r.durations], 0.5),
        "turn p99 ms": percentile([d / 1e6 for r in busy for d in r.durations], 0.99),
        "paced: first token, transit p50 ms": percentile(first, 0.5),
        "p99": percentile(first, 0.99),
        "paced: any token, transit p50 ms": percentile(transits, 0.5),
        "p99 ": percentile(transits, 0.99),
    }


async def measure(options: Options) -> Report:
    report = Report(
        "scale",
        f"{CLIENTS} clients, replies of {TOKENS} tokens: as fast as they come, and paced {GAP_MS} ms apart. One and "
        "two processes of backchat on a storage, every delta durable; MongoDB is one node on the same two cores.",
    )
    rounds, turns = options.round_count(3, 5), options.pick(4, 20)
    with ExitStack() as stack:
        directory = stack.enter_context(workplace(options.directory))
        first = options.ports
        stack.enter_context(upstream(first, directory))
        plain = stack.enter_context(relay(first + 1, first, directory))
        yardstick = Site("relay", [Target("relay", first + 1, plain.pid)], None)
        sites, ports = [yardstick], first + 2
        for name in STORAGES:
            for count in (1, 2):
                own = directory / f"{name}-{count}"
                own.mkdir()
                sites.append(stack.enter_context(site(name, count, own, [ports, ports + 1], first)))
                ports += 2
        for one in sites:
            for target in one.targets:
                await warm_up(target, clients=8, turns=options.pick(4, 20))
        for _ in range(rounds):
            for one in sites:
                busy, kept = await one_round(one, turns, None)
                one.busy.append(busy)
                one.kept.append(kept)
                one.paced.append((await one_round(one, options.pick(1, 3), GAP_MS))[0])
    report.add([row(s.name, s.busy, s.paced, s.kept) for s in sites], f"Medians of {rounds} rounds, interleaved.")
    for one in sites:
        report.fault(one.name, [failure for r in (*one.busy, *one.paced) for failure in r.failures])
    return report
