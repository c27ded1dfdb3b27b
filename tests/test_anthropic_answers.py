"""How answers of the messages API are read: piece by piece, wherever the stream is cut."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
import pytest
from anthropic.types import MessageDeltaUsage, TextBlock, ThinkingBlock, ToolUseBlock, Usage

from anthropic_events import (
    END,
    PING,
    Event,
    answer,
    begin,
    call_block,
    done,
    ending,
    redacted_block,
    start,
    stop,
    text_block,
    thinking_block,
)
from anthropic_upstream import frame
from backchat.domain import message as domain
from backchat.domain.message import ToolCall
from backchat.domain.run import ReasoningDelta, ReasoningSealed, TextDelta
from backchat.ports.providers import Finish, ProviderEvent, UsageReport
from backchat.testing.provider import said
from backchat.upstream.failures import Failures
from backchat.upstream.sse import EventReader
from backchat_anthropic.chunks import Answer

HOSTILE = (
    "CR \r LF \n CRLF \r\n U+2028 \u2028 U+0085 \x85 NUL \x00 BOM \ufeff "
    "emoji \U0001f469\u200d\U0001f680 e\u0301 data: x\n\n"
)


def read(*events: Event) -> list[ProviderEvent]:
    """The provider events of events that come in one read, without reports of usage."""
    reading = Answer(Failures(()), "host")
    made = reading.read([orjson.dumps(event) for event in events])
    assert reading.failure is None
    return [e for e in [*made, *reading.end()] if not isinstance(e, UsageReport)]


def seals(events: Sequence[ProviderEvent]) -> list[dict[str, object]]:
    return [orjson.loads(e.seal.data) for e in events if isinstance(e, ReasoningSealed)]


def test_pieces_that_come_together_are_one_delta_in_order() -> None:
    events = read(
        start(),
        *thinking_block("I ", "think", signature="one", index=0),
        PING,
        *text_block("a", "b", index=1),
        *redacted_block("veil", index=2),
        *thinking_block("more", signature="two", index=3),
        *text_block("c", index=4),
        *done("end_turn"),
    )
    sealed = [e for e in events if isinstance(e, ReasoningSealed)]
    assert [e for e in events if not isinstance(e, ReasoningSealed)] == [
        ReasoningDelta("I think"),
        TextDelta("ab"),
        ReasoningDelta("more"),
        TextDelta("c"),
        Finish("stop"),
    ]
    assert [events.index(e) for e in sealed] == [1, 3, 5]
    assert seals(events) == [
        {"signer": "host", "at": 0, "signature": "one"},
        {"signer": "host", "at": 2, "data": "veil"},
        {"signer": "host", "at": 2, "signature": "two"},
    ]


def test_servers_that_leave_out_where_blocks_begin() -> None:
    thinking = thinking_block("hm", "?", signature="sig")[1:3]
    assert read(start(), *text_block("a")[1:2], *thinking, *text_block("b")[1:2], *done("end_turn")) == [
        TextDelta("a"),
        ReasoningDelta("hm?"),
        TextDelta("b"),
        Finish("stop"),
    ]


def test_nothing_after_the_last_event_is_read() -> None:
    assert read(*answer("a"), {"type": 7}) == [TextDelta("a"), Finish("stop")]


def test_thinking_without_text_is_sealed_as_well() -> None:
    events = read(start(), *thinking_block(signature="sig"), *done("end_turn"))
    assert [type(e) for e in events] == [ReasoningSealed, Finish]


def test_thinking_without_a_signature_has_no_seal() -> None:
    block = [begin(ThinkingBlock(signature="", thinking="hm", type="thinking")), stop()]
    assert read(start(), *block, *done("end_turn")) == [ReasoningDelta("hm"), Finish("stop")]


def test_blocks_that_come_whole_are_read() -> None:
    events = read(
        start(),
        begin(ThinkingBlock(signature="sig", thinking="hm", type="thinking"), 0),
        stop(0),
        begin(TextBlock(text="a", type="text", citations=None), 1),
        stop(1),
        begin(ToolUseBlock(id="toolu_1", input={"x": 1}, name="f", type="tool_use"), 2),
        stop(2),
        *done("tool_use"),
    )
    assert events[0] == ReasoningDelta("hm")
    assert seals(events) == [{"signer": "host", "at": 0, "signature": "sig"}]
    assert events[2:] == [TextDelta("a"), ToolCall("toolu_1", "f", '{"x":1}'), Finish("tool_calls")]


def test_calls_whose_pieces_mix_are_told_apart_by_their_index() -> None:
    first, second = call_block("a", "f", '{"x"', ":1}", index=1), call_block("b", "g", "{}", index=2)
    mixed = [first[0], second[0], first[1], second[1], first[2], first[3], second[2]]
    assert read(start(), *mixed, *done("tool_use")) == [
        ToolCall("a", "f", '{"x":1}'),
        ToolCall("b", "g", "{}"),
        Finish("tool_calls"),
    ]


def test_a_call_without_an_id_gets_one() -> None:
    first, second, _ = read(start(), *call_block("", "f"), *call_block("", "f", index=1), *done("tool_use"))
    assert isinstance(first, ToolCall)
    assert isinstance(second, ToolCall)
    assert first.id
    assert first.id != second.id


@pytest.mark.parametrize(("reason", "finish"), [("tool_use", "stop"), ("something_new", "stop")])
def test_reasons_that_say_little(reason: str, finish: str) -> None:
    event = {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 2}}
    assert read(start(), *text_block("a"), event, END)[-1] == Finish(finish)  # type: ignore[arg-type]


def test_calls_of_an_answer_that_ended_by_itself_count() -> None:
    assert read(start(), *call_block("a", "f"), *done("end_turn"))[-1] == Finish("tool_calls")


@pytest.mark.parametrize(
    ("began", "ended", "usage"),
    [
        (Usage(input_tokens=5, output_tokens=1), {"output_tokens": 9}, domain.Usage(5, 9)),
        (Usage(input_tokens=0, output_tokens=0), {"input_tokens": 5, "output_tokens": 9}, domain.Usage(5, 9)),
        (
            Usage(input_tokens=5, output_tokens=1, cache_read_input_tokens=7),
            {"input_tokens": 5, "cache_read_input_tokens": 7, "cache_creation_input_tokens": None, "output_tokens": 9},
            domain.Usage(12, 9, 7),
        ),
        (
            Usage(input_tokens=5, output_tokens=1),
            {"output_tokens": 4, "output_tokens_details": {"thinking_tokens": 40}},
            domain.Usage(5, 4, 0, 4),
        ),
        (Usage(input_tokens=5, output_tokens=3), {"input_tokens": 0, "output_tokens": 0}, domain.Usage(5, 3)),
    ],
)
def test_counts_are_cumulative(began: Usage, ended: dict[str, object], usage: domain.Usage) -> None:
    MessageDeltaUsage.model_validate(ended)
    event = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": ended}
    reading = Answer(Failures(()), "host")
    reports = [
        e.usage for e in reading.read(map(orjson.dumps, [start(began), event, END])) if isinstance(e, UsageReport)
    ]
    assert reports[-1] == usage
    assert len(reports) == len(set(reports))


def test_servers_that_count_nothing() -> None:
    events = [{"type": "message_start", "message": {}}, *text_block("a"), {**ending("end_turn"), "usage": None}, END]
    assert read(*events) == [TextDelta("a"), Finish("stop")]


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"])
def test_text_survives_every_place_to_cut_the_stream(ending: bytes) -> None:
    frames = [frame(event).strip().replace(b"\n", ending) for event in answer(HOSTILE, "!")]
    stream = (ending * 2).join([b"\xef\xbb\xbf: a comment", *frames, b""])
    for cut in range(len(stream) + 1):
        reader, reading = EventReader(), Answer(Failures(()), "host")
        events = reading.read(reader.feed(stream[:cut]))
        if not reading.done:
            events += reading.read([*reader.feed(stream[cut:]), *reader.close()])
        assert reading.done, cut
        assert said(events) == HOSTILE + "!", cut
