"""What an Ollama server can do wrong at every point of an answer: the right error, what was said so far, a healthy
pool.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from backchat.domain.message import Usage
from backchat.domain.run import ReasoningDelta, TextDelta
from backchat.errors import ProviderCredentials, ProviderError, ProviderRejected, ProviderThrottled, ProviderTimeout
from backchat.ports.providers import UsageReport
from backchat.testing.provider import WEATHER, ask, collect, said
from backchat.upstream import ndjson
from backchat_ollama.provider import OllamaProvider, open_ollama
from ollama_trials import KEY, fail, healthy, settings
from ollama_upstream import Step, Upstream, chunk, last, line, serve, text
from openai_upstream import Cut, Hang

LINE = line(chunk("\u00e9t\u00e9"))
IN_A_CHARACTER = LINE[: LINE.index("\u00e9".encode()) + 1]
SO_FAR = [chunk("so "), chunk("far")]


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with serve() as upstream:
        yield upstream
        assert upstream.problems == []


@pytest.fixture
async def provider(upstream: Upstream) -> AsyncIterator[OllamaProvider]:
    async with open_ollama(settings(upstream)) as provider:
        yield provider


@pytest.fixture
async def impatient(upstream: Upstream) -> AsyncIterator[OllamaProvider]:
    async with open_ollama(settings(upstream, read_timeout=0.5)) as provider:
        yield provider


@pytest.mark.parametrize(
    ("steps", "kept"),
    [
        pytest.param([Cut], "", id="before the headers"),
        pytest.param([b"", Cut], "", id="before the first token"),
        pytest.param([*SO_FAR, Cut], "so far", id="between tokens"),
        pytest.param([*SO_FAR, LINE[:20], Cut], "so far", id="in the JSON"),
        pytest.param([*SO_FAR, IN_A_CHARACTER, Cut], "so far", id="in a character"),
        pytest.param([b"".join([*map(line, SO_FAR), LINE[:20]]), Cut], "so far", id="in the JSON, at once"),
    ],
)
async def test_a_cut_connection(provider: OllamaProvider, upstream: Upstream, steps: list[Step], kept: str) -> None:
    upstream.play(*steps)
    events, error = await fail(provider)
    assert said(events) == kept
    assert type(error) is ProviderError
    assert error.at_work
    assert len(upstream.bodies) == 1, "what may have been received must not be sent again"
    await healthy(provider, upstream)


async def test_a_cut_after_the_end_loses_nothing(provider: OllamaProvider, upstream: Upstream) -> None:
    upstream.play(*text("all of it"), Cut)
    assert said(await collect(provider, ask("hi"))) == "all of it"
    await healthy(provider, upstream)


@pytest.mark.parametrize(
    ("steps", "kept"),
    [
        pytest.param([Hang], "", id="before the headers"),
        pytest.param([b"", Hang], "", id="before the first token"),
        pytest.param([*SO_FAR, Hang], "so far", id="between tokens"),
        pytest.param([*SO_FAR, IN_A_CHARACTER, Hang], "so far", id="in a character"),
    ],
)
async def test_a_hang(impatient: OllamaProvider, upstream: Upstream, steps: list[Step], kept: str) -> None:
    upstream.play(*steps)
    events, error = await fail(impatient)
    assert said(events) == kept
    assert type(error) is ProviderTimeout
    assert error.at_work
    await upstream.left.wait()
    await healthy(impatient, upstream)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(b"{nonsense}\n", id="no JSON"),
        pytest.param(b'{"message": {"role": "assistant", "content": "\xff"}, "done": false}\n', id="no UTF-8"),
        pytest.param(b'{"message": {"role": "a", "content": "\\ud83d"}, "done": false}\n', id="half a character"),
        pytest.param(b"[1, 2]\n", id="no object"),
        pytest.param(b'{"done": false}\n', id="no message"),
        pytest.param(b'{"message": 7, "done": false}\n', id="a number as the message"),
        pytest.param(b'{"message": {"role": "assistant", "content": 7}, "done": false}\n', id="no text"),
        pytest.param(b'{"message": {"content": "", "thinking": [1]}, "done": false}\n', id="no thinking"),
        pytest.param(b'{"message": {"content": "", "tool_calls": 7}}\n', id="no calls"),
        pytest.param(b'{"message": {"content": "", "tool_calls": [7]}}\n', id="no call"),
        pytest.param(b'{"message": {"tool_calls": [{"function": {"arguments": {}}}]}}\n', id="a call without a name"),
        pytest.param(
            b'{"message": {"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}}\n', id="arguments"
        ),
        pytest.param(b'{"message": {"content": ""}, "done": true, "done_reason": 7}\n', id="no reason"),
        pytest.param(LINE[:-8], id="an early end in the JSON"),
        pytest.param(b"", id="an early end"),
    ],
)
async def test_garbage(provider: OllamaProvider, upstream: Upstream, wrong: bytes) -> None:
    upstream.play(b"".join(map(line, SO_FAR)) + wrong)
    events, error = await fail(provider)
    assert said(events) == "so far"
    assert type(error) is ProviderError
    await healthy(provider, upstream)


@pytest.mark.parametrize("content_type", ["text/html", "application/json", "application/x-ndjson"])
async def test_a_page_that_is_no_answer(provider: OllamaProvider, upstream: Upstream, content_type: str) -> None:
    upstream.play(b"<html>Sign in</html>", headers={"Content-Type": content_type})
    assert type((await fail(provider))[1]) is ProviderError
    await healthy(provider, upstream)


async def test_thinking_that_is_cut_is_kept(provider: OllamaProvider, upstream: Upstream) -> None:
    upstream.play(chunk(thinking="h"), chunk(thinking="m"), Cut)
    events, _ = await fail(provider)
    assert "".join([e.text for e in events if isinstance(e, ReasoningDelta)]) == "hm"


async def test_a_cut_after_a_call_yields_no_call(provider: OllamaProvider, upstream: Upstream) -> None:
    upstream.play(chunk("I look. "), chunk(calls=[("get_weather", {"city": "Paris"})]), Cut)
    assert (await fail(provider, WEATHER))[0] == [TextDelta("I look. ")]


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        ("an error was encountered while running the model", ProviderError, "while running the model"),
        (f"bad key {KEY}", ProviderError, "bad key [key]"),
        ({"message": "slow down", "code": 429}, ProviderThrottled, "limiting"),
        ([1], ProviderError, "reported an error"),
    ],
)
async def test_an_error_in_mid_stream(
    provider: OllamaProvider, upstream: Upstream, error: Any, kind: type[ProviderError], told: str
) -> None:
    upstream.play(b"".join(map(line, [*SO_FAR, {"error": error}, last()])))
    events, failure = await fail(provider)
    assert said(events) == "so far"
    assert type(failure) is kind
    assert told in str(failure)
    assert failure.at_work == (kind is ProviderError)
    await healthy(provider, upstream)


async def test_a_model_that_was_only_loaded_is_asked_again_by_whoever_may(
    provider: OllamaProvider, upstream: Upstream
) -> None:
    upstream.play(last("load"))
    events, failure = await fail(provider)
    assert events == []
    assert type(failure) is ProviderError
    assert not failure.at_work, "nothing was done, so it costs nothing, and can be tried again"


async def test_what_was_counted_before_a_failure_is_known(provider: OllamaProvider, upstream: Upstream) -> None:
    upstream.play(last("load", sent=7, said=0))
    events, _ = await fail(provider)
    assert events == [UsageReport(Usage(7, 0))]


async def test_an_error_and_a_cut_is_the_error(provider: OllamaProvider, upstream: Upstream) -> None:
    upstream.play(*SO_FAR, {"error": {"message": "slow down", "code": 429}}, Cut)
    events, failure = await fail(provider)
    assert said(events) == "so far"
    assert type(failure) is ProviderThrottled


@pytest.mark.parametrize("before", [SO_FAR, []])
@pytest.mark.parametrize("whole", [True, False])
async def test_a_line_without_end(
    provider: OllamaProvider, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, before: list[Step], whole: bool
) -> None:
    monkeypatch.setattr(ndjson, "LIMIT", 10_000)
    long = b'{"message": {"role": "assistant", "content": "' + b"x" * 30_000
    upstream.play(b"".join(map(line, before)) + long + (b'"}, "done": false}\n' if whole else b""), Hang)
    events, error = await fail(provider)
    assert said(events) == ("so far" if before else "")
    assert str(error) == "the model service sent a line that is too long"
    await upstream.left.wait()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (302, ProviderError),
        (400, ProviderRejected),
        (401, ProviderCredentials),
        (403, ProviderCredentials),
        (413, ProviderRejected),
        (429, ProviderThrottled),
        (500, ProviderError),
        (502, ProviderError),
        (503, ProviderError),
        (504, ProviderTimeout),
    ],
)
async def test_a_status(provider: OllamaProvider, upstream: Upstream, status: int, kind: type[ProviderError]) -> None:
    body = orjson.dumps({"error": f"m-1 does not support thinking\n{KEY}"})
    headers = {"Content-Type": "application/json", "Location": "http://127.0.0.1:1/", "Retry-After": "7"}
    upstream.play(body, status=status, headers=headers)
    _, error = await fail(provider)
    assert type(error) is kind
    assert error.at_work == (kind is ProviderTimeout)
    assert ("m-1 does not support thinking [key]" in str(error)) == (kind is ProviderRejected)
    assert (error.retry_after == 7) == (status in (429, 500, 502, 503, 504))
    await healthy(provider, upstream)


@pytest.mark.parametrize("steps", [[b'{"error": "no', Cut], [b'{"error": "no', Hang], [b"x" * 1_000_000], []])
@pytest.mark.parametrize("status", [422, 404])
async def test_a_status_is_told_whatever_its_body(
    impatient: OllamaProvider, upstream: Upstream, steps: list[Step], status: int
) -> None:
    upstream.play(*steps, status=status)
    _, error = await fail(impatient)
    assert str(error) == f"the model service rejected the request (status {status})"
    await healthy(impatient, upstream)
