"""The providers against llama.cpp's own server, which speaks three of their protocols.

The model knows nothing (``llamacpp/model.py``), but it computes, samples, streams, counts and stops as any other. Each
letter is a token of it. The server has this one model, and answers with it whatever model is asked for.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any, ClassVar

import aiohttp
import pytest
from faces import CHAT, KEY, LLAMACPP, MESSAGES, RESPONSES, Face, failure

from backchat.domain.message import Text, Usage
from backchat.domain.settings import Sampling
from backchat.errors import ProviderCredentials, ProviderRejected
from backchat.ports.providers import Finish, LLMProvider, ModelRequest, PromptMessage, ProviderEvent, UsageReport
from backchat.testing.provider import ProviderContract, collect, said

FACES = {"chat": CHAT, "responses": RESPONSES, "messages": MESSAGES}
COMPLETED = "llama.cpp says of a response that it is completed, also where it was cut off"
FREE_FORM = "llama.cpp passes text.format over"
ENDLESS = 10_000
"""Tokens that take half a minute, as far as machines go that are known; ``SOON`` is in seconds."""
SOON = 3
CONTEXT = 16_384

faces = pytest.mark.parametrize("face", FACES.values(), ids=FACES)


def except_responses(reason: str) -> pytest.MarkDecorator:
    marks = {"responses": [pytest.mark.xfail(strict=True, raises=AssertionError, reason=reason)]}
    return pytest.mark.parametrize("face", [pytest.param(f, id=n, marks=marks.get(n, ())) for n, f in FACES.items()])


def opened(face: Face, **section: Any) -> AbstractAsyncContextManager[LLMProvider]:
    return face.opened(LLAMACPP, "noise", **section)


def about(text: str, most: int = 40, **options: Any) -> ModelRequest:
    message = PromptMessage("user", (Text(text),))
    return ModelRequest(messages=[message], sampling=Sampling(max_tokens=most, temperature=0.7), **options)


async def answer(face: Face, request: ModelRequest) -> list[ProviderEvent]:
    """On a connection of its own: this server closes one behind every stream, and does not say so before."""
    async with opened(face) as provider:
        return await collect(provider, request)


def counted(events: Sequence[ProviderEvent]) -> Usage:
    return [e.usage for e in events if isinstance(e, UsageReport)][-1]


async def busy() -> Sequence[Mapping[str, Any]]:
    """The slots, of four, in which an answer is being made."""
    headers = {"Authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession(headers=headers) as session, session.get(f"{LLAMACPP}/slots") as response:
        return [slot for slot in await response.json() if slot["is_processing"]]


@faces
async def test_streams_text_of_the_length_that_was_asked_for(face: Face) -> None:
    events = await answer(face, about("Tell me of the sea.", most=40))
    assert counted(events).output_tokens == 40
    assert 30 <= len(said(events)) <= 40


@except_responses(COMPLETED)
async def test_says_that_it_was_cut_off(face: Face) -> None:
    events = await answer(face, about("Tell me of the sea.", most=5))
    assert events[-1] == Finish("length")


@faces
async def test_counts_every_letter_of_a_prompt_once(face: Face) -> None:
    """Whatever part of it was still in the cache."""
    usages = [counted(await answer(face, about("sea" + "!" * n))) for n in (0, 50, 50, 200)]
    first, longer, again, longest = usages
    assert longer.input_tokens - first.input_tokens == 50
    assert longest.input_tokens - first.input_tokens == 200
    assert again.input_tokens == longer.input_tokens
    assert 0 < again.cached_tokens <= again.input_tokens


async def test_all_faces_count_alike() -> None:
    request = about("Tell me of the sea.", system="Be brief.")
    counts = {counted(await answer(face, request)).input_tokens for face in FACES.values()}
    assert len(counts) == 1


@pytest.mark.parametrize(
    "face",
    [
        pytest.param(CHAT, id="chat"),
        pytest.param(
            RESPONSES, id="responses", marks=pytest.mark.xfail(strict=True, raises=ValueError, reason=FREE_FORM)
        ),
    ],
)
async def test_json_is_json(face: Face) -> None:
    """The server's grammar makes an object of noise; one that does not come to its end within the limit says so."""
    async with opened(face) as provider:
        requests = [about(f"JSON, number {n}", most=1000, json_output=True) for n in range(4)]
        answers = await asyncio.gather(*(collect(provider, request) for request in requests))
    ended = [said(events) for events in answers if events[-1] == Finish("stop")]
    assert ended
    assert all(type(json.loads(text)) is dict for text in ended)


@faces
async def test_a_reader_that_leaves_frees_the_slot(face: Face) -> None:
    async with opened(face) as provider:
        async with aclosing(provider.stream(about("Never stop.", most=ENDLESS))) as stream:
            await anext(stream)
            assert await busy()
        async with asyncio.timeout(SOON):
            while await busy():  # noqa: ASYNC110 - there is no event of another process's
                await asyncio.sleep(0.05)


@faces
async def test_many_at_once(face: Face) -> None:
    async with opened(face) as provider:
        answers = await asyncio.gather(*(collect(provider, about(f"Number {n}", most=30)) for n in range(24)))
    assert [counted(events).output_tokens for events in answers] == [30] * 24
    assert {counted(events).input_tokens for events in answers[:10]} == {counted(answers[0]).input_tokens}


@faces
async def test_a_wrong_key(face: Face) -> None:
    wrong = "sk-peer-wrong-0123456789"
    kept, error = await failure(opened(face, api_key=wrong))
    assert kept == ""
    assert type(error) is ProviderCredentials
    assert wrong not in str(error)


@faces
async def test_a_prompt_that_is_too_long(face: Face) -> None:
    kept, error = await failure(opened(face), about("x" * (CONTEXT + 1)))
    assert kept == ""
    assert type(error) is ProviderRejected
    assert "context size" in str(error)


class NoiseContract(ProviderContract):
    """Without tools: what the model says is never a call. ``short`` are the options that keep its answers short."""

    face: ClassVar[Face]
    short: ClassVar[Mapping[str, Any]]
    secrets = (KEY,)

    @pytest.fixture
    async def provider(self) -> AsyncIterator[LLMProvider]:
        async with opened(self.face, tools=False, **self.short) as provider:
            yield provider


class TestChat(NoiseContract):
    face = CHAT
    short: ClassVar = {"extra_body": {"max_completion_tokens": 60}}


class TestResponses(NoiseContract):
    face = RESPONSES
    short: ClassVar = {"extra_body": {"max_output_tokens": 60}}


class TestMessages(NoiseContract):
    face = MESSAGES
    short: ClassVar = {"max_tokens": 60}
