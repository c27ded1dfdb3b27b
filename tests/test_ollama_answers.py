"""How the ``ollama`` provider reads answers and lists, and its settings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import ollama
import pytest
from marshmallow import ValidationError

from backchat.domain.message import Seal, ToolCall, Usage
from backchat.domain.run import ReasoningDelta, ReasoningSealed, TextDelta
from backchat.errors import ProviderError
from backchat.ports.providers import (
    Finish,
    UsageReport,
)
from backchat.testing.provider import WEATHER, ask, said
from backchat_ollama.provider import open_ollama
from backchat_ollama.settings import SettingsSchema
from ollama_trials import KEY, answer, settings
from ollama_upstream import Upstream, chunk, last, line, serve

PNG = b"\x89PNG\r\n"
SEAL = Seal("ollama", "m-1")


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with serve() as upstream:
        yield upstream
        assert upstream.problems == []


# ---- how an answer is read


async def test_text_and_usage(upstream: Upstream) -> None:
    upstream.play(chunk("It "), chunk(), chunk("is \u2028 \U0001f30a\r\n"), chunk("so."), last(sent=7, said=3))
    events = await answer(upstream, ask("hi"))
    assert said(events) == "It is \u2028 \U0001f30a\r\nso."
    assert events[-2:] == [UsageReport(Usage(7, 3)), Finish("stop")]


async def test_pieces_of_one_read_are_one(upstream: Upstream) -> None:
    lines = [chunk(thinking="a"), chunk(thinking="b"), chunk("c"), chunk("d"), chunk("e", "f"), chunk("g"), last()]
    upstream.play(b"\n\r\n".join([line(each) for each in lines])[:-1])
    assert await answer(upstream, ask("hi")) == [
        ReasoningDelta("ab"),
        ReasoningSealed(SEAL),
        TextDelta("cd"),
        ReasoningDelta("f"),
        ReasoningSealed(SEAL),
        TextDelta("eg"),
        Finish("stop"),
    ]


async def test_thinking_is_sealed_when_it_ends(upstream: Upstream) -> None:
    upstream.play(chunk(thinking="hm, "), chunk(thinking="so"), chunk("a"), chunk("b"), last())
    events = await answer(upstream, replace(ask("hi"), reasoning="low", model="m-2"))
    kinds = [type(e) for e in events]
    assert "".join([e.text for e in events if isinstance(e, ReasoningDelta)]) == "hm, so"
    assert kinds.index(ReasoningSealed) == kinds.index(TextDelta) - 1
    assert ReasoningSealed(Seal("ollama", "m-2")) in events


@pytest.mark.parametrize("rest", [[last()], [chunk(calls=[("f", {})]), last()]])
async def test_thinking_without_a_word_is_sealed_too(upstream: Upstream, rest: list[Any]) -> None:
    upstream.play(chunk(thinking="hm"), *rest)
    events = await answer(upstream, ask("hi", WEATHER))
    assert events[:2] == [ReasoningDelta("hm"), ReasoningSealed(SEAL)]


async def test_parallel_calls(upstream: Upstream) -> None:
    upstream.play(
        chunk("I look. "),
        chunk(calls=[("get_weather", {"city": "Paris"}), ("get_weather", {"city": "\u00e9"})]),
        chunk(calls=[("clock", {})]),
        last(sent=1, said=1),
    )
    events = await answer(upstream, ask("hi", WEATHER))
    calls = [e for e in events if isinstance(e, ToolCall)]
    assert [(c.name, c.arguments) for c in calls] == [
        ("get_weather", '{"city":"Paris"}'),
        ("get_weather", '{"city":"\u00e9"}'),
        ("clock", "{}"),
    ]
    assert len({c.id for c in calls}) == 3
    assert events[-1] == Finish("tool_calls")


async def test_the_ids_of_newer_servers_are_kept(upstream: Upstream) -> None:
    call = {"id": "call_abc", "function": {"index": 0, "name": "f", "arguments": {}}}
    upstream.play({"message": {"role": "assistant", "content": "", "tool_calls": [call]}, "done": False}, last())
    assert ToolCall("call_abc", "f", "{}") in await answer(upstream, ask("hi", WEATHER))


async def test_calls_of_an_answer_that_was_cut_short_are_not_made(upstream: Upstream) -> None:
    upstream.play(chunk(calls=[("f", {})]), last("length"))
    assert await answer(upstream, ask("hi", WEATHER)) == [Finish("length")]


@pytest.mark.parametrize(
    ("reason", "finish"), [("stop", "stop"), ("length", "length"), (None, "stop"), ("load", "stop"), ("new", "stop")]
)
async def test_why_it_stopped(upstream: Upstream, reason: str | None, finish: Any) -> None:
    upstream.play(chunk("a"), last(reason))
    assert (await answer(upstream, ask("hi")))[-1] == Finish(finish)


async def test_an_answer_that_is_not_streamed(upstream: Upstream) -> None:
    whole = last(sent=1, said=1).model_copy(update={"message": ollama.Message(role="assistant", content="all")})
    upstream.play(line(whole).rstrip(), headers={"Content-Type": "application/json"})
    assert await answer(upstream, ask("hi")) == [TextDelta("all"), UsageReport(Usage(1, 1)), Finish("stop")]


async def test_fields_and_counts_that_are_unknown_are_passed_over(upstream: Upstream) -> None:
    made = {"message": {"role": "assistant", "content": "a", "mood": 1}, "done": False, "logprobs": []}
    upstream.play(made, {"done": True, "eval_count": -3, "prompt_eval_count": "7"})
    assert await answer(upstream, ask("hi")) == [TextDelta("a"), UsageReport(Usage(0, 0)), Finish("stop")]


# ---- models


async def test_models(upstream: Upstream) -> None:
    upstream.models = ("llama3.2:3b", "qwen3:latest", "qwen3:latest")
    async with open_ollama(settings(upstream)) as provider:
        assert await provider.models() == ["llama3.2:3b", "qwen3:latest"]
        assert upstream.paths == ["/api/tags"]
        upstream.play({"models": [{"name": "old"}]})
        assert await provider.models() == ["old"]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"models": 7}', b'{"models": [7]}', b'{"models": [{"model": ""}]}', b"{"]
)
async def test_a_list_that_is_none(upstream: Upstream, body: bytes) -> None:
    upstream.play(body)
    async with open_ollama(settings(upstream)) as provider:
        with pytest.raises(ProviderError):
            await provider.models()


async def test_a_list_that_is_refused(upstream: Upstream) -> None:
    upstream.play({"error": "slow"}, status=429)
    async with open_ollama(settings(upstream)) as provider:
        with pytest.raises(ProviderError, match="limiting"):
            await provider.models()


# ---- settings


@pytest.mark.parametrize(
    ("section", "field"),
    [
        ({}, "model"),
        ({"model": ""}, "model"),
        ({"model": "m", "base_url": "ftp://x"}, "base_url"),
        ({"model": "m", "keep_alive": "soon"}, "keep_alive"),
        ({"model": "m", "keep_alive": True}, "keep_alive"),
        ({"model": "m", "keep_alive": "nan"}, "keep_alive"),
        ({"model": "m", "extra_body": {"stream": False}}, "extra_body"),
        ({"model": "m", "headers": {"Authorization": "x"}}, "headers"),
        ({"model": "m", "num_ctx": 1}, "num_ctx"),
    ],
)
def test_sections_that_are_wrong(section: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        SettingsSchema().load(section)
    assert isinstance(caught.value.messages, dict)
    assert set(caught.value.messages) == {field}


@pytest.mark.parametrize(
    ("given", "taken"), [("10m", "10m"), ("1h30m", "1h30m"), (-1, -1), ("300", 300), (0.5, 0.5), ("-1m", "-1m")]
)
def test_how_long_a_model_stays(given: object, taken: object) -> None:
    assert SettingsSchema().load({"model": "m", "keep_alive": given}).keep_alive == taken


def test_settings_show_no_secrets() -> None:
    section = {"model": "m", "api_key": KEY, "headers": {"X": "mine-0123"}, "extra_body": {"k": "mine-4567"}}
    shown = repr(SettingsSchema().load(section))
    assert "model='m'" in shown
    assert not any(secret in shown for secret in (KEY, "mine-0123", "mine-4567"))
