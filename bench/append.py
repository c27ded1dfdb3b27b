"""Whether a turn costs more in a long conversation than in a short one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from statistics import median

from bench.arena import Options, warm_up, workplace
from bench.load import Round, Target, open_connections, run_round
from bench.prefill import conversation, fill, owner_of
from bench.processes import upstream
from bench.report import Cell, Report, percentile
from bench.script import script
from bench.server import Backchat, backchat, configuration
from bench.stores import Storage, storage
from bench.wire import ask

CLIENTS, TOKENS, SHORT = 4, 4, 10
TURNS_EACH = 5
"""That a short conversation takes, so that it stays short and yet is not always a new one."""


async def own_conversation(target: Target) -> str:
    """A conversation made over HTTP: whoever owns it is whom the key belongs to."""
    exchange = await ask(target.port, target.turn(script(1)))
    if exchange.status != 200:
        raise RuntimeError(f"{target.name}: {exchange.status} {exchange.body()[:200]!r}")
    return str(exchange.events()[0].data["conversation_id"])


async def prepare(
    server: Backchat, place: Storage, key: str, short: int, long: int, length: int
) -> tuple[list[str], list[str]]:
    """Stop the server, give its user so many short and long conversations, and start it again."""
    server.start()
    mine = await own_conversation(server.target(key))
    server.stop()
    made: tuple[list[str], list[str]] = ([], [])

    async with place.opened() as store:
        owner = await owner_of(store, mine)

        def changes() -> Iterator[object]:
            for ids, count, messages in ((made[0], short, SHORT), (made[1], long, length)):
                for _ in range(count):
                    texts = [f"Message {seq} of a long exchange of views." for seq in range(messages)]
                    id, puts = conversation(owner, texts, datetime.now(UTC))
                    ids.append(id)
                    yield from puts

        await fill(store, changes())  # type: ignore[arg-type]
    server.start()
    return made


async def measure(options: Options) -> Report:
    length = options.pick(1_000, 10_000)
    rounds, turns = options.round_count(3, 9), options.pick(20, 50)
    report = Report(
        "append",
        f"A turn of {TOKENS} tokens in conversations of {SHORT} and of {length:,} messages: the same server, "
        f"{CLIENTS} clients, interleaved, {SHORT} messages sent upstream. Storage: {options.storage}.",
    )
    with (
        workplace(options.directory) as directory,
        upstream(options.ports, directory),
        storage(options.storage, directory) as place,
        backchat(
            directory, options.ports + 2, configuration(options.ports, storage=place.section, window=SHORT)
        ) as server,
    ):
        key = server.create_key()
        per_client = turns // TURNS_EACH
        short, long = await prepare(server, place, key, CLIENTS * per_client * rounds, 2 * CLIENTS, length)
        worn = [long[number::CLIENTS] for number in range(CLIENTS)]
        target = server.target(key)
        await warm_up(target, clients=16, turns=options.pick(10, 50))
        results: tuple[list[Round], list[Round]] = ([], [])
        for number in range(rounds):
            unused = short[number * CLIENTS * per_client : (number + 1) * CLIENTS * per_client]
            fresh = [[id for id in unused[c::CLIENTS] for _ in range(TURNS_EACH)] for c in range(CLIENTS)]
            for found, own in ((results[0], fresh), (results[1], worn)):
                connections = await open_connections(target, CLIENTS)
                found.append(await run_round(target, connections, turns, lambda: script(TOKENS), conversations=own))
                for connection in connections:
                    connection.drop()
    ratios = [b.cpu_ms_per_turn / a.cpu_ms_per_turn for a, b in zip(*results, strict=True)]
    times = [percentile(b.durations, 0.5) / percentile(a.durations, 0.5) for a, b in zip(*results, strict=True)]
    rows: list[dict[str, Cell]] = []
    for messages, found, cpu, time in (
        (SHORT, results[0], 1.0, 1.0),
        (length, results[1], median(ratios), median(times)),
    ):
        durations = [d / 1e6 for r in found for d in r.durations]
        rows.append(
            {
                "messages": messages,
                "turns": sum(r.turns for r in found),
                "CPU ms a turn": median(r.cpu_ms_per_turn for r in found),
                "ratio": cpu,
                "turn p50 ms": percentile(durations, 0.5),
                "turn p95 ms": percentile(durations, 0.95),
                "ratio of p50": time,
            }
        )
        report.fault(f"{messages} messages", [failure for r in found for failure in r.failures])
    report.add(rows, f"Medians of {rounds} rounds.")
    report.goal(f"CPU of a turn at {length:,} messages / at {SHORT}", median(ratios), 1.2)
    report.goal(f"time of a turn at {length:,} messages / at {SHORT}", median(times), 1.2)
    return report
