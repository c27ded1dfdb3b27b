"""What goes out: values of the domain as the chat dialect shows them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from backchat.domain.conversation import Conversation
from backchat.domain.message import File, Image, Message, ToolCall
from backchat.domain.pieces import Pieces
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
from backchat.domain.times import stamp
from backchat.errors import BackchatError
from backchat.services.runlog import Numbered
from backchat.services.waiting import pending
from backchat.web.sse import frame

TEXT_LIMIT = 2048
ERROR_LENGTH = 300
WAITS = "Waiting for the outputs of tools that another client runs"
ASKS = "Waiting for you to allow"
_CODES = {"provider_timeout": "timeout", "cancelled": "cancelled", "interrupted": "interrupted"}


def conversation(c: Conversation) -> dict[str, Any]:
    return {
        "id": c.id,
        "title": c.title or "New conversation",
        "created_at": stamp(c.created_at),
        "last_active": stamp(c.updated_at),
        "message_count": c.messages,
        "approx_tokens": c.characters // 4,
        "folder_id": None,
        "channel": c.channel,
    }


def is_shown(m: Message) -> bool:
    """Whether a message has something for people: not tool outputs, nor an answer of nothing but tool calls, unless it
    waits.
    """
    if m.role not in ("user", "assistant"):
        return False
    return m.status == "waiting" or not all(isinstance(p, ToolCall) for p in m.parts)


def waits(run: Run, m: Message) -> dict[str, Any]:
    """What is told of a reply that waits, beside the message: the calls that the user has not decided on."""
    return {"run_id": run.id, "confirm": [_asks(c) for c in pending(run, m).decisions]}


def _asks(call: ToolCall) -> dict[str, Any]:
    """The arguments fit the tool, so they are an object."""
    return {"id": call.id, **_tool(call), "arguments": orjson.loads(call.arguments)}


def _tool(call: ToolCall) -> dict[str, str]:
    return {"name": call.name, "label": call.name.replace("_", " ")}


def message(m: Message) -> dict[str, Any]:
    images = "".join([f"\n[image: {p.mime}]" for p in m.parts if type(p) is Image])
    files = "".join([f"\n[file: {p.name}]" for p in m.parts if type(p) is File])
    return {
        "id": m.seq,
        "role": m.role,
        "content": m.text + images + files,
        "provider": m.provider,
        "status": m.status,
        "created_at": stamp(m.created_at),
        **{name: m.metadata[name] for name in ("finish", "tried") if name in m.metadata and m.role == "assistant"},
    }


def error_text(failure: Failure | None) -> str:
    return f"Error: {failure.message if failure else 'the reply failed'}"[:ERROR_LENGTH]


class Frames:
    """Turns the events of one run into frames. Feed it from the run's first event; it leaves out those up to ``after``.

    ``text``, everything so far, rides along with a delta while it is short: sent with every delta of a long reply it
    would cost the square of the reply's length. ``done.reply`` has it all. ``must_wait`` tells of a tool of the
    server's whether its calls wait for the user.
    """

    def __init__(self, run: Run, after: int, must_wait: Callable[[str], bool]) -> None:
        self._run, self._after, self._must_wait = run, after, must_wait
        self._text, self._reasoning = Pieces(), Pieces()
        self._calls: dict[str, ToolCall] = {}
        self._open: set[str] = set()

    def meta(self) -> bytes:
        run = self._run
        data = {"type": "meta", "conversation_id": run.conversation, "provider": run.provider, "run_id": run.id}
        return frame("meta", data, 0)

    def refused(self, error: BackchatError) -> bytes:
        """The last frame for somebody who may not read on. The run goes on."""
        run = self._run
        whose = {"conversation_id": run.conversation, "provider": run.provider}
        return frame("error", {"type": "error", "error": f"Error: {error}", "code": "not_found", **whose})

    def __call__(self, batch: Sequence[Numbered]) -> bytes:
        return b"".join([self._frames(seq, event) for seq, event in batch])

    def _frames(self, seq: int, event: RunEvent) -> bytes:
        match event:
            case TextDelta(delta):
                data = [self._delta("assistant", delta, self._text)]
            case ReasoningDelta(delta):
                data = [self._delta("reasoning", delta, self._reasoning)]
            case StatusNote(text):
                data = [{"type": "status", "text": text}]
            case ToolCalled(call):
                data = self._called(call)
            case ToolReturned(result):
                self._open.discard(result.call)
                data = [{"type": "tool_end", **_tool(self._calls[result.call])}]
            case RunPaused():
                data = self._waits(event)
            case RunEnded():
                data = [self._end(event)]
            case MemoriesRecalled() | PassagesFound() | CallEnded() | ReasoningSealed():
                data = []
        if seq <= self._after:
            return b""
        # The last one has the number: whoever has not got it gets all of them again.
        return b"".join([frame(d["type"], d, seq if d is data[-1] else None) for d in data])

    def _called(self, call: ToolCall) -> list[dict[str, Any]]:
        self._calls[call.id] = call
        self._open.add(call.id)
        tool = _tool(call)
        start = {"type": "tool_start", **tool}
        if call.name in self._run.recipe.own_tools and self._must_wait(call.name):
            return [start]  # it is not used yet
        return [{"type": "status", "text": f"Using {tool['label']}"}, start]

    def _waits(self, pause: RunPaused) -> list[dict[str, Any]]:
        clients = len(self._open) > len(pause.confirm)
        self._open = set(pause.confirm)  # of the client's there comes no word
        asked = [_asks(self._calls[id]) for id in pause.confirm]
        data: list[dict[str, Any]] = []
        if clients:
            data.append({"type": "status", "text": WAITS})
        if asked:
            labels = ", ".join(dict.fromkeys([a["label"] for a in asked]))
            data.append({"type": "status", "text": f"{ASKS}: {labels}"})
            data.append({"type": "confirm", "run_id": self._run.id, "calls": asked})
        return data

    @staticmethod
    def _delta(type: str, delta: str, whole: Pieces) -> dict[str, Any]:
        whole.add(delta)
        data = {"type": type, "delta": delta}
        return {**data, "text": str(whole)} if whole.length <= TEXT_LIMIT else data

    def _end(self, end: RunEnded) -> dict[str, Any]:
        whose = {"conversation_id": self._run.conversation, "provider": end.provider}
        if end.status == "completed":
            finish = {"finish": end.finish} if end.finish != "stop" else {}
            return {"type": "done", "reply": str(self._text), **whose, **finish}
        code = _CODES.get(end.failure.code, "provider_error") if end.failure else "provider_error"
        return {"type": "error", "error": error_text(end.failure), "code": code, **whose}
