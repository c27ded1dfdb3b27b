"""Kill the server while streams are open, again and again: what a client had received must be in the store."""

from __future__ import annotations

import asyncio
import random
import secrets
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.arena import workplace
from bench.load import Answer, Target, read
from bench.report import Report, note, percentile
from bench.server import Backchat, backchat, configuration, get
from bench.soak.limits import Limits
from bench.wire import ask, connect, request

DELAY_MS = 20
RESTART_SECONDS = 2.0
ENDING_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What a client asked, and what it had of the answer when the connection ended."""

    nonce: str
    answer: Answer
    status: int


@dataclass(slots=True)
class Tally:
    kills: int = 0
    replies: int = 0
    broken: int = 0
    characters: int = 0
    restarts: list[float] = field(default_factory=list)
    settled: list[float] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)


def conversation_turn(nonce: str, words: int, conversation: str | None, key: str | None) -> bytes:
    """The echo provider says back as many words as it is told."""
    body = {"text": " ".join([nonce, *[f"w{number}" for number in range(words)]])}
    if conversation is not None:
        body["conversation_id"] = conversation
    return request("POST", "/api/chat/stream", body=body, key=key)


async def until_killed(
    target: Target, conversation: str | None, chance: random.Random, opened: asyncio.Event
) -> list[Seen]:
    """One client: turn after turn on one conversation, until the server is gone."""
    seen: list[Seen] = []
    connection = await connect(target.port)
    while connection.transport is not None:
        nonce = secrets.token_hex(6)
        exchange = connection.start(conversation_turn(nonce, chance.randint(20, 60), conversation, target.key))
        await exchange.first
        opened.set()
        await exchange.done
        answer = read(exchange)
        conversation = answer.conversation or conversation
        seen.append(Seen(nonce, answer, exchange.status))
        if exchange.complete and exchange.status != 200:
            break
    opened.set()
    return seen


async def one_kill(server: Backchat, key: str, clients: list[str | None], chance: random.Random) -> list[Seen]:
    """All clients at work, then SIGKILL at some moment. ``clients``: each one's conversation."""
    target = server.target(key)
    opened = [asyncio.Event() for _ in clients]
    tasks = [
        asyncio.create_task(until_killed(target, conversation, random.Random(chance.random()), event))
        for conversation, event in zip(clients, opened, strict=True)
    ]
    async with asyncio.timeout(30):
        await asyncio.gather(*[event.wait() for event in opened])
    await asyncio.sleep(chance.uniform(0, 1.2))
    server.kill()
    async with asyncio.timeout(30):
        histories = await asyncio.gather(*tasks)
    for number, seen in enumerate(histories):
        known = [s.answer.conversation for s in seen if s.answer.conversation]
        clients[number] = known[-1] if known else clients[number]
    return [s for seen in histories for s in seen]


def stored_reply(messages: Sequence[dict[str, Any]], nonce: str) -> tuple[int, str | None]:
    """How often the user's message is there, and the text of the answer that follows it."""
    places = [n for n, m in enumerate(messages) if m["role"] == "user" and m["content"].startswith(nonce)]
    if not places:
        return 0, None
    after = messages[places[0] + 1 : places[0] + 2]
    return len(places), after[0]["content"] if after and after[0]["role"] == "assistant" else None


