"""The chunks of a streamed answer, put together to provider events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from orjson import dumps

from backchat.domain.message import Usage
from backchat.domain.run import ReasoningDelta, ReasoningSealed, TextDelta
from backchat.errors import ProviderError
from backchat.ports.providers import Finish, ProviderEvent, UsageReport
from backchat.upstream.failures import Failures
from backchat.upstream.pieces import Held, decoded, garbled, text_of
from backchat_openai.details import Details
from backchat_openai.pieces import Call, Calls
from backchat_openai.usage import completion_usage

_REASONS: dict[str, Literal["stop", "length", "tool_calls", "content_filter"]] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


NONE: Mapping[str, str] = {}


class Answer:
    """One answer in the making.

    maker    of the seals that the ``reasoning_details`` get, of a service that gives such
    signer   who answers, and so signs
    tools    what tools are called here that are called otherwise there
    done     the sentinel ``[DONE]`` was read
    failure  what was read is not the protocol, or an error that the service reports in mid-stream; to be raised by the
             caller, after the events that came before it
    """

    __slots__ = ("_calls", "_details", "_failures", "_reason", "_refused", "_usage", "done", "failure")

    def __init__(
        self, failures: Failures, maker: str | None = None, signer: str = "", tools: Mapping[str, str] = NONE
    ) -> None:
        self._failures = failures
        held = Held()
        self._calls = Calls(held, tools)
        self._details = Details(maker, signer, held) if maker else None
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
                chunk = decoded(data)
                if not thought and not self._details and (piece := _plain(chunk)) is not None:
                    text.append(piece)
                    continue
                delta = self._delta(chunk, out)
                if delta is None:
                    continue
                thinking = delta.get("reasoning_content") or delta.get("reasoning")
                if self._details is not None and (details := delta.get("reasoning_details")):
                    read = self._details.add(details)
                    thinking = thinking or read
                if thinking:
                    if text:
                        out.append(TextDelta("".join(text)))
                        text.clear()
                    thought.append(text_of(thinking))
                content = delta.get("content")
                if not content and "refusal" in delta:
                    content = delta["refusal"]
                    self._refused = self._refused or bool(content)
                if content:
                    if thought:
                        out.append(ReasoningDelta("".join(thought)))
                        thought.clear()
                    if self._details:
                        if text:
                            out.append(TextDelta("".join(text)))
                            text.clear()
                        self._seal(out)
                    text.append(text_of(content))
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
        self._seal(out)
        if finish in ("stop", "tool_calls"):
            # A call of an answer that was cut short or withheld may lack half of its arguments.
            calls = self._calls.whole()
            out += calls
            finish = "tool_calls" if calls else "stop"
        return [*out, Finish(finish)]

    def _delta(self, chunk: Any, out: list[ProviderEvent]) -> dict[str, Any] | None:
        if type(chunk) is not dict:
            raise garbled()
        if chunk.get("error"):
            raise self._failures.reported(chunk["error"])
        usage = chunk.get("usage")
        if type(groq := chunk.get("x_groq")) is dict:
            if groq.get("error"):
                raise self._failures.reported(groq["error"])
            usage = usage or groq.get("usage")
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
            self._reason = text_of(reason)
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
        calls = self._calls
        for fragment in fragments:
            function = fragment.get("function") if type(fragment) is dict else None
            if type(function) is not dict:
                raise garbled()
            id = text_of(fragment.get("id") or "")
            key = fragment.get("index")
            if type(key) is not int:
                key = id or next(reversed(calls), id)
            call = calls.setdefault(key, Call())
            calls.named(call, call.id or id, call.name or text_of(function.get("name") or ""))
            arguments = function.get("arguments") or ""
            calls.add(call, dumps(arguments).decode() if type(arguments) is dict else text_of(arguments))

    def _seal(self, out: list[ProviderEvent]) -> None:
        if self._details:
            out.append(ReasoningSealed(self._details.sealed()))

    def _count(self, reported: Any, out: list[ProviderEvent]) -> None:
        usage = completion_usage(reported)
        if usage != self._usage:
            self._usage = usage
            out.append(UsageReport(usage))


def _plain(chunk: Any) -> str | None:
    """The text of a chunk that is a piece of text and nothing else, as nearly every one is: the short way."""
    try:
        choice = chunk["choices"][0]
        delta = choice["delta"]
        content = delta["content"]
        if type(content) is not str or not content or choice["finish_reason"] is not None:
            return None
        if len(delta) != 1 and (len(delta) != 2 or "role" not in delta):
            return None
    except (KeyError, IndexError, TypeError):
        return None
    return None if chunk.get("usage") or chunk.get("error") or choice.get("error") else content
