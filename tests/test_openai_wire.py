"""Both of OpenAI's APIs by the types of the ``openai`` package: what is sent in each case, and what it means there.

The upstream checks every body by the types of the request; that it speaks as the service does is seen by asking it with
the package's own client.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from openai import AsyncOpenAI

from backchat.domain.message import Reasoning, Seal, Text, ToolCall, ToolResult
from backchat.domain.run import ReasoningDelta
from backchat.domain.settings import Sampling
from backchat.errors import ProviderRejected
from backchat.ports.providers import FileData, Finish, ImageData, ModelRequest, PromptMessage, UsageReport
from backchat.testing.provider import WEATHER, ask, collect, said
from backchat_openai.provider import open_openai
from backchat_openai.settings import GROQ, OPENAI, OPENROUTER, Preset, SettingsSchema
from openai_upstream import Upstream, serve

PDF = FileData("a.pdf", "application/pdf", b"%PDF")
IMAGE = ImageData("image/png", b"\x89PNG")


@pytest.fixture(params=["chat", "responses"])
def api(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with serve() as upstream:
        yield upstream
        assert upstream.problems == []


async def answer(upstream: Upstream, request: ModelRequest, preset: Preset = OPENAI, **section: Any) -> list[Any]:
    upstream.service = preset.name
    section = {"model": "m-1", "base_url": upstream.base_url, **section}
    async with open_openai(SettingsSchema(preset).load(section)) as provider:
        return await collect(provider, request)


def said_to(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages, or the items, of a body."""
    found: list[dict[str, Any]] = body.get("messages") or body["input"]
    return found


HISTORY = [
    PromptMessage("user", (Text("look"), IMAGE, PDF)),
    PromptMessage("assistant", (Reasoning("hm", Seal("anthropic", "x")), Reasoning("so"))),
    PromptMessage(
        "assistant",
        (Text(""), ToolCall("toolu_1", "f", "{}"), ToolCall("x" * 41, "f", "{}"), ToolCall("a.b:c", "f", "{}")),
    ),
    PromptMessage("tool", (ToolResult("toolu_1", "one"),)),
    PromptMessage("tool", (ToolResult("x" * 41, "two"),)),
    PromptMessage("tool", (ToolResult("a.b:c", "three"),)),
    PromptMessage("assistant", (Text("done"),)),
    PromptMessage("user", (Text("and?"),)),
]


@pytest.mark.parametrize("preset", [OPENAI, GROQ, OPENROUTER], ids=["openai", "groq", "openrouter"])
async def test_a_history_of_other_services_is_taken(upstream: Upstream, api: str, preset: Preset) -> None:
    await answer(upstream, ModelRequest(messages=HISTORY, tools=[WEATHER]), preset, api=api, files=True)
    sent = said_to(upstream.bodies[0])
    text = json.dumps(sent)
    assert "hm" not in text
    assert all(message.get("content") != "" for message in sent)
    assert '"so"' not in text
    calls = [c for m in sent for c in m.get("tool_calls", [])] or [m for m in sent if m.get("type") == "function_call"]
    results = [m for m in sent if m.get("role") == "tool" or m.get("type") == "function_call_output"]
    called = [call.get("call_id") or call["id"] for call in calls]
    assert called == [result.get("call_id") or result["tool_call_id"] for result in results]
    assert called[0] == "toolu_1"
    assert len(set(called)) == 3
    for id in called[1:]:
        assert id.startswith("call_")
        assert len(id) <= 40


@pytest.mark.parametrize(("strict", "more"), [(None, {}), (True, {"strict": True}), (False, {"strict": False})])
async def test_a_chat_says_whether_a_tool_is_strict(upstream: Upstream, strict: bool | None, more: Any) -> None:
    await answer(upstream, ask("hi", replace(WEATHER, strict=strict)))
    assert upstream.bodies[0]["tools"][0]["function"] == {
        "name": WEATHER.name,
        "description": WEATHER.description,
        "parameters": WEATHER.parameters,
        **more,
    }


@pytest.mark.parametrize(
    ("request_", "added"),
    [
        (ask("hi"), True),
        (ask("as Json, please"), False),
        (ModelRequest(messages=[*HISTORY[2:4], PromptMessage("tool", (ToolResult("x", "JSON"),))]), False),
    ],
)
async def test_the_word_that_a_json_object_needs_is_said(
    upstream: Upstream, api: str, request_: ModelRequest, added: bool
) -> None:
    await answer(upstream, replace(request_, json_output=True), api=api)
    await answer(upstream, request_, api=api)
    assert [("JSON object" in json.dumps(said_to(body))) for body in upstream.bodies] == [added, False]


async def test_a_system_text_that_says_json_is_left_alone_in_a_chat(upstream: Upstream) -> None:
    await answer(upstream, replace(ask("hi"), system="Speak JSON.", json_output=True))
    await answer(upstream, replace(ask("hi"), system="Be brief.", json_output=True))
    assert [body["messages"][0]["content"] for body in upstream.bodies] == [
        "Speak JSON.",
        "Be brief.\n\nAnswer with a JSON object.",
    ]


async def test_instructions_that_say_json_do_not_count_for_the_other_api(upstream: Upstream) -> None:
    await answer(upstream, replace(ask("hi"), system="Speak JSON.", json_output=True), api="responses")
    assert "JSON object" in upstream.bodies[0]["input"][0]["content"]


