"""What backchat adds to the time to the first token, and to every token."""

from __future__ import annotations

from bench.arena import Options, arena, warm_up
from bench.load import Round, Target, open_connections, run_round
from bench.report import Cell, Report, percentile
from bench.script import script

CLIENTS, TOKENS, GAP_MS = 8, 16, 20


async def one_round(target: Target, turns: int) -> Round:
    connections = await open_connections(target, CLIENTS)
    period = TOKENS * GAP_MS / 1000
    result = await run_round(
        target, connections, turns, lambda: script(TOKENS, gap=GAP_MS, stamped=True), spread=period
    )
    for connection in connections:
        connection.drop()
    return result


def row(name: str, rounds: list[Round]) -> dict[str, Cell]:
    transits = [t / 1e6 for r in rounds for t in r.first_transits]
    every = [t / 1e6 for r in rounds for t in r.transits]
    waits = [t / 1e6 for r in rounds for t in r.first_tokens]
    return {
        "target": name,
        "turns": len(transits),
        "first token, transit p50 ms": percentile(transits, 0.5),
        "p99": percentile(transits, 0.99),
        "request to first token p50 ms": percentile(waits, 0.5),
        "p99 ": percentile(waits, 0.99),
        "any token, transit p50 ms": percentile(every, 0.5),
        "p99  ": percentile(every, 0.99),
    }


async def measure(options: Options) -> Report:
    report = Report(
        "ttft",
        f"Time to the first token: {CLIENTS} clients, replies of {TOKENS} tokens {GAP_MS} ms apart (the first one "
        f"{GAP_MS} ms after the upstream was asked). Transit is from the upstream's write to the client's read.",
    )
    with arena(options) as stage:
        await warm_up(stage.relay, clients=CLIENTS, turns=options.pick(5, 50))
        await warm_up(stage.backchat, clients=CLIENTS, turns=options.pick(5, 50))
        plain: list[Round] = []
        stored: list[Round] = []
        rounds, turns = options.round_count(3, 10), options.pick(4, 25)
        for _ in range(rounds):
            plain.append(await one_round(stage.relay, turns))
            stored.append(await one_round(stage.backchat, turns))
    report.add([row("relay", plain), row("backchat", stored)], f"{rounds} rounds, interleaved.")
    for share, limit in ((0.5, 2.0), (0.99, 10.0)):
        for what, pick in (("transit", "first_transits"), ("wait", "first_tokens")):
            ours = percentile([t for r in stored for t in getattr(r, pick)], share)
            theirs = percentile([t for r in plain for t in getattr(r, pick)], share)
            words = "transit of the first token" if what == "transit" else "request to first token"
            report.goal(f"added {words}, p{share * 100:.0f}", (ours - theirs) / 1e6, limit, unit="ms")
    for name, results in (("relay", plain), ("backchat", stored)):
        report.fault(name, [failure for r in results for failure in r.failures])
    return report
