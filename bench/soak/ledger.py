"""What the server has booked is what the upstream has counted, to the token, whatever became of the runs."""

from __future__ import annotations

import asyncio
import csv
import io
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from bench.arena import workplace
from bench.counting import CountingUpstream, counting
from bench.report import Report, note
from bench.server import COMMAND, Backchat, backchat, configuration
from bench.soak.file import File, Row, free_port
from bench.soak.limits import Limits
from bench.soak.mixed import FATES, Begun, Desk, Seat, kinds, quiet

SEATS = 20
Death = Literal["kill", "stop"]
DEATHS: Sequence[Death] = ("kill", "stop", "kill")
DRAIN = 0.5
INPUT_PRICE, OUTPUT_PRICE = 1, 2
"""US dollars for a token: so much that no sum of them is rounded anywhere."""


@dataclass(frozen=True, slots=True)
class Books:
    """How much was asked and said, in so many calls; the estimated are those that were cut off. US dollars."""

    calls: int
    input: int
    output: int
    estimated: int
    cost: Decimal | int

    def row(self, who: str) -> dict[str, str | int]:
        return {
            "who": who,
            "calls": self.calls,
            "input tokens": self.input,
            "output tokens": self.output,
            "cut off / estimated": self.estimated,
            "cost": str(self.cost),
        }


def counted(upstream: CountingUpstream) -> Books:
    calls = upstream.calls
    sent, said = sum(call.input for call in calls), sum(call.output for call in calls)
    cut = sum(call.state == "cut" for call in calls)
    return Books(len(calls), sent, said, cut, sent * INPUT_PRICE + said * OUTPUT_PRICE)


def booked(records: Sequence[Row]) -> Books:
    sent, said = (sum(r["usage"][name] for r in records) for name in ("input", "output"))
    cost = sum(Decimal(r["cost"]) for r in records)
    return Books(len(records), sent, said, sum(r["estimated"] for r in records), cost)


def printed(table: str) -> Books:
    """The sums of what ``backchat usage --csv`` prints."""
    rows = list(csv.DictReader(io.StringIO(table)))
    calls, sent, said = (sum(int(row[name]) for row in rows) for name in ("calls", "input_tokens", "output_tokens"))
    estimated = sum(int(row["estimated"]) for row in rows)
    return Books(calls, sent, said, estimated, sum(Decimal(row["cost"]) for row in rows))


def differences(upstream: CountingUpstream, records: Sequence[Row]) -> list[str]:
    """Call by call: those that are not booked, and what is booked that was no call."""
    asked = Counter((call.input, call.output, call.state == "cut") for call in upstream.calls)
    found = Counter((r["usage"]["input"], r["usage"]["output"], r["estimated"]) for r in records)
    shown = "{} times {} tokens in and {} out{}"
    return [
        f"{what}: " + shown.format(times, sent, said, ", cut off" if cut else "")
        for what, extra in (("not booked", asked - found), ("booked, but not asked", found - asked))
        for (sent, said, cut), times in extra.items()
    ]


async def fill(desk: Desk, seats: Sequence[Seat], runs: int) -> None:
    """So many runs, of all kinds, each client one after the other."""
    todo = kinds(desk.chance, runs, *FATES)

    async def client(seat: Seat) -> None:
        while todo:
            await desk.go(seat, todo.pop())

    await asyncio.gather(*[client(seat) for seat in seats])


async def die(desk: Desk, server: Backchat, seats: Sequence[Seat], death: Death) -> None:
    """Begin a run at every seat, end the server while it knows all that they have said, and start it again."""
    last = kinds(desk.chance, len(seats), "death")
    begun: list[Begun] = await asyncio.gather(*[desk.begin(s, k) for s, k in zip(seats, last, strict=True)])
    await asyncio.to_thread(server.kill if death == "kill" else server.stop)
    for run in begun:
        run.connection.drop()
    await asyncio.to_thread(server.start)
    await desk.file.at_rest()
    for run in begun:
        try:
            await desk.check_end(run)
        except RuntimeError as error:
            desk.faults.append(f"{death}, {run.kind}: {error}")


async def usage_table(server: Backchat) -> str:
    """What ``backchat usage --csv`` prints. Raises RuntimeError."""
    args = [COMMAND, "usage", "--csv", *server.options]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*args, stdout=pipe, stderr=pipe)
    out, err = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"backchat usage: {err.decode().strip()}")
    return out.decode()


