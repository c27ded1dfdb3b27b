"""A page of conversations and a search for words, of one owner among a thousand."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from backchat.ports.storage import Put, Query, Range, RecordStore
from bench.append import own_conversation
from bench.arena import Options, workplace
from bench.load import Target
from bench.prefill import Language, conversation, fill, moments, owner_of
from bench.processes import upstream
from bench.report import Cell, Report, note, percentile
from bench.server import USER, Backchat, backchat, configuration
from bench.stores import Storage, storage
from bench.wire import connect, request

KEYED, PAGE = 10, 50
RANKS = {"common": (5, 30), "middling": (500, 1_000), "rare": (20_000, 40_000)}
"""Of a search word, in the order of how common words are."""


async def keyed_owners(server: Backchat, place: Storage) -> tuple[list[str], list[str]]:
    """Accounts that may ask over HTTP: their keys and ids. The server is stopped on return."""
    keys = [server.create_key(f"{USER}-{number}") for number in range(KEYED)]
    server.start()
    made = [await own_conversation(server.target(key)) for key in keys]
    server.stop()
    async with place.opened() as store:
        return keys, [await owner_of(store, id) for id in made]


async def prefilled(
    server: Backchat, place: Storage, options: Options, conversations: int, owners: int
) -> tuple[list[str], list[str]]:
    """A store of so many conversations of one message each; returns keys, and the ids of all owners, the keyed first.

    With ``--prefilled`` the data directory is kept and taken again the next time.
    """
    kept = options.prefilled and options.prefilled / f"{conversations}-{owners}"
    names = server.data / "bench-owners.txt"
    if kept and (kept / names.name).exists():
        shutil.copytree(kept, server.data, dirs_exist_ok=True)
    else:
        keys, ids = await keyed_owners(server, place)
        ids += [str(UUID(int=number)) for number in range(1, owners - KEYED + 1)]
        began = time.monotonic()
        await write(place, ids, conversations)
        note(f"  {conversations:,} conversations and messages in {time.monotonic() - began:.0f} s")
        names.write_text("\n".join([*keys, *ids]))
        if kept:
            shutil.copytree(server.data, kept)
    lines = names.read_text().split("\n")
    return lines[:KEYED], lines[KEYED:]


async def write(place: Storage, owners: list[str], count: int) -> None:
    language = Language()

    def changes() -> Iterator[Put]:
        for number, moment in enumerate(moments(count)):
            yield from conversation(owners[number % len(owners)], [language.text()], moment)[1]

    def progress(written: int) -> None:
        if written % 200_000 == 0:
            note(f"  {written:,} records")

    async with place.opened() as store:
        await fill(store, changes(), progress)


@dataclass(frozen=True, slots=True)
class Question:
    """``ask`` returns how many records it found; ``before`` runs ahead of it and is not timed."""

    ask: Callable[[], Awaitable[int]]
    before: Callable[[], Awaitable[None]] | None = None


Questions = dict[str, Question]


def at_the_port(store: RecordStore, owners: list[str], language: Language) -> Questions:
    pick = language.random.choice

    async def find(kind: str, words: str) -> int:
        where = (("owner", (pick(owners),)),)
        return len(await store.find(Query(kind=kind, where=where, words=words, descending=True, limit=20)))

    async def page() -> int:
        query = Query(
            kind="conversation",
            where=(("owner", (pick(owners),)),),
            ranges=(Range("messages", low=1),),
            order=("updated",),
            descending=True,
            limit=PAGE,
        )
        return len(await store.find(query))

    def searches(kind: str, common: str, words: int) -> Callable[[], Awaitable[int]]:
        low, high = RANKS[common]

        async def search() -> int:
            return await find(kind, " ".join(pick(language.words[low:high]) for _ in range(words)))

        return search

    async def append() -> None:
        texts = [language.text() for _ in range(10)]
        await store.apply(list(conversation(pick(owners), texts, datetime.now(UTC))[1]))

    asked: Questions = {f"port: page of {PAGE}": Question(page)}
    for common in RANKS:
        asked[f"port: messages, a {common} word"] = Question(searches("message", common, 1))
    asked["port: messages, two common words"] = Question(searches("message", "common", 2))
    asked["port: messages, a common word, after 10 appends"] = Question(searches("message", "common", 1), append)
    asked["port: conversation titles, a common word"] = Question(searches("conversation", "common", 1))
    return asked


async def over_http(target: Target, keys: list[str]) -> Questions:
    connection = await connect(target.port)
    turn = iter(range(1 << 30))

    async def page() -> int:
        data = request("GET", f"/api/chat/conversations?limit={PAGE}", key=keys[next(turn) % len(keys)])
        exchange = await connection.ask(data)
        if exchange.status != 200:
            raise RuntimeError(f"a page of conversations: {exchange.status} {exchange.body()[:200]!r}")
        return len(exchange.json()["conversations"])

    return {f"HTTP: page of {PAGE}": Question(page)}


async def timed(questions: Questions, times: int) -> list[dict[str, Cell]]:
    """Ask all of them in turn, so that each sees the same state of the machine."""
    taken: dict[str, list[float]] = {name: [] for name in questions}
    found: dict[str, int] = dict.fromkeys(questions, 0)
    worked: dict[str, float] = dict.fromkeys(questions, 0)
    for number in range(times + 20):
        for name, question in questions.items():
            if question.before is not None:
                await question.before()
            began, idle = time.perf_counter(), time.process_time()
            count = await question.ask()
            if number >= 20:
                worked[name] += 1000 * (time.process_time() - idle)
                taken[name].append(1000 * (time.perf_counter() - began))
                found[name] += count
    return [
        {
            "question": name,
            "times": times,
            "found, mean": found[name] / times,
            "p50 ms": percentile(values, 0.5),
            "p95 ms": percentile(values, 0.95),
            "p99 ms": percentile(values, 0.99),
            "CPU ms here, mean": worked[name] / times,
        }
        for name, values in taken.items()
    ]


async def measure(options: Options) -> Report:
    conversations, owners = options.pick(20_000, 1_000_000), options.pick(100, 1_000)
    times = options.pick(50, 500)
    report = Report(
        "lists",
        f"Among {conversations:,} conversations and as many messages (40 words each, Zipf) of {owners:,} owners: a "
        f"page of one owner's newest {PAGE} conversations, and the newest 20 of one owner's records that hold a word. "
        f"Storage: {options.storage}.",
    )
    with (
        workplace(options.directory) as directory,
        upstream(options.ports, directory),
        storage(options.storage, directory) as place,
        backchat(directory, options.ports + 2, configuration(options.ports, storage=place.section)) as server,
    ):
        keys, ids = await prefilled(server, place, options, conversations, owners)
        size = place.mib()
        async with place.opened() as store:
            rows = await timed(at_the_port(store, ids, Language()), times)
        ready = server.start()
        await asyncio.sleep(1)
        rows += await timed(await over_http(server.target(keys[0]), keys), times)
    caption = f"{size:,.0f} MiB of data; the server was ready after {ready:.2f} s."
    report.add(rows, caption)
    for row in rows:
        p95 = row["p95 ms"]
        assert isinstance(p95, float)
        report.goal(f"{row['question']}, p95", p95, 30, unit="ms")
    empty = [str(row["question"]) for row in rows if "rare" not in str(row["question"]) and not row["found, mean"]]
    report.fault("questions without any answer", empty)
    return report
