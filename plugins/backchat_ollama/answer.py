"""The lines of a streamed answer, put together to provider events."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any, Literal

from orjson import dumps

from backchat.domain.message import Seal, ToolCall, Usage
from backchat.domain.run import ReasoningDelta, ReasoningSealed, TextDelta
from backchat.errors import ProviderError
from backchat.ports.providers import Finish, ProviderEvent, UsageReport
from backchat.upstream.failures import Failures
from backchat.upstream.pieces import Held, decoded, garbled, text_of, tokens
from backchat_ollama.body import MAKER

_MOST_CALLS = 1000
_REASONS: dict[str, Literal["stop", "length"]] = {"stop": "stop", "length": "length"}
_NO_ANSWER = frozenset({"load", "unload"})
"""Reasons of an answer that is none: the model was only loaded, or unloaded."""


class Answer:
    """One answer of ``model`` in the making.

    done     the last line was read
    failure  what was read is not the protocol, or an error that the service reports in mid-stream; to be raised by the
             caller, after the events that came before it
    """

    __slots__ = ("_calls", "_failures", "_held", "_reason", "_said", "_seal", "_thinking", "done", "failure")

    def __init__(self, failures: Failures, model: str) -> None:
        self._failures = failures
        self._seal = ReasoningSealed(Seal(MAKER, model))
        self._held = Held()
        self._calls: list[ToolCall] = []
        self._reason = "stop"
        self._said = False
        self._thinking = False
        self.done = False
        self.failure: ProviderError | None = None

    def read(self, lines: Iterable[bytes]) -> list[ProviderEvent]:
        """The events of the lines of one read: adjacent pieces of text, or of reasoning, are one delta."""
        out: list[ProviderEvent] = []
        text: list[str] = []
        thought: list[str] = []
        try:
            for line in lines:
                chunk = decoded(line)
                if not self._thinking and (piece := _plain(chunk)) is not None:
                    text.append(piece)
                    continue
                message = self._message(chunk)
                if thinking := message.get("thinking"):
                    if text:
                        out.append(TextDelta("".join(text)))
                        text.clear()
                    thought.append(text_of(thinking))
                    self._thinking = True
                content = message.get("content")
                calls = message.get("tool_calls")
                if self._thinking and (content or calls or self.done):
                    if thought:
                        out.append(ReasoningDelta("".join(thought)))
                        thought.clear()
                    out.append(self._seal)
                    self._thinking = False
                if content:
                    text.append(text_of(content))
                if calls:
                    self._collect(calls)
                if self.done:
                    break
        except ProviderError as failure:
            self.failure = failure
        if thought:
            out.append(ReasoningDelta("".join(thought)))
        if text:
            out.append(TextDelta("".join(text)))
        self._said = self._said or bool(out)
        if self.done and self.failure is None:
            out += _usage(chunk)
        return out

    def end(self) -> list[ProviderEvent]:
        """What is known only at the end: the tool calls, and why the model stopped. ProviderError if it did not say."""
        if not self.done:
            raise ProviderError("the model service ended its answer before it was finished")
        if self._reason in _NO_ANSWER and not self._said and not self._calls:
            raise ProviderError("the model service loaded the model and did not answer", at_work=False)
        finish = _REASONS.get(self._reason, "stop")
        if finish == "length" or not self._calls:  # calls of an answer that was cut short may lack others
            return [Finish(finish)]
        return [*self._calls, Finish("tool_calls")]

    def _message(self, chunk: Any) -> dict[str, Any]:
        if type(chunk) is not dict:
            raise garbled()
        if chunk.get("error"):
            raise self._failures.reported(chunk["error"])
        if chunk.get("done"):
            self._reason = text_of(chunk.get("done_reason") or "stop")
            self.done = True
        message = chunk.get("message")
        if message is None and self.done:
            return {}
        if type(message) is not dict:
            raise garbled()
        return message

    def _collect(self, calls: Any) -> None:
        """Calls come whole, in newer versions with an id."""
        if type(calls) is not list:
            raise garbled()
        for call in calls:
            function = call.get("function") if type(call) is dict else None
            if type(function) is not dict:
                raise garbled()
            name, arguments = function.get("name"), function.get("arguments")
            if type(name) is not str or not name or type(arguments) is not dict:
                raise garbled()
            id = text_of(call.get("id") or f"call_{uuid.uuid4().hex}")
            given = dumps(arguments).decode()
            self._held.add(len(id) + len(name) + len(given))
            self._calls.append(ToolCall(id, name, given))
        if len(self._calls) > _MOST_CALLS:
            raise ProviderError("the model service sent too many tool calls")


def _plain(chunk: Any) -> str | None:
    """The text of a line that is a piece of text and nothing else, as nearly every one is: the short way."""
    try:
        message = chunk["message"]
        content = message["content"]
        if chunk["done"] is not False or type(content) is not str or not content or len(message) != 2:
            return None
    except (KeyError, TypeError):
        return None
    return None if "role" not in message or "error" in chunk else content


def _usage(last: dict[str, Any]) -> list[ProviderEvent]:
    """The service leaves counts out that it does not know, such as that of a prompt it had in its cache."""
    if last.get("prompt_eval_count") is None and last.get("eval_count") is None:
        return []
    return [UsageReport(Usage(tokens(last, "prompt_eval_count"), tokens(last, "eval_count")))]
