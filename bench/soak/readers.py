"""Clients of several servers behind a proxy, which go on reading where they were, whatever breaks."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.script import Script
from bench.soak.nginx import PROCESS
from bench.wire import Exchange, ask, connect, request

PAUSE = 0.1
"""Seconds before a client asks again."""
REFUSALS = (0, 502, 503, 504)
"""What a proxy or a server says that cannot answer now; 0 is a connection that broke before a status came."""
Frame = tuple[int, str, str]
"""The number of an event, its type, and what it said: a delta, or the whole reply at the end."""


def process_of(exchange: Exchange) -> str:
    """The address of the server that an answer came from; empty if it came from none."""
    head = bytes(exchange.raw[: exchange.raw.find(b"\r\n\r\n")]).decode("latin-1")
    found = re.search(rf"^{PROCESS}: (.*)$", head, re.MULTILINE)
    return found[1].strip().rpartition(" ")[2] if found else ""


def frames_of(exchange: Exchange) -> list[Frame]:
    """The numbered events after the first, which says only what the answer is about."""
    found = []
    for event in exchange.events():
        if event.id is not None and int(event.id):
            data = event.data
            found.append((int(event.id), str(data["type"]), str(data.get("delta", data.get("reply", "")))))
    return found


@dataclass(slots=True, eq=False)
class Turn:
    """One message, and its reply as its client has it. Times are monotonic seconds.

    ``once``: it is sent with an Idempotency-Key. ``processes`` are those that have shown something of the reply, one
    for each connection, and ``owner`` is the first: the reply was made there. ``breaks`` are the moments at which a
    stream broke off, each with the seconds until the next one brought something. ``waits`` are the seconds between a
    first refusal and an answer, and ``refusals`` what was said, by status.
    """

    port: int
    key: str
    asked: Script
    conversation: str | None = None
    once: bool = True
    run: str | None = None
    frames: list[Frame] = field(default_factory=list)
    end: str | None = None
    processes: list[str] = field(default_factory=list)
    breaks: list[tuple[float, float]] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    refusals: Counter[int] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    _idempotency: str = field(default_factory=lambda: secrets.token_hex(16))

    @property
    def text(self) -> str:
        return "".join([said for _, type, said in self.frames if type == "assistant"])

    @property
    def owner(self) -> str:
        return self.processes[0] if self.processes else ""

    async def read(self, leave: float | None = None) -> None:
        """To the end of the reply; ``leave``: after so many seconds the client goes once, and comes back."""
        broke: float | None = None
        refused: float | None = None
        while self.end is None and not self.problems:
            exchange = await self._ask(leave, broke)
            leave = None
            if exchange.status in REFUSALS:
                self.refusals[exchange.status] += 1
                refused = refused or time.monotonic()
                await asyncio.sleep(PAUSE)
                continue
            if refused is not None:
                self.waits.append(exchange.sent / 1e9 - refused)
                refused = None
            if exchange.status != 200:
                self.problems.append(f"status {exchange.status}: {exchange.body()[:200]!r}")
                break
            self._take(exchange)
            if self.end is None and exchange.complete:
                self.problems.append("a stream ended without the end of the reply")
            broke = time.monotonic()
        self.opened.set()

    def _take(self, exchange: Exchange) -> None:
        self.processes.append(process_of(exchange))
        for event in exchange.events():
            data = event.data
            if data["type"] == "meta":
                self.run, self.conversation = data["run_id"], data["conversation_id"]
            elif data["type"] in ("done", "error"):
                self.end = data["type"]
        for frame in frames_of(exchange):
            if self.frames and frame[0] <= self.frames[-1][0]:
                self.problems.append(f"event {frame[0]} came after event {self.frames[-1][0]}")
            self.frames.append(frame)

    async def _ask(self, leave: float | None, broke: float | None) -> Exchange:
        connection = await connect(self.port)
        try:
            exchange = connection.start(self._request())
            await asyncio.wait({exchange.first})
            if exchange.status == 200:
                self.opened.set()
                if broke is not None:
                    self.breaks.append((broke, time.monotonic() - broke))
            await asyncio.wait({exchange.done}, timeout=leave)
            return exchange
        finally:
            connection.drop()

    def _request(self) -> bytes:
        if self.run is not None:
            headers = {"Last-Event-ID": str(self.frames[-1][0] if self.frames else 0)}
            return request("GET", f"/api/chat/stream/{self.run}", key=self.key, headers=headers)
        body = {"text": self.asked.text}
        if self.conversation is not None:
            body["conversation_id"] = self.conversation
        once = {"Idempotency-Key": self._idempotency} if self.once else {}
        return request("POST", "/api/chat/stream", body=body, key=self.key, headers=once)

    # ---- afterwards -------------------------------------------------------------------------------------------------

    async def check(self) -> Sequence[str]:
        """What is wrong with what the client has, held against the store and against a replay of all of it."""
        name = f"run {self.run}, nonce {self.asked.nonce}"
        if self.problems or self.run is None:
            return [f"{name}: {problem}" for problem in self.problems or ["it never began"]]
        replay = await ask(self.port, request("GET", f"/api/chat/stream/{self.run}", key=self.key))
        if replay.status != 200 or not replay.complete:
            return [f"{name}: the replay answered {replay.status}"]
        problems = []
        if frames_of(replay) != self.frames:
            told, all = [f[0] for f in self.frames], [f[0] for f in frames_of(replay)]
            problems.append(
                f"{len(told)} events were read, {len(all)} are there, missing {sorted({*all} - {*told})[:5]}"
            )
        message = await self._stored(problems)
        if message is not None and message["content"] != self.text:
            problems.append(f"{len(self.text)} characters were read, {len(message['content'])} are stored")
        if message is not None and (message["status"] == "complete") != (self.end == "done"):
            problems.append(f"the client was told {self.end}, and the answer is stored as {message['status']}")
        return [f"{name}: {problem}" for problem in problems]

    async def _stored(self, problems: list[str]) -> dict[str, Any] | None:
        """The answer, which follows the only message that has this nonce."""
        path = f"/api/chat/messages?conversation_id={self.conversation}&limit=100"
        exchange = await ask(self.port, request("GET", path, key=self.key))
        if exchange.status != 200:
            problems.append(f"its conversation answered {exchange.status}")
            return None
        messages = exchange.json()["messages"]
        places = [n for n, m in enumerate(messages) if m["role"] == "user" and self.asked.nonce in m["content"]]
        if len(places) != 1:
            problems.append(f"the user's message is there {len(places)} times")
            return None
        after = messages[places[0] + 1 : places[0] + 2]
        if not after or after[0]["role"] != "assistant":
            if self.text:
                problems.append("the answer is not there")
            return None
        found: dict[str, Any] = after[0]
        return found
