"""The vault over HTTP: a page of entries and their number by every filter, pushes, and pulls of large contents."""

from __future__ import annotations

import asyncio
import random
import shutil
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from backchat.ports.storage import Query
from bench.arena import Options, workplace
from bench.lists import Question, Questions, timed
from bench.load import Target
from bench.prefill import Language
from bench.procfs import cpu_seconds, peak_rss_kib, rss_kib
from bench.report import Cell, Report, note, percentile
from bench.server import Backchat, backchat, configuration
from bench.stores import sqlite_file
from bench.vault_filled import CATEGORIES, EVERYWHERE, PLATFORMS, TAGS, chat, tag, write
from bench.wire import Connection, Exchange, connect, request

OTHERS = 20
"""Users beside the one who is measured."""
GOAL_MS = 30
LARGE = 1 << 20
"""Bytes of a large content."""
Filters = Sequence[tuple[str, str | int]]


async def prefilled(server: Backchat, options: Options, entries: int, each: int) -> tuple[str, str]:
    """A store in which a user has so many entries and others have ``each``; the user's key and id.

    With ``--prefilled`` the data directory is kept and taken again the next time.
    """
    kept = options.prefilled and options.prefilled / f"vault-{entries}-{each}"
    names = server.data / "bench-owner.txt"
    if kept and (kept / names.name).exists():
        shutil.copytree(kept, server.data, dirs_exist_ok=True)
    else:
        key = server.create_key()
        async with sqlite_file(server.data).opened() as store:
            [user] = await store.find(Query(kind="user"))
        began = time.monotonic()
        sizes = [(user.id, entries), *[(str(UUID(int=number + 1)), each) for number in range(OTHERS)]]
        await write(sqlite_file(server.data), sizes)
        note(f"  {sum(size for _, size in sizes):,} entries in {time.monotonic() - began:.0f} s")
        names.write_text(f"{key}\n{user.id}")
        if kept:
            shutil.copytree(server.data, kept)
    key, owner = names.read_text().split("\n")
    return key, owner


