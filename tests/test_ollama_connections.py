"""The connections of the ``ollama`` provider, and the lines that come over them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backchat.domain.run import TextDelta
from backchat.testing.provider import ask, collect, said
from backchat.upstream import ndjson
from backchat.upstream.ndjson import LineReader
from backchat_ollama.provider import OllamaProvider, open_ollama
from ollama_trials import settings
from ollama_upstream import Upstream, chunk, last, line, serve, text
from openai_upstream import Hang


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with serve() as upstream:
        yield upstream
        assert upstream.problems == []


@pytest.fixture
async def provider(upstream: Upstream) -> AsyncIterator[OllamaProvider]:
    async with open_ollama(settings(upstream, pull=True)) as provider:
        yield provider


async def test_a_connection_is_used_again_after_a_whole_answer(provider: OllamaProvider, upstream: Upstream) -> None:
    late = asyncio.Event()  # the end of the body comes after the last line was read
    upstream.play(chunk("a"), last(), late)
    first = asyncio.create_task(collect(provider, ask("hi")))
    await upstream.arrived.wait()
    late.set()
    await first
    for _ in range(3):
        await collect(provider, ask("hi"))
    assert len(upstream.ports) == 1


async def test_a_connection_is_used_again_after_a_pull(provider: OllamaProvider, upstream: Upstream) -> None:
    upstream.lacking.add("m-1")
    await collect(provider, ask("hi"))
    for _ in range(3):
        await collect(provider, ask("hi"))
    assert len(upstream.pulled) == 1
    assert len(upstream.ports) <= 2  # that of a refusal is closed


async def test_a_server_that_holds_the_line_after_the_end_keeps_nobody(
    provider: OllamaProvider, upstream: Upstream
) -> None:
    upstream.play(*text("all"), Hang)
    async with asyncio.timeout(5):
        assert said(await collect(provider, ask("hi"))) == "all"
    await upstream.left.wait()


async def test_closing_ends_the_request(provider: OllamaProvider, upstream: Upstream) -> None:
    upstream.play(chunk("a"), Hang)
    stream = provider.stream(ask("hi"))
    assert await anext(stream) == TextDelta("a")
    await stream.aclose()
    await upstream.left.wait()
    assert upstream.open == 0
    connector = provider._session.connector
    assert connector is not None
    assert not connector._acquired


async def test_many_at_once(provider: OllamaProvider, upstream: Upstream) -> None:
    together = asyncio.Barrier(120)  # more than an HTTP client's usual limit
    for _ in range(120):
        upstream.play(chunk("a"), together, last())
    async with asyncio.timeout(20):
        answers = await asyncio.gather(*(collect(provider, ask("hi")) for _ in range(120)))
    assert {said(events) for events in answers} == {"a"}


LINES = b'{"a": "\xc3\xa9\xe2\x80\xa8"}\n\n  \n{"b": 1}\r\n{"c": "\\n"}\n{"d": 2}'


@given(st.lists(st.integers(0, len(LINES))), st.booleans())
def test_lines_come_out_however_the_bytes_are_cut(cuts: list[int], ended: bool) -> None:
    data = LINES + b"\n" if ended else LINES
    reader = LineReader()
    found = [each for a, b in pairwise([0, *sorted(cuts), len(data)]) for each in reader.feed(data[a:b])]
    assert [each.strip() for each in [*found, *reader.close()]] == [
        b'{"a": "\xc3\xa9\xe2\x80\xa8"}',
        b'{"b": 1}',
        b'{"c": "\\n"}',
        b'{"d": 2}',
    ]
    assert not reader.too_long
    assert reader.close() == []


@pytest.mark.parametrize("cut", [3, 11, 12, 1000])
def test_a_line_that_is_too_long_ends_the_reading(monkeypatch: pytest.MonkeyPatch, cut: int) -> None:
    monkeypatch.setattr(ndjson, "LIMIT", 10)
    data = b'{"a": 1}\n' + b"x" * 11 + b'\n{"b": 2}\n'
    reader = LineReader()
    found: list[bytes] = []
    for n in range(0, len(data), cut):
        found += reader.feed(data[n : n + cut])
        if reader.too_long:
            break
    assert reader.too_long
    assert found == [b'{"a": 1}']


def test_a_line_as_long_as_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ndjson, "LIMIT", 10)
    reader = LineReader()
    assert reader.feed(b"x" * 10 + b"\n" + b"y" * 5) == [b"x" * 10]
    assert reader.feed(b"y" * 5 + b"\n") == [b"y" * 10]
    assert not reader.too_long


async def test_a_long_answer_in_one_read(provider: OllamaProvider, upstream: Upstream) -> None:
    upstream.play(b"".join([line(chunk("word ")) for _ in range(5000)]), last())
    assert said(await collect(provider, ask("hi"))) == "word " * 5000
