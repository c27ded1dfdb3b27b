"""The events of a streamed answer, put together to provider events.

Source: https://platform.claude.com/docs/en/build-with-claude/streaming
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from orjson import dumps

from backchat.domain.message import ToolCall, Usage
from backchat.domain.run import ReasoningDelta, ReasoningSealed, TextDelta
from backchat.errors import ProviderError
from backchat.ports.providers import Finish, ProviderEvent, UsageReport
from backchat.upstream.failures import Failures
from backchat.upstream.pieces import Held, decoded, garbled, text_of, tokens
from backchat_anthropic.objects import ObjectText
from backchat_anthropic.seals import sealed

_REASONS: dict[str, Literal["stop", "length", "tool_calls", "content_filter"]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "length",  # a tool of the service's own took too long: there would be more
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_COUNTS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
_MOST_CALLS = 1000


NONE: Mapping[str, str] = {}


@dataclass(slots=True)
class _Call:
    id: str
    name: str
    arguments: list[str] = field(default_factory=list)


class Answer:
    """One answer in the making.

    done     the last event was read
    failure  what was read is not the protocol, or an error that the service reports in mid-stream; to be raised by the
             caller, after the events that came before it

    ``signer`` is who answers. With ``json_output``, text is the JSON object in it. ``tools``: what tools are called
    here that are called otherwise there.
    """

    __slots__ = (
        "_calls",
        "_counts",
        "_explained",
        "_failures",
        "_held",
        "_object",
        "_reason",
        "_said",
        "_signature",
        "_signer",
        "_tools",
        "_usage",
        "done",
        "failure",
    )

    def __init__(
        self, failures: Failures, signer: str, *, json_output: bool = False, tools: Mapping[str, str] = NONE
    ) -> None:
        self._failures = failures
        self._signer, self._tools = signer, tools
        self._held = Held()
        self._object = ObjectText() if json_output else None
        self._calls: dict[object, _Call] = {}
        self._counts: dict[str, int] = {}
        self._explained = ""
        self._reason: str | None = None
        self._said = 0
        self._signature: list[str] = []
        self._usage: Usage | None = None
        self.done = False
        self.failure: ProviderError | None = None

    def read(self, events: Iterable[bytes]) -> list[ProviderEvent]:
        """The events of what one read brought: adjacent pieces of text, or of thinking, are one delta."""
        out: list[ProviderEvent] = []
        text: list[str] = []
        thought: list[str] = []
        try:
            for data in events:
                event = decoded(data)
                try:
                    delta = event["delta"]
                    kind = delta["type"]
                except (KeyError, TypeError):
                    kind = None  # as of most events that are no piece of anything
                if kind == "text_delta":
                    text.append(text_of(delta.get("text")))
                elif kind == "thinking_delta":
                    if text:
                        self._flush(out, text, thought)
                    thought.append(text_of(delta.get("thinking")))
                else:
                    self._other(event, out, text, thought)
                    if self.done:
                        break
        except ProviderError as failure:
            self.failure = failure
        self._flush(out, text, thought)
        return out

    def end(self) -> list[ProviderEvent]:
        """What is known only at the end: the tool calls, why the model stopped, and why it said nothing.

        ProviderError if it did not say, or if it was to be a JSON object and is none.
        """
        if self._reason is None and not self.done:
            raise ProviderError("the model service ended its answer before it was finished")
        finish = _REASONS.get(self._reason or "end_turn", "stop")
        out: list[ProviderEvent] = []
        if finish in ("stop", "tool_calls"):
            # A call of an answer that was cut short or withheld may lack half of its arguments.
            out += [_whole(call, self._tools) for call in self._calls.values()]
            finish = "tool_calls" if out else "stop"
        elif finish == "content_filter" and self._explained and not self._said:
            out.append(TextDelta(self._explained))
        if finish == "stop" and self._object is not None:
            self._object.check()
        return [*out, Finish(finish)]

    def _flush(self, out: list[ProviderEvent], text: list[str], thought: list[str]) -> None:
        """What was thought came before the text."""
        if piece := "".join(thought):
            out.append(ReasoningDelta(piece))
        if (piece := "".join(text)) and self._object is not None:
            piece = self._object.feed(piece)
        if piece and text:
            self._said += len(piece)
            out.append(TextDelta(piece))
        text.clear()
        thought.clear()

    def _other(self, event: Any, out: list[ProviderEvent], text: list[str], thought: list[str]) -> None:
        """Everything but a piece of text or thinking; what is unknown is passed over, as the service asks for."""
        if type(event) is not dict:
            raise garbled()
        match event.get("type"):
            case "content_block_start":
                self._begin(event.get("content_block"), event.get("index"), out, text, thought)
            case "content_block_delta":
                self._add(event.get("delta"), event.get("index"))
            case "content_block_stop":
                self._close(out, text, thought)
            case "message_start":
                message = event.get("message")
                self._count(message.get("usage") if type(message) is dict else None, out)
            case "message_delta":
                self._stop(event.get("delta"))
                self._count(event.get("usage"), out)
            case "message_stop":
                self.done = True
            case "message":
                self._all(event, out, text, thought)
            case "error":
                raise self._failures.reported(event.get("error"))
            case kind if type(kind) is not str:
                raise garbled()

    def _begin(self, block: Any, index: object, out: list[ProviderEvent], text: list[str], thought: list[str]) -> None:
        """A block begins; servers that do not stream its content send it here."""
        if type(block) is not dict:
            raise garbled()
        self._flush(out, text, thought)
        match block.get("type"):
            case "text":
                text.append(text_of(block.get("text") or ""))
            case "thinking":
                thought.append(text_of(block.get("thinking") or ""))
                self._signature.clear()
                self._sign(block.get("signature") or "")
            case "redacted_thinking":
                data = text_of(block.get("data"))
                self._held.add(len(data))
                out.append(ReasoningSealed(sealed(self._signer, self._said, data=data)))
            case "tool_use":
                call = _Call(text_of(block.get("id") or ""), text_of(block.get("name")))
                self._held.add(len(call.id) + len(call.name))
                if given := block.get("input"):
                    self._argue(call, dumps(given).decode())
                self._calls[index] = call
                if len(self._calls) > _MOST_CALLS:
                    raise ProviderError("the model service sent too many tool calls")

    def _add(self, delta: Any, index: object) -> None:
        if type(delta) is not dict:
            raise garbled()
        kind = delta.get("type")
        if kind == "input_json_delta" and (call := self._calls.get(index)) is not None:
            self._argue(call, text_of(delta.get("partial_json")))
        elif kind == "signature_delta":
            self._sign(delta.get("signature"))

    def _argue(self, call: _Call, piece: str) -> None:
        self._held.add(len(piece))
        call.arguments.append(piece)

    def _sign(self, piece: object) -> None:
        if signature := text_of(piece):
            self._held.add(len(signature))
            self._signature.append(signature)

    def _close(self, out: list[ProviderEvent], text: list[str], thought: list[str]) -> None:
        if self._signature:
            self._flush(out, text, thought)
            out.append(ReasoningSealed(sealed(self._signer, self._said, signature="".join(self._signature))))
            self._signature.clear()

    def _stop(self, delta: Any) -> None:
        if type(delta) is not dict:
            raise garbled()
        if reason := delta.get("stop_reason"):
            self._reason = text_of(reason)
        if type(details := delta.get("stop_details")) is dict:
            self._explained = text_of(details.get("explanation") or "")

    def _all(self, message: dict[str, Any], out: list[ProviderEvent], text: list[str], thought: list[str]) -> None:
        """The message of a server that does not stream."""
        content = message.get("content")
        if type(content) is not list:
            raise garbled()
        for index, block in enumerate(content):
            self._begin(block, index, out, text, thought)
            self._close(out, text, thought)
        self._stop(message)
        self._count(message.get("usage"), out)
        self.done = True

    def _count(self, reported: Any, out: list[ProviderEvent]) -> None:
        """Counts are cumulative, and of the input what was read from the cache and written to it is beside the rest."""
        if type(reported) is not dict:
            return
        counts = self._counts
        for name in _COUNTS:
            counts[name] = max(counts.get(name, 0), tokens(reported, name))
        thought = tokens(reported.get("output_tokens_details"), "thinking_tokens")
        counts["thought"] = max(counts.get("thought", 0), thought)
        new, said, cached, written = [counts[name] for name in _COUNTS]
        usage = Usage(new + cached + written, said, cached, min(counts["thought"], said), written)
        if usage != self._usage:
            self._usage = usage
            out.append(UsageReport(usage))


def _whole(call: _Call, tools: Mapping[str, str]) -> ToolCall:
    if not call.name:
        raise garbled()
    name = tools.get(call.name, call.name)
    return ToolCall(call.id or f"toolu_{uuid.uuid4().hex}", name, "".join(call.arguments) or "{}")
