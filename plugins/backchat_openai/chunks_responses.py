"""The events of a streamed response, put together to provider events.

https://developers.openai.com/api/reference/responses/streaming-events
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from orjson import dumps

from backchat.domain.run import ReasoningDelta, ReasoningSealed, TextDelta
from backchat.errors import ProviderError
from backchat.ports.providers import Finish, ProviderEvent, UsageReport
from backchat.upstream.failures import Failures
from backchat.upstream.pieces import Held, decoded, garbled, text_of
from backchat_openai.chunks import NONE
from backchat_openai.pieces import Call, Calls
from backchat_openai.seals import sealed_items
from backchat_openai.usage import response_usage

_THOUGHTS = frozenset({"response.reasoning_summary_text.delta", "response.reasoning_text.delta"})
_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed"})
_PARAGRAPH = "\n\n"


class ResponsesAnswer:
    """One answer in the making. ``signer`` is who will be able to read what it has encrypted.

    done     the response has ended, and not failed
    failure  and ``tools``: as in ``chunks.Answer``

    A reasoning item goes with what comes right after it: sealed before the text, or on the call.
    """

    __slots__ = (
        "_calls",
        "_failures",
        "_finish",
        "_held",
        "_out",
        "_refused",
        "_signer",
        "_text",
        "_thought",
        "_unplaced",
        "done",
        "failure",
    )

    def __init__(self, failures: Failures, signer: str, tools: Mapping[str, str] = NONE) -> None:
        self._failures = failures
        self._signer = signer
        self._held = Held()
        self._calls = Calls(self._held, tools)
        self._unplaced: list[dict[str, Any]] = []
        self._finish: Literal["stop", "length", "content_filter"] = "stop"
        self._refused = False
        self._out: list[ProviderEvent] = []
        self._text: list[str] = []
        self._thought: list[str] = []
        self.done = False
        self.failure: ProviderError | None = None

    def read(self, events: Iterable[bytes]) -> list[ProviderEvent]:
        """The events of one read: adjacent pieces of text, or of reasoning, are one delta."""
        try:
            for data in events:
                if data == b"[DONE]":  # of servers that end all their streams so
                    break
                event = decoded(data)
                if type(event) is not dict:
                    raise garbled()
                if event.get("type") == "response.output_text.delta":
                    self._say(event.get("delta"))
                else:
                    self._event(event)
                if self.done:
                    break
        except ProviderError as failure:
            self.failure = failure
        self._flush()
        out, self._out = self._out, []
        return out

    def end(self) -> list[ProviderEvent]:
        """The tool calls, and why the model stopped. Raises ProviderError if it has not said that it did."""
        if not self.done:
            raise ProviderError("the model service ended its answer before it was finished")
        if self._finish != "stop":
            return [Finish(self._finish)]  # a call of an answer that was cut short may lack half of its arguments
        if self._refused:
            return [Finish("content_filter")]
        calls = self._calls.whole()
        return [*calls, Finish("tool_calls" if calls else "stop")]

    def _event(self, event: dict[str, Any]) -> None:
        kind = event.get("type", "")
        if type(kind) is not str:
            raise garbled()
        if kind in _THOUGHTS:
            self._think(event.get("delta"))
        elif kind == "response.reasoning_summary_part.added":
            if event.get("summary_index"):
                self._think(_PARAGRAPH)
        elif kind == "response.refusal.delta":
            self._refused = True
            self._say(event.get("delta"))
        elif kind == "response.function_call_arguments.delta":
            self._calls.add(self._call(event), text_of(event.get("delta")))
        elif kind == "response.output_item.added":
            self._begin(event)
        elif kind == "response.output_item.done":
            self._complete(event)
        elif kind in _ENDS:
            response = _object(event.get("response"))
            self._close(response, response.get("status") or kind.removeprefix("response."))
        elif kind == "error":
            raise self._failures.reported(event.get("error") or event)
        elif event.get("object") == "response":
            self._all_at_once(event)
        elif event.get("error"):
            raise self._failures.reported(event["error"])

    def _say(self, piece: Any) -> None:
        if self._unplaced:
            self._flush()
            self._out.append(ReasoningSealed(sealed_items(self._unplaced, self._signer)))
            self._unplaced = []
        if piece or type(piece) is not str:
            self._text.append(text_of(piece))

    def _think(self, piece: Any) -> None:
        if self._text:
            self._flush()
        if piece or type(piece) is not str:
            self._thought.append(text_of(piece))

    def _flush(self) -> None:
        """If there is both, the thinking came first: ``_think`` lets no text wait."""
        if self._thought:
            self._out.append(ReasoningDelta("".join(self._thought)))
            self._thought.clear()
        if self._text:
            self._out.append(TextDelta("".join(self._text)))
            self._text.clear()

    def _call(self, event: dict[str, Any]) -> Call:
        index = event.get("output_index")
        if type(index) is not int:
            raise garbled()
        return self._calls.setdefault(index, Call())

    def _begin(self, event: dict[str, Any]) -> None:
        item = _object(event.get("item"))
        if item.get("type") == "function_call":
            self._named(self._call(event), item)

    def _complete(self, event: dict[str, Any]) -> None:
        item = _object(event.get("item"))
        if item.get("type") == "reasoning":
            self._reasoned(item)
        elif item.get("type") == "function_call":
            call = self._call(event)
            self._named(call, item)
            arguments = item.get("arguments")
            if arguments:  # whole; what was streamed are its pieces
                self._calls.replace(call, dumps(arguments).decode() if type(arguments) is dict else text_of(arguments))

    def _named(self, call: Call, item: dict[str, Any]) -> None:
        self._calls.named(call, text_of(item.get("call_id") or call.id), text_of(item.get("name") or call.name))
        if self._unplaced:
            call.seal = sealed_items(self._unplaced, self._signer)
            self._unplaced = []

    def _reasoned(self, item: dict[str, Any]) -> None:
        """What is not encrypted the service would look up by its id, and not find."""
        if item.get("encrypted_content"):
            self._held.add(len(dumps(item)))
            self._unplaced.append(item)

    def _close(self, response: dict[str, Any], status: Any) -> None:
        if reported := response.get("usage"):
            self._flush()
            self._out.append(UsageReport(response_usage(reported)))
        if error := response.get("error"):
            raise self._failures.reported(error)
        if status in ("failed", "cancelled"):
            raise ProviderError("the model service failed while it answered")
        if status == "incomplete":
            details = response.get("incomplete_details")
            reason = details.get("reason") if type(details) is dict else None
            self._finish = "content_filter" if reason == "content_filter" else "length"
        self.done = True

    def _all_at_once(self, response: dict[str, Any]) -> None:
        """The answer of a server that does not stream."""
        output = response.get("output")
        for index, item in enumerate(output if type(output) is list else []):
            event = {"output_index": index, "item": _object(item)}
            if item.get("type") == "message":
                for part in _objects(item.get("content")):
                    self._refused = self._refused or part.get("type") == "refusal"
                    self._say(part.get("text") or part.get("refusal") or "")
            elif item.get("type") == "reasoning":
                parts = _objects(item.get("summary") or item.get("content"))
                self._think(_PARAGRAPH.join([text_of(part.get("text")) for part in parts]))
            self._complete(event)
        self._close(response, response.get("status"))


def _object(value: Any) -> dict[str, Any]:
    if type(value) is not dict:
        raise garbled()
    return value


def _objects(value: Any) -> list[dict[str, Any]]:
    return [_object(item) for item in value] if type(value) is list else []
