"""Responses of OpenAI's Responses API, event by event, each made by the types that the ``openai`` package publishes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

from openai.types.responses import ResponseStreamEvent
from openai.types.responses.response_create_params import ResponseCreateParamsStreaming
from pydantic import TypeAdapter

PARAMS: TypeAdapter[Any] = TypeAdapter(ResponseCreateParamsStreaming)
_EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
Event = dict[str, Any]
USAGE = {
    "input_tokens": 9,
    "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3},
    "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 14,
}


def response(status: str = "in_progress", output: Sequence[Event] = (), **fields: Any) -> Event:
    return {
        "id": "resp_1",
        "created_at": 1.0,
        "model": "m-1",
        "object": "response",
        "output": list(output),
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "status": status,
        **fields,
    }


class Response:
    """The events of one response, in order. Its items get their places as they come."""

    def __init__(self) -> None:
        self._numbers = count()
        self._output: list[Event] = []
        self.events: list[Event] = []
        self.add("response.created", response=response())

    def add(self, type: str, **fields: Any) -> Event:
        made = _EVENTS.validate_python({"type": type, "sequence_number": next(self._numbers), **fields})
        event: Event = made.model_dump(mode="json", by_alias=True)
        assert event["type"] == type
        self.events.append(event)
        return event

    def text(self, *pieces: str) -> Response:
        return self._message("output_text", "response.output_text", pieces, {"logprobs": []})

    def refusal(self, *pieces: str) -> Response:
        return self._message("refusal", "response.refusal", pieces, {})

    def _message(self, kind: str, prefix: str, pieces: Sequence[str], more: Event) -> Response:
        at = len(self._output)
        item = {"type": "message", "id": f"msg_{at}", "role": "assistant"}
        place = {"item_id": item["id"], "output_index": at, "content_index": 0}
        whole = "".join(pieces)
        name = "text" if kind == "output_text" else "refusal"
        part: Event = {"type": kind, name: whole} | ({"annotations": []} if kind == "output_text" else {})
        self.add("response.output_item.added", output_index=at, item=item | {"status": "in_progress", "content": []})
        self.add("response.content_part.added", part=part | {name: ""}, **place)
        for piece in pieces:
            self.add(f"{prefix}.delta", delta=piece, **place, **more)
        self.add(f"{prefix}.done", **{name: whole}, **place, **more)
        self.add("response.content_part.done", part=part, **place)
        return self._done(item | {"status": "completed", "content": [part]})

    def thought(self, *summaries: Sequence[str], sealed: str | None = "sealed") -> Response:
        """A reasoning item; each part of its summary comes in pieces."""
        at = len(self._output)
        item = {"type": "reasoning", "id": f"rs_{at}", "encrypted_content": sealed}
        self.add("response.output_item.added", output_index=at, item=item | {"summary": [], "encrypted_content": ""})
        for index, pieces in enumerate(summaries):
            place = {"item_id": item["id"], "output_index": at, "summary_index": index}
            part: Event = {"type": "summary_text", "text": "".join(pieces)}
            self.add("response.reasoning_summary_part.added", part=part | {"text": ""}, **place)
            for piece in pieces:
                self.add("response.reasoning_summary_text.delta", delta=piece, **place)
            self.add("response.reasoning_summary_text.done", text=part["text"], **place)
            self.add("response.reasoning_summary_part.done", part=part, **place)
        return self._done(item | {"summary": [{"type": "summary_text", "text": "".join(p)} for p in summaries]})

    def call(self, id: str, name: str, *pieces: str) -> Response:
        at = self.begin_call(id, name)
        self.arguments(at, *pieces)
        return self.end_call(at, id, name, "".join(pieces))

    def begin_call(self, id: str, name: str) -> int:
        at = len(self._output)
        item = {"type": "function_call", "id": f"fc_{at}", "call_id": id, "name": name, "arguments": ""}
        self.add("response.output_item.added", output_index=at, item=item | {"status": "in_progress"})
        self._output.append(item)
        return at

    def arguments(self, at: int, *pieces: str) -> None:
        for piece in pieces:
            self.add("response.function_call_arguments.delta", delta=piece, item_id=f"fc_{at}", output_index=at)

    def end_call(self, at: int, id: str, name: str, whole: str) -> Response:
        self.add(
            "response.function_call_arguments.done", arguments=whole, item_id=f"fc_{at}", output_index=at, name=name
        )
        item = {"type": "function_call", "id": f"fc_{at}", "call_id": id, "name": name, "arguments": whole}
        self._output[at] = item | {"status": "completed"}
        self.add("response.output_item.done", output_index=at, item=self._output[at])
        return self

    def _done(self, item: Event) -> Response:
        self._output.append(item)
        self.add("response.output_item.done", output_index=len(self._output) - 1, item=item)
        return self

    def end(self, status: str = "completed", **fields: Any) -> list[Event]:
        """All events, and the last one."""
        fields = {"usage": USAGE, **fields}
        self.add(f"response.{status}", response=response(status, self._output, **fields))
        return self.events


def text(*pieces: str) -> list[Event]:
    """A whole answer of these pieces of text."""
    return Response().text(*pieces).end(usage=None)


def by_itself(body: Mapping[str, Any]) -> Iterator[Event]:
    """Repeats what the last item says, word by word; calls the first tool if there are tools and no result yet."""
    last = body["input"][-1]
    said = last.get("content", last.get("output"))
    said = said if isinstance(said, str) else json.dumps(said)
    made = Response()
    if body.get("tools") and last.get("role") == "user":
        made.thought(["I ", "look."]).call("call_1", body["tools"][0]["name"], '{"ci', 'ty": "Pa', 'ris"}')
    else:
        made.text(*re.findall(r"\s*\S+\s*", said))
    yield from made.end()
