"""What a service behind the Responses API can do wrong: the right error, what was said so far, a healthy pool."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import orjson
import pytest

from backchat.domain.message import ToolCall
from backchat.errors import ProviderCredentials, ProviderError, ProviderRejected, ProviderThrottled, ProviderTimeout
from backchat.ports.providers import ProviderEvent, UsageReport
from backchat.testing.provider import WEATHER, ask, collect, said
from backchat.upstream import pieces, sse
from backchat_openai.provider import OpenAIProvider, open_openai
from openai_responses import Response, response
from openai_trials import KEY, fail, healthy, read_into, settings
from openai_upstream import Cut, Hang, Step, Upstream, serve

SO_FAR = Response().text("so far").events[:4]  # up to the text
FRAME = b"data: " + orjson.dumps({"type": "response.output_text.delta", "delta": "\u00e9t\u00e9"}) + b"\n\n"
IN_A_CHARACTER = FRAME[: FRAME.index("\u00e9".encode()) + 1]


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with serve() as upstream:
        yield upstream
        assert upstream.problems == []


@pytest.fixture
async def provider(upstream: Upstream) -> AsyncIterator[OpenAIProvider]:
    async with open_openai(settings(upstream, api="responses")) as provider:
        yield provider


@pytest.fixture
async def impatient(upstream: Upstream) -> AsyncIterator[OpenAIProvider]:
    async with open_openai(settings(upstream, api="responses", read_timeout=0.3)) as provider:
        yield provider


@pytest.mark.parametrize(
    ("steps", "kept"),
    [
        pytest.param([Cut], "", id="before the headers"),
        pytest.param([SO_FAR[0], Cut], "", id="before the first token"),
        pytest.param([*SO_FAR, Cut], "so far", id="between tokens"),
        pytest.param([*SO_FAR, FRAME[:20], Cut], "so far", id="in the JSON"),
        pytest.param([*SO_FAR, IN_A_CHARACTER, Cut], "so far", id="in a character"),
        pytest.param([*SO_FAR, FRAME[:-2], Cut], "so far\u00e9t\u00e9", id="before the empty line"),
        pytest.param([*Response().text("so far").events, Cut], "so far", id="before its end"),
        pytest.param([*Response().text("so far").events], "so far", id="an early end"),
        pytest.param([*Response().text("so far").events, "[DONE]"], "so far", id="an early end with a sentinel"),
    ],
)
async def test_a_cut_answer(provider: OpenAIProvider, upstream: Upstream, steps: Sequence[Step], kept: str) -> None:
    upstream.play(*steps)
    so_far, error = await fail(provider)
    assert so_far == kept
    assert type(error) is ProviderError
    assert error.at_work
    assert len(upstream.bodies) == 1, "what may have been received must not be sent again"
    await healthy(provider, upstream)


@pytest.mark.parametrize(
    ("steps", "kept"), [([Hang], ""), ([SO_FAR[0], Hang], ""), ([*SO_FAR, IN_A_CHARACTER, Hang], "so far")]
)
async def test_a_hang(impatient: OpenAIProvider, upstream: Upstream, steps: Sequence[Step], kept: str) -> None:
    upstream.play(*steps)
    so_far, error = await fail(impatient)
    assert so_far == kept
    assert type(error) is ProviderTimeout
    await upstream.left.wait()
    await healthy(impatient, upstream)


@pytest.mark.parametrize(
    "last",
    [
        pytest.param("{nonsense}", id="no JSON"),
        pytest.param(b'data: {"type": "response.output_text.delta", "delta": "\xff"}\n\n', id="no UTF-8"),
        pytest.param("[1, 2]", id="no object"),
        pytest.param({"type": ["response.completed"]}, id="no type"),
        pytest.param({"type": "response.output_text.delta"}, id="no text"),
        pytest.param({"type": "response.output_text.delta", "delta": 7}, id="a number as text"),
        pytest.param({"type": "response.reasoning_summary_text.delta", "delta": {}}, id="no thought"),
        pytest.param({"type": "response.function_call_arguments.delta", "delta": "{"}, id="arguments of no call"),
        pytest.param(
            {"type": "response.function_call_arguments.delta", "delta": 7, "output_index": 0}, id="no arguments"
        ),
        pytest.param({"type": "response.output_item.added", "item": 7}, id="no item"),
        pytest.param({"type": "response.output_item.done", "item": {"type": "function_call"}}, id="a call nowhere"),
        pytest.param(
            {"type": "response.output_item.done", "output_index": 0, "item": {"type": "function_call", "name": 7}},
            id="a call of a number",
        ),
        pytest.param({"type": "response.completed"}, id="no response"),
        pytest.param({"type": "response.completed", "response": response("completed", usage=7)}, id="no usage"),
        pytest.param({"type": "response.completed", "response": response("failed")}, id="a failure as the end"),
        pytest.param({"type": "response.completed", "response": response("cancelled")}, id="a cancel as the end"),
        pytest.param({"type": "response.failed", "response": {"id": "resp_1"}}, id="a failure without a status"),
    ],
)
async def test_garbage(provider: OpenAIProvider, upstream: Upstream, last: Step) -> None:
    upstream.play(*SO_FAR, last)
    so_far, error = await fail(provider)
    assert so_far == "so far"
    assert type(error) is ProviderError
    await healthy(provider, upstream)


async def test_a_call_without_a_name(provider: OpenAIProvider, upstream: Upstream) -> None:
    made = Response().call("c", "f", "{}")
    upstream.play(*[e for e in made.end() if not e["type"].startswith("response.output_item")])
    assert type((await fail(provider, WEATHER))[1]) is ProviderError


async def test_a_cut_in_a_call_yields_no_call(provider: OpenAIProvider, upstream: Upstream) -> None:
    made = Response().text("I look.")
    made.arguments(made.begin_call("c", "f"), '{"x')
    upstream.play(*made.events, Cut)
    events: list[ProviderEvent] = []
    with pytest.raises(ProviderError):
        await read_into(events, provider, ask("hi", WEATHER))
    assert said(events) == "I look."
    assert not any(isinstance(event, ToolCall) for event in events)


async def test_arguments_without_end(
    provider: OpenAIProvider, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "LIMIT", 5000)
    made = Response()
    made.arguments(made.begin_call("c", "f"), *["x" * 900] * 6)
    upstream.play(*made.events, Hang)
    assert (
        str((await fail(provider, WEATHER))[1])
        == "the model service sent tool calls, or sealed thinking, that are too long"
    )
    await upstream.left.wait()


async def test_an_event_without_end(
    provider: OpenAIProvider, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "LIMIT", 10_000)
    upstream.play(*SO_FAR, b"data: ", *[b"x" * 900] * 30, Hang)
    kept, error = await fail(provider)
    assert kept == "so far"
    assert str(error) == "the model service sent an event that is too long"
    await upstream.left.wait()


CODED = [
    ("server_error", ProviderError),
    ("rate_limit_exceeded", ProviderThrottled),
    ("invalid_prompt", ProviderRejected),
    ("invalid_encrypted_content", ProviderRejected),
    ("of_tomorrow", ProviderError),
]


@pytest.mark.parametrize(("code", "kind"), CODED)
async def test_a_response_that_fails(
    provider: OpenAIProvider, upstream: Upstream, code: str, kind: type[ProviderError]
) -> None:
    """What it has used by then is known."""
    error = {"code": code, "message": f"the words of the service {KEY}"}
    made = Response().text("so far").end()[:-1]
    failed = response("failed", error=error, usage={"input_tokens": 3, "output_tokens": 2})
    upstream.play(*made, {"type": "response.failed", "response": failed})
    events: list[ProviderEvent] = []
    with pytest.raises(ProviderError) as caught:
        await read_into(events, provider, ask("hi"))
    assert type(caught.value) is kind
    assert KEY not in str(caught.value)
    assert said(events) == "so far"
    assert [(e.usage.input_tokens, e.usage.output_tokens) for e in events if isinstance(e, UsageReport)] == [(3, 2)]
    await healthy(provider, upstream)


@pytest.mark.parametrize(("code", "kind"), [*CODED, ("invalid_api_key", ProviderCredentials)])
async def test_an_error_event(
    provider: OpenAIProvider, upstream: Upstream, code: str, kind: type[ProviderError]
) -> None:
    for error in (
        {"type": "error", "code": code, "message": "no", "param": None, "sequence_number": 7},
        {"type": "error", "error": {"code": code, "message": "no"}},
        {"error": {"code": code, "message": "no"}},
    ):
        upstream.play(*SO_FAR, error)
        kept, failure = await fail(provider)
        assert kept == "so far"
        assert type(failure) is kind
    await healthy(provider, upstream)


@pytest.mark.parametrize("content_type", ["text/html", "application/json", "text/event-stream"])
async def test_a_page_that_is_no_answer(provider: OpenAIProvider, upstream: Upstream, content_type: str) -> None:
    upstream.play(b"<html>Sign in</html>", headers={"Content-Type": content_type})
    assert type((await fail(provider))[1]) is ProviderError
    await healthy(provider, upstream)


async def test_a_refused_request(provider: OpenAIProvider, upstream: Upstream) -> None:
    for status, kind in ((400, ProviderRejected), (401, ProviderCredentials), (429, ProviderThrottled)):
        body = orjson.dumps({"error": {"message": f"bad {KEY}", "type": "x", "param": None, "code": None}})
        upstream.play(body, status=status, headers={"Content-Type": "application/json", "Retry-After": "7"})
        _, error = await fail(provider)
        assert type(error) is kind
        assert not error.at_work
    await healthy(provider, upstream)


async def test_closing_ends_the_upstream_request_at_once(provider: OpenAIProvider, upstream: Upstream) -> None:
    upstream.play(*SO_FAR, Hang)
    stream = provider.stream(ask("hi"))
    await anext(stream)
    await stream.aclose()
    await upstream.left.wait()
    await healthy(provider, upstream)


async def test_answers_that_are_read_to_their_end_share_a_connection(
    provider: OpenAIProvider, upstream: Upstream
) -> None:
    for _ in range(3):
        await collect(provider, ask("hi"))
    assert len(upstream.ports) == 1
