"""What the ``ollama`` provider asks and how it reads an answer, by the types that the ``ollama`` package publishes: the
upstream checks every body, and the answers are made of that package's models.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import ollama
import pytest

from backchat.domain.message import Reasoning, Seal, Text, ToolCall, ToolResult
from backchat.domain.settings import Sampling
from backchat.errors import ProviderRejected
from backchat.plugins import Plugins
from backchat.ports.providers import (
    Abilities,
    Citation,
    FileData,
    ImageData,
    ModelRequest,
    PromptMessage,
    ToolDefinition,
)
from backchat.testing.provider import WEATHER, ask, collect
from backchat_ollama.body import IMAGES
from backchat_ollama.provider import open_ollama
from backchat_ollama.settings import SettingsSchema
from ollama_trials import KEY, answer, settings
from ollama_upstream import Upstream, misfits, serve

PNG = b"\x89PNG\r\n"
SEAL = Seal("ollama", "m-1")


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with serve() as upstream:
        yield upstream
        assert upstream.problems == []


def test_it_is_installed() -> None:
    assert "ollama" in Plugins(from_entry_points=True).providers


# ---- what is asked


async def test_a_plain_request(upstream: Upstream) -> None:
    await answer(upstream, ask("hi"))
    assert upstream.bodies == [{"model": "m-1", "messages": [{"role": "user", "content": "hi"}], "stream": True}]
    assert upstream.paths == ["/api/chat"]
    assert upstream.requests[0]["Authorization"] == f"Bearer {KEY}"


async def test_a_local_server_needs_no_key(upstream: Upstream) -> None:
    async with open_ollama(SettingsSchema().load({"model": "m-1", "base_url": upstream.base_url + "/?a=b"})) as one:
        await collect(one, ask("hi"))
    assert upstream.paths == ["/api/chat?a=b"]
    assert "Authorization" not in upstream.requests[0]


async def test_every_kind_of_message(upstream: Upstream) -> None:
    messages = [
        PromptMessage("user", (Text("look "), ImageData("image/png", PNG), Text("here"))),
        PromptMessage(
            "assistant", (Reasoning("hm, ", SEAL), Reasoning("so", SEAL), Text("I look."), _call("c1", "Paris"))
        ),
        PromptMessage("tool", (ToolResult("c1", "sunny"),)),
        PromptMessage("assistant", (Text(""),)),
        PromptMessage("assistant", (Reasoning("only", SEAL),)),
        PromptMessage("assistant", (Text("So "), Text("be it."))),
        PromptMessage("system", (Text("Be kind."),)),
        PromptMessage("user", (Text("thanks"),)),
    ]
    request = ModelRequest(
        messages=messages, system="Be brief.", summary="They met.", citations=[Citation("notes", "tea")]
    )
    await answer(upstream, request, vision=True)
    system, *rest = upstream.bodies[0]["messages"]
    assert system["role"] == "system"
    for words in ("Be brief.", "They met.", "[1] (notes) tea"):
        assert words in system["content"]
    called = [{"function": {"name": "get_weather", "arguments": {"city": "Paris"}}}]
    assert rest == [
        {"role": "user", "content": "look here", "images": [base64.b64encode(PNG).decode()]},
        {"role": "assistant", "content": "I look.", "tool_calls": called, "thinking": "hm, so"},
        {"role": "tool", "content": "sunny", "tool_name": "get_weather"},
        {"role": "assistant", "content": "So be it."},
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "thanks"},
    ]


@pytest.mark.parametrize(
    "thought",
    [
        Reasoning("hm"),
        Reasoning("hm", Seal("anthropic", "m-1")),
        Reasoning("hm", Seal("ollama", "m-2")),
        Reasoning("", Seal("ollama", "m-1")),
    ],
)
async def test_what_another_model_thought_is_left_out(upstream: Upstream, thought: Reasoning) -> None:
    messages = [PromptMessage("assistant", (thought, Text("a"))), *ask("hi").messages]
    await answer(upstream, ModelRequest(messages=messages))
    assert upstream.bodies[0]["messages"][0] == {"role": "assistant", "content": "a"}


async def test_a_model_is_given_back_what_it_thought_by_its_own_name(upstream: Upstream) -> None:
    thought = PromptMessage("assistant", (Reasoning("hm", Seal("ollama", "m-2")), Text("a")))
    await answer(upstream, ModelRequest(messages=[thought, *ask("hi").messages], model="m-2"))
    assert upstream.bodies[0]["model"] == "m-2"
    assert upstream.bodies[0]["messages"][0]["thinking"] == "hm"


async def test_results_stand_in_the_order_of_their_calls(upstream: Upstream) -> None:
    """They have no ids, and so nothing else tells those of the same tool apart."""
    calls = PromptMessage("assistant", (_call("c1", "Paris"), _call("c2", "Rome"), ToolCall("c3", "clock", "{}")))
    again = PromptMessage("assistant", (ToolCall("c1", "clock", "{}"),))  # models use an id again
    results = [
        PromptMessage("tool", (ToolResult(id, says),)) for id, says in [("c3", "9"), ("c2", "rain"), ("c1", "sun")]
    ]
    messages = [*ask("?").messages, calls, *results, again, PromptMessage("tool", (ToolResult("c1", "10"),))]
    await answer(upstream, ModelRequest(messages=messages))
    told = [(m["tool_name"], m["content"]) for m in upstream.bodies[0]["messages"] if m["role"] == "tool"]
    assert told == [("get_weather", "sun"), ("get_weather", "rain"), ("clock", "9"), ("clock", "10")]


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ('{"a": [1]}', {"a": [1]}),
        ("", {}),
        ("{broken", {"arguments": "{broken"}),
        ("[1]", {"arguments": [1]}),
        ("null", {"arguments": None}),
    ],
)
async def test_arguments_are_an_object_whatever_another_model_wrote(
    upstream: Upstream, arguments: str, sent: dict[str, Any]
) -> None:
    call = PromptMessage("assistant", (ToolCall("c1", "f", arguments),))
    await answer(upstream, ModelRequest(messages=[call, PromptMessage("tool", (ToolResult("c1", "no"),))]))
    assert upstream.bodies[0]["messages"][0]["tool_calls"] == [{"function": {"name": "f", "arguments": sent}}]


async def test_tools_and_json(upstream: Upstream) -> None:
    await answer(upstream, replace(ask("hi", WEATHER), json_output=True))
    [tool] = upstream.bodies[0]["tools"]
    function = {"name": WEATHER.name, "description": WEATHER.description, "parameters": WEATHER.parameters}
    assert tool == {"type": "function", "function": function}
    assert upstream.bodies[0]["format"] == "json"


@pytest.mark.parametrize(("levels", "sent"), [(False, True), (True, "high")])
async def test_thinking(upstream: Upstream, levels: bool, sent: object) -> None:
    await answer(upstream, replace(ask("hi"), reasoning="high"), levels=levels, extra_body={"think": False})
    await answer(upstream, ask("hi"), levels=levels, extra_body={"think": False})
    assert [body["think"] for body in upstream.bodies] == [sent, False]


async def test_options(upstream: Upstream) -> None:
    sampling = Sampling(
        temperature=0.5,
        max_tokens=7,
        top_p=0.9,
        frequency_penalty=0.1,
        presence_penalty=0.2,
        parameters={"seed": 1, "stop": "END", "min_p": 0.1, "num_gpu": 99, "num_ctx": 1 << 20, "model": "x"},
    )
    await answer(upstream, replace(ask("hi"), sampling=sampling))
    await answer(
        upstream, replace(ask("hi"), sampling=sampling), options={"num_ctx": 8192, "temperature": 0.0}, keep_alive="10m"
    )
    chosen = {
        "temperature": 0.5,
        "num_predict": 7,
        "top_p": 0.9,
        "frequency_penalty": 0.1,
        "presence_penalty": 0.2,
        "seed": 1,
        "stop": ["END"],
        "min_p": 0.1,
    }
    assert upstream.bodies[0]["options"] == chosen
    assert upstream.bodies[1]["options"] == {**chosen, "num_ctx": 8192, "temperature": 0.0}
    assert [body.get("keep_alive") for body in upstream.bodies] == [None, "10m"]


async def test_what_the_model_cannot_do_is_refused_before_the_service_is_asked(upstream: Upstream) -> None:
    image = PromptMessage("user", (ImageData("image/png", PNG),))
    file = PromptMessage("user", (FileData("a.pdf", "application/pdf", b"%PDF"),))
    off = {"tools": False, "reasoning": False}
    for request, section in [
        (ModelRequest(messages=[image]), {}),
        (ModelRequest(messages=[file]), {"vision": True}),
        (ask("hi", WEATHER), off),
        (replace(ask("hi"), reasoning="low"), off),
        (ask("half a character \ud83d"), {}),
    ]:
        with pytest.raises(ProviderRejected):
            await answer(upstream, request, **section)
    assert upstream.bodies == []


async def test_abilities(upstream: Upstream) -> None:
    async with open_ollama(settings(upstream)) as provider:
        assert provider.abilities == Abilities(vision=False, image_types=IMAGES)
    async with open_ollama(settings(upstream, vision=True, tools=False, reasoning=False)) as provider:
        assert provider.abilities == Abilities(vision=True, tools=False, reasoning=False, image_types=IMAGES)


async def test_a_schema_goes_out_as_it_came(upstream: Upstream) -> None:
    """Also what the published type of a schema does not know; the upstream says so, and it is all that it says."""
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}, "additionalProperties": False}
    await answer(upstream, ask("hi", ToolDefinition("f", "?", schema)))
    assert upstream.bodies[0]["tools"][0]["function"]["parameters"] == schema
    [problem] = upstream.problems
    assert "minimum" in problem
    upstream.problems.clear()


def _call(id: str, city: str) -> ToolCall:
    return ToolCall(id, WEATHER.name, f'{{"city": "{city}"}}')


# ---- the upstream itself


async def test_the_upstream_speaks_what_the_vendors_client_reads(upstream: Upstream) -> None:
    function = {"name": "get_weather", "description": "?", "parameters": WEATHER.parameters}
    async with ollama.AsyncClient(host=upstream.base_url) as client:
        stream = await client.chat(
            "m-1", [{"role": "user", "content": "two words"}], stream=True, think=True, options={"seed": 1}
        )
        parts = [part async for part in stream]
        called = await client.chat(
            "m-1", [{"role": "user", "content": "hi"}], tools=[{"type": "function", "function": function}], stream=True
        )
        calls = [c async for part in called for c in part.message.tool_calls or ()]
        listed = await client.list()
        steps = [step.status async for step in await client.pull("m-1", stream=True)]
        upstream.lacking.add("m-3")
        with pytest.raises(ollama.ResponseError, match="model 'm-3' not found"):
            await client.chat("m-3", [{"role": "user", "content": "hi"}])
    assert "".join([part.message.content or "" for part in parts]) == "two words"
    assert "".join([part.message.thinking or "" for part in parts]) == "So be it."
    assert (parts[-1].done_reason, parts[-1].eval_count) == ("stop", 2)
    assert [(c.function.name, c.function.arguments) for c in calls] == [("get_weather", {"city": "Paris"})]
    assert [model.model for model in listed.models] == ["m-1", "m-2"]
    assert steps[-1] == "success"


def test_the_upstream_notices_what_does_not_fit() -> None:
    good = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    assert misfits(good) == []
    tool = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
    for wrong in (
        {"temperature": 1},
        {"messages": [{"role": "tool", "content": "", "tool_call_id": "x"}]},
        {"messages": [{"role": "assistant", "tool_calls": [tool]}]},
        {"messages": [{"role": "user", "content": "", "images": ["no base64!"]}]},
        {"options": {"seed": "x"}},
        {"tools": [{"type": "function", "name": "f"}]},
    ):
        assert misfits({**good, **wrong}), wrong
