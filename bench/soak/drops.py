"""Clients that leave in the middle of a stream: nothing may stay behind, and every reply is finished and stored."""

from __future__ import annotations

import asyncio
import random
import re
import time
from dataclasses import dataclass

from bench.arena import workplace
from bench.load import Target, read
from bench.processes import upstream
from bench.procfs import open_files, rss_kib, threads
from bench.report import Cell, Report
from bench.script import Script, reply_text, script
from bench.server import backchat, configuration, get
from bench.soak.limits import Limits
from bench.wire import ask, connect, request

TOKENS, GAP_MS, AT_ONCE = 40, 25, 200
QUIET_SECONDS = 60.0
GAUGES = ("backchat_runs_running", "backchat_open_streams")


@dataclass(frozen=True, slots=True)
class State:
    """What a server holds. ``gauges`` are those of its /metrics."""

    files: int
    threads: int
    rss_mib: float
    gauges: tuple[float, ...]

    def row(self, when: str) -> dict[str, Cell]:
        named: dict[str, Cell] = dict(zip(GAUGES, self.gauges, strict=True))
        return {"when": when, "open files": self.files, "threads": self.threads, "RSS MiB": self.rss_mib, **named}


async def state(target: Target) -> State:
    exchange = await ask(target.port, request("GET", "/metrics", key=target.key))
    text = exchange.body().decode()
    found = [re.search(rf"^{name} (\S+)$", text, re.M) for name in GAUGES]
    missing = [name for name, match in zip(GAUGES, found, strict=True) if match is None]
    if exchange.status != 200 or missing:
        raise RuntimeError(f"/metrics: status {exchange.status}, without {', '.join(missing)}")
    gauges = tuple(float(match[1]) for match in found if match is not None)
    return State(open_files(target.pid), threads(target.pid), rss_kib(target.pid) / 1024, gauges)


async def quiet(target: Target, files: int | None = None) -> State:
    """The state once nothing runs and, if given, no more files are open than that; or when the patience is over.

    Connections to the upstream are kept for a while by whoever made them: that is why it takes patience.
    """
    until = time.monotonic() + QUIET_SECONDS
    lowest = await state(target)
    steady = 0
    while time.monotonic() < until:
        await asyncio.sleep(1)
        now = await state(target)
        steady = steady + 1 if now.files >= lowest.files else 0
        lowest = now
        idle = not any(now.gauges)
        if idle and (now.files <= files if files is not None else steady >= 20):
            break
    return lowest


async def drop(target: Target, chance: random.Random) -> tuple[Script, str | None]:
    """Open a stream, see its first bytes, and leave at some moment before its end; returns the conversation."""
    asked = script(TOKENS, gap=GAP_MS)
    connection = await connect(target.port)
    exchange = connection.start(target.turn(asked))
    await exchange.first
    await asyncio.sleep(chance.uniform(0.02, 0.7 * TOKENS * GAP_MS / 1000))
    connection.drop()
    answer = read(exchange)
    return asked, answer.conversation if exchange.status == 200 and answer.end is None else None


async def drop_many(target: Target, count: int, chance: random.Random) -> list[tuple[Script, str | None]]:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one() -> tuple[Script, str | None]:
        async with gate:
            return await drop(target, chance)

    return await asyncio.gather(*[one() for _ in range(count)])


async def incomplete(target: Target, dropped: list[tuple[Script, str | None]]) -> list[str]:
    """Replies that are not in the store as the provider said them."""
    found = []
    for asked, conversation in dropped:
        if conversation is None:
            found.append("a client saw no beginning, or the end, of its stream")
            continue
        messages = (await get(target, f"/api/chat/messages?conversation_id={conversation}"))["messages"]
        if [m["content"] for m in messages] != [asked.text, reply_text(asked)]:
            stored = [len(m["content"]) for m in messages]
            found.append(f"conversation {conversation} holds messages of {stored} characters")
    return found


async def campaign(limits: Limits) -> Report:
    report = Report(
        "soak-drops", f"{limits.drops} streams whose clients leave in the middle, at most {AT_ONCE} at a time."
    )
    chance = random.Random(limits.seed)
    with (
        workplace(limits.directory) as directory,
        upstream(limits.ports, directory),
        backchat(directory, limits.ports + 2, configuration(limits.ports)) as server,
    ):
        key = server.create_key()
        server.start()
        target = server.target(key)
        # The same once before the clock starts: what a working server holds is no leak.
        await drop_many(target, min(limits.drops, 2 * AT_ONCE), chance)
        before = await quiet(target)
        dropped = await drop_many(target, limits.drops, chance)
        after = await quiet(target, before.files)
        report.fault("replies", await incomplete(target, dropped))
    report.add([before.row("before"), after.row("after")])
    if any(after.gauges):
        report.fault(
            "open", [f"{name} is {value:g}" for name, value in zip(GAUGES, after.gauges, strict=True) if value]
        )
    if after.files > before.files:
        report.fault("files", [f"{after.files} open files, {before.files} before"])
    if after.threads > before.threads:
        report.fault("threads", [f"{after.threads} threads, {before.threads} before"])
    allowed = max(8.0, before.rss_mib / 10)
    report.goal("growth of RSS", after.rss_mib - before.rss_mib, allowed, unit="MiB")
    if after.rss_mib - before.rss_mib > allowed:
        report.fault("memory", [f"{after.rss_mib:.1f} MiB, {before.rss_mib:.1f} before"])
    return report