@dataclass(slots=True)
class Outcome:
    """What came of it: how many runs there were, three accounts of them, the running total, and what was wrong."""

    runs: int
    refused: int
    upstream: Books
    store: Books
    command: Books
    total: Decimal
    faults: list[str]


async def outcome(
    directory: Path, *, runs: int, deaths: Sequence[Death], seats: int = SEATS, port: int = 0, seed: int = 1
) -> Outcome:
    """So many runs at least, in parts between which the server ends; ``port`` 0 is a free one."""
    async with counting() as upstream:
        with backchat(directory, port or free_port(), configured(upstream.port)) as server:
            await asyncio.to_thread(server.start)
            key = await asyncio.to_thread(server.first_key)
            desk = Desk(upstream, File(server.database), server.port, key, random.Random(seed))
            clients = [await desk.seat() for _ in range(seats)]
            left = runs - desk.runs - len(deaths) * seats
            for death in deaths:
                await fill(desk, clients, left // (len(deaths) + 1))
                await die(desk, server, clients, death)
                note(f"  {desk.runs} runs, {len(upstream.calls)} calls, {len(desk.faults)} faults")
            await fill(desk, clients, runs - desk.runs)
            await desk.file.at_rest()
            await quiet(upstream)
            beside = printed(await usage_table(server))
            total = Decimal((await desk.ask("GET", "/api/users/credit-usage/"))["total_cost"])
            await asyncio.to_thread(server.stop)
            records = desk.file.rows("usage")
            faults = [*upstream.problems, *desk.faults, *differences(upstream, records), *misbooked(desk, records)]
            return Outcome(desk.runs, upstream.refused, counted(upstream), booked(records), beside, total, faults)


def configured(upstream_port: int) -> dict[str, Any]:
    """Prices, and limits that are not reached, so that running totals are kept."""
    price = {"input": INPUT_PRICE * 10**6, "output": OUTPUT_PRICE * 10**6}
    return {
        **configuration(upstream_port, dialects=("chat", "workspaces")),
        "tools": [{"use": "calculator"}],
        "credits": {"prices": {"bench": price}, "per_user": 10**9, "per_workspace": 10**9},
        "server": {"drain": DRAIN},
    }


def misbooked(desk: Desk, records: Sequence[Row]) -> list[str]:
    """What is not booked on a run of its own conversation, or is not together what the run says of itself.

    A run tells the usage that it was told of, and no estimates.
    """
    runs = {run["id"]: run for run in desk.file.rows("run")}
    totals: dict[str, list[int]] = {}
    faults = []
    for record in records:
        run = runs.get(record["run"])
        place = record["conversation"]
        right = place == run["conversation"] if run is not None else place in desk.deleted
        if not right or record["workspace"] != desk.workspace:
            faults.append(f"a record of run {record['run']} is booked on something else")
            continue
        if not record["estimated"]:
            total = totals.setdefault(record["run"], [0, 0])
            total[0] += record["usage"]["input"]
            total[1] += record["usage"]["output"]
    for id, run in runs.items():
        own = run.get("usage") or {"input": 0, "output": 0}
        says = [own["input"], own["output"]]
        if says != totals.get(id, [0, 0]):
            faults.append(f"run {id} ({run['status']}) says {says}, its records {totals.get(id)}")
    return faults


async def campaign(limits: Limits) -> Report:
    report = Report(
        "soak-ledger",
        f"{limits.runs} runs of all kinds: answered in one piece, as a stream or as a task, made anew, with tools of "
        "the server, left by their clients, cancelled, cut off or refused by the model service, deleted with their "
        f"sessions; the server ends {len(DEATHS)} times with {SEATS} runs under way ({', '.join(DEATHS)}).",
    )
    with workplace(limits.directory) as directory:
        found = await outcome(directory, runs=limits.runs, deaths=DEATHS, port=limits.ports + 2, seed=limits.seed)
    report.add(
        [found.upstream.row("upstream"), found.store.row("usage records"), found.command.row("backchat usage --csv")],
        f"{found.runs} runs, {found.refused} refused by the model service; running total {found.total} US dollars",
    )
    report.fault("violations", found.faults)
    for who, books in (("the store", found.store), ("backchat usage", found.command)):
        if books != found.upstream:
            report.fault("sums", [f"{who} has other sums than the upstream"])
    if found.total != found.upstream.cost:
        report.fault("total", [f"{found.total} US dollars, not {found.upstream.cost}"])
    return report
