"""The Responses API: what is asked, and how an answer is read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import orjson
import pytest

from backchat.domain.message import Reasoning, Text, ToolCall, ToolResult, Usage
from backchat.domain.run import ReasoningDelta, ReasoningSealed, TextDelta
from backchat.domain.settings import Sampling
from backchat.errors import ProviderRejected
from backchat.ports.providers import (
    Citation,
    FileData,
    Finish,
    ImageData,
    ModelRequest,
    PromptMessage,
    UsageReport,
)
from backchat.testing.provider import WEATHER, ask, collect, said
from backchat.upstream.failures import Failures
from backchat_openai.chunks_responses import ResponsesAnswer
from backchat_openai.provider import open_openai
from backchat_openai.settings import OPENAI, OPENROUTER, Preset, SettingsSchema
from openai_responses import Event, Response, text
from openai_upstream import Upstream, serve

REPORTED = UsageReport(Usage(9, 5, 4, 2, 3))


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with serve() as upstream:
        yield upstream
        assert upstream.problems == []


async def answer(upstream: Upstream, request: ModelRequest, preset: Preset = OPENAI, **section: Any) -> list[Any]:
    upstream.service = preset.name
    section = {"model": "m-1", "api": "responses", "base_url": upstream.base_url, "files": True, **section}
    async with open_openai(SettingsSchema(preset).load(section)) as provider:
        return await collect(provider, request)


def read(events: list[Event]) -> list[Any]:
    """What is made of events that come in one read."""
    reading = ResponsesAnswer(Failures(()), "127.0.0.1")
    found = reading.read([orjson.dumps(event) for event in events])
    assert reading.failure is None
    assert reading.done
    return [*found, *reading.end()]


# ---- what is asked


async def test_asks_for_a_stream_that_is_not_stored(upstream: Upstream) -> None:
    assert said(await answer(upstream, ask("good day"))) == "good day"
    assert upstream.paths == ["/v1/responses"]
    assert upstream.bodies == [
        {
            "model": "m-1",
            "input": [{"role": "user", "content": "good day"}],
            "stream": True,
            "store": False,
            "include": ["reasoning.encrypted_content"],
        }
    ]


async def test_a_model_that_does_not_reason_is_not_asked_for_its_thinking(upstream: Upstream) -> None:
    await answer(upstream, ask("hi"), reasoning=False)
    assert "include" not in upstream.bodies[0]


async def test_sends_every_kind_of_message(upstream: Upstream) -> None:
    call = ToolCall("c1", "get_weather", '{"city": "Paris"}')
    image, file = ImageData("image/png", b"\x89PNG"), FileData("a.pdf", "application/pdf", b"%PDF")
    messages = [
        PromptMessage("user", (Text("look "), image, Text(""), file)),
        PromptMessage("assistant", (Reasoning("hm"), Text("I look."), call, replace(call, id="c2"))),
        PromptMessage("tool", (ToolResult("c1", "sunny"),)),
        PromptMessage("tool", (ToolResult("c2", "rain"),)),
        PromptMessage("assistant", (Text("So "), Text("be it."))),
        PromptMessage("system", (Text("Be kind."),)),
        PromptMessage("user", (Text(""),)),
        PromptMessage("user", (Text("thanks"),)),
    ]
    await answer(
        upstream,
        ModelRequest(
            messages=messages,
            system="Be brief.",
            summary="They met.",
            citations=[Citation("notes", "tea")],
            tools=[WEATHER, replace(WEATHER, name="strict", strict=True)],
        ),
    )
    sent = upstream.bodies[0]
    called = {"type": "function_call", "call_id": "c1", "name": "get_weather", "arguments": '{"city": "Paris"}'}
    assert sent["input"] == [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "look "},
                {"type": "input_image", "image_url": "data:image/png;base64,iVBORw==", "detail": "auto"},
                {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERg=="},
            ],
        },
        {"role": "assistant", "content": "I look."},
        called,
        called | {"call_id": "c2"},
        {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
        {"type": "function_call_output", "call_id": "c2", "output": "rain"},
        {"role": "assistant", "content": "So be it."},
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "thanks"},
    ]
    assert sent["instructions"].startswith("Be brief.\n\n")
    assert "They met." in sent["instructions"]
    assert "[1] (notes) tea" in sent["instructions"]
    tool = {"type": "function", "description": WEATHER.description, "parameters": WEATHER.parameters}
    assert sent["tools"] == [
        {**tool, "name": "get_weather", "strict": False},  # left out, it would be true
        {**tool, "name": "strict", "strict": True},
    ]


async def test_sends_the_options(upstream: Upstream) -> None:
    sampling = Sampling(temperature=0.5, max_tokens=9, top_p=0.1, presence_penalty=1.0, parameters={"verbosity": "low"})
    asked = replace(ask("hi"), model="m-2", reasoning="low", json_output=True, sampling=sampling)
    await answer(upstream, asked, extra_body={"top_p": 0.9, "text": {"verbosity": "high"}, "service_tier": "flex"})
    sent = upstream.bodies[0]
    del sent["stream"], sent["store"], sent["include"]
    assert sent == {
        "model": "m-2",
        "input": [
            {"role": "system", "content": "Answer with a JSON object."},  # the service wants the word in the input
            {"role": "user", "content": "hi"},
        ],
        "temperature": 0.5,
        "top_p": 0.9,
        "max_output_tokens": 9,
        "reasoning": {"effort": "low", "summary": "auto"},
        "text": {"format": {"type": "json_object"}, "verbosity": "high"},
        "service_tier": "flex",
    }


@pytest.mark.parametrize(
    ("section", "reasoning"),
    [
        ({"reasoning_summary": None}, {"effort": "high"}),
        ({"reasoning_summary": "detailed"}, {"effort": "high", "summary": "detailed"}),
        ({"efforts": {"high": "xhigh"}, "reasoning_summary": None}, {"effort": "xhigh"}),
        ({"extra_body": {"reasoning": {"summary": "concise"}}}, {"effort": "high", "summary": "concise"}),
    ],
)
async def test_how_hard_to_think(upstream: Upstream, section: dict[str, Any], reasoning: dict[str, str]) -> None:
    await answer(upstream, replace(ask("hi"), reasoning="high"), **section)
    assert upstream.bodies[0]["reasoning"] == reasoning


async def test_an_effort_may_be_a_parameter(upstream: Upstream) -> None:
    asked = replace(ask("hi"), sampling=Sampling(parameters={"reasoning_effort": "minimal"}))
    await answer(upstream, asked)
    await answer(upstream, replace(asked, reasoning="low"), reasoning_summary=None)
    assert [body["reasoning"] for body in upstream.bodies] == [{"effort": "minimal"}, {"effort": "low"}]


async def test_openrouter_is_told_how_to_route_here_too(upstream: Upstream) -> None:
    asked = replace(ask("hi"), sampling=Sampling(parameters={"openrouter": {"sort": "price"}}))
    await answer(upstream, asked, OPENROUTER)
    await answer(upstream, asked)
    assert upstream.bodies[0]["provider"] == {"sort": "price"}
    assert "provider" not in upstream.bodies[1]


async def test_names_of_tools_are_made_to_fit_and_found_again(upstream: Upstream) -> None:
    dotted, fitting = "fs.read:x " + "n" * 70, "fs_read_x_" + "n" * 54
    upstream.play(*Response().call("c1", fitting, "{}").end())
    told = await answer(upstream, ask("hi", replace(WEATHER, name=dotted)))
    (call,) = [event for event in told if isinstance(event, ToolCall)]
    assert call.name == dotted
    before = [PromptMessage("assistant", (call,)), PromptMessage("tool", (ToolResult("c1", "r"),))]
    await answer(upstream, ModelRequest(messages=[*ask("hi").messages, *before]))
    assert upstream.bodies[0]["tools"][0]["name"] == fitting
    assert upstream.bodies[1]["input"][1]["name"] == fitting


async def test_images_of_an_answer_are_shown_by_the_user(upstream: Upstream) -> None:
    shown = PromptMessage("assistant", (Text("here"), ImageData("image/png", b"1")))
    await answer(upstream, ModelRequest(messages=[*ask("draw").messages, shown, *ask("and?").messages]))
    _, said, then = upstream.bodies[0]["input"]
    assert said == {"role": "assistant", "content": "here"}
    assert [part["type"] for part in then["content"]] == ["input_image", "input_text"]


async def test_refuses_what_the_protocol_cannot_carry(upstream: Upstream) -> None:
    for message in (
        PromptMessage("user", (Text("half a character: \ud83d"),)),
        PromptMessage("system", (ImageData("image/png", b"1"),)),
    ):
        with pytest.raises(ProviderRejected):
            await answer(upstream, ModelRequest(messages=[message]))
    assert upstream.bodies == []


# ---- how an answer is read


def test_pieces_that_come_together_are_one_delta_in_order() -> None:
    made = Response().thought(["I ", "think"], ["twice"], sealed=None).text("a", "b").end()
    assert read(made) == [ReasoningDelta("I think\n\ntwice"), TextDelta("ab"), REPORTED, Finish("stop")]


def test_puts_parallel_calls_together_from_pieces_that_come_mixed() -> None:
    made = Response().text("I look.")
    one, two = made.begin_call("a", "f"), made.begin_call("b", "g")
    made.arguments(one, '{"x"')
    made.arguments(two, "{")
    made.arguments(one, ":1}")
    made.arguments(two, "}")
    made.end_call(two, "b", "g", "{}")
    made.end_call(one, "a", "f", '{"x":1}')
    assert read(made.end()) == [
        TextDelta("I look."),
        REPORTED,
        ToolCall("a", "f", '{"x":1}'),
        ToolCall("b", "g", "{}"),
        Finish("tool_calls"),
    ]


def test_calls_are_whole_if_only_their_pieces_or_only_their_end_comes() -> None:
    made = Response().call("a", "f", '{"x"', ":1}").end()
    for left_out in ("response.function_call_arguments.delta", "response.output_item.done"):
        kept = [event for event in made if event["type"] != left_out]
        assert read(kept)[-2:] == [ToolCall("a", "f", '{"x":1}'), Finish("tool_calls")]
    for event in made:
        if event["type"] == "response.output_item.done":  # a server that names a call once
            del event["item"]["name"], event["item"]["call_id"]
    assert read(made)[-2:] == [ToolCall("a", "f", '{"x":1}'), Finish("tool_calls")]


@pytest.mark.parametrize(
    ("details", "finish"),
    [
        ({"reason": "max_output_tokens"}, "length"),
        ({"reason": "content_filter"}, "content_filter"),
        ({"reason": None}, "length"),
        (None, "length"),
    ],
)
def test_an_answer_that_is_cut_short_says_why_and_calls_nothing(details: Any, finish: Any) -> None:
    made = Response().text("so far")
    made.begin_call("a", "f")
    events = read(made.end("incomplete", incomplete_details=details))
    assert events == [TextDelta("so far"), REPORTED, Finish(finish)]


def test_a_refusal_is_said_and_marked() -> None:
    assert read(Response().refusal("I can", "not.").end(usage=None)) == [
        TextDelta("I cannot."),
        Finish("content_filter"),
    ]


async def test_reads_an_answer_that_is_not_streamed(upstream: Upstream) -> None:
    for made, events in (
        (Response().thought(["hm"]).text("who", "le"), [ReasoningDelta("hm"), ..., TextDelta("whole"), Finish("stop")]),
        (Response().call("a", "f", "{}"), [ToolCall("a", "f", "{}"), Finish("tool_calls")]),
        (Response().refusal("no"), [TextDelta("no"), Finish("content_filter")]),
    ):
        body = made.end(usage=None)[-1]["response"]
        upstream.play(orjson.dumps(body), headers={"Content-Type": "application/json"})
        got = await answer(upstream, ask("hi"))
        assert [e if not isinstance(e, ReasoningSealed) else ... for e in got] == events


def test_what_is_not_known_is_passed_over() -> None:
    made = text("a")
    made[1:1] = [{"type": "response.something.new", "delta": 7}, {"type": "ping"}, {"kind": "odd"}]
    assert read(made) == [TextDelta("a"), Finish("stop")]


async def test_an_end_with_the_other_apis_sentinel_is_one(upstream: Upstream) -> None:
    upstream.play(*text("a"), "[DONE]")
    assert await answer(upstream, ask("hi")) == [TextDelta("a"), Finish("stop")]


def test_a_thought_that_shows_nothing_is_sealed_in_its_place() -> None:
    made = Response().text("one").thought(sealed="s").text("two").thought(["hm"], sealed="t").text("three").end()
    kinds = [type(event) for event in read(made)]
    assert kinds == [
        TextDelta,
        ReasoningSealed,
        TextDelta,
        ReasoningDelta,
        ReasoningSealed,
        TextDelta,
        UsageReport,
        Finish,
    ]
