"""Copy a store with all kinds from SQLite to MongoDB and back, while it is served, and kill every copy twice."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from backchat.app import new_id, now
from backchat.ports.storage import Query
from backchat.services.accounts import Accounts
from bench.arena import workplace
from bench.load import Target, read
from bench.mongod import Mongod, one_node
from bench.processes import RIG_CORE, TARGET_CORE
from bench.report import Report, note
from bench.server import USER, Backchat, backchat, configuration
from bench.soak.copier import Copier, Hop
from bench.soak.everything import digests, fill_all
from bench.soak.file import free_port
from bench.soak.limits import Limits
from bench.stores import Storage, sqlite_file
from bench.wire import ask, connect, request

CLIENTS = 4
WARM_SECONDS = 20.0
KILLS = 2
DELAY_MS = 2
UP_TO_DATE = "TO is up to date"
RSS_MIB = 150.0


@dataclass(slots=True)
class Said:
    """Words that a server has acknowledged, each in a conversation that was not deleted since."""

    words: dict[str, str] = field(default_factory=dict)
    deleted: int = 0
    broken: int = 0


async def talk(target: Target, said: Said, chance: random.Random) -> None:
    """One client: turn after turn, until it is cancelled or the server drains; now and then it deletes the whole."""
    conversation: str | None = None
    connection = await connect(target.port)
    mine: list[str] = []
    while connection.transport is not None:
        word = secrets.token_hex(8)
        body = {"text": f"{word} {' '.join(['so'] * chance.randint(1, 30))}"}
        if conversation is not None:
            body["conversation_id"] = conversation
        exchange = await connection.ask(request("POST", "/api/chat/stream", body=body, key=target.key))
        answer = read(exchange)
        if not exchange.complete or exchange.status != 200 or answer.end != "done":
            said.broken += 1
            return
        conversation = answer.conversation
        assert conversation is not None
        said.words[word] = conversation
        mine.append(word)
        if chance.random() < 0.05:
            await ask(target.port, request("DELETE", f"/api/chat/conversations/{conversation}", key=target.key))
            for gone in mine:
                del said.words[gone]
            said.deleted += len(mine)
            mine, conversation = [], None


@asynccontextmanager
async def talking(target: Target, said: Said, chance: random.Random) -> AsyncIterator[None]:
    """Clients at work, until the server is stopped inside, which ends them all."""
    tasks = [asyncio.create_task(talk(target, said, random.Random(chance.random()))) for _ in range(CLIENTS)]
    try:
        yield
        await asyncio.wait_for(asyncio.gather(*tasks), 30)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def installation(stack: ExitStack, directory: Path, place: Storage, name: str) -> Backchat:
    (directory / name).mkdir()
    return stack.enter_context(
        backchat(directory / name, free_port(), configuration(0, storage=place.section, echo_delay_ms=DELAY_MS))
    )


def mongo(server: Mongod, database: str, name: str) -> Storage:
    """A database of it, by the driver of ``limits.storage``."""
    driver = "motor" if name == "mongo-motor" else "pymongo"
    section = {"use": "mongo", "url": server.url, "database": database, "driver": driver}
    return Storage(section, server.directory, server.pid)


def config_of(server: Backchat) -> Path:
    return Path(server.options[server.options.index("--config") + 1])


async def live(directory: Path, hop: Hop, server: Backchat, to: Backchat, said: Said, chance: random.Random) -> None:
    """Copy under traffic, killed twice, and stop the server when it says so."""
    server.start()
    target = server.target(server.create_key())
    copier = Copier(directory, hop, config_of(server), config_of(to))
    try:
        async with talking(target, said, chance):
            await asyncio.sleep(WARM_SECONDS)
            began, words = time.monotonic(), len(said.words)
            for _ in range(KILLS):
                copier.start()
                await copier.die(chance.uniform(1.0, 6.0))
            copier.start()
            await copier.says(UP_TO_DATE)
            ready = time.monotonic()
            words = len(said.words) - words
            await asyncio.sleep(chance.uniform(1.0, 3.0))
            stopped = time.monotonic()
            await asyncio.to_thread(server.stop)
            halted = time.monotonic()
        await copier.end()
        over = time.monotonic()
    finally:
        if copier.child is not None:
            copier.child.stop()
    records, size, _ = copier.figures()
    hop.row = {
        "copy": hop.name,
        "killed": hop.kills,
        "turns said meanwhile": words,
        "up to date after s": ready - began,
        "stop: server s": halted - stopped,
        "then last changes and comparison s": over - halted,
        "records stored by the last process": records,
        "MB": size,
        "peak RSS MiB": hop.peak,
    }


async def quiet(directory: Path, hop: Hop, source: Backchat, to: Backchat) -> None:
    """Copy a store that nobody uses."""
    copier = Copier(directory, hop, config_of(source), config_of(to))
    copier.start()
    try:
        await copier.end()
    finally:
        assert copier.child is not None
        copier.child.stop()
    records, size, seconds = copier.figures()
    hop.row = {
        "quiet copy": hop.name,
        "records": records,
        "MB": size,
        "s, comparison and all": seconds,
        "records/s": records / seconds,
        "MB/s": size / seconds,
        "peak RSS MiB": hop.peak,
    }


async def same(report: Report, hop: Hop) -> None:
    """Hold what is in both against each other."""
    async with hop.source.opened() as source, hop.target.opened() as target:
        here, there = await digests(source), await digests(target)
    wrong = [f"{hop.name}: {kind}: {here[kind]} and {there[kind]}" for kind in here if here[kind] != there[kind]]
    report.fault("digests", wrong)
    hop.row["records compared by the rig"] = sum(count for count, _ in there.values())
    hop.row["kinds"] = sum(count > 0 for count, _ in there.values())


async def _all(place: Storage) -> dict[str, tuple[int, str]]:
    async with place.opened() as store:
        return await digests(store)


async def heard(place: Storage, said: Said) -> list[str]:
    """What of the acknowledged words is not there exactly once."""
    found: dict[str, int] = {}
    async with place.opened() as store:
        query = Query(kind="message", limit=500)
        while page := await store.find(query):
            for record in page:
                if record.doc["role"] == "user":
                    word = record.doc["text"].partition(" ")[0]
                    found[word] = found.get(word, 0) + 1
            query = Query(kind="message", limit=500, after=(page[-1].id,))
    return [f"{word} is there {found.get(word, 0)} times" for word in said.words if found.get(word, 0) != 1]


async def campaign(limits: Limits) -> Report:
    report = Report(
        "soak-copying",
        f"A store with {limits.messages:,} messages and some of every other kind, SQLite to MongoDB to SQLite, "
        f"{CLIENTS} clients at the server that is copied from, every copy killed {KILLS} times.",
    )
    chance, said = random.Random(limits.seed), Said()
    with ExitStack() as stack:
        directory = stack.enter_context(workplace(limits.directory))
        first, last, again = (sqlite_file(directory / name) for name in ("first", "last", "again"))
        mongod = stack.enter_context(one_node(directory / "mongod"))
        os.sched_setaffinity(mongod.pid, {TARGET_CORE, RIG_CORE})
        middle, other = (mongo(mongod, name, limits.storage) for name in ("middle", "other"))
        servers = {
            n: installation(stack, directory, place, f"server-{n}")
            for n, place in enumerate((first, middle, last, other, again))
        }
        async with first.opened() as store:
            owner = await Accounts(store, now=now, new_id=new_id).ensure_user(USER)
            await fill_all(store, owner.id, limits.messages)
            await store.compact()
        note(f"  filled, {first.mib():,.0f} MiB")
        hops = [Hop("SQLite to MongoDB", first, middle), Hop("MongoDB to SQLite", middle, last)]
        for n, hop in enumerate(hops):
            await live(directory, hop, servers[n], servers[n + 1], said, chance)
            await same(report, hop)
            report.fault("lost", await heard(hop.target, said))
            note(f"  {hop.row}")
        still = [Hop("SQLite to MongoDB, quiet", last, other), Hop("MongoDB to SQLite, quiet", other, again)]
        for hop, source, target in zip(still, (servers[2], servers[3]), (servers[3], servers[4]), strict=True):
            await quiet(directory, hop, source, target)
            await same(report, hop)
            note(f"  {hop.row}")
        report.fault("round", [] if await _all(last) == await _all(again) else ["not what it was at the beginning"])
    report.add([hop.row for hop in hops])
    report.add([hop.row for hop in still])
    report.add([{"turns acknowledged": len(said.words) + said.deleted, "of these deleted": said.deleted}])
    peak = max(hop.peak for hop in (*hops, *still))
    report.goal("peak RSS", peak, RSS_MIB, unit="MiB")
    if peak > RSS_MIB:
        report.fault("memory", [f"{peak:.0f} MiB"])
    if not said.words:
        report.fault("rig", ["nothing was said"])
    return report
