"""Three servers on one store behind nginx: one is killed under 300 streams; then each is restarted under load."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from bench.arena import workplace
from bench.mongod import free_port
from bench.processes import RIG_CORE, TARGET_CORE, NotReady, upstream
from bench.report import Cell, Report, note, percentile
from bench.script import reply_text, script
from bench.server import Backchat, backchat, configuration
from bench.soak.limits import Limits
from bench.soak.nginx import nginx
from bench.soak.readers import Turn
from bench.stores import storage
from bench.wire import HOST

SERVERS = 3
CORES = (TARGET_CORE, RIG_CORE)
"""What is measured is what clients see, so the rig may share its own."""
TOKENS, GAP_MS = 90, 1000
DRAIN = 10.0
CLIENTS, SHORT_TOKENS, SHORT_GAP_MS = 30, 20, 100
TURNS = 40
"""On one conversation: so many can be read at once."""
RETRY_SECONDS = 1.0
"""How long a client may be refused, with one process of three being restarted."""
PATIENCE = 300.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """``port`` is nginx's. The servers have one store."""

    servers: Sequence[Backchat]
    port: int
    key: str

    def address(self, server: Backchat) -> str:
        return f"{HOST}:{server.port}"


@contextmanager
def cluster(limits: Limits) -> Iterator[Cluster]:
    with ExitStack() as stack:
        directory = stack.enter_context(workplace(limits.directory))
        model = free_port()
        stack.enter_context(upstream(model, directory))
        store = stack.enter_context(storage(limits.storage, directory))
        config: Mapping[str, Any] = {
            **configuration(model, storage=store.section),
            "server": {"drain": DRAIN, "proxies": 1},
        }
        servers = []
        for n in range(SERVERS):
            place = directory / f"server{n}"
            place.mkdir()
            servers.append(stack.enter_context(backchat(place, free_port(), config)))
        key = servers[0].create_key()
        for n, server in enumerate(servers):
            server.start(core=CORES[n % 2])
        port = free_port()
        stack.enter_context(nginx(directory, port, [server.port for server in servers]))
        yield Cluster(servers, port, key)


async def checked(turns: Sequence[Turn]) -> list[str]:
    """What is wrong with them; ten are looked at at a time."""
    gate = asyncio.Semaphore(10)

    async def one(turn: Turn) -> Sequence[str]:
        async with gate:
            return await turn.check()

    return [problem for found in await asyncio.gather(*[one(turn) for turn in turns]) for problem in found]


# ---- one is killed --------------------------------------------------------------------------------------------------


async def kill_one(at: Cluster, limits: Limits, report: Report) -> None:
    """All streams open; every other client leaves once and comes back, most of them to a process that does not make
    their reply; then a process is killed.
    """
    chance = random.Random(limits.seed)
    turns = [Turn(at.port, at.key, script(TOKENS, gap=GAP_MS)) for _ in range(limits.readers)]
    victim = at.servers[0]
    async with asyncio.timeout(PATIENCE):
        tasks = []
        for n, turn in enumerate(turns):
            tasks.append(asyncio.create_task(turn.read(chance.uniform(0.5, 3) if n % 2 else None)))
            await asyncio.sleep(0.01)
        await asyncio.gather(*[turn.opened.wait() for turn in turns])
        await asyncio.sleep(chance.uniform(3, 5))
        here = sum(turn.end is None for turn in turns)
        killed = time.monotonic()
        victim.kill()
        await asyncio.gather(*tasks)
    faults = await checked(turns)
    dead = at.address(victim)
    broken = [turn for turn in turns if any(when >= killed for when, _ in turn.breaks)]
    theirs = [turn for turn in turns if turn.owner == dead]
    orphaned = [seconds for turn in theirs for when, seconds in turn.breaks if when >= killed]
    resumed = [seconds for turn in broken if turn not in theirs for when, seconds in turn.breaks if when >= killed]
    for turn in turns:
        whole = reply_text(turn.asked)
        if turn.end == "done" and turn.text != whole:
            faults.append(f"run {turn.run}: it has ended, and is not what the model said")
        if turn.end == "error" and (turn not in theirs or not whole.startswith(turn.text)):
            faults.append(f"run {turn.run} of {turn.owner}: it was cut off, or is not what the model said")
    report.add(
        [
            {
                "streams": len(turns),
                "open at the kill": here,
                "made by the killed process": len(theirs),
                "broken by the kill": len(broken),
                "resumed elsewhere": sum(turn.processes[-1] != dead for turn in broken),
                "complete": sum(turn.end == "done" for turn in turns),
                "interrupted": sum(turn.end == "error" for turn in turns),
                "events read": sum(len(turn.frames) for turn in turns),
                "refusals": sum(turn.refusals.total() for turn in turns),
                "break to next event, made elsewhere: ms (p50)": 1000 * percentile(resumed, 0.5),
                "max": 1000 * max(resumed, default=float("nan")),
                "break to the end, made by the killed: ms (p50)": 1000 * percentile(orphaned, 0.5),
                "its max": 1000 * max(orphaned, default=float("nan")),
            }
        ],
        "SIGKILL of one of three processes",
    )
    report.fault("kill", faults)
    foreign = [turn for turn in broken if turn not in theirs]
    if not theirs or not foreign or here < 0.9 * len(turns):
        report.fault("rig", [f"{here} streams were open; {len(theirs)} and {len(foreign)} hung on the killed process"])
    if any(turn.processes[-1] == dead for turn in broken):
        report.fault("rig", ["a client says that it was answered by the process that was dead"])
    await asyncio.to_thread(victim.start)


