"""What a turn of the threads dialect costs beside one of the chat dialect, and what documents and memory add."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from urllib.parse import urlencode

from bench import uploads
from bench.arena import Options, warm_up, with_history, workplace
from bench.load import Round, Target, open_connections, read, run_round
from bench.prefill import Language
from bench.processes import upstream
from bench.report import Cell, Report, note, percentile
from bench.retrieval import SENTENCES, question
from bench.script import Script, script
from bench.server import backchat, configuration
from bench.wire import Connection, ask, connect, request

CLIENTS, TOKENS, HISTORY = 16, 64, 20
PASSAGES, FILES, MEMORIES = 1_000, 5, 50
SETTLE = 0.5
"""Seconds after a round in which the last turns are learned from."""


@dataclass(frozen=True, slots=True)
class Threads(Target):
    """The threads dialect, asked as the SDK's ``add_message`` asks it."""

    memory: str | None = None
    streams: bool = True

    def turn(self, asked: Script, conversation: str | None = None) -> bytes:
        fields = {"stream": str(self.streams).lower(), "thread_id": conversation or "", "content": asked.text}
        if self.memory is not None:
            fields["memory"] = self.memory
        raw = ("application/x-www-form-urlencoded", urlencode(fields).encode())
        return request("POST", "/api/threads/messages", raw=raw, headers=uploads.headers(self.key))


@dataclass(slots=True)
class Variant:
    """A way to ask. ``shows``: an event that must be in every stream. ``lessons``: what the upstream is asked a turn.

    ``goal``: the most that its CPU time may be of a chat turn's.
    """

    name: str
    target: Target
    conversations: Sequence[Sequence[str]]
    ask: Callable[[], Script]
    shows: str | None = None
    lessons: int = 0
    goal: float | None = None
    rounds: list[Round] = field(default_factory=list)


class Talk:
    """What the clients say: a question of 13 words with a script, and a fact before it if one is to be learned."""

    def __init__(self) -> None:
        self.language = Language()

    def question(self) -> Script:
        return script(TOKENS, before=question(self.language) + " ")

    def teaching(self) -> Script:
        asked = self.question()
        return replace(asked, before=f"{self.fact()}\n{asked.before}")

    def fact(self) -> str:
        """It shares its verb with one in twenty others, so that there are some to compare it with."""
        verb = self.language.random.choice(self.language.words[300:320])
        words = self.language.random.choices(self.language.words[1_000:], k=3)
        return "The user's {} {verb} {} in {}.".format(*words, verb=verb)


