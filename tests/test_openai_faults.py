"""What an upstream can do wrong at every point of an answer: the right error, what was said so far, a healthy pool."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from backchat.errors import ProviderCredentials, ProviderError, ProviderRejected, ProviderThrottled, ProviderTimeout
from backchat.testing.provider import WEATHER
from backchat.upstream import sse
from backchat.upstream.failures import LONGEST_MESSAGE, Failures
from backchat_openai.provider import OpenAIProvider, open_openai
from openai_trials import KEY, fail, healthy, settings
from openai_upstream import Cut, Hang, Step, Upstream, chunk, serve

FRAME = b"data: " + orjson.dumps(chunk(content="\u00e9t\u00e9")) + b"\n\n"
IN_A_CHARACTER = FRAME[: FRAME.index("\u00e9".encode()) + 1]


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with serve() as upstream:
        yield upstream
        assert upstream.problems == []


@pytest.fixture
async def provider(upstream: Upstream) -> AsyncIterator[OpenAIProvider]:
    async with open_openai(settings(upstream)) as provider:
        yield provider


@pytest.fixture
async def impatient(upstream: Upstream) -> AsyncIterator[OpenAIProvider]:
    async with open_openai(settings(upstream, read_timeout=0.5)) as provider:
        yield provider


@pytest.mark.parametrize(
    ("steps", "kept"),
    [
        pytest.param([Cut], "", id="before the headers"),
        pytest.param([b": hello\n\n", Cut], "", id="before the first token"),
        pytest.param([chunk(content="so "), chunk(content="far"), Cut], "so far", id="between tokens"),
        pytest.param([chunk(content="so far"), FRAME[:20], Cut], "so far", id="in the JSON"),
        pytest.param([chunk(content="so far"), IN_A_CHARACTER, Cut], "so far", id="in a character"),
        pytest.param([chunk(content="so far"), FRAME[:-2], Cut], "so far\u00e9t\u00e9", id="before the empty line"),
        pytest.param([chunk(content="so far"), chunk("stop"), Cut], "so far", id="before the sentinel"),
    ],
)
async def test_a_cut_connection(provider: OpenAIProvider, upstream: Upstream, steps: list[Step], kept: str) -> None:
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
        pytest.param([chunk(content="so far"), Hang], "so far", id="between tokens"),
        pytest.param([chunk(content="so far"), IN_A_CHARACTER, Hang], "so far", id="in a character"),
    ],
)
async def test_a_hang(impatient: OpenAIProvider, upstream: Upstream, steps: list[Step], kept: str) -> None:
    upstream.play(*steps)
    so_far, error = await fail(impatient)
    assert so_far == kept
    assert type(error) is ProviderTimeout
    assert error.at_work
    await upstream.left.wait()
    await healthy(impatient, upstream)


@pytest.mark.parametrize(
    "last",
    [
        pytest.param(b"data: {nonsense}\n\n", id="no JSON"),
        pytest.param(b'data: {"choices": [{"delta": {"content": "\xff"}}]}\n\n', id="no UTF-8"),
        pytest.param(b'data: {"choices": [{"delta": {"content": "\\ud83d"}}]}\n\n', id="half a character"),
        pytest.param(b"data: [1, 2]\n\n", id="no object"),
        pytest.param(b'data: {"choices": {"a": 1}}\n\n', id="no choices"),
        pytest.param(b'data: {"choices": [7]}\n\n', id="no choice"),
        pytest.param(b'data: {"choices": [{"delta": [1]}]}\n\n', id="no delta"),
        pytest.param(b'data: {"choices": [{"delta": {"content": 7}}]}\n\n', id="no text"),
        pytest.param(b'data: {"choices": [{"delta": {"tool_calls": 7}}]}\n\n', id="no calls"),
        pytest.param(b'data: {"choices": [{"delta": {"tool_calls": [7]}}]}\n\n', id="no call"),
        pytest.param(b'data: {"choices": [{"delta": {"tool_calls": [{"function": 7}]}}]}\n\n', id="no function"),
        pytest.param(b'data: {"choices": [{"finish_reason": 7}]}\n\n', id="no reason"),
        pytest.param(b'data: {"choices": [], "usage": 7}\n\n', id="no usage"),
        pytest.param(FRAME[:-8], id="an early end in the JSON"),
        pytest.param(b"", id="an early end"),
        pytest.param(b'data: {"choices": [{"finish_reason": "error", "delta": {}}]}\n\n', id="an error as the reason"),
    ],
)
async def test_garbage(provider: OpenAIProvider, upstream: Upstream, last: bytes) -> None:
    upstream.play(b"data: " + orjson.dumps(chunk(content="so far")) + b"\n\n" + last)
    so_far, error = await fail(provider)
    assert so_far == "so far"
    assert type(error) is ProviderError
    await healthy(provider, upstream)


@pytest.mark.parametrize("content_type", ["text/html", "application/json", "text/event-stream"])
async def test_a_page_that_is_no_answer(provider: OpenAIProvider, upstream: Upstream, content_type: str) -> None:
    upstream.play(b"<html>Sign in</html>", headers={"Content-Type": content_type})
    assert type((await fail(provider))[1]) is ProviderError
    await healthy(provider, upstream)


async def test_a_call_without_a_name(provider: OpenAIProvider, upstream: Upstream) -> None:
    upstream.play(chunk(tool_calls=[{"index": 0, "id": "a", "function": {"arguments": "{}"}}]), chunk("tool_calls"))
    assert type((await fail(provider, WEATHER))[1]) is ProviderError


async def test_a_cut_in_a_call_yields_no_call(provider: OpenAIProvider, upstream: Upstream) -> None:
    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x'}}
    upstream.play(chunk(content="I look. "), chunk(tool_calls=[call]), Cut)
    assert (await fail(provider, WEATHER))[0] == "I look. "


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "overloaded", "type": "overloaded_error"}, ProviderError),
        ({"message": "slow down", "code": 429}, ProviderThrottled),
        ({"message": "slow down", "code": "rate_limit_exceeded"}, ProviderThrottled),
        ({"message": "no", "code": "401"}, ProviderCredentials),
        ({"message": "too long", "code": 400}, ProviderRejected),
        ({"message": "boom", "code": 503}, ProviderError),
        ({"code": True}, ProviderError),
        ("boom", ProviderError),
        ([1], ProviderError),
    ],
)
async def test_an_error_event(
    provider: OpenAIProvider, upstream: Upstream, error: Any, kind: type[ProviderError]
) -> None:
    so_far = b"data: " + orjson.dumps(chunk(content="so far")) + b"\n\n"
    upstream.play(so_far + b"data: " + orjson.dumps({"error": error}) + b"\n\n", "[DONE]")
    kept, failure = await fail(provider)
    assert kept == "so far"
    assert type(failure) is kind
    await healthy(provider, upstream)


@pytest.mark.parametrize("as_one_line", [True, False])
async def test_an_event_without_end(
    provider: OpenAIProvider, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, as_one_line: bool
) -> None:
    monkeypatch.setattr(sse, "LIMIT", 10_000)
    piece = b"data: " + b"x" * 900 + b"\n" if not as_one_line else b"x" * 900
    upstream.play(chunk(content="so far"), b"data: ", *[piece] * 30, Hang)
    kept, error = await fail(provider)
    assert kept == "so far"
    assert str(error) == "the model service sent an event that is too long"
    await upstream.left.wait()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (302, ProviderError),
        (400, ProviderRejected),
        (401, ProviderCredentials),
        (403, ProviderCredentials),
        (404, ProviderRejected),
        (408, ProviderTimeout),
        (413, ProviderRejected),
        (422, ProviderRejected),
        (429, ProviderThrottled),
        (500, ProviderError),
        (503, ProviderError),
        (504, ProviderTimeout),
    ],
)
async def test_a_status(provider: OpenAIProvider, upstream: Upstream, status: int, kind: type[ProviderError]) -> None:
    body = orjson.dumps({"error": {"message": f"the words of the service\n{KEY}"}})
    upstream.play(body, status=status, headers={"Content-Type": "application/json", "Location": "http://127.0.0.1:1/"})
    _, error = await fail(provider)
    assert type(error) is kind
    assert error.at_work == (kind is ProviderTimeout)
    assert ("the words of the service [key]" in str(error)) == (kind is ProviderRejected)
    await healthy(provider, upstream)


@pytest.mark.parametrize("steps", [[b'{"error": {"mess', Cut], [b'{"error": {"mess', Hang], [b"x" * 1_000_000], []])
async def test_a_status_is_told_whatever_its_body(
    impatient: OpenAIProvider, upstream: Upstream, steps: list[Step]
) -> None:
    upstream.play(*steps, status=422)
    assert type((await fail(impatient))[1]) is ProviderRejected
    await healthy(impatient, upstream)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "0.2"}, 1),
        ({"retry-after-ms": "2500"}, 3),
        ({"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}, 0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "1e99"}, 86400),
        ({}, None),
    ],
)
async def test_how_long_to_wait(
    provider: OpenAIProvider, upstream: Upstream, headers: dict[str, str], seconds: int | None
) -> None:
    upstream.play(b"{}", status=429, headers={"Content-Type": "application/json", **headers})
    assert (await fail(provider))[1].retry_after == seconds


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (f"key {KEY} is bad", "key [key] is bad"),
        ("you sent my-own-header-value", "you sent [key]"),
        ("Incorrect API key provided: sk-proj-Abc_123**************xyz9.", "Incorrect API key provided: [key]"),
        ("gsk_abcdefgh1234 expired", "[key] expired"),
        ("header Bearer abc.def", "header [key]"),
        ("two\nlines\x00\u2028here", "two lines here"),
        ("the task-list and a keyboard-shortcut", "the task-list and a keyboard-shortcut"),
        ("x" * 5000, "x" * (LONGEST_MESSAGE - 1) + "\u2026"),
    ],
)
def test_what_is_shown_of_the_services_words(message: str, shown: str) -> None:
    assert Failures([KEY, "my-own-header-value", ""]).redacted(message) == shown