async def check(target: Target, seen: Seen, tally: Tally) -> None:
    """Hold what one client received against the store and against the replay of its run."""
    answer, where = seen.answer, f"kill {tally.kills}, run {seen.answer.run}"
    if seen.status not in (0, 200):
        tally.violations.append(f"{where}: status {seen.status}")
    if answer.conversation is None or answer.run is None:
        return
    tally.replies += 1
    tally.broken += answer.end is None
    tally.characters += len(answer.text)
    path = f"/api/chat/stream/{answer.run}?after={answer.last_id or 0}"
    try:
        async with asyncio.timeout(ENDING_SECONDS):
            exchange = await ask(target.port, request("GET", path, key=target.key))
    except TimeoutError:
        tally.violations.append(f"{where}: its stream does not end")
        return
    replay = read(exchange)
    # 204: there is nothing after what this client has, so it must have the end.
    expected = 200 if answer.end is None else 204
    if exchange.status != expected or not exchange.complete:
        tally.violations.append(f"{where}: the replay answered {exchange.status}")
        return
    if answer.end is None and replay.end is None:
        tally.violations.append(f"{where}: the replay has no end")
    # Only now: the replay ended, so the run has.
    transcript = await get(target, f"/api/chat/messages?conversation_id={answer.conversation}&limit=100")
    times, stored = stored_reply(transcript["messages"], seen.nonce)
    if times != 1:
        tally.violations.append(f"{where}: the user's message is there {times} times")
    kept = stored or ""
    if not kept.startswith(answer.text):
        tally.violations.append(
            f"{where}: {len(answer.text)} characters were received, {len(kept)} are stored, and they differ"
        )
    if answer.text + replay.text != kept:
        tally.violations.append(f"{where}: received and replayed text together are not what is stored")
    if answer.end == "done" and answer.reply != kept:
        tally.violations.append(f"{where}: a finished reply is stored differently")


async def check_all(target: Target, seen: list[Seen], tally: Tally) -> None:
    """Ten at a time."""
    gate = asyncio.Semaphore(10)

    async def one(item: Seen) -> None:
        async with gate:
            await check(target, item, tally)

    await asyncio.gather(*[one(item) for item in seen])


def integrity(file: Path) -> str:
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        return "; ".join(str(row[0]) for row in database.execute("PRAGMA integrity_check"))


async def campaign(limits: Limits) -> Report:
    report = Report(
        "soak-kills",
        f"{limits.kills} times SIGKILL at a random moment with {limits.streams} streams open (echo, {DELAY_MS} ms "
        "a word).",
    )
    chance, tally = random.Random(limits.seed), Tally()
    with workplace(limits.directory) as directory:
        config = configuration(limits.ports, echo_delay_ms=DELAY_MS)
        with backchat(directory, limits.ports + 2, config) as server:
            key = server.create_key()
            server.start()
            clients: list[str | None] = [None] * limits.streams
            while tally.kills < limits.kills and not limits.exhausted and len(tally.violations) < 20:
                seen = await one_kill(server, key, clients, chance)
                tally.kills += 1
                tally.restarts.append(server.start())
                began = time.monotonic()
                await check_all(server.target(key), seen, tally)
                tally.settled.append(time.monotonic() - began)
                state = integrity(server.database)
                if state != "ok":
                    tally.violations.append(f"kill {tally.kills}: integrity_check: {state}")
                if tally.kills % 10 == 0:
                    note(f"  {tally.kills} kills, {tally.replies} replies, {len(tally.violations)} violations")
            size = server.database.stat().st_size / 2**20
    report.add(
        [
            {
                "kills": tally.kills,
                "replies checked": tally.replies,
                "cut off": tally.broken,
                "characters received": tally.characters,
                "restart median s": percentile(tally.restarts, 0.5),
                "p95 s": percentile(tally.restarts, 0.95),
                "max s": max(tally.restarts),
                "then checked in s (median)": percentile(tally.settled, 0.5),
                "database MiB": size,
            }
        ]
    )
    report.fault("violations", tally.violations)
    if tally.kills < limits.kills and not tally.violations:
        report.fault("time", [f"only {tally.kills} of {limits.kills} kills in {limits.minutes:g} minutes"])
    if tally.broken == 0:
        report.fault("rig", ["no stream was open at any kill"])
    report.goal("restart, p95", percentile(tally.restarts, 0.95), RESTART_SECONDS, unit="s")
    if percentile(tally.restarts, 0.95) > RESTART_SECONDS:
        report.fault("restart", [f"took {percentile(tally.restarts, 0.95):.2f} s (p95)"])
    return report
