"""Streams as they arrive: cut anywhere, and never kept without limit."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from types import SimpleNamespace
from typing import Any, Protocol

import aiohttp
import orjson
import pytest

from backchat.domain.run import TextDelta
from backchat.errors import ProviderError, ProviderRejected
from backchat.ports.providers import ProviderEvent
from backchat.upstream import pieces
from backchat.upstream.failures import Failures
from backchat.upstream.sse import EventReader
from backchat.upstream.streams import Stream
from backchat_anthropic.chunks import Answer as AnthropicAnswer
from backchat_google.answer import Answer as GoogleAnswer
from backchat_google.failures import GoogleFailures
from backchat_ollama.answer import Answer as OllamaAnswer
from backchat_openai.chunks import Answer as ChatAnswer
from backchat_openai.chunks_responses import ResponsesAnswer

ENDS = (b"\r\n\r\n", b"\r\n\n", b"\n\r\n", b"\r\r", b"\n\n")


@pytest.mark.parametrize("end", ENDS)
def test_events_are_the_same_wherever_they_are_cut(end: bytes) -> None:
    sent = b"data: 1" + end + b"data: 2" + end + b"data: 3\ndata: 4" + end
    for at in combinations(range(len(sent) + 1), 2):
        reader = EventReader()
        parts = [sent[: at[0]], sent[at[0] : at[1]], sent[at[1] :]]
        assert [event for part in parts for event in reader.feed(part)] == [b"1", b"2", b"3\n4"]


@pytest.mark.parametrize("end", ENDS)
def test_events_that_come_byte_by_byte(end: bytes) -> None:
    reader = EventReader()
    sent = b"data: 1" + end + b"data: 2" + end
    assert [event for n in range(len(sent)) for event in reader.feed(sent[n : n + 1])] == [b"1", b"2"]


# ---- what is told of a connection that breaks


class Content:
    """Gives out ``read``, then breaks with ``left`` still unread."""

    def __init__(self, read: bytes, left: bytes) -> None:
        self._buffer: list[bytes] = []
        self._read, self._left = read, left

    async def readany(self) -> bytes:
        if self._read:
            read, self._read = self._read, b""
            return read
        self._buffer = [self._left]
        raise aiohttp.ClientPayloadError


SAID = b'data: {"choices": [{"delta": {"content": "so far"}}]}\n\n'
REPORTED = b'data: {"error": {"message": "no", "code": 400}}\n\n'


@pytest.mark.parametrize(
    ("left", "error"),
    [
        (b"", aiohttp.ClientPayloadError),
        (b'data: {"choi', aiohttp.ClientPayloadError),
        (REPORTED, ProviderRejected),
        (b"data: nonsense\n\n", ProviderError),
    ],
)
async def test_what_came_before_it_broke_counts(left: bytes, error: type[Exception]) -> None:
    response: Any = SimpleNamespace(content=Content(SAID, left))
    stream = Stream(response, EventReader(), ChatAnswer(Failures(())))
    assert await stream.read() == [TextDelta("so far")]
    with pytest.raises(error):  # noqa: PT012 - in which of the reads is not the point
        while not stream.over:
            assert list(await stream.read()) == []


async def test_a_half_of_an_event_is_no_protocol_error() -> None:
    response: Any = SimpleNamespace(content=Content(SAID + b'data: {"choi', b""))
    stream = Stream(response, EventReader(), ChatAnswer(Failures(())))
    assert await stream.read() == [TextDelta("so far")]
    assert await stream.read() == []
    with pytest.raises(aiohttp.ClientPayloadError):
        await stream.read()


# ---- what is kept until it is whole


class Reading(Protocol):
    failure: ProviderError | None

    def read(self, events: list[bytes]) -> list[ProviderEvent]: ...


LONG = "x" * 500


def chat(n: int) -> dict[str, Any]:
    return {"choices": [{"delta": {"tool_calls": [{"index": n, "function": {"name": "f", "arguments": LONG}}]}}]}


def named(n: int) -> dict[str, Any]:
    return {"choices": [{"delta": {"tool_calls": [{"index": n, "function": {"name": LONG, "arguments": ""}}]}}]}


def detailed(n: int) -> dict[str, Any]:
    return {"choices": [{"delta": {"reasoning_details": [{"type": "reasoning.encrypted", "index": n, "data": LONG}]}}]}


def both(n: int) -> dict[str, Any]:
    return chat(n) if n % 2 else detailed(n)


def arguing(n: int) -> dict[str, Any]:
    return {"type": "response.function_call_arguments.delta", "output_index": n, "delta": LONG}


def reasoned(n: int) -> dict[str, Any]:
    item = {"type": "reasoning", "id": f"rs_{n}", "summary": [], "encrypted_content": LONG}
    return {"type": "response.output_item.done", "output_index": n, "item": item}


def signing(n: int) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": LONG}}


def veiled(n: int) -> dict[str, Any]:
    return {"type": "content_block_start", "index": n, "content_block": {"type": "redacted_thinking", "data": LONG}}


def used(n: int) -> dict[str, Any]:
    block = {"type": "tool_use", "id": f"toolu_{n}", "name": "f", "input": {"a": LONG}}
    return {"type": "content_block_start", "index": n, "content_block": block}


def called(n: int) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": [{"functionCall": {"name": "f", "args": {"a": LONG}}}]}}]}


def signed(n: int) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": [{"text": "a", "thoughtSignature": LONG}]}}]}


def local(n: int) -> dict[str, Any]:
    message = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"function": {"name": "f", "arguments": {"a": LONG}}}],
    }
    return {"message": message, "done": False}


@pytest.mark.parametrize(
    ("make", "event"),
    [
        (lambda: ChatAnswer(Failures(())), chat),
        (lambda: ChatAnswer(Failures(())), named),
        (lambda: ChatAnswer(Failures(()), "openrouter"), detailed),
        (lambda: ChatAnswer(Failures(()), "openrouter"), both),
        (lambda: ResponsesAnswer(Failures(()), "s"), arguing),
        (lambda: ResponsesAnswer(Failures(()), "s"), reasoned),
        (lambda: AnthropicAnswer(Failures(()), "s"), signing),
        (lambda: AnthropicAnswer(Failures(()), "s"), veiled),
        (lambda: AnthropicAnswer(Failures(()), "s"), used),
        (lambda: GoogleAnswer(GoogleFailures(()), "m", {}), called),
        (lambda: GoogleAnswer(GoogleFailures(()), "m", {}), signed),
        (lambda: OllamaAnswer(Failures(()), "m"), local),
    ],
)
def test_what_one_answer_makes_us_keep_has_an_end(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[], Reading], event: Callable[[int], dict[str, Any]]
) -> None:
    """Each piece is short, and so is each call; it is their sum that is not."""
    monkeypatch.setattr(pieces, "LIMIT", 5000)
    answer = make()
    for n in range(7):
        answer.read([orjson.dumps(event(n))])
    assert answer.failure is None
    for n in range(7, 11):
        answer.read([orjson.dumps(event(n))])
    assert answer.failure is not None
    assert str(answer.failure) == "the model service sent tool calls, or sealed thinking, that are too long"


def test_arguments_that_come_in_pieces_and_whole_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "LIMIT", 1000)
    answer = ResponsesAnswer(Failures(()), "s")
    item = {"type": "function_call", "call_id": "c", "name": "f", "arguments": LONG + LONG[:400]}
    pieces_of_it = [arguing(0) | {"delta": LONG}, arguing(0) | {"delta": LONG[:400]}]
    answer.read(
        [orjson.dumps(e) for e in [*pieces_of_it, {**arguing(0), "type": "response.output_item.done", "item": item}]]
    )
    assert answer.failure is None