# ---- each is restarted ----------------------------------------------------------------------------------------------


async def talk(at: Cluster, number: int, until: asyncio.Event) -> list[Turn]:
    """Turn after turn on conversations of one's own; two of three clients with Idempotency-Keys."""
    done: list[Turn] = []
    while not until.is_set() and not (done and done[-1].problems):
        conversation = done[-1].conversation if len(done) % TURNS else None
        asked = script(SHORT_TOKENS, gap=SHORT_GAP_MS)
        done.append(Turn(at.port, at.key, asked, conversation=conversation, once=number % 3 > 0))
        await done[-1].read()
    return done


async def restart_each(at: Cluster, _: Limits, report: Report) -> None:
    until = asyncio.Event()
    stops: list[float] = []
    starts: list[float] = []
    async with asyncio.timeout(PATIENCE):
        clients = [asyncio.create_task(talk(at, n, until)) for n in range(CLIENTS)]
        await asyncio.sleep(2)
        for server in at.servers:
            began = time.monotonic()
            await asyncio.to_thread(server.stop)
            stops.append(time.monotonic() - began)
            starts.append(await asyncio.to_thread(server.start))
            await asyncio.sleep(1)
        until.set()
        turns = [turn for done in await asyncio.gather(*clients) for turn in done]
    faults = await checked(turns)
    for turn in turns:
        if turn.end != "done" or turn.text != reply_text(turn.asked):
            faults.append(f"run {turn.run}: {turn.end}, {len(turn.text)} characters")
    rows: list[dict[str, Cell]] = []
    for name, once in (("with Idempotency-Key", True), ("without", False)):
        group = [turn for turn in turns if turn.once == once]
        refusals = sum([turn.refusals for turn in group], Counter[int]())
        waits = [wait for turn in group for wait in turn.waits]
        rows.append(
            {
                "POSTs": name,
                "turns": len(group),
                "refused": ", ".join(f"{n} x {status}" for status, n in sorted(refusals.items())) or "none",
                "longest wait ms": 1000 * max(waits, default=0.0),
                "most refusals of one": max([turn.refusals.total() for turn in group], default=0),
                "streams broken off": sum(len(turn.breaks) for turn in group),
            }
        )
    ended, came = (", ".join(f"{seconds:.1f}" for seconds in times) for times in (stops, starts))
    report.add(rows, f"SIGTERM of one after the other: {ended} s to the end, {came} s to come back")
    report.fault("restarts", faults)
    longest = max([wait for turn in turns for wait in turn.waits], default=0.0)
    report.goal("refused, at most", longest, RETRY_SECONDS, unit="s")
    if longest > RETRY_SECONDS:
        report.fault("refusals", [f"a client was refused for {longest:.2f} s"])


async def campaign(limits: Limits) -> Report:
    report = Report(
        "soak-cluster",
        f"{SERVERS} server processes on one store ({limits.storage}) behind nginx, as docs/operations.md shows it. "
        f"{limits.readers} streams of {TOKENS} tokens, {GAP_MS} ms each, when one process is killed; {CLIENTS} clients "
        "who talk all the time while each is restarted.",
    )
    try:
        with cluster(limits) as at:
            for name, part in (("kill", kill_one), ("restarts", restart_each)):
                note(f"  {name} ...")
                try:
                    await part(at, limits, report)
                except (NotReady, TimeoutError) as error:
                    report.fault(name, [f"it did not come to its end: {type(error).__name__} {error}"])
    except (LookupError, NotReady) as error:
        report.fault("rig", [str(error)])
    return report
