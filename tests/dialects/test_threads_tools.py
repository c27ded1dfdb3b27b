"""Tool definitions: what is taken can be read back by the SDK's own models, and nothing of it is lost."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backchat.errors import InvalidInput
from backchat.testing.plugin import Serve
from backchat.testing.provider import ScriptedProvider
from backchat.web.fields import DEPTH, too_deep
from backchat_dialect_threads.tools import LARGEST, readable_tools
from backchat_dialect_threads.toolschemas import STEPS, check_schema
from threads_box import WEATHER, ask, models, scripted, sdk

# ---- anything that JSON can say, with the words of tool definitions in it -------------------------------------------

_TYPES = st.sampled_from(["string", "integer", "object", "array", "null", "function", "nonsense"])
_SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5) | _TYPES
_KEYS = st.sampled_from(
    ["type", "description", "enum", "properties", "items", "required", "anyOf", "$ref", "default", "strict", "x"]
)
_ANYTHING = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4), max_leaves=12
)


def _mostly(good: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(good, good, good, good, _ANYTHING)


_PROPERTY = _mostly(
    st.fixed_dictionaries(
        {},
        optional={
            "type": _mostly(_TYPES),
            "description": _mostly(st.text(max_size=5)),
            "enum": _mostly(st.lists(st.text(max_size=3), min_size=1, max_size=3, unique=True)),
            "properties": _mostly(st.dictionaries(st.text(max_size=3), st.just({}), max_size=2)),
            "items": _mostly(st.just({"type": "string"})),
            "anyOf": _mostly(st.just([{"type": "string"}, {"type": "null"}])),
        },
    )
)
_TOOL = _mostly(
    st.fixed_dictionaries(
        {
            "function": _mostly(
                st.fixed_dictionaries(
                    {
                        "name": _mostly(st.just("do_it")),
                        "parameters": _mostly(
                            st.fixed_dictionaries(
                                {},
                                optional={
                                    "type": _mostly(st.just("object")),
                                    "properties": _mostly(st.dictionaries(st.text(max_size=3), _PROPERTY, max_size=3)),
                                    "required": _mostly(st.lists(st.text(max_size=3), max_size=2, unique=True)),
                                    "additionalProperties": st.just(False),
                                    "$defs": _mostly(st.just({"a": {"type": "string"}})),
                                },
                            )
                        ),
                    },
                    optional={"description": _mostly(st.text(max_size=5)), "strict": _mostly(st.booleans())},
                )
            )
        },
        optional={"type": _mostly(st.just("function"))},
    )
)


@given(_TOOL)
@settings(max_examples=1000, deadline=None)
def test_what_is_taken_can_be_read_back(tool: Any) -> None:
    given_tool = copy.deepcopy(tool)
    try:
        taken = readable_tools([tool])
    except InvalidInput as refused:
        place = refused.field
    else:
        place = None
    if place is not None:
        assert place.startswith("body.tools.0")
        return
    assert tool == given_tool, "the caller's own was changed"
    read = models.ToolDefinition.model_validate(json.loads(json.dumps(taken[0])))
    assert read.function is not None
    assert read.function.name == tool["function"]["name"]
    assert _without_nulls(taken[0]) == _without_nulls({"type": "function", **_complete(tool)})
    assert readable_tools(taken) == taken


def _complete(tool: dict[str, Any]) -> dict[str, Any]:
    """With the defaults of the SDK's models."""
    function = tool["function"]
    parameters = {"type": "object", "properties": {}, **function["parameters"]}
    return {**tool, "function": {**function, "parameters": parameters}}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    return value


def _with(**changes: Any) -> dict[str, Any]:
    """The weather tool, with something else in the schema of its one property."""
    tool: dict[str, Any] = copy.deepcopy(dict(WEATHER))
    tool["function"]["parameters"]["properties"]["location"] |= changes
    return tool


def _parameters(**changes: Any) -> dict[str, Any]:
    tool: dict[str, Any] = copy.deepcopy(dict(WEATHER))
    tool["function"]["parameters"] |= changes
    return tool


