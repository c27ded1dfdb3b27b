"""The chunks of a streamed answer, put together to provider events."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from orjson import JSONDecodeError, dumps, loads

from backchat.domain.message import ToolCall, Usage
from backchat.domain.run import ReasoningDelta, TextDelta
from backchat.errors import ProviderError
from backchat.ports.providers import Finish, ProviderEvent, UsageReport
from backchat.upstream.failures import Failures
from backchat.upstream.sse import LIMIT

_REASONS: dict[str, Literal["stop", "length", "tool_calls", "content_filter"]] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


@dataclass(slots=True)
class _Call:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    size: int = 0


class Answer:
    """One answer in the making.

    done     the sentinel ``[DONE]`` was read
    failure  what was read is not the protocol, or an error that the service reports in mid-stream; to be raised by the
             caller, after the events that came before it
    """

    __slots__ = ("_calls", "_failures", "_reason", "_refused", "_usage", "done", "failure")

    def __init__(self, failures: Failures) -> None:
        self._failures = failures
        self._calls: dict[object, _Call] | None = None
        self._reason: str | None = None
        self._refused = False
        self._usage: Usage | None = None
        self.done = False
        self.failure: ProviderError | None = None

    def read(self, events: Iterable[bytes]) -> list[ProviderEvent]:
        """The events of the chunks of one read: adjacent pieces of text, or of reasoning, are one delta."""
        out: list[ProviderEvent] = []
        text: list[str] = []
        thought: list[str] = []
        try:
            for data in events:
                if data == b"[DONE]":
                    self.done = True
                    break
                chunk = _decoded(data)
                if not thought and (piece := _plain(chunk)) is not None:
                    text.append(piece)
                    continue
                delta = self._delta(chunk, out)
                if delta is None:
                    continue
                if thinking := delta.get("reasoning_content") or delta.get("reasoning"):
                    if text:
                        out.append(TextDelta("".join(text)))
                        text.clear()
                    thought.append(_text(thinking))
                content = delta.get("content")
                if not content and "refusal" in delta:
                    content = delta["refusal"]
                    self._refused = self._refused or bool(content)
                if content:
                    if thought:
                        out.append(ReasoningDelta("".join(thought)))
                        thought.clear()
                    text.append(_text(content))
                if "tool_calls" in delta:
                    self._collect(delta["tool_calls"] or [])
        except ProviderError as failure:
            self.failure = failure
        if thought:
            out.append(ReasoningDelta("".join(thought)))
        if text:
            out.append(TextDelta("".join(text)))
        return out

    def end(self) -> list[ProviderEvent]:
        """What is known only at the end: the tool calls, and why the model stopped. ProviderError if it did not say."""
        reason = self._reason
        if reason is None and not self.done:
            raise ProviderError("the model service ended its answer before it was finished")
        if reason == "error":
            raise ProviderError("the model service failed while it answered")
        finish = _REASONS.get(reason or "stop", "stop")
        if self._refused and finish == "stop":
            finish = "content_filter"
        out: list[ProviderEvent] = []
        if finish in ("stop", "tool_calls"):
            # A call of an answer that was cut short or withheld may lack half of its arguments.
            out += [_whole(call) for call in (self._calls or {}).values()]
            finish = "tool_calls" if out else "stop"
        return [*out, Finish(finish)]

    def _delta(self, chunk: Any, out: list[ProviderEvent]) -> dict[str, Any] | None:
        if type(chunk) is not dict:
            raise garbled()
        if chunk.get("error"):
            raise self._failures.reported(chunk["error"])
        usage = chunk.get("usage")
        if not usage and "x_groq" in chunk:
            usage = _groq_usage(chunk["x_groq"])
        if usage:
            self._count(usage, out)
        choices = chunk.get("choices")
        if not choices:
            return None
        if type(choices) is not list or type(choices[0]) is not dict:
            raise garbled()
        choice = choices[0]
        if choice.get("error"):
            raise self._failures.reported(choice["error"])
        if reason := choice.get("finish_reason"):
            self._reason = _text(reason)
        # ``message`` is what a server sends that does not stream.
        delta = choice.get("delta") or choice.get("message")
        if not delta:
            return None
        if type(delta) is not dict:
            raise garbled()
        return delta

    def _collect(self, fragments: Any) -> None:
        """Fragments of a call share an index; servers that leave it out begin a call with a new id."""
        if type(fragments) is not list:
            raise garbled()
        if self._calls is None:
            self._calls = {}
        calls = self._calls
        for fragment in fragments:
            function = fragment.get("function") if type(fragment) is dict else None
            if type(function) is not dict:
                raise garbled()
            id = _text(fragment.get("id") or "")
            key = fragment.get("index")
            if type(key) is not int:
                key = id or next(reversed(calls), id)
            call = calls.setdefault(key, _Call())
            call.id = call.id or id
            call.name = call.name or _text(function.get("name") or "")
            arguments = function.get("arguments") or ""
            piece = dumps(arguments).decode() if type(arguments) is dict else _text(arguments)
            call.arguments.append(piece)
            call.size += len(piece)
            if call.size > LIMIT or len(calls) > 1000:
                raise ProviderError("the model service sent a tool call that is too long")

    def _count(self, reported: Any, out: list[ProviderEvent]) -> None:
        usage = _usage(reported)
        if usage != self._usage:
            self._usage = usage
            out.append(UsageReport(usage))


def garbled() -> ProviderError:
    return ProviderError("the model service sent something that is not its protocol")


def _plain(chunk: Any) -> str | None:
    """The text of a chunk that is a piece of text and nothing else, as nearly every one is: the short way."""
    try:
        choice = chunk["choices"][0]
        delta = choice["delta"]
        content = delta["content"]
        if type(content) is not str or len(delta) != 1 or choice["finish_reason"] is not None:
            return None
    except (KeyError, IndexError, TypeError):
        return None
    return None if chunk.get("usage") or chunk.get("error") or choice.get("error") else content


def _decoded(data: bytes) -> Any:
    try:
        return loads(data)
    except JSONDecodeError:
        raise garbled() from None


def _text(value: object) -> str:
    if type(value) is not str:
        raise garbled()
    return value


def _whole(call: _Call) -> ToolCall:
    if not call.name:
        raise garbled()
    return ToolCall(call.id or f"call_{uuid.uuid4().hex}", call.name, "".join(call.arguments) or "{}")


def _groq_usage(extra: Any) -> Any:
    return extra.get("usage") if type(extra) is dict else None


def _usage(reported: Any) -> Usage:
    if type(reported) is not dict:
        raise garbled()
    sent, said = _tokens(reported, "prompt_tokens"), _tokens(reported, "completion_tokens")
    cached = _tokens(reported.get("prompt_tokens_details"), "cached_tokens")
    cached = cached or _tokens(reported, "prompt_cache_hit_tokens")  # DeepSeek's name for it
    thought = _tokens(reported.get("completion_tokens_details"), "reasoning_tokens")
    if thought and _tokens(reported, "total_tokens") == sent + said + thought:
        said += thought  # xAI counts reasoning beside the completion; everyone else counts it in
    return Usage(sent, said, min(cached, sent), min(thought, said))


def _tokens(counts: Any, name: str) -> int:
    value = counts.get(name) if type(counts) is dict else None
    return value if type(value) is int and value > 0 else 0