def filters(owner: str, entries: int, language: Language) -> dict[str, Callable[[], Filters]]:
    """What is pulled, by its name; every call draws other words and values."""
    pick, sample, words = random.Random(3), random.Random(4).sample, language.words

    def word(low: int, high: int) -> str:
        return pick.choice(words[low:high])

    def both() -> Filters:
        return [("platform", pick.choice([*PLATFORMS])), ("category", pick.choice([*CATEGORIES]))]

    return {
        "no filter": list,
        "no filter, 100 entries": lambda: [("limit", 100)],
        "no filter, far down": lambda: [("offset", entries - 100)],
        "platform": lambda: [both()[0]],
        "platform, far down": lambda: [("platform", "chatgpt"), ("offset", entries * 2 // 5)],
        "category": lambda: [both()[1]],
        "platform and category": both,
        "the commonest tag": lambda: [("tag", tag(0))],
        "any tag": lambda: [("tag", tag(pick.randrange(TAGS)))],
        "two tags": lambda: [("tag", tag(0)), ("tag", tag(pick.randrange(1, 20)))],
        "chatId": lambda: [("chatId", chat(owner, pick.randrange(1, entries)))],
        "a rare word": lambda: [("search", word(20_000, 40_000))],
        "a middling word": lambda: [("search", word(500, 1_000))],
        "a word of the 30 commonest": lambda: [("search", word(0, 30))],
        "a word in nine of ten titles": lambda: [("search", EVERYWHERE)],
        "the same, far down": lambda: [("search", EVERYWHERE), ("offset", entries * 4 // 5)],
        "two of the 30 commonest": lambda: [("search", " ".join(sample(words[:30], 2)))],
        "the common one and one of the 30": lambda: [("search", f"{EVERYWHERE} {word(0, 30)}")],
        "the common one and a rare one": lambda: [("search", f"{EVERYWHERE} {word(20_000, 40_000)}")],
        "one letter": lambda: [("search", pick.choice("bdfgklmnprstvz"))],
        "two letters": lambda: [("search", pick.choice("bdfgk") + pick.choice("aeiou"))],
        "a word that nothing has": lambda: [("search", "qqq")],
        "common word, platform, category, tag": lambda: [("search", EVERYWHERE), *both(), ("tag", tag(0))],
        "word of the 30, platform, category, tag": lambda: [("search", word(0, 30)), *both(), ("tag", tag(1))],
    }


def checked(exchange: Exchange, what: str) -> Any:
    """The JSON of an answer. Raises RuntimeError for anything but 200."""
    if exchange.status != 200:
        raise RuntimeError(f"{what}: {exchange.status} {exchange.body()[:200]!r}")
    return exchange.json()


async def pulls(
    target: Target, wanted: Mapping[str, Callable[[], Filters]], spent: Mapping[str, list[float]]
) -> Questions:
    """``spent`` gets the CPU seconds of the server for each: the same, however busy the machine is."""
    connection = await connect(target.port)

    def question(name: str, drawn: Callable[[], Filters]) -> Callable[[], Awaitable[int]]:
        async def ask() -> int:
            data = request("GET", f"/api/v1/pull?{urlencode(drawn())}", key=target.key)
            before = cpu_seconds(target.pid)
            exchange = await connection.ask(data)
            spent[name].append(cpu_seconds(target.pid) - before)
            return int(checked(exchange, "a pull")["total"])

        return ask

    return {name: Question(question(name, drawn)) for name, drawn in wanted.items()}


def push(key: str | None, chat: str, content: str, platform: str) -> bytes:
    messages = [{"role": "user", "content": content}]
    body = {"chatId": chat, "platform": platform, "title": "A pushed chat", "tags": ["pushed"], "messages": messages}
    return request("POST", "/api/v1/push", body=body, key=key)


async def pushing(target: Target, clients: int, seconds: float, numbers: Iterator[int]) -> dict[str, Cell]:
    """Clients that push new conversations of 4 KB, the next when the last is stored."""
    text, taken = "some text of a chat, " * 195, list[float]()
    began, spent = time.monotonic(), cpu_seconds(target.pid)

    async def client() -> None:
        connection = await connect(target.port)
        while time.monotonic() < began + seconds:
            number = next(numbers)
            exchange = await connection.ask(push(target.key, f"pushed-{number}", f"{number} {text}", "pushed"))
            checked(exchange, "a push")
            taken.append((exchange.ended - exchange.sent) / 1e6)
        connection.drop()

    await asyncio.gather(*[client() for _ in range(clients)])
    spent = cpu_seconds(target.pid) - spent
    return {
        "clients": clients,
        "pushes": len(taken),
        "pushes/s": len(taken) / (time.monotonic() - began),
        "p50 ms": percentile(taken, 0.5),
        "p95 ms": percentile(taken, 0.95),
        "CPU ms a push": 1000 * spent / len(taken),
    }


async def push_large(connection: Connection, key: str | None, number: int) -> None:
    content = f"{number} " + "x" * (LARGE - 100)
    checked(await connection.ask(push(key, f"large-{number}", content, "large")), "a large push")


async def pulled_large(target: Target, entries: int) -> dict[str, Cell]:
    """All large contents in one answer, from a server that has done nothing else."""
    connection = await connect(target.port)
    checked(await connection.ask(request("GET", "/api/v1/pull?limit=1", key=target.key)), "a pull")
    idle = rss_kib(target.pid) / 1024
    query = urlencode([("platform", "large"), ("limit", 100)])
    exchange = await connection.ask(request("GET", f"/api/v1/pull?{query}", key=target.key))
    found = len(checked(exchange, "a large pull")["entries"])
    if found != entries:
        raise RuntimeError(f"{found} large entries instead of {entries}")
    seconds, peak = (exchange.ended - exchange.sent) / 1e9, peak_rss_kib(target.pid) / 1024
    megabytes = len(exchange.raw) / 1e6
    return {
        "entries": found,
        "MB": megabytes,
        "s": seconds,
        "MB/s": megabytes / seconds,
        "RSS MiB before": idle,
        "at most": peak,
    }


async def measure(options: Options) -> Report:
    entries, each = options.pick(5_000, 100_000), options.pick(200, 3_000)
    times, seconds, large = options.pick(10, 200), options.pick(2, 10), options.pick(10, 100)
    report = Report(
        "vault",
        f"One user has {entries:,} entries in the vault, {OTHERS} others {each:,} each in the same store: on "
        f"{len(PLATFORMS)} platforms, in {len(CATEGORIES)} categories or none, titles of 6 words and topics of 3 "
        "(Zipf), contents of 2 to 4 KB. `GET /api/v1/pull`: 20 entries if nothing is said, and how many match.",
    )
    settings = configuration(options.ports, echo_delay_ms=0, dialects=("vault",))
    with workplace(options.directory) as directory, backchat(directory, options.ports + 2, settings) as server:
        key, owner = await prefilled(server, options, entries, each)
        size = sum(file.stat().st_size for file in server.data.rglob("*") if file.is_file())
        server.start()
        target = server.target(key)
        spent = defaultdict[str, list[float]](list)
        questions = await pulls(target, filters(owner, entries, Language()), spent)
        rows = await timed(questions, times)
        numbers = count()
        rates = [await pushing(target, clients, seconds, numbers) for clients in (1, 16)]
        connection = await connect(target.port)
        for number in range(large):
            await push_large(connection, key, number)
        connection.drop()
        server.stop()
        server.start()
        heavy = await pulled_large(server.target(key), large)
    for row in rows:
        cpu = [1000 * seconds for seconds in spent[str(row["question"])]]
        del row["CPU ms here, mean"]
        row |= {"CPU ms, server, p50": percentile(cpu, 0.5), "p95": percentile(cpu, 0.95)}
    report.add(rows, f"{size / 2**20:,.0f} MiB of data.")
    report.add(rates, "New conversations of 4 KB, sealed by the server, each durable before it is answered.")
    report.add([heavy], "Entries of 1 MiB, all in one answer.")
    for row in rows:
        p95 = row["p95 ms"]
        assert isinstance(p95, float)
        report.goal(f"{row['question']}, p95", p95, GOAL_MS, unit="ms")
    empty = [
        name for name, row in zip(questions, rows, strict=True) if not row["found, mean"] and "nothing" not in name
    ]
    report.fault("pulls without any entry", [name for name in empty if "rare" not in name])
    return report