PROPERTY = "0.function.parameters.properties.location"
UNREADABLE: list[tuple[Any, str]] = [
    (_with(enum=[1, 2]), f"{PROPERTY}.enum"),
    (_with(type=["string", "null"]), f"{PROPERTY}.type"),
    (_with(items=True), f"{PROPERTY}.items"),
    (_with(properties=["a"]), f"{PROPERTY}.properties"),
    (_parameters(properties=None), "0.function.parameters.properties"),
    (_parameters(properties={"a": True}), "0.function.parameters.properties.a"),
    (_parameters(type="array"), "0.function.parameters.type"),
    (_parameters(required="location"), "0.function.parameters.required"),
    ({"type": "function", "function": {"name": "a"}}, "0.function.parameters"),
    ({"type": "function", "function": {"name": "a b", "parameters": {}}}, "0.function.name"),
    ({"type": "function"}, "0.function"),
    ({"type": None, "function": {"name": "a", "parameters": {}}}, "0.type"),
    ({"type": "retrieval"}, "0.type"),
    ("get_weather", "0"),
    (_with(type="strung"), "0.function.parameters.properties.location.type"),
    (_parameters(**{"$ref": "http://127.0.0.1/secret.json"}), "0.function.parameters"),
    (_with(anyOf=[{"$ref": "file:///etc/passwd"}]), "0.function.parameters"),
    (_with(anyOf=[{"$ref": "#/$defs/none"}]), "0.function.parameters"),
    (_with(**{"$id": "#a"}), "0.function.parameters"),
    (_with(**{"$schema": "http://json-schema.org/draft-04/schema#"}), "0.function.parameters"),
    (_with(pattern="a{99999999999999999999}"), "0.function.parameters"),
    (_with(pattern="(" * 900), "0.function.parameters"),
    (_with(pattern="("), "0.function.parameters.properties.location.pattern"),
    (_with(items={"patternProperties": {"(" * 900: {}}}), "0.function.parameters"),
    (_with(items={"required": ["a", "a"]}), "0.function.parameters.properties.location.items.required"),
]


async def test_what_cannot_be_read_back_is_refused_and_spoils_nothing(serve: Serve) -> None:
    box = await serve(*scripted(ScriptedProvider()))
    ann = await box.key()
    _, made = await ask(box, "POST", "/assistants", ann, json={"name": "A"})
    id = made["assistant_id"]
    for tool, place in UNREADABLE:
        for method, path, more in (
            ("POST", "/assistants", {"name": "B"}),
            ("PUT", f"/assistants/{id}", {}),
            ("POST", "/threads/messages", {"content": "a", "assistant_id": id}),
        ):
            status, body = await ask(box, method, path, ann, json={**more, "tools": [tool]})
            assert status == 400, tool
            assert body["detail"].startswith(f"tools.{place}: "), body
    async with sdk(box) as client:
        assert [(str(a.assistant_id), a.tools) for a in await client.list_assistants()] == [(id, None)]
        assert await client.list_threads() == []


async def test_two_tools_of_one_name_are_refused(serve: Serve) -> None:
    box = await serve(*scripted(ScriptedProvider()))
    status, body = await ask(box, "POST", "/assistants", await box.key(), json={"name": "A", "tools": [WEATHER] * 2})
    assert (status, body["detail"]) == (400, "tools.1.function.name: two tools are named 'get_current_weather'")


async def test_what_the_sdk_does_not_know_is_kept_and_reaches_the_model(serve: Serve) -> None:
    provider = ScriptedProvider(["ok"])
    box = await serve(*scripted(provider))
    tool: dict[str, Any] = {
        "type": "function",
        "function": {
            "name": "book",
            "strict": True,
            "parameters": {
                "type": "object",
                "properties": {"when": {"$ref": "#/$defs/day"}, "who": {"type": "string", "x-note": "é"}},
                "required": ["when"],
                "additionalProperties": False,
                "$defs": {"day": {"type": "string", "enum": ["mon", "tue"]}},
            },
        },
    }
    ann = await box.key()
    _, made = await ask(box, "POST", "/assistants", ann, json={"name": "A", "tools": [tool]})
    assert made["tools"] == [tool]
    models.Assistant.model_validate(made)
    await ask(box, "POST", "/threads/messages", ann, json={"content": "a", "assistant_id": made["assistant_id"]})
    (offered,) = provider.requests[0].tools
    assert (offered.name, offered.strict, dict(offered.parameters)) == ("book", True, tool["function"]["parameters"])


async def test_too_many_and_too_much(serve: Serve) -> None:
    box = await serve(*scripted(ScriptedProvider(["ok"])))
    ann = await box.key()
    tools = [{"function": {"name": f"t{n}", "parameters": {}}} for n in range(129)]
    large = [_with(description="x" * LARGEST)]
    for given_tools, words in ((tools, "tools: at most 128 tools"), (large, "tools: at most 262144 bytes of JSON")):
        status, body = await ask(box, "POST", "/assistants", ann, json={"name": "a", "tools": given_tools})
        assert (status, body["detail"]) == (400, words)
    assert (await ask(box, "POST", "/assistants", ann, json={"name": "a", "tools": tools[1:]}))[0] == 200


