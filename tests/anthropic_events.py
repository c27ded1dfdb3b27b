"""Events of the messages API, made by the ``anthropic`` package's own types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anthropic.types import (
    ContentBlock,
    InputJSONDelta,
    Message,
    MessageDeltaUsage,
    OutputTokensDetails,
    RawContentBlockDeltaEvent,
    RawContentBlockStartEvent,
    RawContentBlockStopEvent,
    RawMessageDeltaEvent,
    RawMessageStartEvent,
    RawMessageStopEvent,
    RedactedThinkingBlock,
    RefusalStopDetails,
    SignatureDelta,
    StopReason,
    TextBlock,
    TextDelta,
    ThinkingBlock,
    ThinkingDelta,
    ToolUseBlock,
    Usage,
)
from anthropic.types.raw_message_delta_event import Delta
from anthropic.types.shared import ErrorResponse
from pydantic import BaseModel

Event = Mapping[str, Any]
PING: Event = {"type": "ping"}


def event(made: BaseModel) -> Event:
    """As it goes over the wire. What was built is validated once more: the package's constructors are lenient."""
    sent = made.model_dump(mode="json", exclude_unset=True)
    type(made).model_validate(sent, strict=True)
    return sent


def start(usage: Usage | None = None) -> Event:
    message = Message(
        id="msg_1",
        content=[],
        model="claude-1",
        role="assistant",
        stop_reason=None,
        stop_sequence=None,
        type="message",
        usage=usage or Usage(input_tokens=3, output_tokens=1),
    )
    return event(RawMessageStartEvent(message=message, type="message_start"))


def begin(block: ContentBlock, index: int = 0) -> Event:
    return event(RawContentBlockStartEvent(content_block=block, index=index, type="content_block_start"))


def piece(delta: BaseModel, index: int = 0) -> Event:
    return event(RawContentBlockDeltaEvent(delta=delta, index=index, type="content_block_delta"))


def stop(index: int = 0) -> Event:
    return event(RawContentBlockStopEvent(index=index, type="content_block_stop"))


def delta(text: str, index: int = 0) -> Event:
    return piece(TextDelta(text=text, type="text_delta"), index)


def text_block(*pieces: str, index: int = 0) -> list[Event]:
    return [
        begin(TextBlock(citations=None, text="", type="text"), index),
        *[delta(p, index) for p in pieces],
        stop(index),
    ]


def thinking_block(*pieces: str, signature: str, index: int = 0) -> list[Event]:
    return [
        begin(ThinkingBlock(signature="", thinking="", type="thinking"), index),
        *[piece(ThinkingDelta(thinking=p, type="thinking_delta"), index) for p in pieces],
        piece(SignatureDelta(signature=signature, type="signature_delta"), index),
        stop(index),
    ]


def redacted_block(data: str, index: int = 0) -> list[Event]:
    return [begin(RedactedThinkingBlock(data=data, type="redacted_thinking"), index), stop(index)]


def call_block(id: str, name: str, *pieces: str, index: int = 0) -> list[Event]:
    return [
        begin(ToolUseBlock(id=id, input={}, name=name, type="tool_use"), index),
        *[piece(InputJSONDelta(partial_json=p, type="input_json_delta"), index) for p in pieces],
        stop(index),
    ]


def ending(reason: StopReason, *, output: int = 2, thought: int | None = None, explanation: str | None = None) -> Event:
    usage = MessageDeltaUsage(output_tokens=output)
    if thought is not None:
        usage.output_tokens_details = OutputTokensDetails(thinking_tokens=thought)
    said = Delta(stop_reason=reason, stop_sequence=None)
    if explanation is not None:
        said.stop_details = RefusalStopDetails(type="refusal", category="bio", explanation=explanation)
    return event(RawMessageDeltaEvent(delta=said, type="message_delta", usage=usage))


END = event(RawMessageStopEvent(type="message_stop"))


def done(reason: StopReason) -> list[Event]:
    return [ending(reason), END]


def answer(*pieces: str) -> list[Event]:
    """A whole answer of these pieces of text."""
    return [start(), PING, *text_block(*pieces), *done("end_turn")]


def whole(*content: ContentBlock, reason: StopReason = "end_turn") -> Event:
    """The message of a server that does not stream."""
    return event(
        Message(
            id="msg_1",
            content=list(content),
            model="claude-1",
            role="assistant",
            stop_reason=reason,
            stop_sequence=None,
            type="message",
            usage=Usage(input_tokens=3, output_tokens=2),
        )
    )


def failure(kind: str, message: str) -> Event:
    """An error, as the body of an answer or as an event."""
    return event(ErrorResponse.model_validate({"type": "error", "error": {"type": kind, "message": message}}))
