"""What ``echo`` says, and when it calls a tool."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from marshmallow import ValidationError

from backchat.domain.message import Reasoning, Text, ToolCall, ToolResult, Usage
from backchat.domain.run import ReasoningDelta, TextDelta
from backchat.domain.settings import Sampling
from backchat.plugins import Plugins
from backchat.ports.providers import (
    Abilities,
    Citation,
    Finish,
    ImageData,
    ModelRequest,
    PromptMessage,
    ToolDefinition,
    UsageReport,
)
from backchat.testing.provider import WEATHER, ask, collect, said
from backchat_echo.provider import EchoProvider, SettingsSchema


def echo(**section: Any) -> EchoProvider:
    return EchoProvider(SettingsSchema().load(section))


def tool(name: str, **parameters: Any) -> ToolDefinition:
    return ToolDefinition(name, "", {"type": "object", **parameters})


async def arguments(text: str, properties: dict[str, Any], **parameters: Any) -> dict[str, Any]:
    """The arguments for a tool that requires all of these properties."""
    definition = tool("store_value", properties=properties, required=list(properties), **parameters)
    (call,) = [e for e in await collect(echo(), ask(text, definition)) if isinstance(e, ToolCall)]
    assert call.name == "store_value"
    filled: dict[str, Any] = json.loads(call.arguments)
    return filled


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("hello", ["hello"]),
        ("two  words\n", ["two  ", "words\n"]),
        ("  led by blanks", ["  led ", "by ", "blanks"]),
        ("a\r\nb\u2028c \U0001f30a", ["a\r\n", "b\u2028", "c ", "\U0001f30a"]),
        (" \n", ["(no ", "text)"]),
        ("", ["(no ", "text)"]),
    ],
)
async def test_streams_word_by_word(text: str, pieces: list[str]) -> None:
    events = await collect(echo(), ask(text))
    assert [e.text for e in events if isinstance(e, TextDelta)] == pieces


async def test_repeats_the_last_thing_the_user_said() -> None:
    messages = [
        PromptMessage("user", (Text("first"),)),
        PromptMessage("assistant", (Reasoning("hm"), Text("first"))),
        PromptMessage("user", (Text("sec"), Text("ond"))),
    ]
    assert said(await collect(echo(), ModelRequest(messages=messages))) == "second"


async def test_cites_what_it_was_given() -> None:
    found = [Citation("memory", "likes tea"), Citation("report.pdf, page 3", "tea is hot")]
    assert said(await collect(echo(), replace(ask("tea?"), citations=found))) == (
        "tea?\n[1] memory: likes tea\n[2] report.pdf, page 3: tea is hot"
    )


async def test_says_which_images_it_was_given() -> None:
    parts = (Text("look"), ImageData("image/png", b"x" * 68), ImageData("image/jpeg", b"y" * 5))
    request = ModelRequest(messages=[PromptMessage("user", parts)])
    assert said(await collect(echo(), request)) == "look\n2 images: [image/png, 68 bytes] [image/jpeg, 5 bytes]"
    request = ModelRequest(messages=[PromptMessage("user", parts[1:2])])
    assert said(await collect(echo(), request)) == "1 image: [image/png, 68 bytes]"


async def test_shows_the_instructions_if_told_to() -> None:
    request = replace(ask("hi"), system="Be brief.")
    assert said(await collect(echo(show_system=True), request)) == "[system] Be brief.\nhi"
    assert said(await collect(echo(), request)) == "hi"


async def test_thinks_aloud_only_when_asked() -> None:
    events = await collect(echo(), replace(ask("three short words"), reasoning="high"))
    thought = [e.text for e in events if isinstance(e, ReasoningDelta)]
    assert "".join(thought) == "Thinking with high effort about 3 words."
    assert events.index(TextDelta("three ")) == len(thought)
    assert events[-2] == UsageReport(Usage(input_tokens=3, output_tokens=10, reasoning_tokens=7))
    for quiet in (
        collect(echo(), ask("hi")),
        collect(echo(reasoning=False), replace(ask("hi"), reasoning="low")),
    ):
        assert not any(isinstance(e, ReasoningDelta) for e in await quiet)


async def test_json_output_is_an_object() -> None:
    answer = said(await collect(echo(), replace(ask('say "hé"\n'), json_output=True)))
    assert json.loads(answer) == {"text": 'say "hé"\n'}


async def test_counts_words() -> None:
    call = ToolCall("c", "get_weather", '{"city": "Paris"}')
    request = ModelRequest(
        system="Be brief.",
        citations=[Citation("memory", "likes tea")],
        messages=[
            PromptMessage("user", (Text("the weather"), ImageData("image/png", b"1"))),
            PromptMessage("assistant", (call,)),
            PromptMessage("tool", (ToolResult("c", "18 degrees"),)),
        ],
    )
    events = await collect(echo(), request)
    assert said(events) == "get_weather: 18 degrees\n[1] memory: likes tea"
    assert events[-2:] == [UsageReport(Usage(input_tokens=11, output_tokens=7)), Finish("stop")]


async def test_reaches_the_least_length() -> None:
    assert said(await collect(echo(words=5), ask("a b"))) == "a b a b a"
    assert said(await collect(echo(words=1), ask("a b"))) == "a b"


async def test_stops_at_the_most_tokens() -> None:
    events = await collect(echo(), replace(ask("a b c"), sampling=Sampling(max_tokens=2)))
    assert said(events) == "a b "
    assert events[-2:] == [UsageReport(Usage(input_tokens=3, output_tokens=2)), Finish("length")]


async def test_chooses_its_words_without_chance() -> None:
    sampling = Sampling(temperature=2, top_p=0.1, frequency_penalty=2, presence_penalty=2, parameters={"seed": 1})
    assert await collect(echo(), replace(ask("a b c"), sampling=sampling)) == await collect(echo(), ask("a b c"))


async def test_a_long_reply_lets_others_run() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    running = asyncio.create_task(other())
    await collect(echo(words=1000), ask("word"))
    running.cancel()
    assert turns > 10


async def test_waits_before_each_word(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr("backchat_echo.provider.asyncio.sleep", sleep)
    await collect(echo(delay_ms=20), ask("one two three"))
    assert waits == [0.02, 0.02, 0.02]


@pytest.mark.parametrize(
    ("name", "text", "called"),
    [
        ("get_weather", "What is the WEATHER like?", True),
        ("getWeather", "weather, please", True),
        ("fetch-weather-report", "a report", True),
        ("parseHTTPHeaders", "the headers", True),
        ("get_weather", "What do I get?", False),
        ("get_weather", "weathering the storm", False),
        ("run_sql", "run sql", False),
        ("get_météo", "la METEO", True),
    ],
)
async def test_calls_a_tool_that_the_text_names(name: str, text: str, called: bool) -> None:
    events = await collect(echo(), ask(text, tool("other"), tool(name)))
    calls = [e for e in events if isinstance(e, ToolCall)]
    assert [(c.name, c.arguments) for c in calls] == ([(name, "{}")] if called else [])
    assert events[-1] == Finish("tool_calls" if called else "stop")
    assert said(events) == ("" if called else text)


async def test_calls_the_tool_that_is_named_best() -> None:
    tools = [tool("search_documents"), tool("search_archive"), tool("search_images")]
    for text, name in [("search", "search_documents"), ("search the archive", "search_archive")]:
        (call,) = [e for e in await collect(echo(), ask(text, *tools)) if isinstance(e, ToolCall)]
        assert call.name == name


async def test_calls_no_tool_without_the_ability() -> None:
    provider = echo(tools=False, vision=False)
    assert provider.abilities == Abilities(vision=False, tools=False, instructions=False)
    assert said(await collect(provider, ask("weather", WEATHER))) == "weather"


def test_claims_to_follow_instructions_only_if_told_to() -> None:
    assert not echo().abilities.instructions
    assert echo(instructions=True).abilities.instructions


async def test_ids_of_calls_are_repeatable_and_differ_within_a_conversation() -> None:
    question = PromptMessage("user", (Text("weather"),))

    async def call(*earlier: PromptMessage) -> ToolCall:
        request = ModelRequest(messages=[*earlier, question], tools=[WEATHER])
        (found,) = [e for e in await collect(echo(), request) if isinstance(e, ToolCall)]
        return found

    first = await call()
    assert await call() == first
    answered = [question, PromptMessage("assistant", (first,)), PromptMessage("tool", (ToolResult(first.id, "sun"),))]
    unrelated = [question, PromptMessage("assistant", (Text("sunny"),)), PromptMessage("user", (Text("thanks"),))]
    assert len({first.id, (await call(*answered)).id, (await call(*unrelated)).id}) == 3


async def test_answers_with_all_results_that_end_the_prompt() -> None:
    calls = (ToolCall("a", "get_weather", "{}"), ToolCall("b", "get_time", "{}"))
    messages = [
        PromptMessage("user", (Text("weather and time"),)),
        PromptMessage("assistant", calls),
        PromptMessage("tool", (ToolResult("a", "sunny"),)),
        PromptMessage("tool", (ToolResult("b", "noon"),)),
    ]
    events = await collect(echo(), ModelRequest(messages=messages, tools=[WEATHER]))
    assert said(events) == "get_weather: sunny\nget_time: noon"


@pytest.mark.parametrize(
    ("text", "schema", "value"),
    [
        ("store it", {"type": "string"}, "store it"),
        ('store "blue sky" now', {"type": "string"}, "blue sky"),
        ("store it", {"type": "string", "maxLength": 5}, "store"),
        ("store it", {}, "store it"),
        ("store -3.5 now", {"type": "number"}, -3.5),
        ("store 7", {"type": "number"}, 7),
        ("store 7.9", {"type": "integer"}, 7),
        ("store none", {"type": "integer"}, 0),
        ("store none", {"type": "integer", "default": 4}, 4),
        ("store 7", {"type": "integer", "maximum": 5}, 5),
        ("store 7", {"type": "integer", "minimum": 10}, 10),
        ("store it", {"type": "boolean"}, True),
        ("do not store it", {"type": "boolean"}, False),
        ("store green paint", {"type": "string", "enum": ["red", "green"]}, "green"),
        ("store paint", {"enum": ["red", "green"]}, "red"),
        ("store it", {"const": 3}, 3),
        ("store it", {"type": "null"}, None),
        ("store it", {"type": ["null", "string"]}, "store it"),
        ("store 4", {"anyOf": [{"type": "null"}, {"type": "integer"}]}, 4),
        ("store 1 2 3", {"type": "array", "items": {"type": "integer"}}, [1]),
        ("store 1 2 3", {"type": "array", "items": {"type": "integer"}, "minItems": 2}, [1, 2]),
        (
            "store 1",
            {"type": "object", "properties": {"a": {"type": "integer"}, "b": {}}, "required": ["a"]},
            {"a": 1},
        ),
    ],
)
async def test_fills_an_argument_from_the_text(text: str, schema: dict[str, Any], value: Any) -> None:
    filled = (await arguments(text, {"it": schema}))["it"]
    assert (type(filled), filled) == (type(value), value)


async def test_numbers_are_taken_in_turn() -> None:
    number = {"type": "integer"}
    assert await arguments("store 3 and 5", {"a": number, "b": number}) == {"a": 3, "b": 5}


async def test_follows_references() -> None:
    defs = {"$defs": {"Place": {"type": "object", "properties": {"row": {"type": "integer"}}, "required": ["row"]}}}
    assert await arguments("store 9", {"at": {"$ref": "#/$defs/Place"}}, **defs) == {"at": {"row": 9}}


async def test_optional_arguments_are_left_out() -> None:
    definition = tool("store_value", properties={"a": {"type": "string"}})
    (call,) = [e for e in await collect(echo(), ask("store", definition)) if isinstance(e, ToolCall)]
    assert call.arguments == "{}"


@pytest.mark.parametrize(
    "parameters",
    [
        {"properties": 3, "required": "no"},
        {"required": [1, "a"], "properties": {"a": {"type": "array", "minItems": 10**12}}},
        {"required": ["a"], "properties": {"a": {"enum": "x", "type": {"not": "a type"}}}},
        {"required": ["a"], "properties": {"a": {"type": "number", "minimum": "low", "maximum": True}}},
        {"required": ["a"], "properties": {"a": {"$ref": "#/properties/a"}}},
        {"required": ["a"], "properties": {"a": {"$ref": "#"}}},
        {"required": ["a", "b", "c"], "properties": {key: {"$ref": "#"} for key in "abc"}},
    ],
)
async def test_a_strangers_schema_does_no_harm(parameters: dict[str, Any]) -> None:
    definition = ToolDefinition("store_value", "", parameters)
    events = await collect(echo(), ask("store " + "9" * 400, definition))
    assert events[-1] == Finish("tool_calls")


@pytest.mark.parametrize("section", [{"delay_ms": -1}, {"words": "many"}, {"model": ""}, {"delay": 3}])
def test_refuses_bad_settings(section: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SettingsSchema().load(section)


def test_is_offered_and_every_setting_is_described() -> None:
    import backchat_echo

    component = Plugins([backchat_echo]).providers.pick("echo")
    assert component.schema.load({}).model == "echo-1"
    assert all(field.metadata["description"] for field in component.schema.fields.values())
