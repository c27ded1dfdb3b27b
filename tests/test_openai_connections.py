"""The connections of the ``openai`` provider: when it tries again, what ends a request, what is used again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import aiohttp
import pytest

from backchat.errors import ProviderError, ProviderTimeout
from backchat.testing.provider import ask, collect, said
from backchat.upstream import http, streams
from backchat_openai.provider import OpenAIProvider, open_openai
from openai_trials import fail, healthy, settings
from openai_upstream import Cut, Hang, Upstream, chunk, serve, text


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with serve() as upstream:
        yield upstream
        assert upstream.problems == []


@pytest.fixture
async def provider(upstream: Upstream) -> AsyncIterator[OpenAIProvider]:
    async with open_openai(settings(upstream)) as provider:
        yield provider


class Session:
    """Fails as often as it is told, then passes on."""

    def __init__(self, session: aiohttp.ClientSession, *failures: Exception) -> None:
        self.session, self.failures, self.posts = session, list(failures), 0

    async def post(self, *args: Any, **named: Any) -> aiohttp.ClientResponse:
        self.posts += 1
        if self.failures:
            raise self.failures.pop(0)
        return await self.session.post(*args, **named)


def refused() -> Exception:
    key = aiohttp.client_reqrep.ConnectionKey("h", 1, False, True, None, None, None)
    return aiohttp.ClientConnectorError(key, ConnectionRefusedError(111, "refused by 10.0.0.1"))


@pytest.mark.parametrize(
    ("failures", "posts", "error", "at_work"),
    [
        ([refused()], 2, None, None),
        ([aiohttp.ConnectionTimeoutError()], 2, None, None),
        ([refused(), refused()], 2, ProviderError, False),
        ([aiohttp.ConnectionTimeoutError(), aiohttp.ConnectionTimeoutError()], 2, ProviderTimeout, False),
        ([aiohttp.ServerDisconnectedError()], 1, ProviderError, True),
        ([aiohttp.SocketTimeoutError()], 1, ProviderTimeout, True),
        ([OSError("10.0.0.1 is down")], 1, ProviderError, True),
    ],
)
async def test_tries_again_only_if_no_connection_was_made(
    provider: OpenAIProvider,
    upstream: Upstream,
    failures: list[Exception],
    posts: int,
    error: type[Exception] | None,
    at_work: bool | None,
) -> None:
    session = Session(provider._session, *failures)
    failing = OpenAIProvider(provider._settings, session)  # type: ignore[arg-type]
    if error is None:
        assert said(await collect(failing, ask("hi"))) == "hi"
    else:
        _, raised = await fail(failing)
        assert type(raised) is error
        assert raised.at_work == at_work
        assert "10.0.0.1" not in str(raised)
    assert session.posts == posts


async def test_closing_ends_the_upstream_request_at_once(provider: OpenAIProvider, upstream: Upstream) -> None:
    upstream.play(chunk(content="so far"), Hang)
    stream = provider.stream(ask("hi"))
    await anext(stream)
    assert upstream.open == 1
    await stream.aclose()
    await upstream.left.wait()
    assert upstream.open == 0
    await healthy(provider, upstream)


async def test_cancelling_before_the_headers_ends_the_upstream_request(
    provider: OpenAIProvider, upstream: Upstream
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
    provider: OpenAIProvider, upstream: Upstream
) -> None:
    for _ in range(3):
        await collect(provider, ask("hi"))
    assert len(upstream.ports) == 1


async def test_an_end_that_comes_after_the_sentinel_is_waited_for(
    provider: OpenAIProvider, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = asyncio.Event()
    drain = http.drain

    async def drain_and_tell(response: aiohttp.ClientResponse) -> None:
        waiting.set()
        await drain(response)

    monkeypatch.setattr(streams, "drain", drain_and_tell)
    monkeypatch.setattr(http, "_LINGER", 10)
    upstream.play(*text("a"), waiting)
    await collect(provider, ask("hi"))
    await collect(provider, ask("hi"))
    assert len(upstream.ports) == 1


async def test_a_server_that_stays_after_the_sentinel_is_left(provider: OpenAIProvider, upstream: Upstream) -> None:
    upstream.play(*text("a"), Hang)
    assert said(await collect(provider, ask("hi"))) == "a"
    await upstream.left.wait()
    await healthy(provider, upstream)


async def test_more_streams_than_any_default_limit(provider: OpenAIProvider, upstream: Upstream) -> None:
    everyone = asyncio.Barrier(150)
    for _ in range(150):
        upstream.play(chunk(content="a"), everyone, chunk("stop"), "[DONE]")
    answers = await asyncio.gather(*(collect(provider, ask("hi")) for _ in range(150)))
    assert [said(events) for events in answers] == ["a"] * 150


async def test_a_slow_reader_loses_nothing_that_came_before_the_cut(
    provider: OpenAIProvider, upstream: Upstream
) -> None:
    gate = asyncio.Event()
    upstream.play(chunk(content="so "), gate, chunk(content="far"), Cut)
    async with aclosing(provider.stream(ask("hi"))) as stream:
        kept = [await anext(stream)]
        connector = provider._session.connector
        assert connector is not None
        (connection,) = connector._acquired
        assert connection.closed is not None
        gate.set()
        await asyncio.wait([connection.closed])
        kept.append(await anext(stream))
        with pytest.raises(ProviderError):
            await anext(stream)
    assert said(kept) == "so far"
