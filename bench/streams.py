"""A thousand streams at once: are they on time, what do they cost, what does an open one hold."""

from __future__ import annotations

import asyncio
import gc
import time
from dataclasses import dataclass, field, replace
from statistics import median

from bench.arena import Arena, Options, arena, warm_up
from bench.load import Target, failure, open_connections, read
from bench.procfs import cpu_seconds, rss_kib, waited_seconds
from bench.report import Cell, Report, percentile
from bench.script import Script, script
from bench.wire import Exchange

GAP_MS, LATE_MS = 50, 250
RAMP_SECONDS = 3.0


@dataclass(slots=True)
class Held:
    """One target holding all streams. ``transits`` and CPU are those of the time in which all were open."""

    name: str
    open_streams: int = 0
    idle_kib: float = 0.0
    held_kib: list[float] = field(default_factory=list)
    cpu: float = 0.0
    starved: float = 0.0
    rig: float = 0.0
    transits: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def kib_per_stream(self) -> float:
        return (median(self.held_kib) - self.idle_kib) / self.open_streams

    def row(self) -> dict[str, Cell]:
        late = sum(1 for t in self.transits if t > LATE_MS)
        return {
            "target": self.name,
            "open": self.open_streams,
            "tokens": len(self.transits),
            "transit p50 ms": percentile(self.transits, 0.5),
            "p99": percentile(self.transits, 0.99),
            f"later than {LATE_MS} ms, %": 100 * late / max(1, len(self.transits)),
            "CPU share": self.cpu,
            "waited for a core": self.starved,
            "rig's CPU share": self.rig,
            "RSS idle MiB": self.idle_kib / 1024,
            "KiB a stream": self.kib_per_stream,
            "failed": len(self.failures),
        }


async def hold(stage: Arena, target: Target, streams: int, seconds: float) -> Held:
    """Open the streams over the ramp, look at them while all are open, and read them to their ends."""
    tokens = int((RAMP_SECONDS + 2 + seconds) * 1000 / GAP_MS)
    result = Held(target.name)
    connections = await open_connections(target, streams)
    await asyncio.sleep(1)
    result.idle_kib = rss_kib(target.pid)
    exchanges: list[tuple[Script, Exchange]] = []
    for number, connection in enumerate(connections):
        asked = script(tokens, gap=GAP_MS, stamped=True)
        exchanges.append((asked, connection.start(target.turn(asked))))
        if number % 10 == 9:
            await asyncio.sleep(RAMP_SECONDS * 10 / streams)
    await asyncio.sleep(1.5)
    gc.collect()
    gc.disable()
    began = time.monotonic_ns()
    result.open_streams = _open(exchanges)
    before = cpu_seconds(target.pid), waited_seconds(target.pid), _rig_seconds(stage)
    while time.monotonic_ns() < began + seconds * 1e9:
        result.held_kib.append(rss_kib(target.pid))
        await asyncio.sleep(0.25)
    ended = time.monotonic_ns()
    lasted = (ended - began) / 1e9
    result.open_streams = min(result.open_streams, _open(exchanges))
    result.cpu = (cpu_seconds(target.pid) - before[0]) / lasted
    result.starved = (waited_seconds(target.pid) - before[1]) / lasted
    result.rig = (_rig_seconds(stage) - before[2]) / lasted
    gc.enable()
    try:
        async with asyncio.timeout(2 * seconds + 60):
            await asyncio.gather(*[exchange.done for _, exchange in exchanges])
    except TimeoutError:
        result.failures.append("some streams had not ended long after their time")
    for asked, exchange in exchanges:
        answer = read(exchange)
        fault = failure(asked, exchange, answer)
        if fault is not None:
            result.failures.append(fault)
        result.transits += [t / 1e6 for arrived, t in answer.transits if began <= arrived <= ended]
    for connection in connections:
        connection.drop()
    await asyncio.sleep(1)
    return result


def _open(exchanges: list[tuple[Script, Exchange]]) -> int:
    """Streams of which something has come, and not the end."""
    return sum(1 for _, exchange in exchanges if exchange.first.done() and not exchange.done.done())


def _rig_seconds(stage: Arena) -> float:
    """CPU time of the upstream and of this process, its children left out."""
    return cpu_seconds(stage.upstream.pid) + time.process_time()


async def measure(options: Options) -> Report:
    streams = options.pick(200, 1000)
    seconds = options.pick(3, 20)
    report = Report(
        "streams",
        f"{streams} streams open at once, {1000 // GAP_MS} tokens a second each, every delta durable. `upstream` is "
        "the rig without anything between: what it adds by itself.",
    )
    with arena(options) as stage:
        for target in (stage.relay, stage.backchat):
            await warm_up(target, clients=64, turns=options.pick(5, 20))
        targets = (replace(stage.upstream, direct=True), stage.relay, stage.backchat)
        results = [await hold(stage, target, streams, seconds) for target in targets]
    report.add([result.row() for result in results], f"{seconds} s with all streams open.")
    stored = results[-1]
    report.goal("memory of an open stream", stored.kib_per_stream, 40, unit="KiB")
    report.goal("streams open at once", stored.open_streams, streams, at_least=True)
    for result in results:
        report.fault(result.name, result.failures)
    return report
