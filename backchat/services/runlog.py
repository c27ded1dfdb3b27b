"""The event log of a run: committed before it is shown, readable from any position, while it grows and after.

One record for each event, its id the run's id and the event's number. A number is written with ``expect=0``, so that
two processes that both believe a run is theirs cannot both write it: the slower one gets StaleWrite and stops.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from backchat.domain.memory import Recalled
from backchat.domain.message import Seal, ToolCall, ToolResult
from backchat.domain.run import (
    CallEnded,
    Failure,
    MemoriesRecalled,
    PassagesFound,
    ReasoningDelta,
    ReasoningSealed,
    Run,
    RunEnded,
    RunEvent,
    RunPaused,
    StatusNote,
    TextDelta,
    ToolCalled,
    ToolReturned,
)
from backchat.ports.storage import Change, Kind, Purge, Put, Query, Range, Record, RecordStore
from backchat.services.stored import usage_doc, usage_of

EVENT = Kind(name="event", fields=("run",), partition="run")
Numbered = tuple[int, RunEvent]
PAGE = 500
TAIL = 4
GROUNDS = 20
"""Events at the beginning of a part of a run among which its grounds are."""


def event_id(run: str, seq: int) -> str:
    return f"{run}.{seq:08d}"


def event_put(run: str, seq: int, event: RunEvent) -> Put:
    return Put("event", event_id(run, seq), {"run": run, **_doc(event)}, 0)


def events_purge(run: str) -> Purge:
    """The change that drops the whole log of a run."""
    return Purge("event", (("run", (run,)),), (Range("id", event_id(run, 0), run + "/"),))


async def read_events(store: RecordStore, run: str, after: int, limit: int = PAGE) -> list[Numbered]:
    """Committed events with numbers above ``after``, in order."""
    ranges = (Range("id", event_id(run, after + 1), run + "/"),)
    records = await store.find(Query(kind="event", where=(("run", (run,)),), ranges=ranges, limit=limit))
    return [numbered(record) for record in records]


def numbered(record: Record) -> Numbered:
    """A committed event."""
    return int(record.id[-8:]), _event(record.doc)


async def read_grounds(store: RecordStore, run: Run) -> tuple[Sequence[Recalled] | None, Sequence[str]]:
    """The memories and files that the last part of a run was grounded with; None if none were looked for."""
    memories: Sequence[Recalled] | None = None
    files: Sequence[str] = ()
    for _, event in await read_events(store, run.id, run.began, GROUNDS):
        if type(event) is MemoriesRecalled:
            memories = event.memories
        elif type(event) is PassagesFound:
            files = event.files
    return memories, files


def _doc(event: RunEvent) -> dict[str, Any]:
    match event:
        case TextDelta(text):
            return {"t": text}
        case ReasoningDelta(text):
            return {"r": text}
        case StatusNote(text):
            return {"s": text}
        case ReasoningSealed(seal):
            return {"seal": [seal.maker, seal.data]}
        case ToolCalled(ToolCall(id, name, arguments, seal)):
            return {"call": [id, name, arguments, *([seal.maker, seal.data] if seal is not None else ())]}
        case MemoriesRecalled(memories):
            return {"recalled": [[m.id, m.content, m.score] for m in memories]}
        case PassagesFound(files):
            return {"files": list(files)}
        case ToolReturned(ToolResult(call, content)):
            return {"result": [call, content]}
        case CallEnded(provider, model, usage, estimated):
            return {"called": [provider, model, usage_doc(usage), estimated]}
        case RunPaused(message, provider, model, confirm):
            return {"pause": [message, provider, model, *confirm]}
        case RunEnded(status, message, provider, model, failure, usage, finish):
            ended: dict[str, Any] = {"status": status, "message": message, "provider": provider, "model": model}
            if failure is not None:
                ended["failure"] = [failure.kind, failure.code, failure.message]
            if usage is not None:
                ended["usage"] = usage_doc(usage)
            if finish != "stop":
                ended["finish"] = finish
            return {"end": ended}


def _event(doc: Mapping[str, Any]) -> RunEvent:
    if "t" in doc:
        return TextDelta(doc["t"])
    if "r" in doc:
        return ReasoningDelta(doc["r"])
    if "s" in doc:
        return StatusNote(doc["s"])
    if "call" in doc:
        id, name, arguments, *seal = doc["call"]
        return ToolCalled(ToolCall(id, name, arguments, Seal(*seal) if seal else None))
    if "seal" in doc:
        return ReasoningSealed(Seal(*doc["seal"]))
    if "recalled" in doc:
        return MemoriesRecalled(tuple([Recalled(*m) for m in doc["recalled"]]))
    if "files" in doc:
        return PassagesFound(tuple(doc["files"]))
    if "result" in doc:
        return ToolReturned(ToolResult(*doc["result"]))
    if "called" in doc:
        provider, model, usage, estimated = doc["called"]
        return CallEnded(provider, model, usage_of(usage), estimated)
    if "pause" in doc:
        message, provider, model, *confirm = doc["pause"]
        return RunPaused(message, provider, model, tuple(confirm))
    end = doc["end"]
    failure = Failure(*end["failure"]) if "failure" in end else None
    spent = usage_of(end["usage"]) if "usage" in end else None
    return RunEnded(
        end["status"], end["message"], end["provider"], end["model"], failure, spent, end.get("finish", "stop")
    )


class RunLog:
    """The log of a run that this process works on.

    ``add`` takes events as they come and never waits. ``pump`` commits: whatever was added while the last commit ran
    becomes the next one, neighbouring deltas as a single event. After a commit its events are shown to the readers that
    are up to date; slower ones read the store, so a reader holds no memory here.
    """

    __slots__ = (
        "_closing",
        "_more",
        "_pending",
        "_store",
        "_tail",
        "_turn",
        "_waiting",
        "_wake",
        "ended",
        "last",
        "run",
    )

    def __init__(self, store: RecordStore, run: str, position: int = 0) -> None:
        self._store, self.run = store, run
        self.last = position
        self.ended = False
        self._pending: list[RunEvent] = []
        self._more: list[Change] = []
        self._turn = asyncio.Lock()
        self._tail: list[Numbered] = []
        self._waiting: dict[asyncio.Future[None], None] = {}
        self._wake: asyncio.Future[None] | None = None
        self._closing = False

    def add(self, event: RunEvent, *more: Change) -> None:
        """``more`` is committed together with the event."""
        self._pending.append(event)
        self._more += more
        if self._wake is not None:
            self._wake.set_result(None)
            self._wake = None

    def close(self) -> None:
        """No more events will be added; ``pump`` ends when what is pending is committed."""
        self._closing = True
        if self._wake is not None:
            self._wake.set_result(None)
            self._wake = None

    async def pump(self) -> None:
        """Commit until closed. Raises StaleWrite when another process has taken the run over."""
        while True:
            if not self._pending:
                if self._closing:
                    return
                self._wake = asyncio.get_running_loop().create_future()
                await self._wake
                continue
            await self.commit(())

    def ahead(self) -> int:
        """The number that the last event would get if it were committed now, after what is pending."""
        self._pending = _merged(self._pending)
        return self.last + len(self._pending) + 1

    async def commit(self, more: Sequence[Change], *own: RunEvent) -> None:
        """Commit what is pending, and after it ``own``, in one batch with ``more``; a pause or an end is the last one.

        If that fails, what was pending is for the next commit, and ``own`` the caller's again.
        """
        async with self._turn:
            said, with_them = _merged(self._pending), self._more
            self._pending, self._more = [], []
            numbered = list(enumerate([*said, *own], self.last + 1))
            if not (numbered or more or with_them):  # another commit has taken it along
                return
            try:
                await self._store.apply([*more, *with_them, *[event_put(self.run, n, e) for n, e in numbered]])
            except BaseException:
                self._pending[:0] = said  # for the next commit, which may be the last one
                self._more[:0] = with_them
                raise
            self._tail = [*self._tail, *numbered][-TAIL:]
            if numbered:
                self.last = numbered[-1][0]
            self.ended = bool(own) and type(own[-1]) in (RunEnded, RunPaused)
        self._show()

    async def written(self) -> None:
        """Wait until everything that was added is committed."""
        while self._pending or self._turn.locked():
            await self.changed()

    def abandon(self) -> None:
        """Let the readers go on with the store: this process no longer works on the run."""
        self.ended = True
        self._show()

    def _show(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def changed(self) -> None:
        """Wait for the next commit."""
        future = asyncio.get_running_loop().create_future()
        self._waiting[future] = None
        try:
            await future
        finally:
            self._waiting.pop(future, None)  # of a reader that looks up now and then, or has left

    async def since(self, after: int) -> Sequence[Numbered]:
        """Committed events above ``after``: from the tail if it reaches back that far, else from the store."""
        if self._tail and self._tail[0][0] <= after + 1:
            return [pair for pair in self._tail if pair[0] > after]
        return await read_events(self._store, self.run, after)


def _merged(events: Sequence[RunEvent]) -> list[RunEvent]:
    """Neighbouring text deltas as one, neighbouring reasoning deltas as one."""
    if len(events) < 2:
        return list(events)
    merged: list[RunEvent] = []
    texts: list[str] = []
    kind: type[TextDelta] | type[ReasoningDelta] | None = None
    for event in events:
        if type(event) is TextDelta or type(event) is ReasoningDelta:
            if type(event) is not kind and kind is not None:
                merged.append(kind("".join(texts)))
                texts = []
            kind = type(event)
            texts.append(event.text)
            continue
        if kind is not None:
            merged.append(kind("".join(texts)))
            texts, kind = [], None
        merged.append(event)
    if kind is not None:
        merged.append(kind("".join(texts)))
    return merged