async def documents(target: Target, assistant: str, talk: Talk) -> int:
    """Give the assistant text files of about so many passages; returns how many there are."""
    connection, passages = await connect(target.port), 0
    for number in range(FILES):
        paragraphs = [" ".join([talk.language.text() for _ in range(SENTENCES)]) for _ in range(PASSAGES // FILES)]
        data = "\n\n".join(paragraphs).encode()
        made = await uploads.upload(target, connection, assistant, f"report {number}.txt", data)
        passages += int((await uploads.indexed(target, connection, made))["chunk_count"])
    connection.drop()
    return passages


async def remembering(target: Target, talk: Talk) -> list[str]:
    """For every client an assistant of its own with memories."""

    async def one(number: int) -> str:
        connection = await connect(target.port)
        id = await uploads.assistant(target, f"remembers {number}")
        for _ in range(MEMORIES):
            await uploads.post(target, f"/api/assistants/{id}/memories", {"content": talk.fact()}, connection)
        connection.drop()
        return id

    return await asyncio.gather(*[one(number) for number in range(CLIENTS)])


async def threads(target: Target, assistants: Sequence[str]) -> list[list[str]]:
    """For every client one thread with a history, of the assistants in turn."""

    async def one(number: int) -> list[str]:
        connection = await connect(target.port)
        made = await uploads.thread(target, assistants[number % len(assistants)])
        for _ in range(HISTORY // 2):
            exchange = await connection.ask(target.turn(script(2), made))
            if exchange.status != 200:
                raise RuntimeError(f"{target.name}: {exchange.status} {exchange.body()[:200]!r}")
        connection.drop()
        return [made]

    return await asyncio.gather(*[one(number) for number in range(CLIENTS)])


async def variants(target: Target, talk: Talk) -> list[Variant]:
    plain = Threads(*[getattr(target, name) for name in ("name", "port", "pid", "key")])
    bare, reading = await uploads.assistant(plain, "bare"), await uploads.assistant(plain, "reads")
    passages = await documents(plain, reading, talk)
    known, taught = await remembering(plain, talk), await remembering(plain, talk)
    note(f"  {passages:,} passages, {2 * CLIENTS * MEMORIES:,} memories")
    auto, readonly = replace(plain, memory="Auto"), replace(plain, memory="Readonly")
    whole = replace(plain, streams=False)
    chats = await with_history(target, clients=CLIENTS, each=1, turns=HISTORY // 2)

    async def of(assistants: Sequence[str]) -> list[list[str]]:
        return await threads(plain, assistants)

    return [
        Variant("chat", target, chats, talk.question),
        Variant("thread", plain, await of([bare]), talk.question, goal=1.25),
        Variant("thread, answer in one piece", whole, await of([bare]), talk.question, goal=1.25),
        Variant(f"{passages:,} passages", plain, await of([reading]), talk.question, "files_retrieved", goal=2.0),
        Variant("memory Readonly", readonly, await of(known), talk.question, "memory_retrieved", goal=2.0),
        Variant("memory Auto, nothing to learn", auto, await of(known), talk.question, "memory_retrieved", 1),
        Variant("memory Auto, a fact a turn", auto, await of(taught), talk.teaching, "memory_retrieved", 1),
    ]


async def check(variant: Variant) -> list[str]:
    """One turn, looked at: what is wrong with it."""
    asked = variant.ask()
    exchange = await ask(variant.target.port, variant.target.turn(asked, variant.conversations[0][0]))
    answer = read(exchange)
    seen = [event.data for event in exchange.events() if event.data.get("type") == variant.shows]
    if exchange.status != 200 or answer.end != "done":
        return [f"{exchange.status} {exchange.body()[:200]!r}"]
    if variant.shows and not any(data.get("files") or data.get("memories") for data in seen):
        return [f"no {variant.shows}"]
    return []


async def one_round(variant: Variant, connections: Sequence[Connection], turns: int, port: int) -> list[str]:
    """Runs it; returns what the upstream did not get to see."""
    await ask(port, request("POST", "/reset"))
    target, own = variant.target, variant.conversations
    variant.rounds.append(await run_round(target, connections, turns, variant.ask, conversations=own, settle=SETTLE))
    counts = (await ask(port, request("GET", "/stats"))).json()
    shortest = min(map(int, counts["messages"]), default=0)
    faults = [f"{shortest} messages went upstream, not {HISTORY}"] if shortest < HISTORY else []
    if counts["lessons"] < variant.lessons * turns * len(connections) or (counts["lessons"] and not variant.lessons):
        faults.append(f"{counts['lessons']} lessons")
    return faults


def row(variant: Variant, plain: Sequence[Round]) -> dict[str, Cell]:
    rounds = variant.rounds
    durations = [d / 1e6 for r in rounds for d in r.durations]
    ratios = ratios_of(variant, plain)
    return {
        "turn": variant.name,
        "turns": sum(r.turns for r in rounds),
        "CPU ms a turn": median(r.cpu_ms_per_turn for r in rounds),
        "ratio": median(ratios),
        "lowest": min(ratios),
        "highest": max(ratios),
        "turn p50 ms": percentile(durations, 0.5),
        "turn p99 ms": percentile(durations, 0.99),
        "waited for a core": median(r.starved for r in rounds),
    }


def ratios_of(variant: Variant, plain: Sequence[Round]) -> list[float]:
    return [a.cpu_ms_per_turn / b.cpu_ms_per_turn for a, b in zip(variant.rounds, plain, strict=True)]


async def measure(options: Options) -> Report:
    rounds, turns = options.round_count(3, 9), options.pick(5, 20)
    report = Report(
        "threads",
        f"A turn of the threads dialect beside one of the chat dialect on the same server: replies of {TOKENS} tokens, "
        f"one a write, {CLIENTS} clients, {HISTORY} messages sent upstream, every delta durable. The threads' turns "
        f"are urlencoded, as the SDK sends them; with memory each client has an assistant of {MEMORIES} memories.",
    )
    with (
        workplace(options.directory) as directory,
        upstream(options.ports, directory),
        backchat(directory, options.ports + 2, configuration(options.ports, dialects=("chat", "threads"))) as server,
    ):
        key = server.create_key()
        server.start()
        target = server.target(key)
        await warm_up(target, clients=CLIENTS, turns=options.pick(5, 40))
        found = await variants(target, Talk())
        connections = await open_connections(target, CLIENTS)
        for variant in found:
            report.fault(variant.name, await check(variant))
            await one_round(variant, connections, options.pick(2, 5), options.ports)
            variant.rounds.clear()
        if report.faults:
            return report
        for _ in range(rounds):
            for variant in found:
                report.fault(variant.name, await one_round(variant, connections, turns, options.ports))
        for connection in connections:
            connection.drop()
    plain = found[0].rounds
    report.add([row(variant, plain) for variant in found], f"Medians of {rounds} rounds, interleaved.")
    for variant in found:
        if variant.goal is not None:
            ratio = median(ratios_of(variant, plain))
            report.goal(f"CPU of a turn, {variant.name} / chat", ratio, variant.goal)
        report.fault(variant.name, [failure for r in variant.rounds for failure in r.failures])
    return report
