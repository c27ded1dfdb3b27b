"""Arguments of tool calls: what is mended, what is refused, and that no schema hurts the server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from backchat.domain.message import ToolCall
from backchat.domain.tool import ToolDefinition
from backchat.services.corrections import correction, unfit
from backchat.services.toolcalls import Misfit, fitting


def tool(properties: dict[str, Any], *required: str, **more: Any) -> ToolDefinition:
    return ToolDefinition("find", "", {"type": "object", "properties": properties, "required": list(required), **more})


def mended(arguments: str, definition: ToolDefinition) -> Any:
    return json.loads(fitting(ToolCall("c1", "find", arguments), [definition]).arguments)


CITY = tool({"city": {"type": "string"}}, "city")


@pytest.mark.parametrize(
    ("arguments", "definition", "wanted"),
    [
        ('{"city": "Ulm"}', CITY, {"city": "Ulm"}),
        ('{"city": "Ulm",}', CITY, {"city": "Ulm"}),
        ("```json\n{'city': 'Ulm'}\n```", CITY, {"city": "Ulm"}),
        ('{"city": "Ulm"', CITY, {"city": "Ulm"}),
        ('{"city": 5}', CITY, {"city": "5"}),
        ('{"city": "Ulm", "more": null}', tool({"city": {}, "more": {"type": "string"}}, "city"), {"city": "Ulm"}),
        ("", tool({}), {}),
        ('{"n": "3"}', tool({"n": {"type": "integer"}}, "n"), {"n": 3}),
        ('{"n": "3.0"}', tool({"n": {"type": "integer"}}, "n"), {"n": 3}),
        ('{"n": "3.5"}', tool({"n": {"type": "number"}}, "n"), {"n": 3.5}),
        ('{"b": "True"}', tool({"b": {"type": "boolean"}}, "b"), {"b": True}),
        ('{"a": "x"}', tool({"a": {"type": "array", "items": {"type": "string"}}}, "a"), {"a": ["x"]}),
        ('{"a": "[1, 2]"}', tool({"a": {"type": "array"}}, "a"), {"a": [1, 2]}),
        ('{"o": "{\\"k\\": 1}"}', tool({"o": {"type": "object"}}, "o"), {"o": {"k": 1}}),
        ('{"unit": "CELSIUS"}', tool({"unit": {"enum": ["celsius", "kelvin"]}}, "unit"), {"unit": "celsius"}),
        ("{}", tool({"n": {"type": "integer", "default": 7}}, "n"), {"n": 7}),
        ('{"x": 1}', tool({}, additionalProperties=False), {}),
        ('{"p": {"q": ["1"]}}', tool({"p": {"properties": {"q": {"items": {"type": "integer"}}}}}), {"p": {"q": [1]}}),
    ],
)
def test_mended(arguments: str, definition: ToolDefinition, wanted: Any) -> None:
    assert mended(arguments, definition) == wanted


@pytest.mark.parametrize(
    ("arguments", "definition", "told"),
    [
        ("{}", CITY, "'city' is a required property"),
        ("[1]", CITY, "must be a JSON object"),
        ("sunny", CITY, "must be a JSON object"),
        ('{"n": "many"}', tool({"n": {"type": "integer"}}), "n: 'many' is not of type 'integer'"),
        ('{"unit": "rankine"}', tool({"unit": {"enum": ["celsius"]}}), "unit: 'rankine' is not one of"),
        ('{"b": 2}', tool({"b": {"type": "boolean"}}), "b: 2 is not of type 'boolean'"),
        ('{"n": NaN}', tool({}), "not JSON"),
        ('{"n": 1e999}', tool({}), "not JSON"),
        ("[" * 100_000, tool({}), "not valid JSON"),
        ('{"n": ' + "[" * 9_000, tool({}), "not valid JSON"),
    ],
)
def test_refused_with_a_reason_for_the_model(arguments: str, definition: ToolDefinition, told: str) -> None:
    with pytest.raises(Misfit, match=told.replace("[", r"\[")):
        mended(arguments, definition)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (r'{"city": "Ulm \ud800"}', {"city": "Ulm \ufffd"}),
        (r'{"city": "\udfff", "\ud83d": 1}', {"city": "\ufffd", "\ufffd": 1}),
        ('{"city": "Ulm \ud800"}', {"city": "Ulm \ufffd"}),
        (r'{"city": "\ud83d\ude00"}', {"city": "\U0001f600"}),
    ],
)
def test_half_a_character_can_be_stored(arguments: str, wanted: Any) -> None:
    made = fitting(ToolCall("c1", "find", arguments), [CITY])
    assert json.loads(made.arguments.encode()) == wanted


def test_what_is_told_of_half_a_character_can_be_sent() -> None:
    nested = tool({}, additionalProperties={"type": "integer"})
    with pytest.raises(Misfit, match="is not of type 'integer'") as misfit:
        fitting(ToolCall("c1", "find", r'{"\ud800": "many"}'), [nested])
    assert str(misfit.value).encode()


def test_a_tool_that_there_is_not() -> None:
    with pytest.raises(Misfit, match="no tool 'fetch'; there are: find"):
        fitting(ToolCall("c1", "fetch", "{}"), [CITY])


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"x": {"type": "no such type"}}},
        {"type": 5},
        {"$ref": "https://example.org/schema.json"},
        {"$ref": "#/$defs/none"},
        {"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
        {"properties": []},
        {"required": "city"},
    ],
)
def test_a_broken_schema_says_nothing_about_the_arguments(schema: dict[str, Any]) -> None:
    assert mended('{"x": "1"}', ToolDefinition("find", "", schema)) == {"x": "1"}


def test_a_strangers_pattern_is_not_run() -> None:
    slow = tool({"x": {"type": "string", "pattern": "^(a+)+$"}}, "x")
    assert mended(json.dumps({"x": "a" * 40 + "!"}), slow) == {"x": "a" * 40 + "!"}


DOUBLING = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)}


@pytest.mark.parametrize(
    "schema",
    [
        {"$defs": {**DOUBLING, "d40": {"type": "object"}}, "$ref": "#/$defs/d0"},
        {"properties": {"a": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}},
    ],
)
def test_a_schema_that_takes_for_ever_is_given_up(schema: dict[str, Any]) -> None:
    deep = json.loads('{"a": ' * 40 + "{}" + "}" * 40)
    assert mended(json.dumps(deep), ToolDefinition("find", "", schema)) == deep


def test_a_schema_cannot_choose_who_checks() -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "properties": {"x": {"pattern": "^(a+)+$"}, "y": {"$ref": "#"}},
    }
    arguments = {"y": {"x": "a" * 40 + "!"}}
    assert mended(json.dumps(arguments), ToolDefinition("find", "", schema)) == arguments


SCHEMAS = st.recursive(
    st.fixed_dictionaries({"type": st.sampled_from(["string", "integer", "number", "boolean"])}),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"type": st.just("array"), "items": inner}),
        st.fixed_dictionaries(
            {"type": st.just("object"), "properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=3)}
        ),
    ),
    max_leaves=6,
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from("abc"), SCHEMAS, min_size=1, max_size=3),
    st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=4),
)
def test_what_is_handed_out_is_valid(properties: dict[str, Any], arguments: dict[str, Any]) -> None:
    definition = tool(properties, *properties)
    try:
        handed = mended(json.dumps(arguments), definition)
    except Misfit:
        assert not Draft202012Validator(definition.parameters).is_valid(arguments)
    else:
        Draft202012Validator(definition.parameters).validate(handed)
        if Draft202012Validator(definition.parameters).is_valid(arguments):
            assert handed == arguments


def test_one_bad_call_holds_all_back_and_every_call_is_answered() -> None:
    calls = [ToolCall("c1", "find", '{"city": "Ulm"}'), ToolCall("c2", "find", "{}")]
    fit, faults = unfit(calls, [CITY])
    assert [c.id for c in fit] == ["c1"]
    assert list(faults) == ["c2"]
    asked, *answers = correction(calls, faults)
    assert [p.id for p in asked.parts] == ["c1", "c2"]  # type: ignore[union-attr]
    assert [m.parts[0].call for m in answers] == ["c1", "c2"]  # type: ignore[union-attr]
