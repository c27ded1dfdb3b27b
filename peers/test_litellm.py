"""The ``openai`` provider against LiteLLM's proxy. ``python peers/run.py`` starts the proxy and runs this."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from faulty_link import faulty_link

from backchat.domain.message import Text, ToolCall, ToolResult
from backchat.domain.run import TextDelta
from backchat.domain.settings import Sampling
from backchat.errors import ProviderCredentials, ProviderError, ProviderRejected, ProviderThrottled, ProviderTimeout
from backchat.ports.providers import Finish, ModelRequest, PromptMessage, ProviderEvent, UsageReport
from backchat.testing.provider import WEATHER, ProviderContract, ask, collect, said
from backchat_openai.provider import OpenAIProvider, open_openai
from backchat_openai.settings import OPENAI, SettingsSchema

ADDRESS = os.environ.get("BACKCHAT_PEER_LITELLM", "")
KEY = os.environ.get("BACKCHAT_PEER_KEY", "")
SEA = "The sea is wide; l'océan est profond \U0001f30a."


@asynccontextmanager
async def opened(model: str = "talker", **section: Any) -> AsyncIterator[OpenAIProvider]:
    loaded = SettingsSchema(OPENAI).load({"model": model, "base_url": f"{ADDRESS}/v1", "api_key": KEY, **section})
    async with open_openai(loaded) as provider:
        yield provider


async def failure(model: str, **section: Any) -> tuple[str, ProviderError]:
    """What was said, and the error that ended it."""
    events: list[ProviderEvent] = []
    question = ask("Tell me of the sea.")

    async def read() -> None:
        async with opened(model, **section) as provider, aclosing(provider.stream(question)) as stream:
            async for event in stream:
                events.append(event)  # noqa: PERF401 - a comprehension would keep nothing

    with pytest.raises(ProviderError) as caught:
        await read()
    assert KEY not in f"{caught.value!r}"
    return said(events), caught.value


async def test_streams() -> None:
    async with opened() as provider:
        events = await collect(provider, ask("Tell me of the sea."))
    assert said(events) == SEA
    assert len([e for e in events if isinstance(e, TextDelta)]) > 1
    assert events[-1] == Finish("stop")


async def test_reports_usage() -> None:
    async with opened() as provider:
        events = await collect(provider, ask("Tell me of the sea."))
    usage = [e.usage for e in events if isinstance(e, UsageReport)][-1]
    assert usage.input_tokens > 0
    assert usage.output_tokens > 0


async def test_calls_a_tool_and_answers_with_its_result() -> None:
    async with opened("caller") as provider:
        question = ask("What is the weather in Paris", WEATHER)
        events = await collect(provider, question)
        (call,) = [e for e in events if isinstance(e, ToolCall)]
        assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "Paris"})
        assert events[-1] == Finish("tool_calls")
        messages = [
            *question.messages,
            PromptMessage("assistant", (call,)),
            PromptMessage("tool", (ToolResult(call.id, "18 degrees"),)),
        ]
        answer = await collect(provider, ModelRequest(messages=messages, tools=[WEATHER]))
    assert said(answer) == "It says: 18 degrees"
    assert answer[-1] == Finish("stop")


async def test_every_kind_of_option_is_taken() -> None:
    request = ModelRequest(
        messages=[PromptMessage("user", (Text("hi"),))],
        system="Be brief.",
        sampling=Sampling(temperature=0.5, max_tokens=50),
        json_output=True,
        reasoning="low",
    )
    async with opened() as provider:
        assert said(await collect(provider, request)) == SEA


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("throttled", ProviderThrottled),
        ("broken", ProviderError),
        ("rejecter", ProviderRejected),
        ("no-such-model", ProviderRejected),
    ],
)
async def test_a_refusal_before_the_first_token(model: str, kind: type[ProviderError]) -> None:
    kept, error = await failure(model)
    assert kept == ""
    assert type(error) is kind


async def test_a_wrong_key() -> None:
    wrong = "sk-peer-wrong-0123456789"
    kept, error = await failure("talker", api_key=wrong)
    assert kept == ""
    assert type(error) is ProviderCredentials
    assert wrong not in str(error)


async def test_an_error_in_mid_stream_keeps_what_was_said() -> None:
    kept, error = await failure("breaker")
    assert kept == "so far"
    assert type(error) is ProviderError


@pytest.mark.parametrize(("fault", "kind"), [("cut", ProviderError), ("stall", ProviderTimeout)])
@pytest.mark.parametrize("after", [None, 0, 700, 1001, 1402])
async def test_a_faulty_link_keeps_what_was_said(fault: Any, kind: type[ProviderError], after: int | None) -> None:
    async with faulty_link(f"{ADDRESS}/v1", after=after, fault=fault) as url:
        kept, error = await failure("long-talker", base_url=url, read_timeout=1)
    assert type(error) is kind
    assert bool(kept) == bool(after)
    assert "word word word word word word word word word word".startswith(kept)


class TestContract(ProviderContract):
    secrets = (KEY,)
    tool_question = "What is the weather in Paris"

    @pytest.fixture
    async def provider(self, request: pytest.FixtureRequest) -> AsyncIterator[OpenAIProvider]:
        async with opened("caller" if "tool_call" in request.node.name else "talker") as provider:
            yield provider

    def expected(self, request: ModelRequest) -> str:
        return SEA
