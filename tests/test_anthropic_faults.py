"""What an upstream of the ``anthropic`` provider can do wrong at every point of an answer: the right error, what was
said so far, a healthy pool.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from anthropic_events import answer, call_block, delta, done, ending, start, stop, text_block, thinking_block
from anthropic_trials import fail, healthy, read_into, settings
from anthropic_upstream import Cut, Hang, Step, Upstream, frame, serve
from backchat.domain.message import Usage
from backchat.domain.run import ReasoningDelta, ReasoningSealed
from backchat.errors import ProviderCredentials, ProviderError, ProviderRejected, ProviderThrottled, ProviderTimeout
from backchat.ports.providers import ProviderEvent, UsageReport
from backchat.testing.provider import WEATHER, ask, collect, said
from backchat.upstream import pieces, sse
from backchat_anthropic import chunks
from backchat_anthropic.provider import AnthropicProvider, open_anthropic

FRAME = frame(delta("\u00e9t\u00e9"))
IN_A_CHARACTER = FRAME[: FRAME.index("\u00e9".encode()) + 1]
SO_FAR: list[Step] = [start(), *text_block("so ", "far")[:-1]]


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with serve() as upstream:
        yield upstream
        assert upstream.problems == []


@pytest.fixture
async def provider(upstream: Upstream) -> AsyncIterator[AnthropicProvider]:
    async with open_anthropic(settings(upstream)) as provider:
        yield provider


@pytest.fixture
async def impatient(upstream: Upstream) -> AsyncIterator[AnthropicProvider]:
    async with open_anthropic(settings(upstream, read_timeout=0.4)) as provider:
        yield provider


PLACES = [
    pytest.param([], "", id="before the headers"),
    pytest.param([b": hello\n\n"], "", id="before the first event"),
    pytest.param([start()], "", id="before the first token"),
    pytest.param(SO_FAR, "so far", id="between tokens"),
    pytest.param([*SO_FAR, FRAME[:40]], "so far", id="in the JSON"),
    pytest.param([*SO_FAR, IN_A_CHARACTER], "so far", id="in a character"),
    pytest.param([*SO_FAR, stop()], "so far", id="after the last token"),
    pytest.param([*SO_FAR, stop(), ending("end_turn")], "so far", id="before the last event"),
]


@pytest.mark.parametrize(("steps", "kept"), PLACES)
async def test_a_cut_connection(provider: AnthropicProvider, upstream: Upstream, steps: list[Step], kept: str) -> None:
    upstream.play(*steps, Cut)
    so_far, error = await fail(provider)
    assert so_far == kept
    assert type(error) is ProviderError
    assert error.at_work
    assert len(upstream.bodies) == 1, "what may have been received must not be sent again"
    await healthy(provider, upstream)


@pytest.mark.parametrize(("steps", "kept"), [PLACES[n] for n in (0, 2, 3, 5)])
async def test_a_hang(impatient: AnthropicProvider, upstream: Upstream, steps: list[Step], kept: str) -> None:
    upstream.play(*steps, Hang)
    so_far, error = await fail(impatient)
    assert so_far == kept
    assert type(error) is ProviderTimeout
    assert error.at_work
    await upstream.left.wait()
    await healthy(impatient, upstream)


@pytest.mark.parametrize(("steps", "kept"), PLACES[1:-1])
async def test_an_early_end(provider: AnthropicProvider, upstream: Upstream, steps: list[Step], kept: str) -> None:
    upstream.play(*steps)
    so_far, error = await fail(provider)
    assert so_far == kept
    assert type(error) is ProviderError
    await healthy(provider, upstream)


async def test_an_answer_may_lack_its_last_event(provider: AnthropicProvider, upstream: Upstream) -> None:
    upstream.play(*SO_FAR, stop(), ending("end_turn"))
    assert said(await collect(provider, ask("hi"))) == "so far"


async def test_usage_is_told_before_a_failure(provider: AnthropicProvider, upstream: Upstream) -> None:
    upstream.play(*SO_FAR, Cut)
    events: list[ProviderEvent] = []
    with pytest.raises(ProviderError):
        await read_into(events, provider, ask("hi"))
    assert UsageReport(Usage(3, 1)) in events


async def test_thinking_that_was_cut_off_has_no_seal(provider: AnthropicProvider, upstream: Upstream) -> None:
    upstream.play(start(), *thinking_block("I think.", signature="sig")[:-1], Cut)
    events: list[ProviderEvent] = []
    with pytest.raises(ProviderError):
        await read_into(events, provider, ask("hi"))
    assert ReasoningDelta("I think.") in events
    assert not any(isinstance(e, ReasoningSealed) for e in events)


async def test_a_cut_in_a_call_yields_no_call(provider: AnthropicProvider, upstream: Upstream) -> None:
    upstream.play(start(), *text_block("I look. "), *call_block("toolu_1", "get_weather", '{"x', index=1)[:-1], Cut)
    assert (await fail(provider, WEATHER))[0] == "I look. "


@pytest.mark.parametrize(
    "last",
    [
        pytest.param(b"{nonsense}", id="no JSON"),
        pytest.param(b"[1, 2]", id="no object"),
        pytest.param(b"{}", id="no type"),
        pytest.param(b'{"type": 7}', id="no known type"),
        pytest.param(
            b'{"type": "content_block_delta", "delta": {"type": "text_delta", "text": "\xff"}}', id="no UTF-8"
        ),
        pytest.param(
            b'{"type": "content_block_delta", "delta": {"type": "text_delta", "text": "\\ud83d"}}',
            id="half a character",
        ),
        pytest.param(b'{"type": "content_block_delta", "delta": {"type": "text_delta", "text": 7}}', id="no text"),
        pytest.param(b'{"type": "content_block_delta", "delta": {"type": "text_delta"}}', id="no text at all"),
        pytest.param(b'{"type": "content_block_delta", "delta": {"type": "thinking_delta"}}', id="no thinking"),
        pytest.param(b'{"type": "content_block_delta", "delta": {"type": "signature_delta"}}', id="no signature"),
        pytest.param(b'{"type": "content_block_delta", "delta": 7}', id="no delta"),
        pytest.param(b'{"type": "content_block_start", "content_block": 7}', id="no block"),
        pytest.param(
            b'{"type": "content_block_start", "content_block": {"type": "text", "text": 7}}', id="no first text"
        ),
        pytest.param(b'{"type": "content_block_start", "content_block": {"type": "redacted_thinking"}}', id="no data"),
        pytest.param(
            b'{"type": "content_block_start", "content_block": {"type": "tool_use", "id": "a"}}', id="no name"
        ),
        pytest.param(b'{"type": "message_delta", "delta": 7}', id="no end"),
        pytest.param(b'{"type": "message_delta", "delta": {"stop_reason": 7}}', id="no reason"),
        pytest.param(b'{"type": "message", "content": 7}', id="no content"),
        pytest.param(b'{"type": "error"}', id="an error of no kind"),
        pytest.param(b'{"type": "error", "error": "boom"}', id="an error in a word"),
    ],
)
async def test_garbage(provider: AnthropicProvider, upstream: Upstream, last: bytes) -> None:
    upstream.play(start(), frame(delta("so far")) + b"data: " + last + b"\n\n", *done("end_turn"))
    so_far, error = await fail(provider)
    assert so_far == "so far"
    assert type(error) is ProviderError
    await healthy(provider, upstream)


async def test_what_is_unknown_is_passed_over(provider: AnthropicProvider, upstream: Upstream) -> None:
    upstream.play(
        start(),
        {"type": "weather", "text": "fine"},
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "server_tool_use", "id": "a", "name": "b"},
        },
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": "{"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "weather_delta", "text": "fine"}},
        stop(),
        *[{**event, "more": {"a": 1}} for event in text_block("a", index=1)],
        *done("end_turn"),
    )
    events = await collect(provider, ask("hi"))
    assert said(events) == "a"


@pytest.mark.parametrize("content_type", ["text/html", "application/json", "text/event-stream"])
async def test_a_page_that_is_no_answer(provider: AnthropicProvider, upstream: Upstream, content_type: str) -> None:
    upstream.play(b"<html>Sign in</html>", headers={"Content-Type": content_type})
    assert type((await fail(provider))[1]) is ProviderError
    await healthy(provider, upstream)


@pytest.mark.parametrize("as_one_line", [True, False])
async def test_an_event_without_end(
    provider: AnthropicProvider, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, as_one_line: bool
) -> None:
    monkeypatch.setattr(sse, "LIMIT", 10_000)
    piece = b"data: " + b"x" * 900 + b"\n" if not as_one_line else b"x" * 900
    upstream.play(*SO_FAR, b"data: ", *[piece] * 30, Hang)
    kept, error = await fail(provider)
    assert kept == "so far"
    assert str(error) == "the model service sent an event that is too long"
    await upstream.left.wait()


async def test_a_call_without_end(
    provider: AnthropicProvider, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "LIMIT", 1_000)
    upstream.play(start(), *call_block("toolu_1", "get_weather", *["x" * 300] * 9)[:-1], Hang)
    assert (
        str((await fail(provider, WEATHER))[1])
        == "the model service sent tool calls, or sealed thinking, that are too long"
    )
    await upstream.left.wait()


async def test_calls_without_end(
    provider: AnthropicProvider, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "_MOST_CALLS", 3)
    calls = [event for n in range(9) for event in call_block(f"toolu_{n}", "get_weather", index=n)]
    upstream.play(start(), *calls, Hang)
    assert str((await fail(provider, WEATHER))[1]) == "the model service sent too many tool calls"
    await upstream.left.wait()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (302, ProviderError),
        (400, ProviderRejected),
        (401, ProviderCredentials),
        (403, ProviderCredentials),
        (408, ProviderTimeout),
        (413, ProviderRejected),
        (429, ProviderThrottled),
        (500, ProviderError),
        (504, ProviderTimeout),
        (529, ProviderError),
    ],
)
@pytest.mark.parametrize("steps", [[b"{}"], [b'{"error": {"mess', Cut], [b"x" * 100_000], []])
async def test_a_status_is_told_whatever_its_body(
    provider: AnthropicProvider, upstream: Upstream, status: int, kind: type[ProviderError], steps: list[Step]
) -> None:
    upstream.play(*steps, status=status, headers={"Content-Type": "text/html", "Location": "http://127.0.0.1:1/"})
    _, error = await fail(provider)
    assert type(error) is kind
    assert error.at_work == (kind is ProviderTimeout)
    await healthy(provider, upstream)


async def test_closing_ends_the_upstream_request_at_once(provider: AnthropicProvider, upstream: Upstream) -> None:
    upstream.play(*SO_FAR, Hang)
    stream = provider.stream(ask("hi"))
    await anext(stream)
    assert upstream.open == 1
    await stream.aclose()
    await upstream.left.wait()
    assert upstream.open == 0
    await healthy(provider, upstream)


async def test_cancelling_before_the_headers_ends_the_upstream_request(
    provider: AnthropicProvider, upstream: Upstream
) -> None:
    upstream.play(Hang)
    reading = asyncio.create_task(collect(provider, ask("hi")))
    await upstream.arrived.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await upstream.left.wait()
    await healthy(provider, upstream)


async def test_answers_that_are_read_to_their_end_share_a_connection(
    provider: AnthropicProvider, upstream: Upstream
) -> None:
    for _ in range(3):
        await collect(provider, ask("hi"))
    assert len(upstream.ports) == 1


async def test_a_server_that_stays_after_the_last_event_is_left(
    provider: AnthropicProvider, upstream: Upstream
) -> None:
    upstream.play(*answer("a"), Hang)
    assert said(await collect(provider, ask("hi"))) == "a"
    await upstream.left.wait()
    await healthy(provider, upstream)


async def test_many_answers_at_a_time(provider: AnthropicProvider, upstream: Upstream) -> None:
    everyone = asyncio.Barrier(120)
    for _ in range(120):
        upstream.play(start(), delta("a"), everyone, *done("end_turn"))
    answers = await asyncio.gather(*(collect(provider, ask("hi")) for _ in range(120)))
    assert [said(events) for events in answers] == ["a"] * 120
