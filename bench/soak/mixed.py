"""Runs that begin in every way there is and end in every way there is, each on a conversation of a client's own."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Literal

from bench.counting import Asked, CountingUpstream, Plan
from bench.load import read
from bench.soak.file import PATIENCE, File, until
from bench.wire import Connection, Exchange, ask, connect, request

Fate = Literal["end", "drop", "cancel", "break", "refuse", "delete", "death"]
FATES: Sequence[Fate] = ("end", "drop", "cancel", "break", "refuse", "delete")
STATUSES: dict[Fate, str | None] = {
    "end": "completed",
    "drop": "completed",  # the client's leaving is no matter to the run
    "cancel": "cancelled",
    "break": "failed",
    "refuse": "failed",
    "delete": None,  # with its session
    "death": "interrupted",
}


@dataclass(frozen=True, slots=True)
class Way:
    """How a run begins. ``session``: in one of a workspace, else in a conversation of the chat dialect."""

    session: bool
    answer: Literal["blocking", "stream", "task"]
    again: bool = False


WAYS = (
    Way(False, "blocking"),
    Way(False, "stream"),
    Way(True, "blocking"),
    Way(True, "stream"),
    Way(True, "task"),
    Way(True, "blocking", again=True),
    Way(True, "task", again=True),
)


@dataclass(frozen=True, slots=True)
class Kind:
    """``tools``: the model asks for two calculations first. ``at``: in which of the calls the run meets its fate."""

    way: Way
    fate: Fate
    tools: bool = False
    at: int = 0

    def __str__(self) -> str:
        place = "session" if self.way.session else "chat"
        words = ["again" if self.way.again else "said", self.way.answer, place]
        return f"{' '.join(words)}{f' tools {self.at}' if self.tools else ''}: {self.fate}"


def kinds(chance: random.Random, count: int, *fates: Fate) -> list[Kind]:
    """So many kinds, all there are before any comes again, and with tools and without in turn."""
    inside = [way for way in WAYS if way.session]
    plain = [Kind(way, fate) for way in WAYS for fate in fates if way.session or fate != "delete"]
    first = [Kind(way, fate, tools=True) for way in inside for fate in fates if fate != "refuse"]
    second = [Kind(way, fate, tools=True, at=1) for way in inside for fate in fates if fate not in ("refuse", "end")]
    chosen: list[Kind] = []
    while len(chosen) < count:
        shuffled = [chance.sample(group, len(group)) for group in (second, first, plain)]
        chosen += [kind for several in zip_longest(*shuffled) for kind in several if kind is not None]
    return chosen[:count]


@dataclass(slots=True)
class Seat:
    """One client: its conversation in the chat dialect, its session, and the word that was last said in that."""

    conversation: str
    session: str
    word: str


@dataclass(slots=True)
class Begun:
    """A run under way: ``call`` is the one that is held, if one is."""

    kind: Kind
    conversation: str
    connection: Connection
    exchange: Exchange
    run: str = ""
    call: Asked | None = None


@dataclass(slots=True)
class Desk:
    """Where the clients ask: one user of one server.

    ``runs`` counts those that were begun; ``deleted`` are sessions that are gone, with all their runs.
    """

    upstream: CountingUpstream
    file: File
    port: int
    key: str
    chance: random.Random
    workspace: str = ""
    runs: int = 0
    deleted: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)

    async def ask(self, method: str, path: str, body: object = None, *, expect: int = 200) -> Any:
        """The JSON of an answer. Raises RuntimeError for another status than expected."""
        exchange = await ask(self.port, request(method, path, body=body, key=self.key))
        if exchange.status != expect:
            raise RuntimeError(f"{method} {path}: {exchange.status} {exchange.body()[:200]!r}")
        return exchange.json()

    async def seat(self) -> Seat:
        """A new client. One run in each of its places, so that there is something to answer again."""
        if not self.workspace:
            self.workspace = (await self.ask("GET", "/api/workspaces/"))["results"][0]["id"]
        answer = await self.ask("POST", "/api/chat", {"text": self._word(Plan())})
        self.runs += 1
        seat = Seat(answer["conversation_id"], "", "")
        await self._open_session(seat)
        return seat

    async def _open_session(self, seat: Seat) -> None:
        opened = await self.ask("POST", f"/api/workspaces/{self.workspace}/chats/", {}, expect=201)
        seat.session, seat.word = opened["id"], self._word(Plan())
        await self.ask("POST", f"{self._place(seat)}messages/", {"content": seat.word}, expect=201)
        self.runs += 1

    async def go(self, seat: Seat, kind: Kind) -> None:
        """One run from its beginning to its end; what is not as it should be becomes a fault."""
        try:
            async with asyncio.timeout(PATIENCE):
                begun = await self.begin(seat, kind)
                try:
                    await self._decide(begun, seat)
                    await self.check_end(begun)
                    if kind.fate == "end":
                        await self._check_answer(begun)
                finally:
                    begun.connection.drop()
                if kind.fate == "delete":
                    await self._open_session(seat)
        except Exception as error:
            self.faults.append(f"{kind}: {type(error).__name__}: {error}")

    async def begin(self, seat: Seat, kind: Kind) -> Begun:
        """Start a run. One that is not to end by itself is held, and all that it has said is in its log then."""
        way, plan = kind.way, self._plan(kind)
        conversation = seat.session if way.session else seat.conversation
        word = seat.word if way.again else self._word(plan)
        if way.session:
            seat.word = word
        self.upstream.plans[word] = plan
        calls = len(self.upstream.of(word))
        before = len(self.file.rows("run", "conversation = ?", conversation))
        connection = await connect(self.port)
        begun = Begun(kind, conversation, connection, connection.start(self._request(seat, kind, word)))
        self.runs += 1
        if plan.hold is None:
            await begun.exchange.done
        else:
            begun.call = await self.upstream.held(word, calls + plan.at + 1)
        begun.run = self.file.newest_run(conversation)["id"]
        if begun.call is not None:
            await self.file.has_logged(begun.run, begun.call.text, plan.at)
        after = len(self.file.rows("run", "conversation = ?", conversation))
        if after != before + 1:
            raise RuntimeError(f"{after - before} runs were begun by one request")
        return begun

    async def check_end(self, begun: Begun) -> None:
        status, expected = await self.file.ended(begun.run), STATUSES[begun.kind.fate]
        if status != expected:
            raise RuntimeError(f"the run is {status}, not {expected}")

    async def _decide(self, begun: Begun, seat: Seat) -> None:
        match begun.kind.fate:
            case "drop":
                begun.connection.drop()
            case "cancel":
                await self.ask("POST", f"/api/chat/stream/{begun.run}/cancel")
            case "delete":
                self.deleted.add(begun.conversation)
                await self._delete(seat)
        if begun.call is not None and begun.kind.fate not in ("cancel", "delete"):
            begun.call.go.set()

    async def _delete(self, seat: Seat) -> None:
        exchange = await ask(self.port, request("DELETE", self._place(seat), key=self.key))
        if exchange.status != 204:
            raise RuntimeError(f"a session was deleted with {exchange.status}")

    async def _check_answer(self, begun: Begun) -> None:
        exchange, way = begun.exchange, begun.kind.way
        if way.answer == "stream":
            if exchange.status != 200 or read(exchange).end != "done":
                raise RuntimeError(f"the stream ended with {exchange.status} {exchange.body()[-200:]!r}")
            return
        expected = 202 if way.answer == "task" else 201 if way.session and not way.again else 200
        if exchange.status != expected:
            raise RuntimeError(f"answered {exchange.status}, not {expected}: {exchange.body()[:200]!r}")
        if way.answer == "task":
            place = f"/api/workspaces/{self.workspace}/chats/{begun.conversation}/messages/agent-task-status/"
            state = await self.ask("GET", f"{place}{exchange.json()['task_id']}/")
            if state["status"] != "completed":
                raise RuntimeError(f"the run is completed, its task {state['status']}")

    def _word(self, plan: Plan) -> str:
        word = f"w{len(self.upstream.plans)}"
        self.upstream.plans[word] = plan
        return word

    def _plan(self, kind: Kind) -> Plan:
        count = self.chance.randint(2, 24)
        # A connection that is cut before anything has come is no call: nobody knows how far it got.
        least = 1 if kind.fate == "break" else 0
        hold = (
            None if kind.fate in ("end", "refuse") else self.chance.choice((least, self.chance.randint(1, count - 1)))
        )
        fate = kind.fate if kind.fate in ("break", "refuse") else "end"
        return Plan(tokens=count, sums=2 if kind.tools else 0, hold=hold, at=kind.at, fate=fate)

    def _place(self, seat: Seat) -> str:
        return f"/api/workspaces/{self.workspace}/chats/{seat.session}/"

    def _request(self, seat: Seat, kind: Kind, word: str) -> bytes:
        way, text = kind.way, f"{word} {'x' * self.chance.randint(1, 200)}"
        headers = {"Prefer": "respond-async"} if way.answer == "task" else {}
        if way.again:
            path, body = f"{self._place(seat)}messages/regenerate/", None
        elif way.session and way.answer != "stream":
            path, body = f"{self._place(seat)}messages/", {"content": text}
        else:
            path = "/api/chat/stream" if way.answer == "stream" else "/api/chat"
            body = {"text": text, "conversation_id": seat.session if way.session else seat.conversation}
        return request("POST", path, body=body, key=self.key, headers=headers)


async def quiet(upstream: CountingUpstream) -> None:
    """Wait until the upstream is asked nothing any more. Raises InVain."""
    await until(lambda: all(call.state in ("ended", "cut") for call in upstream.calls), "the end of all calls")
