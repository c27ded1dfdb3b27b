"""How the answers of a chat-completions service are read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from backchat.domain.message import ToolCall, Usage
from backchat.domain.run import ReasoningDelta, TextDelta
from backchat.ports.providers import Finish, UsageReport
from backchat.testing.provider import ask, collect, said
from backchat.upstream.failures import Failures
from backchat.upstream.sse import EventReader
from backchat_openai.chunks import Answer
from backchat_openai.provider import open_openai
from openai_trials import settings
from openai_upstream import Upstream, chunk, serve


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with serve() as upstream:
        yield upstream
        assert upstream.problems == []


async def answer(upstream: Upstream) -> list[Any]:
    async with open_openai(settings(upstream)) as provider:
        return list(await collect(provider, ask("hi")))


def read(*chunks: dict[str, Any]) -> list[Any]:
    """The events of chunks that come in one read."""
    reading = Answer(Failures(()))
    events = reading.read([orjson.dumps(made) for made in chunks])
    assert reading.failure is None
    return [*events, *reading.end()]


def test_pieces_that_come_together_are_one_delta_in_order() -> None:
    assert read(
        chunk(role="assistant", content="", refusal=None),
        chunk(reasoning="I "),
        chunk(reasoning_content="think"),
        chunk(content="a"),
        chunk(content="b"),
        chunk(reasoning="more"),
        chunk(content="c"),
        chunk("stop"),
    ) == [
        ReasoningDelta("I think"),
        TextDelta("ab"),
        ReasoningDelta("more"),
        TextDelta("c"),
        Finish("stop"),
    ]


def test_a_piece_of_nothing_is_none() -> None:
    reading = Answer(Failures(()))
    for made in (chunk(role="assistant", content=""), chunk(content=""), chunk(role="assistant", content=None)):
        assert reading.read([orjson.dumps(made)]) == []


def fragment(
    index: int | None, id: str | None = None, name: str | None = None, arguments: Any = None
) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    made = {"index": index, "id": id, "function": {key: value for key, value in function.items() if value is not None}}
    return {key: value for key, value in made.items() if value is not None}


@pytest.mark.parametrize(
    "fragments",
    [
        # OpenAI
        [fragment(0, "a", "f", ""), fragment(0, arguments='{"x"'), fragment(1, "b", "g"), fragment(0, arguments=":1}")],
        # the id and the name repeated with every fragment
        [fragment(0, "a", "f", '{"x"'), fragment(0, "a", "f", ":1}"), fragment(1, "b", "g", "{}")],
        # no index
        [fragment(None, "a", "f", '{"x"'), fragment(None, arguments=":1}"), fragment(None, "b", "g", "")],
        # arguments as an object
        [fragment(0, "a", "f", {"x": 1}), fragment(1, "b", "g", {})],
    ],
)
def test_puts_parallel_calls_together(fragments: list[dict[str, Any]]) -> None:
    chunks = [chunk(tool_calls=[made]) for made in fragments]
    assert read(*chunks, chunk("tool_calls")) == [
        ToolCall("a", "f", '{"x":1}'),
        ToolCall("b", "g", "{}"),
        Finish("tool_calls"),
    ]


def test_a_call_without_an_id_gets_one() -> None:
    first, second, _ = read(
        chunk(tool_calls=[fragment(0, None, "f", "{}"), fragment(1, None, "f", "{}")]), chunk("stop")
    )
    assert first.id != second.id


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_calls_of_an_answer_that_was_cut_short_are_left_out(reason: str) -> None:
    assert read(chunk(tool_calls=[fragment(0, "a", "f", '{"x')]), chunk(reason)) == [Finish(reason)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reason", "finish"),
    [("stop", "stop"), ("length", "length"), ("content_filter", "content_filter"), ("eos", "stop")],
)
def test_says_why_the_model_stopped(reason: str, finish: str) -> None:
    assert read(chunk(reason, content="a"))[-1] == Finish(finish)  # type: ignore[arg-type]


def test_a_refusal_is_said_and_marked() -> None:
    chunks = [
        chunk(role="assistant", content=None, refusal=""),
        chunk(refusal="I can"),
        chunk(refusal="not."),
        chunk("stop"),
    ]
    assert read(*chunks) == [TextDelta("I cannot."), Finish("content_filter")]


@pytest.mark.parametrize(
    ("reported", "usage"),
    [
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 5,
                "total_tokens": 14,
                "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 2},
            },
            Usage(9, 5, 4, 2, 3),
        ),
        ({"prompt_tokens": 9, "completion_tokens": 5, "prompt_tokens_details": None}, Usage(9, 5)),
        ({"prompt_tokens": 9, "completion_tokens": 5, "prompt_cache_hit_tokens": 3}, Usage(9, 5, 3)),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 5,
                "total_tokens": 21,
                "completion_tokens_details": {"reasoning_tokens": 7},
            },
            Usage(9, 12, 0, 7),
        ),
        ({"prompt_tokens": "many", "completion_tokens": -1}, Usage()),
    ],
)
def test_reads_the_usage(reported: dict[str, Any], usage: Usage) -> None:
    assert read(chunk("stop"), chunk(usage=reported)) == [UsageReport(usage), Finish("stop")]
    in_groqs_place = {**chunk("stop"), "x_groq": {"id": "r", "usage": reported}}
    assert read(in_groqs_place) == [UsageReport(usage), Finish("stop")]


async def test_reads_an_answer_that_is_not_streamed(upstream: Upstream) -> None:
    body = {
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "whole"}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2},
    }
    upstream.play(orjson.dumps(body), headers={"Content-Type": "application/json"})
    assert await answer(upstream) == [UsageReport(Usage(1, 2)), TextDelta("whole"), Finish("stop")]


HOSTILE = (
    "CR \r LF \n CRLF \r\n U+2028 \u2028 U+0085 \x85 NUL \x00 BOM \ufeff "
    "emoji \U0001f469\u200d\U0001f680 e\u0301 data: x\n\n"
)


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"])
def test_text_survives_every_place_to_cut_the_stream(ending: bytes) -> None:
    first, last = orjson.dumps(chunk(content=HOSTILE)), orjson.dumps(chunk("stop", content="!"))
    lines = [b"\xef\xbb\xbfdata: " + first, b"", b": a comment", b"", b"event: x", b"data:" + last, b"id: 1", b""]
    lines += [b"data: [DONE]", b"", b""]
    stream = ending.join(lines)
    for cut in range(len(stream) + 1):
        reader, reading = EventReader(), Answer(Failures(()))
        events = reading.read([*reader.feed(stream[:cut]), *reader.feed(stream[cut:]), *reader.close()])
        assert reading.done, cut
        assert said(events) == HOSTILE + "!", cut


def test_text_survives_being_read_byte_by_byte() -> None:
    stream = b"data: " + orjson.dumps(chunk(content=HOSTILE)) + b"\r\n\r\n"
    reader = EventReader()
    (event,) = [event for byte in stream for event in reader.feed(bytes([byte]))]
    assert said(Answer(Failures(())).read([event])) == HOSTILE


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"])
def test_data_lines_of_one_event_are_joined(ending: bytes) -> None:
    stream = ending.join([b"data: {", b"data:", b"data:  1}", b"", b"data", b"", b"data:x", b"", b""])
    for cut in range(len(stream) + 1):
        reader = EventReader()
        assert [*reader.feed(stream[:cut]), *reader.feed(stream[cut:])] == [b"{\n\n 1}", b"x"], cut


async def test_text_survives_the_network(upstream: Upstream) -> None:
    stream = b"data: " + orjson.dumps(chunk(content=HOSTILE)) + b"\n\n"
    upstream.play(*[stream[n : n + 1] for n in range(len(stream))], chunk("stop"), "[DONE]")
    assert said(await answer(upstream)) == HOSTILE


@pytest.mark.parametrize("last", [["[DONE]"], [], [b"data: [DONE]"]])
async def test_an_answer_may_lack_its_sentinel(upstream: Upstream, last: list[Any]) -> None:
    upstream.play(chunk(content="a"), chunk("stop"), *last)
    assert await answer(upstream) == [TextDelta("a"), Finish("stop")]
