"""Tasks in two server processes on one SQLite file, one of which is killed, or stands still for longer than a lease."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from bench.arena import workplace
from bench.counting import CountingUpstream, Plan, counting
from bench.processes import RIG_CORE
from bench.report import Report
from bench.server import Backchat, backchat, configuration
from bench.soak.file import PATIENCE, File, free_port, until
from bench.soak.limits import Limits
from bench.wire import ask, request

LEASE = 2.0
WORK = 2.0
"""Seconds that the other server gets to end what a dead one has left."""
TOKENS, HELD = 8, 4
PAUSE = 0.05
Death = Literal["kill", "freeze"]
SETTLING: Mapping[Death, float] = {
    # A process that is gone from this host is missed when the others look, which they do three times in a lease; of
    # one that stands still its silence is heard at one look, and is a lease old at another.
    "kill": LEASE / 3 + WORK,
    "freeze": LEASE / 3 + LEASE + LEASE / 3 + WORK,
}
"""Seconds within which all tasks of the dead have ended."""


@dataclass(frozen=True, slots=True)
class Task:
    """``server``: the number of the one that was asked, and works on it."""

    id: str
    session: str
    word: str
    server: int


@dataclass(slots=True)
class Place:
    """One of the servers. ``up`` while it is asked how the tasks go."""

    server: Backchat
    up: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class Watch:
    """Asks both servers how every task goes, again and again. ``ends``: when each end was seen first, and what it was.

    An end that anybody has been told must be told to everybody who asks after that, in the same words.
    """

    places: Sequence[Place]
    workspace: str
    key: str
    ends: dict[str, tuple[float, dict[str, Any]]] = field(default_factory=dict)
    polls: int = 0
    faults: list[str] = field(default_factory=list)

    async def poll(self, number: int, task: Task) -> str | None:
        """What a server says of a task; None if it does not answer."""
        path = f"/api/workspaces/{self.workspace}/chats/{task.session}/messages/agent-task-status/{task.id}/"
        known, port = self.ends.get(task.id), self.places[number].server.port
        try:
            exchange = await ask(port, request("GET", path, key=self.key))
        except OSError:
            return None
        if not exchange.complete:
            return None
        self.polls += 1
        where = f"server {number}, {task.word}"
        if exchange.status != 200:
            self.faults.append(f"{where}: {exchange.status} {exchange.body()[:200]!r}")
            return None
        state: dict[str, Any] = exchange.json()
        if state["status"] == "processing":
            if known is not None:
                self.faults.append(f"{where}: processing, after it had been {known[1]['status']}")
        else:
            _, end = self.ends.setdefault(task.id, (time.time(), state))
            if end != state:
                self.faults.append(f"{where}: {state['status']}, but elsewhere {end['status']}, or with other messages")
        return str(state["status"])

    async def follow(self, number: int, tasks: Sequence[Task]) -> None:
        """Until this server has told the end of each."""
        left = list(tasks)
        while left:
            await self.places[number].up.wait()
            left = [task for task in left if await self.poll(number, task) in (None, "processing")]
            await asyncio.sleep(PAUSE)


@dataclass(slots=True)
class Outcome:
    """``settled``: seconds from the death to the end of the last task of the dead;  ``told``: until a poll told it."""

    tasks: int
    ends: Mapping[str, int]
    orphans: int
    settled: float
    told: float
    polls: int
    faults: list[str]

    def row(self, death: Death) -> dict[str, str | int | float]:
        return {
            "death": death,
            "tasks": self.tasks,
            **dict(self.ends),
            "under way in the dead server": self.orphans,
            "settled s": self.settled,
            "told s": self.told,
            "polls": self.polls,
            "violations": len(self.faults),
        }


async def begin(watch: Watch, upstream: CountingUpstream, death: Death, count: int) -> list[Task]:
    """So many tasks at once, each in a session of its own, asked of the servers in turn."""
    place, key = f"/api/workspaces/{watch.workspace}/chats/", watch.key

    async def post(number: int, path: str, body: object, expect: int, **headers: str) -> Any:
        exchange = await ask(
            watch.places[number].server.port, request("POST", path, body=body, key=key, headers=headers)
        )
        if exchange.status != expect:
            raise RuntimeError(f"POST {path}: {exchange.status} {exchange.body()[:200]!r}")
        return exchange.json()

    async def one(number: int, session: str) -> Task:
        word = f"{death}{number}"
        upstream.plans[word] = Plan(tokens=TOKENS, hold=HELD)
        path = f"{place}{session}/messages/"
        begun = await post(number % 2, path, {"content": word}, 202, Prefer="respond-async")
        return Task(begun["task_id"], session, word, number % 2)

    sessions = [(await post(number % 2, place, {}, 201))["id"] for number in range(count)]
    return list(await asyncio.gather(*[one(number, session) for number, session in enumerate(sessions)]))


async def outcomes(
    directory: Path, deaths: Sequence[Death], count: int, *, ports: Sequence[int] = (), seed: int = 1
) -> dict[Death, Outcome]:
    """So many tasks for each death, all with the same two servers; without ``ports`` these take free ones."""
    chance, found = random.Random(seed), {}
    async with counting() as upstream:
        config = {
            **configuration(upstream.port, dialects=("chat", "workspaces")),
            "replies": {"lease": LEASE},
        }
        first, second = ports or (free_port(), free_port())
        with backchat(directory, first, config) as dying, backchat(directory, second, config) as living:
            await asyncio.to_thread(dying.start)
            await asyncio.to_thread(living.start, core=RIG_CORE)
            key = await asyncio.to_thread(dying.first_key)
            listed = await ask(living.port, request("GET", "/api/workspaces/", key=key))
            for death in deaths:
                watch = Watch([Place(dying), Place(living)], listed.json()["results"][0]["id"], key)
                for place in watch.places:
                    place.up.set()
                found[death] = await outlive(watch, upstream, death, count, chance)
    return found


async def outlive(watch: Watch, upstream: CountingUpstream, death: Death, count: int, chance: random.Random) -> Outcome:
    """So many tasks, a third of which ends before the death of the first server, and a third in the same moment."""
    tasks = await begin(watch, upstream, death, count)
    watching = [asyncio.create_task(watch.follow(number, tasks)) for number in (0, 1)]
    try:
        for task in tasks:
            await upstream.held(task.word)
        mixed, third = chance.sample(tasks, count), count // 3
        release(upstream, mixed[:third])
        await until(lambda: all(task.id in watch.ends for task in mixed[:third]), "the end of the first third")
        release(upstream, mixed[third : 2 * third])
        file = File(watch.places[1].server.database)
        died = await die(watch.places[0], death, file)
        orphans = {run["id"] for run in file.running()} & {task.id for task in tasks if task.server == 0}
        release(upstream, [task for task in tasks if task.server == 1])
        await until(lambda: all(task.id in watch.ends for task in tasks), "the end of all tasks")
        told = max((watch.ends[id][0] for id in orphans), default=died)
        settled = max((datetime.fromisoformat(file.run(id)["ended"]).timestamp() for id in orphans), default=died)
        release(upstream, tasks)
        await revive(watch.places[0], death)
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*watching)
    finally:
        for follower in watching:
            follower.cancel()
    for task in tasks:  # once more, after everything
        for number in (0, 1):
            await watch.poll(number, task)
    faults = [*upstream.problems, *watch.faults, *contradictions(watch, upstream, file, tasks)]
    if settled - died > SETTLING[death]:
        faults.append(f"the last end came {settled - died:.1f} s after the death, not within {SETTLING[death]:.1f} s")
    ends = Counter(watch.ends[task.id][1]["status"] for task in tasks)
    return Outcome(count, ends, len(orphans), settled - died, told - died, watch.polls, faults)


def release(upstream: CountingUpstream, tasks: Sequence[Task]) -> None:
    for task in tasks:
        for call in upstream.of(task.word):
            call.go.set()


async def die(place: Place, death: Death, file: File) -> float:
    """Returns the moment, as the store has it. None stands still in the middle of a write: nobody could write then."""
    place.up.clear()
    if death == "kill":
        died = time.time()
        await asyncio.to_thread(place.server.kill)
        return died
    while True:
        died = time.time()
        place.server.send(signal.SIGSTOP)
        if await asyncio.to_thread(file.is_free, 0.5):
            return died
        place.server.send(signal.SIGCONT)
        await asyncio.to_thread(file.is_free, PATIENCE)  # until it has finished that write


async def revive(place: Place, death: Death) -> None:
    """The killed one is started again; the one that stood still goes on, with all its work in its hands."""
    if death == "kill":
        await asyncio.to_thread(place.server.start)
    else:
        place.server.send(signal.SIGCONT)
    place.up.set()


def contradictions(watch: Watch, upstream: CountingUpstream, file: File, tasks: Sequence[Task]) -> list[str]:
    """Tasks that were worked on twice, or of which the store, the model service and the polls do not say the same."""
    faults = []
    for task in tasks:
        end = watch.ends[task.id][1]
        calls = upstream.of(task.word)
        messages = file.rows("message", "conversation = ?", task.session)
        said = [m for m in messages if m["role"] == "assistant"]
        complete = [m for m in said if m["status"] == "complete"]
        completed = end["status"] == "completed"
        runs = file.rows("run", "conversation = ?", task.session)
        if len(calls) != 1:
            faults.append(f"{task.word}: the model was asked {len(calls)} times")
        if len(runs) != 1 or (runs[0]["status"] == "completed") != completed:
            faults.append(f"{task.word}: {[run['status'] for run in runs]} in the store, {end['status']} when polled")
        if len(messages) - len(said) != 1 or len(said) > 1 or len(complete) != completed:
            faults.append(f"{task.word}: {len(messages)} messages, {len(complete)} complete answers, {end['status']}")
        if completed and end["ai_messages"][-1]["content"] != calls[0].text:
            faults.append(f"{task.word}: not what the model said")
        log = file.rows("event", "run = ?", task.id)
        ends, text = ["end" in event for event in log], "".join([event.get("t", "") for event in log])
        if ends.count(True) != 1 or not ends[-1] or (said and text != said[0]["text"]):
            faults.append(f"{task.word}: {ends.count(True)} ends in the log, which is not what is stored")
        if not completed and (task.server == 1 or end.get("code") != "server_restart"):
            faults.append(f"{task.word} of server {task.server}: {end}")
    ids = {task.id for task in tasks}
    booked = Counter(record["run"] for record in file.rows("usage") if record["run"] in ids)
    if set(booked) != ids or set(booked.values()) != {1}:
        faults.append(f"{booked.total()} calls are booked for {len(tasks)} tasks, on {len(booked)} runs")
    return faults


async def campaign(limits: Limits) -> Report:
    report = Report(
        "soak-tasks",
        f"{limits.tasks} tasks at once in two server processes on one SQLite file (lease {LEASE:g} s), polled in both. "
        "One third ends; another third is let go in the moment in which one server is killed (SIGKILL), or stands "
        "still (SIGSTOP) until the other has ended its tasks and then goes on.",
    )
    with workplace(limits.directory) as directory:
        ports = (limits.ports + 1, limits.ports + 2)
        found = await outcomes(directory, ("freeze", "kill"), limits.tasks, ports=ports, seed=limits.seed)
    report.add([outcome.row(death) for death, outcome in found.items()])
    for death, outcome in found.items():
        report.fault(death, outcome.faults)
        report.goal(f"settled after {death}", outcome.settled, SETTLING[death], unit="s")
        if not outcome.orphans:
            report.fault("rig", ["nothing was under way in the server that died"])
    return report
