"""What can go wrong at every point of an answer of the Gemini API: the error, what was said so far, a healthy pool."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import orjson
import pytest

from backchat.domain.message import Usage
from backchat.errors import ProviderError, ProviderTimeout
from backchat.ports.providers import Finish, UsageReport
from backchat.testing.provider import WEATHER, ask, collect, said
from backchat.upstream import sse
from backchat_google.provider import GoogleProvider, open_google
from google_trials import fail, failed, healthy, settings
from google_upstream import Cut, Hang, Step, Upstream, call_part, chunk, serve

FRAME = b"data: " + orjson.dumps(chunk("\u00e9t\u00e9")) + b"\r\n\r\n"
IN_A_CHARACTER = FRAME[: FRAME.index("\u00e9".encode()) + 1]
SO_FAR = b"data: " + orjson.dumps(chunk("so far")) + b"\r\n\r\n"


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with serve() as upstream:
        yield upstream
        assert upstream.problems == []


@pytest.fixture
async def provider(upstream: Upstream) -> AsyncIterator[GoogleProvider]:
    async with open_google(settings(upstream)) as provider:
        yield provider


@pytest.fixture
async def impatient(upstream: Upstream) -> AsyncIterator[GoogleProvider]:
    async with open_google(settings(upstream, read_timeout=0.4)) as provider:
        yield provider


@pytest.mark.parametrize(
    ("steps", "kept"),
    [
        pytest.param([Cut], "", id="before the headers"),
        pytest.param([b": hello\n\n", Cut], "", id="before the first token"),
        pytest.param([chunk("so "), chunk("far"), Cut], "so far", id="between tokens"),
        pytest.param([chunk("so far"), FRAME[:20], Cut], "so far", id="in the JSON"),
        pytest.param([chunk("so far"), IN_A_CHARACTER, Cut], "so far", id="in a character"),
        pytest.param([chunk("so far"), FRAME[:-2], Cut], "so far\u00e9t\u00e9", id="before the empty line"),
        pytest.param([chunk("so far"), b'{"error": {', Cut], "so far", id="in an error"),
    ],
)
async def test_a_cut_connection(provider: GoogleProvider, upstream: Upstream, steps: list[Step], kept: str) -> None:
    upstream.play(*steps)
    so_far, error = await fail(provider)
    assert so_far == kept
    assert type(error) is ProviderError
    assert error.at_work
    assert len(upstream.bodies) == 1, "what may have been received must not be sent again"
    await healthy(provider, upstream)


@pytest.mark.parametrize(
    ("steps", "kept"),
    [
        pytest.param([Hang], "", id="before the headers"),
        pytest.param([b"", Hang], "", id="before the first token"),
        pytest.param([chunk("so far"), Hang], "so far", id="between tokens"),
        pytest.param([chunk("so far"), IN_A_CHARACTER, Hang], "so far", id="in a character"),
    ],
)
async def test_a_hang(impatient: GoogleProvider, upstream: Upstream, steps: list[Step], kept: str) -> None:
    upstream.play(*steps)
    so_far, error = await fail(impatient)
    assert so_far == kept
    assert type(error) is ProviderTimeout
    assert error.at_work
    await upstream.left.wait()
    await healthy(impatient, upstream)


async def test_usage_is_kept(provider: GoogleProvider, upstream: Upstream) -> None:
    counts = {"prompt_token_count": 9, "candidates_token_count": 2}
    upstream.play(chunk("so far", usage=counts), Cut)
    events, _ = await failed(provider)
    assert UsageReport(Usage(9, 2)) in events


@pytest.mark.parametrize("last", [Cut, Hang, b"", b"data: {"])
async def test_nothing_that_befalls_a_connection_after_the_end_matters(
    provider: GoogleProvider, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, last: Step
) -> None:
    monkeypatch.setattr("backchat_google.provider._LINGER", 0.2)
    upstream.play(chunk("all"), chunk(finish="STOP"), last)
    events = await collect(provider, ask("hi"))
    assert said(events) == "all"
    assert events[-1] == Finish("stop")
    await healthy(provider, upstream)


@pytest.mark.parametrize(
    "last",
    [
        pytest.param(b"data: {nonsense}\n\n", id="no JSON"),
        pytest.param(b'data: {"candidates": [{"content": {"parts": [{"text": "\xff"}]}}]}\n\n', id="no UTF-8"),
        pytest.param(
            b'data: {"candidates": [{"content": {"parts": [{"text": "\\ud83d"}]}}]}\n\n', id="half a character"
        ),
        pytest.param(b"data: 7\n\n", id="no object"),
        pytest.param(b"data: [7]\n\n", id="a list of no objects"),
        pytest.param(b'data: {"candidates": {"a": 1}}\n\n', id="no candidates"),
        pytest.param(b'data: {"candidates": [7]}\n\n', id="no candidate"),
        pytest.param(b'data: {"candidates": [{"content": [1]}]}\n\n', id="no content"),
        pytest.param(b'data: {"candidates": [{"content": {"parts": {"a": 1}}}]}\n\n', id="no parts"),
        pytest.param(b'data: {"candidates": [{"content": {"parts": [7]}}]}\n\n', id="no part"),
        pytest.param(b'data: {"candidates": [{"content": {"parts": [{"text": 7}]}}]}\n\n', id="no text"),
        pytest.param(
            b'data: {"candidates": [{"content": {"parts": [{"text": "", "thoughtSignature": 7}]}}]}\n\n', id="no seal"
        ),
        pytest.param(b'data: {"candidates": [{"finishReason": 7}]}\n\n', id="no reason"),
        pytest.param(FRAME[:-8], id="an early end in the JSON"),
        pytest.param(b"", id="an early end"),
    ],
)
async def test_garbage(provider: GoogleProvider, upstream: Upstream, last: bytes) -> None:
    upstream.play(SO_FAR + last)
    so_far, error = await fail(provider)
    assert so_far == "so far"
    assert type(error) is ProviderError
    await healthy(provider, upstream)


@pytest.mark.parametrize(
    "call",
    [
        7,
        {},
        {"name": ""},
        {"name": 7},
        {"name": "f", "args": [1]},
        {"name": "f", "id": 7},
        {"name": "f", "willContinue": True},
        {"name": "f", "partialArgs": []},
    ],
)
async def test_a_call_that_is_none(provider: GoogleProvider, upstream: Upstream, call: Any) -> None:
    upstream.play(
        chunk("so far"), {"candidates": [{"content": {"parts": [{"functionCall": call}]}}]}, chunk(finish="STOP")
    )
    kept, error = await fail(provider, WEATHER)
    assert kept == "so far"
    assert type(error) is ProviderError


async def test_a_cut_after_a_call_yields_no_call(provider: GoogleProvider, upstream: Upstream) -> None:
    upstream.play(chunk("I look. ", call_part("f", {})), Cut)
    events, _ = await failed(provider, WEATHER)
    assert [type(e).__name__ for e in events] == ["TextDelta"]


@pytest.mark.parametrize("content_type", ["text/html", "application/json", "text/event-stream"])
async def test_a_page_that_is_no_answer(provider: GoogleProvider, upstream: Upstream, content_type: str) -> None:
    upstream.play(b"<html>Sign in</html>", headers={"Content-Type": content_type})
    assert type((await fail(provider))[1]) is ProviderError
    await healthy(provider, upstream)


@pytest.mark.parametrize("as_one_line", [True, False])
async def test_an_event_without_end(
    provider: GoogleProvider, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, as_one_line: bool
) -> None:
    monkeypatch.setattr(sse, "LIMIT", 10_000)
    piece = b"data: " + b"x" * 900 + b"\n" if not as_one_line else b"x" * 900
    upstream.play(chunk("so far"), b"data: ", *[piece] * 30, Hang)
    kept, error = await fail(provider)
    assert kept == "so far"
    assert str(error) == "the model service sent an event that is too long"
    await upstream.left.wait()


async def test_ten_megabytes_in_one_event(provider: GoogleProvider, upstream: Upstream) -> None:
    upstream.play(chunk("so far"), b"data: ", *[b"x" * (1 << 20)] * 11, Hang)
    kept, error = await fail(provider)
    assert kept == "so far"
    assert str(error) == "the model service sent an event that is too long"
    await healthy(provider, upstream)


async def test_closing_ends_the_upstream_request_at_once(provider: GoogleProvider, upstream: Upstream) -> None:
    upstream.play(chunk("so far"), Hang)
    stream = provider.stream(ask("hi"))
    await anext(stream)
    assert upstream.open == 1
    await stream.aclose()
    await upstream.left.wait()
    assert upstream.open == 0
    await healthy(provider, upstream)


async def test_cancelling_before_the_headers_ends_the_upstream_request(
    provider: GoogleProvider, upstream: Upstream
) -> None:
    upstream.play(Hang)
    reading = asyncio.create_task(collect(provider, ask("hi")))
    await upstream.arrived.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await upstream.left.wait()
    await healthy(provider, upstream)


async def test_answers_share_a_connection(provider: GoogleProvider, upstream: Upstream) -> None:
    for _ in range(3):
        await collect(provider, ask("hi"))
    assert len(upstream.ports) == 1


@pytest.mark.parametrize("complete", [True, False])
async def test_a_slow_reader_loses_nothing_that_came_before_the_cut(
    provider: GoogleProvider, upstream: Upstream, complete: bool
) -> None:
    gate = asyncio.Event()
    upstream.play(chunk("so "), gate, chunk("far", finish="STOP" if complete else None), Cut)
    async with aclosing(provider.stream(ask("hi"))) as stream:
        kept = [await anext(stream)]
        connector = provider._session.connector
        assert connector is not None
        (connection,) = connector._acquired
        assert connection.closed is not None
        gate.set()
        await asyncio.wait([connection.closed])
        kept.append(await anext(stream))
        if complete:
            assert await anext(stream) == Finish("stop")
        else:
            with pytest.raises(ProviderError):
                await anext(stream)
    assert said(kept) == "so far"