async def test_efforts_are_said_in_the_services_words(upstream: Upstream) -> None:
    for preset in (OPENAI, OPENROUTER):
        await answer(upstream, replace(ask("hi"), reasoning="low"), preset, efforts={"low": "minimal"})
    assert upstream.bodies[0]["reasoning_effort"] == "minimal"
    assert upstream.bodies[1]["reasoning"] == {"effort": "minimal"}


async def test_a_parameter_never_carries_the_wishes_of_another_api(upstream: Upstream) -> None:
    taken = {"openrouter": {"sort": "price"}, "input": "x", "instructions": "x", "previous_response_id": "x"}
    for api in ("chat", "responses"):
        await answer(upstream, ask("hi"), api=api)
        await answer(upstream, replace(ask("hi"), sampling=Sampling(parameters=taken)), api=api)
    assert upstream.bodies[0] == upstream.bodies[1]
    assert upstream.bodies[2] == upstream.bodies[3]


async def test_parallel_calls_with_streamed_arguments_reasoning_and_usage(upstream: Upstream) -> None:
    events = await answer(upstream, ask("weather?", WEATHER), api="responses")
    assert [e.text for e in events if isinstance(e, ReasoningDelta)]
    (call,) = [e for e in events if isinstance(e, ToolCall)]
    assert json.loads(call.arguments) == {"city": "Paris"}
    (usage,) = [e.usage for e in events if isinstance(e, UsageReport)]
    assert (usage.cached_tokens, usage.cache_write_tokens, usage.reasoning_tokens) == (4, 3, 2)
    assert events[-1] == Finish("tool_calls")


# ---- what a model cannot do


def _with(ability: str, able: bool) -> dict[str, Any]:
    return {ability: able}


@pytest.mark.parametrize(
    ("lack", "request_"),
    [
        ("vision", ModelRequest(messages=[PromptMessage("user", (IMAGE,))])),
        ("tools", ask("hi", WEATHER)),
        ("reasoning", replace(ask("hi"), reasoning="low")),
        ("json_output", replace(ask("json"), json_output=True)),
        ("files", ModelRequest(messages=[PromptMessage("user", (PDF,))])),
    ],
)
async def test_what_the_model_cannot_do_is_refused_before_it_is_asked(
    upstream: Upstream, api: str, lack: str, request_: ModelRequest
) -> None:
    with pytest.raises(ProviderRejected):
        await answer(upstream, request_, api=api, **_with(lack, False))
    assert upstream.bodies == []
    assert (await answer(upstream, request_, api=api, **_with(lack, True)))[-1]


async def test_a_document_of_another_type_is_refused(upstream: Upstream, api: str) -> None:
    asked = ModelRequest(messages=[PromptMessage("user", (replace(PDF, mime="text/csv"),))])
    with pytest.raises(ProviderRejected):
        await answer(upstream, asked, api=api, files=True)
    assert upstream.bodies == []


@pytest.mark.parametrize(
    ("preset", "section", "reads"),
    [
        (OPENAI, {}, True),
        (OPENAI, {"files": False}, False),
        (OPENAI, {"base_url": "http://127.0.0.1:11434/v1"}, False),
        (OPENAI, {"base_url": "http://127.0.0.1:11434/v1", "files": True}, True),
        (OPENROUTER, {}, False),
        (OPENROUTER, {"files": True}, True),
    ],
)
async def test_documents_are_for_who_is_known_to_read_them(preset: Preset, section: Any, reads: bool) -> None:
    async with open_openai(SettingsSchema(preset).load({"model": "m", **section})) as provider:
        assert ("application/pdf" in provider.abilities.files) is reads


# ---- the vendor's own client


async def test_the_vendors_client_reads_what_the_upstream_says(upstream: Upstream) -> None:
    async with AsyncOpenAI(api_key="sk-1", base_url=upstream.base_url, max_retries=0) as client:
        chunks = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "good day"}], stream=True
        )
        assert "".join([c.choices[0].delta.content or "" async for c in chunks if c.choices]) == "good day"
        events = await client.responses.create(model="m", input=[{"role": "user", "content": "good day"}], stream=True)
        async for event in events:
            if event.type == "response.completed":
                assert event.response.output_text == "good day"
                break
        else:
            pytest.fail("no end")
        assert [model.id async for model in client.models.list()] == ["m-1", "m-2"]


async def test_the_vendors_client_asks_for_the_same(upstream: Upstream, api: str) -> None:
    """A plain question with instructions, by the package's client and by ours: the same but for what we fix."""
    question, fixed = {"role": "user", "content": "good day"}, {"store", "include", "stream_options"}
    async with AsyncOpenAI(api_key="sk-1", base_url=upstream.base_url, max_retries=0) as client:
        if api == "chat":
            await client.chat.completions.create(
                model="m-1",
                messages=[{"role": "system", "content": "Be brief."}, question],
                stream=True,
            )
        else:
            await client.responses.create(model="m-1", instructions="Be brief.", input=[question], stream=True)
    assert said(await answer(upstream, replace(ask("good day"), system="Be brief."), api=api)) == "good day"
    theirs, ours = upstream.bodies
    assert {name: ours[name] for name in ours.keys() - fixed} == theirs
