"""How many turns a second of CPU time is worth, beside a relay that stores nothing."""

from __future__ import annotations

from statistics import median

from bench.arena import Arena, Options, arena, warm_up, with_history
from bench.load import Round, Target, open_connections, run_round
from bench.report import Cell, Report, percentile
from bench.script import script

CLIENTS, TOKENS, HISTORY = 32, 64, 20


def row(name: str, rounds: list[Round], ratios: list[float]) -> dict[str, Cell]:
    durations = [d / 1e6 for r in rounds for d in r.durations]
    first = [t / 1e6 for r in rounds for t in r.first_tokens]
    return {
        "target": name,
        "turns": sum(r.turns for r in rounds),
        "CPU ms a turn": median(r.cpu_ms_per_turn for r in rounds),
        "turns a CPU second": median(r.turns_per_cpu_second for r in rounds),
        "ratio": median(ratios),
        "lowest": min(ratios),
        "highest": max(ratios),
        "turns/s": median(r.turns / r.seconds for r in rounds),
        "turn p50 ms": percentile(durations, 0.5),
        "turn p99 ms": percentile(durations, 0.99),
        "first token p50 ms": percentile(first, 0.5),
        "waited for a core": median(r.starved for r in rounds),
    }


async def measure(options: Options) -> Report:
    report = Report(
        "turns",
        f"Turns per CPU second: replies of {TOKENS} tokens, one token a write without delay, {CLIENTS} clients; "
        f"backchat with API keys, {HISTORY} messages sent upstream and every delta durable, against a bare relay.",
    )
    with arena(options) as stage:
        await warm_up(stage.relay, clients=CLIENTS, turns=options.pick(4, 20))
        await warm_up(stage.backchat, clients=CLIENTS, turns=options.pick(4, 20))
        each = options.pick(1, 4)
        conversations = await with_history(stage.backchat, clients=CLIENTS, each=each, turns=HISTORY // 2)
        rounds = options.round_count(3, 9)
        turns = options.pick(10, 40)
        plain, stored = await interleaved(stage, rounds, turns, conversations, report)
    ratios = [b.turns_per_cpu_second / a.turns_per_cpu_second for a, b in zip(plain, stored, strict=True)]
    report.add([row("relay", plain, [1.0] * rounds), row("backchat", stored, ratios)], f"Medians of {rounds} rounds.")
    report.goal("turns per CPU second, backchat / relay", median(ratios), 0.6, at_least=True)
    for name, results in (("relay", plain), ("backchat", stored)):
        report.fault(name, [failure for r in results for failure in r.failures])
    return report


async def interleaved(
    stage: Arena, rounds: int, turns: int, conversations: list[list[str]], report: Report
) -> tuple[list[Round], list[Round]]:
    async def one(target: Target, own: list[list[str]] | None) -> Round:
        connections = await open_connections(target, CLIENTS)
        result = await run_round(target, connections, turns, lambda: script(TOKENS), conversations=own)
        for connection in connections:
            connection.drop()
        return result

    plain, stored = [], []
    for _ in range(rounds):
        plain.append(await one(stage.relay, None))
        await stage.reset_counts()
        stored.append(await one(stage.backchat, conversations))
        sent = [int(number) for number in (await stage.upstream_counts())["messages"]]
        if min(sent) < HISTORY:
            report.fault("history", [f"{min(sent)} messages went upstream, not {HISTORY}"])
    return plain, stored
