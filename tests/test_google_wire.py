"""What the ``google`` provider asks. The upstream checks every body against Google's own types, and rules of turns."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from marshmallow import ValidationError

import backchat_google
from backchat.domain.message import Reasoning, Seal, Text, ToolCall, ToolResult
from backchat.domain.settings import Sampling
from backchat.errors import ProviderRejected
from backchat.plugins import Plugins
from backchat.ports.providers import Citation, FileData, ImageData, ModelRequest, PromptMessage, PromptPart
from backchat.testing.provider import WEATHER, ask, collect
from backchat.upstream import bodies
from backchat_google.provider import open_google
from backchat_google.seals import UNSIGNED
from backchat_google.settings import SettingsSchema
from google_trials import KEY, settings
from google_upstream import Upstream, serve

PNG, PDF = ImageData("image/png", b"\x89PNG\xfb\xff"), FileData("plan.pdf", "application/pdf", b"%PDF-1.7")
OLD = "gemini-2.5-flash"


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with serve() as upstream:
        yield upstream
        assert upstream.problems == []


async def sent(upstream: Upstream, request: ModelRequest, **section: Any) -> dict[str, Any]:
    async with open_google(settings(upstream, **section)) as provider:
        await collect(provider, request)
    return upstream.bodies[-1]


def user(*parts: PromptPart | str) -> PromptMessage:
    return PromptMessage("user", tuple([Text(p) if isinstance(p, str) else p for p in parts]))


def model(*parts: PromptPart | str) -> PromptMessage:
    return PromptMessage("assistant", tuple([Text(p) if isinstance(p, str) else p for p in parts]))


def result(id: str, content: str) -> PromptMessage:
    return PromptMessage("tool", (ToolResult(id, content),))


async def test_asks_for_a_stream(upstream: Upstream) -> None:
    assert await sent(upstream, ask("hi")) == {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
    assert upstream.paths == ["/v1beta/models/gemini-3.8-flash:streamGenerateContent?alt=sse"]
    assert upstream.requests[0]["x-goog-api-key"] == KEY


@pytest.mark.parametrize(
    ("configured", "asked", "path"),
    [
        ("models/gemini-x", None, "/v1beta/models/gemini-x"),
        ("gemini-x", "gemini-y", "/v1beta/models/gemini-y"),
        ("gemini-x", "models/gemini-y", "/v1beta/models/gemini-y"),
        ("gemini-x", "tunedModels/mine-1", "/v1beta/tunedModels/mine-1"),
    ],
)
async def test_names_of_models(upstream: Upstream, configured: str, asked: str | None, path: str) -> None:
    await sent(upstream, replace(ask("hi"), model=asked), model=configured)
    assert upstream.paths == [f"{path}:streamGenerateContent?alt=sse"]


async def test_where_the_service_lives(upstream: Upstream) -> None:
    await sent(upstream, ask("hi"), base_url=f"{upstream.base_url}/?team=a%20b", api_version="v1", headers={"X-A": "b"})
    assert upstream.paths == ["/v1/models/gemini-3.8-flash:streamGenerateContent?team=a+b&alt=sse"]
    assert upstream.requests[0]["X-A"] == "b"


async def test_instructions_are_apart(upstream: Upstream) -> None:
    request = ModelRequest(
        messages=[user("hi"), PromptMessage("system", (Text("In French."),)), model("Salut."), user("?")],
        system="Be brief.",
        summary="They met.",
        citations=[Citation("notes", "tea")],
    )
    body = await sent(upstream, request)
    (part,) = body["systemInstruction"]["parts"]
    said = part["text"]
    assert 0 == said.index("Be brief.") < said.index("They met.") < said.index("(notes) tea") < said.index("In French.")
    assert [(c["role"], [p["text"] for p in c["parts"]]) for c in body["contents"]] == [
        ("user", ["hi"]),
        ("model", ["Salut."]),
        ("user", ["?"]),
    ]


async def test_a_conversation_with_everything(upstream: Upstream) -> None:
    """Of another service: its seals are left out, as is what its model thought."""
    seal = Seal("anthropic", "sig")
    messages = [
        user("look ", PNG, "and ", PDF),
        model(Reasoning("hm", seal), "I look.", ToolCall("c1", "get_weather", '{"city": "Paris"}', seal)),
        result("c1", "sunny"),
        model(ToolCall("c1", "get_weather", "[1]"), ToolCall("c2", "9 lives/!", '{"a": {"b": null}}')),
        result("c1", "rain"),
        result("c2", ""),
        model("So be it.", PNG),
        model("", "And more."),
        user(""),
        user("thanks"),
    ]
    contents = (await sent(upstream, ModelRequest(messages=messages, tools=[WEATHER])))["contents"]
    image = {"inlineData": {"mimeType": "image/png", "data": b64encode(PNG.data).decode()}}
    document = {"inlineData": {"mimeType": "application/pdf", "data": b64encode(PDF.data).decode()}}

    def call(id: str, name: str, args: object, **more: str) -> dict[str, Any]:
        return {"functionCall": {"id": id, "name": name, "args": args}, **more}

    def answer(id: str, name: str, output: str) -> dict[str, Any]:
        return {"functionResponse": {"id": id, "name": name, "response": {"output": output}}}

    signed = {"thoughtSignature": UNSIGNED}
    assert [(c["role"], c["parts"]) for c in contents] == [
        ("user", [{"text": "look "}, image, {"text": "and "}, {"text": "[file: plan.pdf]"}, document]),
        ("model", [{"text": "I look."}, call("c1", "get_weather", {"city": "Paris"}, **signed)]),
        ("user", [answer("c1", "get_weather", "sunny")]),
        (
            "model",
            [call("c1", "get_weather", {"arguments": [1]}, **signed), call("c2", "_9_lives__", {"a": {"b": None}})],
        ),
        ("user", [answer("c1", "get_weather", "rain"), answer("c2", "_9_lives__", "")]),
        ("model", [{"text": "So be it."}, image, {"text": "And more."}]),
        ("user", [{"text": "thanks"}]),
    ]


async def test_results_stay_apart_from_what_the_user_says(upstream: Upstream) -> None:
    messages = [user("?"), model(ToolCall("a", "f", "{}")), result("a", "1"), user("stop"), user("now")]
    contents = (await sent(upstream, ModelRequest(messages=messages)))["contents"]
    assert [len(c["parts"]) for c in contents] == [1, 1, 1, 2]


async def test_earlier_models_want_no_signatures(upstream: Upstream) -> None:
    messages = [user("?"), model(ToolCall("a", "f", "{}")), result("a", "1")]
    body = await sent(upstream, ModelRequest(messages=messages, model=OLD))
    assert "thoughtSignature" not in str(body)


async def test_the_user_begins(upstream: Upstream) -> None:
    contents = (await sent(upstream, ModelRequest(messages=[model("Welcome!"), user("hi")])))["contents"]
    assert [c["role"] for c in contents] == ["user", "model", "user"]


async def test_declares_tools(upstream: Upstream) -> None:
    bare = replace(WEATHER, name="9.lives", description="", parameters={"type": "object", "$defs": {"a": {}}})
    body = await sent(upstream, replace(ask("hi", WEATHER, bare), tools=[WEATHER, bare]))
    assert body["tools"] == [
        {
            "functionDeclarations": [
                {
                    "name": "get_weather",
                    "description": WEATHER.description,
                    "parametersJsonSchema": WEATHER.parameters,
                },
                {"name": "_9.lives", "parametersJsonSchema": {"type": "object", "$defs": {"a": {}}}},
            ]
        }
    ]
    assert "toolConfig" not in body
    strict = await sent(upstream, ask("hi", bare, replace(WEATHER, strict=True)))
    assert strict["toolConfig"] == {"functionCallingConfig": {"mode": "VALIDATED"}}


@pytest.mark.parametrize(
    ("name", "section", "expected"),
    [
        ("gemini-3.8-flash", {}, {"thinkingLevel": "MEDIUM"}),
        ("gemini-flash-latest", {}, {"thinkingLevel": "MEDIUM"}),
        (OLD, {}, {"thinkingBudget": 8192}),
        ("models/gemini-2.5-pro", {}, {"thinkingBudget": 8192}),
        ("tunedModels/mine", {"thinking": "budget"}, {"thinkingBudget": 8192}),
    ],
)
async def test_says_how_hard_to_think(
    upstream: Upstream, name: str, section: dict[str, Any], expected: dict[str, Any]
) -> None:
    body = await sent(upstream, replace(ask("hi"), model=name, reasoning="medium"), **section)
    assert body["generationConfig"] == {"thinkingConfig": {"includeThoughts": True, **expected}}


async def test_sends_how_words_are_chosen(upstream: Upstream) -> None:
    parameters = {
        "seed": 3,
        "top_k": 7,
        "stop": "x",
        "thinkingConfig": {},
        "candidateCount": 3,
        "responseMimeType": "a",
    }
    sampling = Sampling(
        temperature=0.0, max_tokens=5, top_p=0.5, frequency_penalty=1, presence_penalty=-1, parameters=parameters
    )
    asked = replace(ask("hi"), sampling=sampling, json_output=True)
    common = {"temperature": 0.0, "maxOutputTokens": 5, "topP": 0.5, "seed": 3, "topK": 7, "stopSequences": ["x"]}
    expected = {**common, "responseMimeType": "application/json"}
    assert (await sent(upstream, asked))["generationConfig"] == expected
    body = await sent(upstream, asked, penalties=True)
    assert body["generationConfig"] == {**expected, "frequencyPenalty": 1, "presencePenalty": -1}


async def test_what_the_configuration_fixes_holds(upstream: Upstream) -> None:
    thinks = {"includeThoughts": False, "thinkingBudget": 7}
    extra = {
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
        "generationConfig": {"temperature": 1, "maxOutputTokens": 10, "thinkingConfig": thinks},
    }
    asked = replace(ask("hi"), sampling=Sampling(temperature=0.5, top_p=0.5, max_tokens=1000))
    body = await sent(upstream, asked, extra_body=extra)
    assert body["safetySettings"] == extra["safetySettings"]
    fixed = {"temperature": 1, "topP": 0.5, "maxOutputTokens": 10}
    assert body["generationConfig"] == {**fixed, "thinkingConfig": thinks}
    body = await sent(upstream, replace(asked, reasoning="low"), extra_body=extra)
    assert body["generationConfig"] == {
        **fixed,
        "thinkingConfig": {"includeThoughts": False, "thinkingLevel": "LOW"},
    }


async def test_large_files_are_encoded_beside_the_loop(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "LARGE", 4)
    body = await sent(upstream, ModelRequest(messages=[user(PNG, "?")]))
    assert [list(p) for p in body["contents"][0]["parts"]] == [["inlineData"], ["text"]]


@pytest.mark.parametrize(
    ("messages", "section", "more"),
    [
        ([user("half a character: \ud83d")], {}, {}),
        ([user("")], {}, {}),
        ([], {}, {}),
        ([user("?"), result("c1", "of no call")], {}, {}),
        ([user("?"), PromptMessage("system", (PNG,))], {}, {}),
        ([user(PNG)], {"vision": False}, {}),
        ([user(replace(PNG, mime="image/gif"))], {}, {}),
        ([user(PDF)], {"files": False}, {}),
        ([user(replace(PDF, mime="text/html"))], {}, {}),
        ([user("?")], {"tools": False}, {"tools": [WEATHER]}),
        ([user("?")], {"reasoning": False}, {"reasoning": "low"}),
        ([user("?")], {"json_output": False}, {"json_output": True}),
        ([user("?")], {"model": OLD}, {"json_output": True, "tools": [WEATHER]}),
        ([user("?")], {}, {"tools": [replace(WEATHER, name=n) for n in ("a b", "a/b")]}),
        ([user("?")], {}, {"model": "../v1/files?x="}),
        ([user("?")], {}, {"model": "gemini:batchGenerateContent"}),
    ],
)
async def test_what_cannot_be_asked_is_refused_before(
    upstream: Upstream, messages: Sequence[PromptMessage], section: dict[str, Any], more: dict[str, Any]
) -> None:
    with pytest.raises(ProviderRejected):
        await sent(upstream, ModelRequest(messages=messages, **more), **section)
    assert upstream.bodies == []


@pytest.mark.parametrize(
    "section",
    [
        {},
        {"model": ""},
        {"model": "a/b"},
        {"model": "m", "api_version": "v1beta/x"},
        {"model": "m", "base_url": "https://example.org/?key=abc"},
        {"model": "m", "headers": {"X-Goog-Api-Key": "abc"}},
        {"model": "m", "thinking": "hard"},
        {"model": "m", "extra_body": {"contents": []}},
        {"model": "m", "extra_body": {"generation_config": {}}},
        {"model": "m", "extra_body": {"generationConfig": 7}},
        {"model": "m", "extra_body": {"generationConfig": {"thinkingConfig": 7}}},
    ],
)
def test_settings_that_are_wrong(section: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SettingsSchema().load(section)


def test_it_is_offered_and_shows_no_secrets() -> None:
    offered = Plugins([backchat_google]).providers.pick("google")
    assert KEY not in repr(offered.schema.load({"model": "m", "api_key": KEY, "headers": {"X-A": KEY}}))
