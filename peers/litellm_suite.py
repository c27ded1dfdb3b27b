"""What every face of LiteLLM's proxy has to do with the provider that speaks its protocol. The models are those of
``litellm/peer.py``.

A face that cannot do something, by LiteLLM's fault, overrides the test and says so.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from typing import Any, ClassVar, Literal

import pytest
from faces import KEY, LITELLM, Face, failure
from faulty_link import faulty_link

from backchat.domain.message import Text, ToolCall, ToolResult, Usage
from backchat.domain.run import TextDelta
from backchat.domain.settings import Sampling
from backchat.errors import ProviderCredentials, ProviderError, ProviderRejected, ProviderThrottled, ProviderTimeout
from backchat.ports.providers import Finish, ImageData, LLMProvider, ModelRequest, PromptMessage, UsageReport
from backchat.testing.provider import WEATHER, ProviderContract, ask, collect, said

SEA = "The sea is wide; l'océan est profond \U0001f30a."
WORDS = "word " * 60
WRONG = "sk-peer-wrong-0123456789"


class FaceSuite:
    """opening: bytes at the beginning of an answer, at least, in which there is no text yet."""

    face: ClassVar[Face]
    opening: ClassVar[int] = 0

    async def mirrored(self, request: ModelRequest) -> dict[str, Any]:
        """What reached the model: its messages, and the options beside them, in OpenAI's words."""
        async with self.face.opened(LITELLM, "mirror") as provider:
            seen: dict[str, Any] = json.loads(said(await collect(provider, request)))
        return seen

    async def test_says_it_all(self) -> None:
        async with self.face.opened(LITELLM, "talker") as provider:
            events = await collect(provider, ask("Tell me of the sea."))
        assert said(events) == SEA
        assert events[-1] == Finish("stop")

    async def test_streams(self) -> None:
        """The first word is there before the model has made the second one."""
        async with (
            asyncio.timeout(20),
            self.face.opened(LITELLM, "waiter") as waiter,
            self.face.opened(LITELLM, "teller") as teller,
            aclosing(waiter.stream(ask("Tell me of the sea."))) as stream,
        ):
            async for event in stream:
                if event == TextDelta("first "):
                    break
            await collect(teller, ask("Go on."))
            assert said([event async for event in stream]) == "second"

    async def test_reports_usage(self) -> None:
        async with self.face.opened(LITELLM, "talker") as provider:
            events = await collect(provider, ask("Tell me of the sea."))
        assert [e.usage for e in events if isinstance(e, UsageReport)][-1:] == [Usage(5, 7)]

    async def test_says_that_it_was_cut_off(self) -> None:
        async with self.face.opened(LITELLM, "cut-off") as provider:
            events = await collect(provider, ask("Tell me of the sea."))
        assert said(events) == SEA
        assert events[-1] == Finish("length")

    async def test_calls_a_tool_and_answers_with_its_result(self) -> None:
        async with self.face.opened(LITELLM, "caller") as provider:
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
        assert said(answer).startswith("It says: ")
        assert "18 degrees" in said(answer)
        assert answer[-1] == Finish("stop")

    async def test_instructions_history_and_sampling_arrive(self) -> None:
        talk = [("user", "One."), ("assistant", "Two."), ("user", "Three.")]
        request = ModelRequest(
            messages=[PromptMessage(role, (Text(text),)) for role, text in talk],
            system="Be brief.",
            sampling=Sampling(temperature=0.5, max_tokens=50),
        )
        seen = await self.mirrored(request)
        assert [(m["role"], _text(m)) for m in seen["messages"]] == [("system", "Be brief."), *talk]
        assert (seen["temperature"], seen["max_tokens"]) == (0.5, 50)

    async def test_a_result_arrives_with_its_call(self) -> None:
        request = ModelRequest(
            messages=[
                PromptMessage("user", (Text("Paris?"),)),
                PromptMessage("assistant", (ToolCall("c1", "get_weather", '{"city":"Paris"}'),)),
                PromptMessage("tool", (ToolResult("c1", "18 degrees"),)),
            ],
            tools=[WEATHER],
        )
        _, asked, result = (await self.mirrored(request))["messages"]
        (call,) = asked["tool_calls"]
        assert (call["function"]["name"], result["tool_call_id"]) == ("get_weather", call["id"])

    async def test_several_results_arrive_with_their_calls(self) -> None:
        calls = (ToolCall("c1", "get_weather", '{"city":"Paris"}'), ToolCall("c2", "get_weather", '{"city":"Rome"}'))
        request = ModelRequest(
            messages=[
                PromptMessage("user", (Text("Paris and Rome?"),)),
                PromptMessage("assistant", (Text("I look."), *calls)),
                PromptMessage("tool", (ToolResult("c1", "18 degrees"),)),
                PromptMessage("tool", (ToolResult("c2", "25 degrees"),)),
            ],
            tools=[WEATHER],
        )
        seen = await self.mirrored(request)
        _, asked, first, second = seen["messages"]
        assert [json.loads(c["function"]["arguments"])["city"] for c in asked["tool_calls"]] == ["Paris", "Rome"]
        assert [c["id"] for c in asked["tool_calls"]] == [first["tool_call_id"], second["tool_call_id"]]
        assert first["tool_call_id"] != second["tool_call_id"]
        assert "18 degrees" in _text(first)
        assert "25 degrees" in _text(second)

    async def test_tools_arrive(self) -> None:
        (tool,) = (await self.mirrored(ask("What now?", WEATHER)))["tools"]
        assert tool["function"]["name"] == WEATHER.name
        assert tool["function"]["description"] == WEATHER.description
        assert tool["function"]["parameters"] == WEATHER.parameters

    async def test_images_arrive(self) -> None:
        image = ImageData("image/png", b"\x89PNG\r\n")
        seen = await self.mirrored(ModelRequest(messages=[PromptMessage("user", (Text("See?"), image))]))
        assert "data:image/png;base64,iVBORw0K" in json.dumps(seen["messages"])

    async def test_an_effort_arrives(self) -> None:
        message = PromptMessage("user", (Text("Think."),))
        seen = await self.mirrored(
            ModelRequest(messages=[message], reasoning="low", sampling=Sampling(max_tokens=2000))
        )
        assert seen["reasoning_effort"] == "low"

    async def test_json_is_asked_for(self) -> None:
        message = PromptMessage("user", (Text("Some JSON, please."),))
        seen = await self.mirrored(ModelRequest(messages=[message], json_output=True))
        assert seen["response_format"] == {"type": "json_object"}

    @pytest.mark.parametrize(("model", "kind"), [("throttled", ProviderThrottled), ("broken", ProviderError)])
    async def test_a_failure_before_the_first_token(self, model: str, kind: type[ProviderError]) -> None:
        kept, error = await failure(self.face.opened(LITELLM, model))
        assert kept == ""
        assert type(error) is kind

    async def test_a_refusal_before_the_first_token(self) -> None:
        kept, error = await failure(self.face.opened(LITELLM, "rejecter"))
        assert kept == ""
        assert type(error) is ProviderRejected
        assert "the context is too long" in str(error)

    async def test_an_unknown_model(self) -> None:
        kept, error = await failure(replace(self.face, prefix="").opened(LITELLM, "no-such-model"))
        assert kept == ""
        assert type(error) is ProviderRejected

    async def test_a_wrong_key(self) -> None:
        kept, error = await failure(self.face.opened(LITELLM, "talker", api_key=WRONG))
        assert kept == ""
        assert type(error) is ProviderCredentials
        assert WRONG not in str(error)

    async def test_an_error_in_mid_stream_keeps_what_was_said(self) -> None:
        kept, error = await failure(self.face.opened(LITELLM, "breaker"))
        assert kept == "so far"
        assert type(error) is ProviderError

    @pytest.mark.parametrize(
        ("fault", "after"),
        [*(("cut", n) for n in (None, 0, 700, 1001, 1402)), *(("stall", n) for n in (None, 0, 1001))],
    )
    async def test_a_faulty_link_keeps_what_was_said(self, fault: Literal["cut", "stall"], after: int | None) -> None:
        come = after + self.opening if after else after
        async with faulty_link(LITELLM + self.face.path, after=come, fault=fault) as url:
            kept, error = await failure(self.face.opened("", "long-talker", base_url=url, read_timeout=1))
        assert type(error) is (ProviderTimeout if fault == "stall" else ProviderError)
        assert bool(kept) == bool(after)
        assert kept != WORDS
        assert WORDS.startswith(kept)


class FaceContract(ProviderContract):
    face: ClassVar[Face]
    secrets = (KEY, WRONG)
    tool_question = "What is the weather in Paris"

    @pytest.fixture
    async def provider(self, request: pytest.FixtureRequest) -> AsyncIterator[LLMProvider]:
        model = "caller" if "tool_call" in request.node.name else "talker"
        async with self.face.opened(LITELLM, model) as provider:
            yield provider

    @pytest.fixture
    async def failing(self) -> AsyncIterator[Sequence[LLMProvider]]:
        async with AsyncExitStack() as stack:
            wrong = await stack.enter_async_context(self.face.opened(LITELLM, "talker", api_key=WRONG))
            broken = await stack.enter_async_context(self.face.opened(LITELLM, "broken"))
            nowhere = await stack.enter_async_context(self.face.opened("http://127.0.0.1:9", "talker"))
            yield [wrong, broken, nowhere]

    def expected(self, request: ModelRequest) -> str:
        return SEA


def _text(message: dict[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join([part["text"] for part in content])