def chained(levels: int, *, of: str = "allOf", times: int = 2, **more: Any) -> dict[str, Any]:
    """Definitions, each of which has the next one so many times."""
    defs = {f"d{n}": {of: [{"$ref": f"#/$defs/d{n + 1}"}] * times, **more} for n in range(levels)}
    return {"$ref": "#/$defs/d0", "$defs": {**defs, f"d{levels}": {"type": "object"}}}


BY_ANCHORS = {
    "$ref": "#d0",
    "$defs": {f"d{n}": {"$anchor": f"d{n}", "anyOf": [{"$ref": f"#d{(n + 1) % 41}"}] * 2} for n in range(41)},
}


@pytest.mark.parametrize(
    "schema",
    [
        pytest.param(chained(40), id="doubled"),
        pytest.param(chained(40, of="oneOf"), id="oneOf"),
        pytest.param(chained(40, of="prefixItems"), id="prefixItems"),
        pytest.param(BY_ANCHORS, id="anchors"),
        pytest.param(chained(40, times=1, unevaluatedProperties=False), id="unevaluated"),
        pytest.param(chained(1000, times=1), id="a long chain"),
        pytest.param({"$defs": {"a/b~": chained(40)}, "$ref": "#/$defs/a~1b~0"}, id="nowhere"),
        pytest.param({"properties": {f"p{n}": {} for n in range(STEPS)}}, id="many"),
    ],
)
async def test_what_would_never_be_validated_is_refused(serve: Serve, schema: dict[str, Any]) -> None:
    box = await serve(*scripted(ScriptedProvider()))
    tool = {"function": {"name": "a", "parameters": schema}}
    status, body = await ask(box, "POST", "/assistants", await box.key(), json={"name": "A", "tools": [tool]})
    assert status == 400
    assert body["detail"].startswith("tools.0.function.parameters: "), body


@pytest.mark.parametrize(
    "schema",
    [
        pytest.param(chained(10), id="somewhat doubled"),
        pytest.param(chained(30, times=1), id="a chain"),
        pytest.param({"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#/properties/left"}}}, id="a tree"),
        pytest.param({"$ref": "#/$defs/a~1b~0", "$defs": {"a/b~": {"type": "object"}}}, id="escaped"),
        pytest.param({"$ref": "#a", "$defs": {"x": {"$anchor": "a"}}}, id="an anchor"),
        pytest.param({"anyOf": [{"$ref": "#/allOf/0"}], "allOf": [True]}, id="in a list"),
        pytest.param({"$schema": "http://json-schema.org/draft-07/schema#"}, id="with its version"),
        pytest.param({"properties": {f"p{n}": {} for n in range(STEPS - 10)}}, id="many"),
    ],
)
def test_what_comes_to_an_end_is_taken(schema: dict[str, Any]) -> None:
    (tool,) = readable_tools([{"function": {"name": "a", "parameters": schema}}])
    check_schema(tool["function"]["parameters"], "here")


def test_what_must_be_unique_is_not_compared_pair_by_pair() -> None:
    compared = 0

    class Counted(dict[str, Any]):
        def __len__(self) -> int:
            nonlocal compared
            compared += 1
            return super().__len__()

    for words in ({"required": [Counted(a=n) for n in range(500)]}, {"type": [Counted(a=n) for n in range(500)]}):
        with pytest.raises(InvalidInput):
            check_schema({"properties": {"a": words}}, "here")
    assert compared < 50_000


def test_depth() -> None:
    value: Any = 1
    for _ in range(DEPTH):
        value = [value]
    assert not too_deep(value)
    assert too_deep([value])


async def test_what_is_nested_too_deeply_is_refused(serve: Serve) -> None:
    box = await serve(*scripted(ScriptedProvider()))
    deep: Any = {}
    for _ in range(400):
        deep = {"a": deep}
    output = {"tool_call_id": "a", "output": deep}
    ann = await box.key()
    for path, body, field in (
        ("/assistants", {"name": "A", "tools": [_with(default=deep)]}, "tools"),
        ("/threads/messages", {"content": "a", "metadata": deep}, "metadata"),
        ("/threads/tool-outputs", {"thread_id": "a", "tool_outputs": [output]}, "tool_outputs"),
        ("/threads/a/runs/b/submit-tool-outputs", {"tool_outputs": [output]}, "tool_outputs"),
    ):
        status, answer = await ask(box, "POST", path, ann, json=body)
        assert status == 422
        place = ["body", field, "0", "output"] if field == "tool_outputs" else ["body", field]
        assert list(map(str, answer["detail"][0]["loc"])) == place
