"""The chat-completions protocol: what is asked, and how an answer is read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from marshmallow import ValidationError

from backchat.domain.message import Reasoning, Text, ToolCall, ToolResult
from backchat.domain.settings import Sampling
from backchat.errors import ProviderRejected
from backchat.plugins import Plugins
from backchat.ports.providers import Abilities, Citation, ImageData, ModelRequest, PromptMessage
from backchat.testing.provider import WEATHER, ask, collect
from backchat_openai.provider import OpenAIProvider, open_openai
from backchat_openai.settings import GROQ, OPENAI, OPENROUTER, Preset, SettingsSchema
from openai_upstream import Upstream, chunk, serve, text


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with serve() as upstream:
        yield upstream
        assert upstream.problems == []


async def answer(upstream: Upstream, request: ModelRequest, preset: Preset = OPENAI, **section: Any) -> list[Any]:
    upstream.service = preset.name
    settings = SettingsSchema(preset).load({"model": "m-1", "base_url": upstream.base_url, **section})
    async with open_openai(settings) as provider:
        return await collect(provider, request)


# ---- what is asked


async def test_asks_for_a_stream_with_usage(upstream: Upstream) -> None:
    await answer(upstream, ask("hi"))
    assert upstream.bodies == [
        {
            "model": "m-1",
            "messages": [{"role": "user", "content": "hi"}],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ]
    assert upstream.paths == ["/v1/chat/completions"]
    assert "Authorization" not in upstream.requests[0]


async def test_sends_every_kind_of_message(upstream: Upstream) -> None:
    call = ToolCall("c1", "get_weather", '{"city": "Paris"}')
    messages = [
        PromptMessage("user", (Text("look "), ImageData("image/png", b"\x89PNG"), Text("here"))),
        PromptMessage("assistant", (Reasoning("hm"), Text("I look."), call)),
        PromptMessage("tool", (ToolResult("c1", "sunny"),)),
        PromptMessage("assistant", (call,)),
        PromptMessage("tool", (ToolResult("c1", "rain"),)),
        PromptMessage("assistant", (Text("So "), Text("be it."))),
        PromptMessage("user", (Text("thanks"),)),
    ]
    request = ModelRequest(messages=messages, system="Be brief.", citations=[Citation("notes", "tea")], tools=[WEATHER])
    await answer(upstream, request)
    sent = upstream.bodies[0]
    called = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
    system, *rest = sent["messages"]
    assert system["role"] == "system"
    assert system["content"].startswith("Be brief.\n\n")
    assert "[1] (notes) tea" in system["content"]
    assert rest == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "look "},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}},
                {"type": "text", "text": "here"},
            ],
        },
        {"role": "assistant", "content": "I look.", "tool_calls": [called]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        {"role": "assistant", "content": None, "tool_calls": [called]},
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
        {"role": "assistant", "content": "So be it."},
        {"role": "user", "content": "thanks"},
    ]
    function = {"name": "get_weather", "description": WEATHER.description, "parameters": WEATHER.parameters}
    assert sent["tools"] == [{"type": "function", "function": function}]


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        (OPENAI, {"max_completion_tokens": 9, "reasoning_effort": "low"}),
        (GROQ, {"max_completion_tokens": 9, "reasoning_effort": "low"}),
        (OPENROUTER, {"max_tokens": 9, "reasoning": {"effort": "low"}}),
    ],
)
async def test_sends_the_options(upstream: Upstream, preset: Preset, expected: dict[str, Any]) -> None:
    asked = replace(
        ask("hi"), model="m-2", reasoning="low", json_output=True, sampling=Sampling(temperature=0.5, max_tokens=9)
    )
    await answer(upstream, asked, preset, extra_body={"seed": 7}, include_usage=False)
    sent = upstream.bodies[0]
    del sent["messages"], sent["stream"]
    common = {"model": "m-2", "response_format": {"type": "json_object"}, "temperature": 0.5, "seed": 7}
    assert sent == common | expected


async def test_sends_how_words_are_chosen(upstream: Upstream) -> None:
    sampling = Sampling(
        temperature=0.0,
        max_tokens=5,
        top_p=0.0,
        frequency_penalty=-2.0,
        presence_penalty=0.0,
        parameters={"seed": 3, "stop": ["x"]},
    )
    await answer(upstream, replace(ask("hi"), sampling=sampling))
    sent = upstream.bodies[0]
    assert {name: sent[name] for name in sent.keys() - {"messages", "stream", "stream_options", "model"}} == {
        "temperature": 0.0,
        "max_completion_tokens": 5,
        "top_p": 0.0,
        "frequency_penalty": -2.0,
        "presence_penalty": 0.0,
        "seed": 3,
        "stop": ["x"],
    }


async def test_no_parameter_changes_what_the_server_relies_on(upstream: Upstream) -> None:
    """Each of them would change the protocol, the model or the bill; some services have more of the kind."""
    taken: dict[str, Any] = {
        "model": "expensive-1",
        "models": ["expensive-1"],
        "messages": [],
        "stream": False,
        "stream_options": {"include_usage": False},
        "tools": [],
        "tool_choice": "required",
        "n": 3,
        "response_format": {"type": "json_object"},
        "service_tier": "priority",
        "store": True,
        "api_base": "http://elsewhere.test",
        "max_tokens": 10**6,
        "temperature": 9,
    }
    await answer(upstream, ask("hi"))
    await answer(upstream, replace(ask("hi"), sampling=Sampling(parameters=taken)))
    assert upstream.bodies[1] == upstream.bodies[0]


async def test_what_the_configuration_fixes_holds(upstream: Upstream) -> None:
    sampling = Sampling(temperature=0.5, top_p=0.5, max_tokens=1000, parameters={"seed": 1, "stop": "x"})
    fixed = {"temperature": 1, "seed": 7, "max_tokens": 10}
    await answer(upstream, replace(ask("hi"), sampling=sampling), extra_body=fixed)
    sent = upstream.bodies[0]
    wanted = {**fixed, "top_p": 0.5, "stop": "x"}
    assert {name: sent[name] for name in wanted} == wanted
    assert "max_completion_tokens" not in sent  # a service refuses both names of the limit at once


async def test_sends_its_headers_and_keeps_the_query(upstream: Upstream) -> None:
    await answer(
        upstream,
        ask("hi"),
        base_url=f"{upstream.base_url}/?api-version=3",
        api_key="sk-1",
        organization="org",
        project="proj",
        headers={"X-Title": "backchat"},
    )
    sent = upstream.requests[0]
    wanted = {
        "Authorization": "Bearer sk-1",
        "OpenAI-Organization": "org",
        "OpenAI-Project": "proj",
        "X-Title": "backchat",
    }
    assert {name: sent.get(name) for name in wanted} == wanted
    assert upstream.paths == ["/v1/chat/completions?api-version=3"]


async def test_keeps_no_cookies(upstream: Upstream) -> None:
    upstream.play(*text("a"), headers={"Content-Type": "text/event-stream", "Set-Cookie": "user=alice; Path=/"})
    settings = SettingsSchema(OPENAI).load({"model": "m", "base_url": upstream.base_url})
    async with open_openai(settings) as provider:
        for _ in range(2):
            await collect(provider, ask("hi"))
    assert "Cookie" not in upstream.requests[1]


@pytest.mark.parametrize(
    "message",
    [
        PromptMessage("user", (Text("half a character: \ud83d"),)),
        PromptMessage("system", (ImageData("image/png", b"1"),)),
    ],
)
async def test_refuses_what_the_protocol_cannot_carry(upstream: Upstream, message: PromptMessage) -> None:
    with pytest.raises(ProviderRejected):
        await answer(upstream, ModelRequest(messages=[message]))
    assert upstream.bodies == []


DOTTED = "fs.read:x " + "n" * 70
FITTING = "fs_read_x_" + "n" * 54


async def test_names_of_tools_are_made_to_fit_and_found_again(upstream: Upstream) -> None:
    tools = [replace(WEATHER, name=DOTTED), WEATHER]
    calls = [{"index": n, "id": f"c{n}", "function": {"name": name}} for n, name in enumerate([FITTING, WEATHER.name])]
    upstream.play(chunk(tool_calls=calls), chunk("tool_calls"))
    told = [event for event in await answer(upstream, ask("hi", *tools)) if isinstance(event, ToolCall)]
    assert [call.name for call in told] == [DOTTED, WEATHER.name]
    before = [PromptMessage("assistant", (told[0],)), PromptMessage("tool", (ToolResult("c0", "r"),))]
    await answer(upstream, ModelRequest(messages=[*ask("hi").messages, *before]))
    assert [tool["function"]["name"] for tool in upstream.bodies[0]["tools"]] == [FITTING, WEATHER.name]
    assert upstream.bodies[1]["messages"][1]["tool_calls"][0]["function"]["name"] == FITTING


async def test_images_of_an_answer_are_shown_by_the_user(upstream: Upstream) -> None:
    shown = PromptMessage("assistant", (Text("here"), ImageData("image/png", b"1")))
    await answer(upstream, ModelRequest(messages=[*ask("draw").messages, shown, *ask("and?").messages]))
    _, said, then = upstream.bodies[0]["messages"]
    assert said == {"role": "assistant", "content": "here"}
    assert [part["type"] for part in then["content"]] == ["image_url", "text"]


# ---- settings


def test_presets_differ_in_their_defaults_only() -> None:
    import backchat_openai

    offers = Plugins([backchat_openai]).providers
    urls = {name: offers.pick(name).schema.load({"model": "m"}).base_url for name in offers}
    assert urls == {
        "openai": "https://api.openai.com/v1",
        "groq": "https://api.groq.com/openai/v1",
        "openrouter": "https://openrouter.ai/api/v1",
    }
    for component in offers.values():
        assert all(field.metadata["description"] for field in component.schema.fields.values())


async def test_abilities_and_model_are_as_configured() -> None:
    section = {"model": "m-1", "vision": False, "tools": False, "reasoning": False, "json_output": False}
    async with open_openai(SettingsSchema(OPENAI).load(section)) as provider:
        assert replace(provider.abilities, image_types=frozenset()) == Abilities(
            vision=False, tools=False, reasoning=False, json_output=False, files=frozenset({"application/pdf"})
        )
        assert provider.model == "m-1"
        assert isinstance(provider, OpenAIProvider)


@pytest.mark.parametrize(
    "section",
    [
        {},
        {"model": ""},
        {"modell": "m"},
        {"base_url": "ftp://host"},
        {"base_url": "http://"},
        {"base_url": "http://user:secret@host/v1"},
        {"base_url": "http://host:port/v1"},
        {"api_key": "sk-secret\n"},
        {"api_key": ""},
        {"headers": {"Authorization": "secret"}},
        {"headers": {"X": "secret\r\nY: 1"}},
        {"headers": {"X Y": "secret"}},
        {"extra_body": {"messages": []}},
        {"read_timeout": 0},
        {"connect_timeout": -1},
        {"max_tokens_field": "tokens"},
    ],
)
def test_refuses_bad_settings_without_repeating_them(section: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        SettingsSchema(OPENAI).load(section if "model" in section or not section else {"model": "m", **section})
    assert "secret" not in str(caught.value.messages)


def test_settings_do_not_show_secrets() -> None:
    section = {"model": "m", "api_key": "sk-secret", "headers": {"X-Key": "secret"}, "extra_body": {"user": "secret"}}
    assert "secret" not in repr(SettingsSchema(OPENAI).load(section))
