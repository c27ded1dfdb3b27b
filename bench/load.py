"""Closed loops of clients that send scripted turns, and what their exchanges say afterwards."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.procfs import cpu_seconds, waited_seconds
from bench.script import Script, problem, stamps
from bench.wire import Connection, Exchange, connect, request

Ask = Callable[[], Script]
PATIENCE_SECONDS = 600.0
"""For one round; a server that has not answered by then never will, and TimeoutError ends the measurement."""


@dataclass(frozen=True, slots=True)
class Target:
    """A server that streams the answer to ``POST /api/chat/stream``."""

    name: str
    port: int
    pid: int
    key: str | None = None
    direct: bool = False
    """The upstream itself, asked as a server would ask it."""

    def turn(self, asked: Script, conversation: str | None = None) -> bytes:
        if self.direct:
            messages = [{"role": "user", "content": asked.text}]
            return request("POST", "/v1/chat/completions", body={"messages": messages, "stream": True})
        body = {"text": asked.text}
        if conversation is not None:
            body["conversation_id"] = conversation
        return request("POST", "/api/chat/stream", body=body, key=self.key)


@dataclass(slots=True)
class Answer:
    """What a client made of one exchange. ``transits`` are nanoseconds from the upstream's write to the client."""

    text: str = ""
    conversation: str | None = None
    run: str | None = None
    last_id: str | None = None
    end: str | None = None
    reply: str | None = None
    first_token: int = 0
    transits: list[tuple[int, int]] = field(default_factory=list)


def read(exchange: Exchange) -> Answer:
    """Read the events of backchat's dialects, of the relay, which has the deltas only, or of the upstream.

    Of the threads dialect also an answer in one piece.
    """
    answer, texts = Answer(), []
    if exchange.is_json:
        data = exchange.json()
        ended = "done" if data.get("status") == "COMPLETED" else "error"
        return Answer(data.get("content") or "", data.get("thread_id"), data.get("run_id"), end=ended)
    for event in exchange.events():
        data, kind = event.data, event.data.get("type")
        answer.last_id = event.id or answer.last_id
        if kind == "meta":
            answer.conversation, answer.run = data["conversation_id"], data.get("run_id")
        elif kind == "run_started":
            answer.conversation, answer.run = data["thread_id"], data["run_id"]
        elif kind in ("done", "error"):
            answer.end, answer.reply = kind, data.get("reply")
        elif kind in ("run_ended", "run_failed"):
            answer.end = "done" if data.get("status") == "completed" else "error"
        elif kind in (None, "assistant", "content_streaming"):
            delta = data.get("delta") or data.get("content") or (_upstream_delta(data) if "choices" in data else "")
            if not delta:
                continue
            answer.first_token = answer.first_token or event.arrived
            texts.append(delta)
            answer.transits += [(event.arrived, event.arrived - written) for written in stamps(delta)]
    answer.text = "".join(texts)
    return answer


def _upstream_delta(data: dict[str, Any]) -> str:
    return data["choices"][0]["delta"].get("content", "") if data["choices"] else ""


@dataclass(slots=True)
class Round:
    """A number of turns at one target. Times in nanoseconds, ``cpu`` in seconds."""

    turns: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    starved: float = 0.0
    first_tokens: list[int] = field(default_factory=list)
    first_transits: list[int] = field(default_factory=list)
    transits: list[int] = field(default_factory=list)
    durations: list[int] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def turns_per_cpu_second(self) -> float:
        return self.turns / self.cpu

    @property
    def cpu_ms_per_turn(self) -> float:
        return 1000 * self.cpu / self.turns

    def add(self, asked: Script, exchange: Exchange) -> Answer:
        """Count an exchange, and check its text to the last character."""
        answer = read(exchange)
        fault = failure(asked, exchange, answer)
        if fault is not None:
            self.failures.append(fault)
            return answer
        self.turns += 1
        if answer.first_token:
            self.first_tokens.append(answer.first_token - exchange.sent)
        self.durations.append(exchange.ended - exchange.sent)
        if answer.transits:
            self.first_transits.append(answer.transits[0][1])
            self.transits += [transit for _, transit in answer.transits]
        return answer


def failure(asked: Script, exchange: Exchange, answer: Answer) -> str | None:
    if exchange.status != 200:
        return f"status {exchange.status}: {exchange.body()[:200]!r}"
    if not exchange.complete:
        return "the connection broke"
    if answer.end == "error":
        return "the stream ended with an error event"
    return problem(asked, answer.text)


async def open_connections(target: Target, clients: int) -> list[Connection]:
    """All of them, a few at a time, so that no backlog overflows."""
    opened: list[Connection] = []
    while len(opened) < clients:
        opened += await asyncio.gather(*[connect(target.port) for _ in range(min(64, clients - len(opened)))])
    return opened


async def run_round(
    target: Target,
    connections: Sequence[Connection],
    turns: int,
    ask: Ask,
    *,
    conversations: Sequence[Sequence[str]] | None = None,
    spread: float = 0.0,
    settle: float = 0.1,
) -> Round:
    """Every client sends ``turns`` turns, the next when the last has ended, on its own conversations in rotation.

    ``spread`` seconds lie between the first client's start and the last one's, so that they do not tick together. The
    CPU time is that of all the turns and of what they leave to be done within ``settle`` seconds after them.
    """
    exchanges: list[tuple[Script, Exchange]] = []

    async def client(number: int) -> None:
        own = conversations[number] if conversations else (None,)
        await asyncio.sleep(spread * number / len(connections))
        for turn in range(turns):
            asked = ask()
            data = target.turn(asked, own[turn % len(own)])
            exchanges.append((asked, await connections[number].ask(data)))

    gc.collect()
    gc.disable()
    try:
        cpu, waited, began = cpu_seconds(target.pid), waited_seconds(target.pid), time.monotonic()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*[client(number) for number in range(len(connections))])
        seconds = time.monotonic() - began
        waited = waited_seconds(target.pid) - waited
        await asyncio.sleep(settle)
        result = Round(seconds=seconds, cpu=cpu_seconds(target.pid) - cpu, starved=waited / seconds)
    finally:
        gc.enable()
    for asked, exchange in exchanges:
        result.add(asked, exchange)
    return result
