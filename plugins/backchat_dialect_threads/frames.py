"""A run as server-sent events."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from backchat.domain.memory import Recalled
from backchat.domain.message import Message
from backchat.domain.pieces import Pieces
from backchat.domain.run import (
    CallEnded,
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
from backchat.errors import BackchatError
from backchat.services.runlog import Numbered
from backchat.web.sse import frame
from backchat_dialect_threads import shapes
from backchat_dialect_threads.replies import cited, operation_of, shows_thinking, token_counts

REASONING_LIMIT = 8192
_FIRST_WORD = re.compile(r"\s*\S+\s+(?=\S)")


class Frames:
    """Turns the events of one run into frames, each with the ids of the thread, the assistant and the run.

    ``accumulated_reasoning``, all reasoning so far, rides along while it is short: sent with every piece of a long one
    it would cost the square of its length. ``must_wait`` tells of a tool of the server's whether its calls wait for the
    user.
    """

    def __init__(self, run: Run, must_wait: Callable[[str], bool]) -> None:
        self._run, self._must_wait = run, must_wait
        self._ids = {"thread_id": run.conversation, "assistant_id": run.recipe.assistant, "run_id": run.id}
        self._text, self._reasoning = Pieces(), Pieces()
        self._over = False
        self._calls: list[dict[str, Any]] = []
        self._files: tuple[str, ...] = ()
        self._memories: tuple[Recalled, ...] | None = None

    def started(self) -> bytes:
        return self._frame("run_started", model_provider=self._run.provider, model_name=self._run.model)

    def __call__(self, batch: Sequence[Numbered]) -> bytes:
        return b"".join([self._frames(event) for _, event in batch])

    def _frame(self, type: str, **data: Any) -> bytes:
        return frame(type, {"type": type, **data, **self._ids})

    def _frames(self, event: RunEvent) -> bytes:
        match event:
            case TextDelta(text):
                return b"".join([self._frame("content_streaming", content=piece) for piece in self._pieces(text)])
            case ReasoningDelta(text):
                return self._thought(text)
            case MemoriesRecalled(memories):
                self._memories = memories
                return self._frame("memory_retrieved", memories=shapes.recalled(memories))
            case PassagesFound(files):
                self._files = files
                return self._frame("files_retrieved", files=list(files))
            case StatusNote(text):
                return self._frame("status", message=text)
            case ToolCalled(call):
                self._calls.append(shapes.tool_call(call))
                if call.name not in self._run.recipe.own_tools or self._must_wait(call.name):
                    return b""
                return self._frame("status", message=f"Using {call.name.replace('_', ' ')}")
            case ToolReturned(result):
                self._calls = [call for call in self._calls if call["id"] != result.call]
                return b""
            case ReasoningSealed():
                return b""
            case CallEnded():
                self._over = True
                return b""
            case RunPaused():
                return self._frame(
                    "tool_submit_required",
                    tool_calls=self._calls,
                    message_id=event.message,
                    model_provider=event.provider,
                    model_name=event.model,
                )
            case RunEnded():
                return self._end(event)

    def _begin(self) -> None:
        """What is said now is another message, if a call of the model has ended: the last one is the answer."""
        if self._over:
            self._text, self._reasoning, self._over = Pieces(), Pieces(), False

    def _pieces(self, text: str) -> Sequence[str]:
        """The text; the first of a reply in two.

        A short reply is often stored, and so sent, all at once, and a stream of one piece looks like none.
        """
        self._begin()
        begins = _FIRST_WORD.match(text) if self._text.length == 0 else None
        self._text.add(text)
        return (text[: begins.end()], text[begins.end() :]) if begins is not None else (text,)

    def _thought(self, text: str) -> bytes:
        if not shows_thinking(self._run):
            return b""
        self._begin()
        self._reasoning.add(text)
        so_far = {"accumulated_reasoning": str(self._reasoning)} if self._reasoning.length <= REASONING_LIMIT else {}
        return self._frame("reasoning_streaming", content=text, **so_far)

    def _end(self, end: RunEnded) -> bytes:
        model = {"model_provider": end.provider, "model_name": end.model}
        if end.status == "completed":
            said = str(self._text)
            used = cited(self._run, said, self._memories)
            whole = self._frame(
                "message_complete", message_id=end.message, role="assistant", content=said, memory_citations=used
            )
            return whole + self._frame(
                "run_ended",
                status="completed",
                final_content=said,
                memory_operation_id=operation_of(self._run),
                retrieved_files=list(self._files) or None,
                memory_citations=used,
                **({"finish_reason": end.finish} if end.finish != "stop" else {}),
                **model,
                **token_counts(end.usage),
            )
        message = end.failure.message if end.failure else "the reply failed"
        if end.status == "cancelled":
            return self._frame("run_ended", status="cancelled", message=message, message_id=end.message, **model)
        code = end.failure.code if end.failure else "internal"
        return self._frame("run_failed", error=message, code=code, message_id=end.message, **model)


def noted_frames(message: Message, assistant: str | None) -> bytes:
    """The stream of a message that was stored without being answered."""
    ids = {"thread_id": message.conversation, "assistant_id": assistant, "run_id": None}
    complete = {"type": "message_complete", "message_id": message.id, "role": "user", "content": message.text, **ids}
    ended = {"type": "run_ended", "status": "completed", "memory_operation_id": None, **ids}
    return frame("message_complete", complete) + frame("run_ended", ended)


def refused_frame(error: BackchatError, ids: Mapping[str, str | None]) -> bytes:
    """The end of a stream whose request was refused after it had begun; ``ids`` are those that the request named."""
    told = {"type": "run_failed", "error": str(error), "code": error.code, "message_id": None, **ids}
    return frame("run_failed", told)
