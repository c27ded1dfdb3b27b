"""How the ``google`` provider reads what the Gemini API answers, made of Google's own types."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest
from google import genai
from google.genai import types

from backchat.domain.message import Reasoning, Text, ToolCall, ToolResult, Usage
from backchat.domain.run import ReasoningDelta, ReasoningSealed, TextDelta
from backchat.errors import ProviderCredentials, ProviderError, ProviderRejected
from backchat.ports.providers import Finish, ModelRequest, PromptMessage, ProviderEvent, UsageReport
from backchat.testing.provider import WEATHER, ask, collect, said
from backchat_google.provider import GoogleProvider, open_google
from backchat_google.seals import UNSIGNED
from google_trials import MODEL, failed, settings
from google_upstream import Step, Upstream, call_part, chunk, dumped, serve, text


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with serve() as upstream:
        yield upstream
        assert upstream.problems == []


@pytest.fixture
async def provider(upstream: Upstream) -> AsyncIterator[GoogleProvider]:
    async with open_google(settings(upstream)) as provider:
        yield provider


def b64(data: bytes) -> str:
    return b64encode(data).decode()


def thought(text: str, signature: bytes | None = None) -> types.Part:
    return types.Part(text=text, thought=True, thought_signature=signature)


async def spoken(provider: GoogleProvider, upstream: Upstream, *steps: Step) -> list[ProviderEvent]:
    upstream.play(*steps)
    return await collect(provider, ask("hi", WEATHER))


def in_one_read(*chunks: dict[str, Any]) -> bytes:
    return b"".join([b"data: " + orjson.dumps(c) + b"\r\n\r\n" for c in chunks])


def joined(events: Sequence[ProviderEvent]) -> list[ProviderEvent]:
    """With neighbouring deltas put together, as they are in the log, and without usage."""
    out: list[ProviderEvent] = []
    for event in events:
        last = out[-1] if out else None
        if isinstance(event, TextDelta) and isinstance(last, TextDelta):
            out[-1] = TextDelta(last.text + event.text)
        elif isinstance(event, ReasoningDelta) and isinstance(last, ReasoningDelta):
            out[-1] = ReasoningDelta(last.text + event.text)
        elif not isinstance(event, UsageReport):
            out.append(event)
    return out


async def test_google_s_own_client_reads_this_upstream(upstream: Upstream) -> None:
    def read() -> tuple[str, list[str | None]]:
        options = types.HttpOptions(base_url=upstream.base_url)
        with genai.Client(api_key="k", http_options=options) as client:
            chunks = client.models.generate_content_stream(model=MODEL, contents="a b c")
            return "".join([c.text or "" for c in chunks]), [m.name for m in client.models.list()]

    answer, names = await asyncio.to_thread(read)
    assert answer == "a b c"
    assert names == [name for name, _ in upstream.models]


async def test_pieces_of_one_read_are_one_delta(provider: GoogleProvider, upstream: Upstream) -> None:
    chunks = [chunk(thought("h")), chunk(thought("m"), "so"), chunk(" far"), chunk("", finish="STOP")]
    events = await spoken(provider, upstream, in_one_read(*chunks))
    assert events == [ReasoningDelta("hm"), TextDelta("so far"), Finish("stop")]


async def test_usage(provider: GoogleProvider, upstream: Upstream) -> None:
    first = {"prompt_token_count": 9, "total_token_count": 9}
    last = {
        "prompt_token_count": 8,
        "cached_content_token_count": 5,
        "tool_use_prompt_token_count": 3,
        "candidates_token_count": 2,
        "thoughts_token_count": 7,
        "total_token_count": 20,
    }
    events = await spoken(provider, upstream, chunk("a", usage=first), chunk("b", finish="STOP", usage=last))
    reported = [e.usage for e in events if isinstance(e, UsageReport)]
    assert reported[-1] == Usage(11, 9, 5, 7)
    assert reported[0] in (Usage(9), reported[-1])  # both chunks may have come in one read


async def test_usage_that_shrinks_stays(provider: GoogleProvider, upstream: Upstream) -> None:
    more, fewer = {"prompt_token_count": 2304, "candidates_token_count": 3}, {"prompt_token_count": 2301}
    steps = chunk("a", usage=more), chunk(finish="STOP", usage=fewer)
    for played in (steps, [in_one_read(*steps)]):
        events = await spoken(provider, upstream, *played)
        assert [e for e in events if isinstance(e, UsageReport)] == [UsageReport(Usage(2304, 3))]


async def test_calls(provider: GoogleProvider, upstream: Upstream) -> None:
    """Two at once, of which Gemini signs the first; an id where the service gave none."""
    events = await spoken(
        provider,
        upstream,
        chunk("I look. ", call_part("get_weather", {"city": "Par\u00eds"}, id="x1", signature=b"one")),
        chunk(call_part("get_weather", {})),
        chunk(types.Part(function_call=types.FunctionCall(name="get_weather", id=""))),
        chunk(finish="STOP"),
    )
    words, first, second, third, end = joined(events)
    assert words == TextDelta("I look. ")
    assert isinstance(first, ToolCall)
    assert (first.id, first.name, json.loads(first.arguments)) == ("x1", "get_weather", {"city": "Par\u00eds"})
    assert first.seal is not None
    assert isinstance(second, ToolCall)
    assert isinstance(third, ToolCall)
    assert second == ToolCall(second.id, "get_weather", "{}")
    assert len({"", "x1", second.id, third.id}) == 4
    assert end == Finish("tool_calls")


async def test_a_tool_with_a_name_that_the_service_does_not_take(provider: GoogleProvider, upstream: Upstream) -> None:
    tool = replace(WEATHER, name="9/weather")
    (call, _) = joined(await collect(provider, ask("hi", tool)))
    assert isinstance(call, ToolCall)
    assert call.name == tool.name


@pytest.mark.parametrize("model", [MODEL, "gemini-2.5-pro"])
async def test_signatures_come_back_where_they_were(upstream: Upstream, model: str) -> None:
    """What the engine makes of the events: sealed thinking first, then the text, then the calls."""
    parts: list[list[types.Part | str]] = [
        [thought("let "), thought("me see", b"t1"), thought("so "), thought("there", b"t2")],
        [types.Part(text="It ", thought_signature=b"w0")],
        [types.Part(text="is ", thought_signature=b"w1"), "warm", thought("unsigned ")],
        [
            types.Part(text="", thought_signature=b"w2"),
            call_part("get_weather", {"city": "Rome"}, id="a", signature=b"c"),
        ],
        [call_part("get_weather", {"city": "Oslo"}, id="b")],
    ]
    async with open_google(settings(upstream, model=model)) as provider:
        events = await spoken(provider, upstream, *[chunk(*p) for p in parts], chunk(finish="STOP"))
        reasoning: list[Reasoning] = []
        thinking, calls = "", [e for e in events if isinstance(e, ToolCall)]
        for event in events:
            if isinstance(event, ReasoningDelta):
                thinking += event.text
            elif isinstance(event, ReasoningSealed):
                reasoning.append(Reasoning(thinking, event.seal))
                thinking = ""
        answer = PromptMessage("assistant", (*reasoning, Text(said(events)), *calls))
        results = [PromptMessage("tool", (ToolResult(c.id, "1"),)) for c in calls]
        request = ModelRequest(messages=[*ask("hi").messages, answer, *results])
        await collect(provider, request)
        same, other = upstream.bodies[-1]["contents"][1]["parts"], "gemini-3-other"
        await collect(provider, replace(request, model=other))
    rome, oslo = (
        {"functionCall": {"id": i, "name": "get_weather", "args": {"city": c}}}
        for i, c in (("a", "Rome"), ("b", "Oslo"))
    )
    assert same == [
        {"text": "me see", "thought": True, "thoughtSignature": b64(b"t1")},
        {"text": "there", "thought": True, "thoughtSignature": b64(b"t2")},
        {"text": "It ", "thoughtSignature": b64(b"w0")},
        {"text": "is ", "thoughtSignature": b64(b"w1")},
        {"text": "warm"},
        {"text": "", "thoughtSignature": b64(b"w2")},
        {**rome, "thoughtSignature": b64(b"c")},
        oslo,
    ]
    assert upstream.bodies[-1]["contents"][1]["parts"] == [
        {"text": "It is warm"},
        {**rome, "thoughtSignature": UNSIGNED},
        oslo,
    ]


@pytest.mark.parametrize(
    ("said_then", "said_now", "changes"),
    [
        ("a longer text", "short", {}),
        ("short", "short", {"maker": "anthropic"}),
        ("short", "short", {"data": "models/gemini-3.8-flash text a b w"}),
        ("short", "short", {"data": "w"}),
    ],
)
async def test_a_signature_that_does_not_fit_is_left_out(
    provider: GoogleProvider, upstream: Upstream, said_then: str, said_now: str, changes: dict[str, str]
) -> None:
    signed = types.Part(text=said_then, thought_signature=b"w")
    events = await spoken(provider, upstream, chunk("So: ", signed, finish="STOP"))
    (sealed,) = [e for e in events if isinstance(e, ReasoningSealed)]
    for seal in (sealed.seal, replace(sealed.seal, **changes)):
        answer = PromptMessage("assistant", (Reasoning("", seal), Text(f"So: {said_now}")))
        await collect(provider, ModelRequest(messages=[*ask("hi").messages, answer, *ask("?").messages]))
    assert upstream.bodies[-1]["contents"][1]["parts"] == [{"text": f"So: {said_now}"}]
    assert ("thoughtSignature" in str(upstream.bodies[-2])) == (said_then == said_now)


@pytest.mark.parametrize(
    ("reason", "end"),
    [("STOP", "stop"), ("MAX_TOKENS", "length"), ("SAFETY", "content_filter"), ("SPII", "content_filter")],
)
async def test_why_it_stopped(provider: GoogleProvider, upstream: Upstream, reason: str, end: Any) -> None:
    events = await spoken(provider, upstream, chunk("so far"), chunk(finish=reason))
    assert joined(events) == [TextDelta("so far"), Finish(end)]


async def test_an_answer_that_was_cut_short_does_not_act(provider: GoogleProvider, upstream: Upstream) -> None:
    call = call_part("get_weather", {"city": "Paris"})
    assert joined(await spoken(provider, upstream, chunk(call, finish="MAX_TOKENS"))) == [Finish("length")]


@pytest.mark.parametrize("reason", [r.value for r in types.FinishReason])
async def test_every_reason_has_a_meaning(provider: GoogleProvider, upstream: Upstream, reason: str) -> None:
    """Before anything was said, all but an end are errors, and say which."""
    upstream.play(chunk(finish=reason))
    if reason in ("STOP", "MAX_TOKENS", "CONTINUATION"):
        assert joined(await collect(provider, ask("hi")))
        return
    _, error = await failed(provider)
    filtered = (
        "SAFETY",
        "RECITATION",
        "PROHIBITED_CONTENT",
        "SPII",
        "BLOCKLIST",
        "LANGUAGE",
        "ESCALATION",
        "MODEL_ARMOR",
    )
    if reason in filtered or (reason.startswith("IMAGE_") and reason != "IMAGE_OTHER"):
        assert type(error) is ProviderRejected
        assert error.at_work
        assert reason in str(error)
    elif reason == "PUP_LIMITED_DISABLED":
        assert type(error) is ProviderCredentials
    else:
        assert type(error) is ProviderError


@pytest.mark.parametrize("reason", [r.value for r in types.BlockedReason])
async def test_a_blocked_prompt(provider: GoogleProvider, upstream: Upstream, reason: str) -> None:
    feedback = types.GenerateContentResponsePromptFeedback(block_reason=types.BlockedReason(reason))
    usage = types.GenerateContentResponseUsageMetadata(prompt_token_count=4)
    upstream.play(dumped(types.GenerateContentResponse(prompt_feedback=feedback, usage_metadata=usage)))
    events, error = await failed(provider)
    assert type(error) is ProviderRejected
    assert str(error) == f"the model service blocked the prompt ({reason})"
    assert events == [UsageReport(Usage(4))]


async def test_what_is_not_known_is_passed_over(provider: GoogleProvider, upstream: Upstream) -> None:
    steps: list[Step] = [
        {"responseId": "r", "somethingNew": {"a": 1}},
        {"candidates": [{"index": 0, "newThing": [], "content": {"role": "model"}}]},
        {"candidates": [{"content": {"parts": [{"newPart": {}}, {"text": "a", "new": 1}, {"inlineData": {}}]}}]},
        {"candidates": [], "promptFeedback": {"safetyRatings": []}},
        {"candidates": [{"content": {}, "groundingMetadata": {}}], "usageMetadata": {"newCount": 1}},
        b"event: news\r\nid: 7\r\n: hello\r\n\r\n",
        chunk(finish="STOP"),
        {"usageMetadata": {"promptTokenCount": 3}},
    ]
    events = await spoken(provider, upstream, *steps)
    assert joined(events) == [TextDelta("a"), Finish("stop")]
    assert UsageReport(Usage(3)) in events


@pytest.mark.parametrize("as_list", [True, False])
async def test_an_answer_that_is_not_streamed(provider: GoogleProvider, upstream: Upstream, as_list: bool) -> None:
    chunks = [chunk("so "), chunk("far", finish="STOP")] if as_list else chunk("so far", finish="STOP")
    upstream.play(orjson.dumps(chunks), headers={"Content-Type": "application/json; charset=UTF-8"})
    assert await collect(provider, ask("hi")) == [TextDelta("so far"), Finish("stop")]


async def test_json_output(provider: GoogleProvider, upstream: Upstream) -> None:
    upstream.play(*text('{"a"', ": 1}"))
    events = await collect(provider, replace(ask("hi"), json_output=True))
    assert json.loads(said(events)) == {"a": 1}
    assert upstream.bodies[0]["generationConfig"] == {"responseMimeType": "application/json"}
