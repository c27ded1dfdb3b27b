"""The messages API on the wire: requests fit the vendor's types and rules, answers of the vendor's types are read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import anthropic
import pytest
from anthropic.types import TextBlock, ToolUseBlock, Usage

from anthropic_events import (
    END,
    PING,
    Event,
    answer,
    call_block,
    done,
    ending,
    failure,
    redacted_block,
    start,
    text_block,
    thinking_block,
    whole,
)
from anthropic_trials import KEY, asked, settings
from anthropic_upstream import Upstream, frame, serve
from backchat.domain import message as domain
from backchat.domain.message import Reasoning, Text, ToolCall, ToolResult
from backchat.domain.run import ReasoningDelta, ReasoningSealed, TextDelta
from backchat.domain.settings import Sampling
from backchat.errors import ProviderCredentials, ProviderError, ProviderRejected, ProviderThrottled, ProviderTimeout
from backchat.ports.providers import Citation, FileData, Finish, ImageData, ModelRequest, PromptMessage, UsageReport
from backchat.testing.provider import WEATHER, ask, collect
from backchat_anthropic.provider import open_anthropic

JSON = {"Content-Type": "application/json"}
CALL = ToolCall("toolu_1", "get_weather", '{"city": "Paris"}')
OTHER = ToolCall("toolu_2", "get_weather", '{"city": "Rome"}')


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with serve() as upstream:
        yield upstream


async def heard(upstream: Upstream, request: ModelRequest | None = None, **section: Any) -> list[Any]:
    async with open_anthropic(settings(upstream, **section)) as provider:
        return list(await collect(provider, request or ask("hi")))


def user(*parts: Any) -> PromptMessage:
    return PromptMessage("user", parts)


def model(*parts: Any) -> PromptMessage:
    return PromptMessage("assistant", parts)


def result(call: ToolCall, content: str) -> PromptMessage:
    return PromptMessage("tool", (ToolResult(call.id, content),))


# ---- requests


REQUESTS = {
    "plain": ask("hi"),
    "system": replace(ask("hi"), system="Be brief.", summary="We met.", citations=[Citation("notes", "tea")]),
    "history": ModelRequest(messages=[user(Text("a")), model(Text("b")), user(Text("c"))]),
    "image": ModelRequest(messages=[user(Text("look"), ImageData("image/png", b"\x89PNG"))]),
    "image of the model": ModelRequest(
        messages=[user(Text("draw")), model(ImageData("image/webp", b"RIFF")), user(Text("what is it?"))]
    ),
    "pdf": ModelRequest(messages=[user(FileData("a.pdf", "application/pdf", b"%PDF-1.7"), Text("sum up"))]),
    "tools": ask("hi", replace(WEATHER, strict=True), replace(WEATHER, name="bare", parameters={})),
    "result": ModelRequest(messages=[user(Text("?")), model(CALL), result(CALL, "sunny")], tools=[WEATHER]),
    "results and words": ModelRequest(
        messages=[
            user(Text("?")),
            model(Text("I look."), CALL, OTHER),
            result(CALL, "sunny"),
            result(OTHER, ""),
            user(Text("well?")),
        ],
        tools=[WEATHER],
    ),
    "calls of before": ModelRequest(
        messages=[user(Text("?")), model(CALL), result(CALL, "sunny"), model(Text("Sunny.")), user(Text("thanks"))]
    ),
    "sampling": replace(
        ask("hi"), sampling=Sampling(temperature=0.3, parameters={"top_k": 3, "stop_sequences": ["."]})
    ),
    "json": replace(ask("hi"), json_output=True),
    "no beginning": ModelRequest(messages=[model(Text("b")), user(Text("c"))]),
    "nothing but space": ModelRequest(messages=[user(Text("a")), model(Text(" \n")), user(Text(""), Text("c"))]),
    "orders in the middle": ModelRequest(
        messages=[user(Text("a")), PromptMessage("system", (Text("Be brief."),)), user(Text("c"))]
    ),
    "foreign": ModelRequest(
        messages=[
            user(Text("a")),
            model(Reasoning("hm", domain.Seal("openai", "x")), ToolCall("call:1|é", "web.search", "[1, 2]")),
            result(ToolCall("call:1|é", "", ""), "one"),
            model(ToolCall("call:1|é", "web.search", '{"half')),
            result(ToolCall("call:1|é", "", ""), "two"),
            user(Text("c")),
        ]
    ),
}


@pytest.mark.parametrize("model", ["claude-haiku-4-5", "claude-opus-5-5"])
@pytest.mark.parametrize("effort", [None, "high"])
@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS.keys())
async def test_requests_fit(upstream: Upstream, request_: ModelRequest, model: str, effort: Any) -> None:
    upstream.play(*answer('{"a": 1}'))
    await asked(upstream, replace(request_, reasoning=effort), model=model)


@pytest.mark.parametrize("model", ["claude-haiku-4-5", "claude-opus-4-7", "claude-opus-5-5", "kimi-k3"])
async def test_thinking_goes_round(upstream: Upstream, model: str) -> None:
    """What was thought before a tool call comes back as it was, where it was."""
    upstream.play(
        start(),
        *thinking_block("I ", "think.", signature="sig-1", index=0),
        *text_block("I look. ", index=1),
        *redacted_block("veil", index=2),
        *thinking_block(signature="sig-2", index=3),
        *text_block("Now.", index=4),
        *call_block("toolu_1", "get_weather", '{"city": ', '"Paris"}', index=5),
        *done("tool_use"),
    )
    request = replace(ask("?", WEATHER), reasoning="low")
    said: list[Any] = []
    events = await heard(upstream, request, model=model)
    thought = ""
    for event in events:
        if isinstance(event, ReasoningDelta):
            thought += event.text
        elif isinstance(event, ReasoningSealed):
            said.append(Reasoning(thought, event.seal))
            thought = ""
    text = Text("".join([e.text for e in events if isinstance(e, TextDelta)]))
    (call,) = [e for e in events if isinstance(e, ToolCall)]
    # As the engine keeps it: the thinking first.
    again = replace(
        request, messages=[*request.messages, PromptMessage("assistant", (*said, text, call)), result(call, "sun")]
    )
    sent = await asked(upstream, again, model=model)
    assert sent["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "I think.", "signature": "sig-1"},
        {"type": "text", "text": "I look. "},
        {"type": "redacted_thinking", "data": "veil"},
        {"type": "thinking", "thinking": "", "signature": "sig-2"},
        {"type": "text", "text": "Now."},
        {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Paris"}},
    ]


# ---- answers


async def test_reads_a_plain_answer(upstream: Upstream) -> None:
    upstream.play(*answer("Hel", "lo"))
    events = await heard(upstream)
    assert "".join([e.text for e in events if isinstance(e, TextDelta)]) == "Hello"
    assert events[-1] == Finish("stop")


async def test_reads_thinking_with_its_seals(upstream: Upstream) -> None:
    upstream.play(
        start(),
        *thinking_block("I ", "think.", signature="sig", index=0),
        *redacted_block("veil", index=1),
        *text_block("Yes.", index=2),
        ending("end_turn", output=9, thought=6),
        END,
    )
    events = [e for e in await heard(upstream) if not isinstance(e, UsageReport)]
    thought = "".join([e.text for e in events if isinstance(e, ReasoningDelta)])
    kinds = [type(e) for e in events if not isinstance(e, ReasoningDelta)]
    assert thought == "I think."
    assert kinds == [ReasoningSealed, ReasoningSealed, TextDelta, Finish]
    assert {e.seal.maker for e in events if isinstance(e, ReasoningSealed)} == {"anthropic"}


async def test_reads_parallel_calls_with_streamed_arguments(upstream: Upstream) -> None:
    upstream.play(
        start(),
        *text_block("I look.", index=0),
        *call_block("toolu_1", "get_weather", "", '{"ci', 'ty": "Par', 'is"}', index=1),
        *call_block("toolu_2", "now", index=2),
        *done("tool_use"),
    )
    events = [e for e in await heard(upstream, ask("?", WEATHER)) if not isinstance(e, UsageReport)]
    assert events == [
        TextDelta("I look."),
        ToolCall("toolu_1", "get_weather", '{"city": "Paris"}'),
        ToolCall("toolu_2", "now", "{}"),
        Finish("tool_calls"),
    ]


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("pause_turn", "length"),
        ("refusal", "content_filter"),
    ],
)
async def test_says_why_the_model_stopped(upstream: Upstream, reason: Any, finish: Any) -> None:
    upstream.play(start(), *text_block("so far"), ending(reason, explanation="Not this."), END)
    events = [e for e in await heard(upstream) if not isinstance(e, UsageReport)]
    assert events == [TextDelta("so far"), Finish(finish)]


async def test_a_refusal_of_everything_is_explained(upstream: Upstream) -> None:
    upstream.play(start(), ending("refusal", explanation="Not this."), END)
    events = [e for e in await heard(upstream) if not isinstance(e, UsageReport)]
    assert events == [TextDelta("Not this."), Finish("content_filter")]


@pytest.mark.parametrize("reason", ["max_tokens", "refusal", "pause_turn"])
async def test_calls_of_an_answer_that_was_cut_short_are_left_out(upstream: Upstream, reason: Any) -> None:
    upstream.play(start(), *call_block("toolu_1", "get_weather", '{"ci'), *done(reason))
    assert not [e for e in await heard(upstream, ask("?", WEATHER)) if isinstance(e, ToolCall)]


async def test_counts_tokens(upstream: Upstream) -> None:
    """The service counts what was read from the cache and written to it beside the input; here it is part of it."""
    usage = Usage(input_tokens=5, output_tokens=1, cache_read_input_tokens=70, cache_creation_input_tokens=20)
    upstream.play(start(usage), *text_block("a"), ending("end_turn", output=9, thought=6), END)
    reports = [e.usage for e in await heard(upstream) if isinstance(e, UsageReport)]
    assert reports[0] == domain.Usage(95, 1, 70, 0, 20)
    assert reports[-1] == domain.Usage(95, 9, 70, 6, 20)


async def test_reads_the_answer_of_a_server_that_does_not_stream(upstream: Upstream) -> None:
    said = TextBlock(text="I look.", type="text", citations=None)
    call = ToolUseBlock(id="toolu_1", input={"city": "Paris"}, name="get_weather", type="tool_use")
    body = frame(whole(said, call, reason="tool_use")).partition(b"data: ")[2]
    upstream.play(body, headers=JSON)
    assert await heard(upstream, ask("?", WEATHER)) == [
        TextDelta("I look."),
        UsageReport(domain.Usage(3, 2)),
        ToolCall("toolu_1", "get_weather", '{"city":"Paris"}'),
        Finish("tool_calls"),
    ]


@pytest.mark.parametrize(
    ("kind", "status", "error"),
    [
        ("invalid_request_error", 400, ProviderRejected),
        ("authentication_error", 401, ProviderCredentials),
        ("billing_error", 402, ProviderRejected),
        ("permission_error", 403, ProviderCredentials),
        ("not_found_error", 404, ProviderRejected),
        ("rate_limit_error", 429, ProviderThrottled),
        ("api_error", 500, ProviderError),
        ("timeout_error", 504, ProviderTimeout),
        ("overloaded_error", 529, ProviderError),
    ],
)
@pytest.mark.parametrize("midway", [False, True])
async def test_errors(upstream: Upstream, kind: str, status: int, error: type[Exception], midway: bool) -> None:
    body: Event = failure(kind, f"the words of the service {KEY}")
    if midway:
        upstream.play(start(), *text_block("so far"), body)
    else:
        upstream.play(frame(body).partition(b"data: ")[2], status=status, headers={**JSON, "Retry-After": "7"})
    with pytest.raises(ProviderError) as caught:
        await heard(upstream)
    assert type(caught.value) is error
    assert KEY not in str(caught.value)
    assert ("the words of the service [key]" in str(caught.value)) == (error is ProviderRejected)
    assert not (error is ProviderThrottled and not midway and caught.value.retry_after != 7)


# ---- the vendor's own client


async def test_the_vendors_client_reads_this_upstream(upstream: Upstream) -> None:
    async with anthropic.AsyncAnthropic(api_key="sk-ant-x", base_url=upstream.base_url, max_retries=0) as client:
        upstream.play(
            start(),
            PING,
            *thinking_block("I think.", signature="sig", index=0),
            *call_block("toolu_1", "get_weather", '{"city": ', '"Paris"}', index=1),
            *done("tool_use"),
        )
        async with client.messages.stream(
            model="claude-opus-5-5",
            max_tokens=9,
            messages=[{"role": "user", "content": [{"type": "text", "text": "?"}]}],
        ) as stream:
            message = await stream.get_final_message()
        thought, call = message.content
        assert thought.type == "thinking"
        assert (thought.thinking, thought.signature) == ("I think.", "sig")
        assert call.type == "tool_use"
        assert call.input == {"city": "Paris"}
        assert message.stop_reason == "tool_use"
        upstream.play(frame(failure("overloaded_error", "busy")).partition(b"data: ")[2], status=529, headers=JSON)
        with pytest.raises(anthropic.APIStatusError):
            await client.messages.create(
                model="m",
                max_tokens=9,
                messages=[{"role": "user", "content": [{"type": "text", "text": "?"}]}],
                stream=True,
            )
        assert [m.id async for m in client.models.list()] == list(upstream.models)
    assert upstream.problems == []
