"""What is sent of tools whose schemas some service does not take: it is taken by all, and says no more than before."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from aiohttp import web
from jsonschema import Draft202012Validator

from backchat.domain.tool import ToolDefinition
from backchat.errors import ProviderRejected
from backchat.testing.provider import ask, collect
from backchat.upstream.schemas import MOST_DEPTH, sendable
from backchat_anthropic.provider import open_anthropic
from backchat_anthropic.settings import SettingsSchema as AnthropicSchema
from backchat_google.provider import open_google
from backchat_google.settings import SettingsSchema as GoogleSchema
from backchat_ollama.provider import open_ollama
from backchat_ollama.settings import SettingsSchema as OllamaSchema
from backchat_openai.provider import open_openai
from backchat_openai.settings import OPENAI
from backchat_openai.settings import SettingsSchema as OpenAISchema

A, B = {"type": "string"}, {"type": "integer"}


def sent(schema: Mapping[str, Any]) -> Any:
    return sendable(ToolDefinition("t", "", schema)).parameters


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({}, {"type": "object"}),
        ({"type": "object", "properties": {"a": A}}, {"type": "object", "properties": {"a": A}}),
        (
            {"$schema": "x", "properties": {"$schema": {"$schema": "y", **A}}},
            {"type": "object", "properties": {"$schema": A}},
        ),
        (
            {"properties": {"a": True, "b": {"items": True}, "no": False}, "additionalProperties": False},
            {"type": "object", "properties": {"a": {}, "b": {"items": {}}}, "additionalProperties": False},
        ),
        (
            {"properties": {"a": {"anyOf": [True, A, False]}, "b": {"default": True, "const": False, "enum": [True]}}},
            {
                "type": "object",
                "properties": {"a": {"anyOf": [{}, A]}, "b": {"default": True, "const": False, "enum": [True]}},
            },
        ),
        (
            {"properties": {"a": {"items": [A, True], "additionalItems": False}}},
            {"type": "object", "properties": {"a": {"prefixItems": [A, {}]}}},
        ),
        (
            {"properties": {"a": A, "b": B}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}], "required": ["c"]},
            {"type": "object", "properties": {"a": A, "b": B}, "required": ["c"]},
        ),
        (
            {
                "oneOf": [
                    {"properties": {"a": A, "k": {"const": 1}}, "required": ["a", "k"]},
                    {"properties": {"b": B, "k": {"const": 2}}, "required": ["k"]},
                ]
            },
            {
                "type": "object",
                "properties": {"a": A, "k": {"anyOf": [{"const": 1}, {"const": 2}]}, "b": B},
                "required": ["k"],
            },
        ),
        (
            {"allOf": [{"$ref": "#/$defs/x"}, {"required": ["b"]}], "$defs": {"x": {"properties": {"a": A}}}},
            {"type": "object", "$defs": {"x": {"properties": {"a": A}}}, "properties": {"a": A}, "required": ["b"]},
        ),
        (
            {"$ref": "#/$defs/x", "$defs": {"x": {"properties": {"a": A}, "required": ["a"]}}},
            {
                "type": "object",
                "$defs": {"x": {"properties": {"a": A}, "required": ["a"]}},
                "properties": {"a": A},
                "required": ["a"],
            },
        ),
        ({"not": {"required": ["a"]}, "enum": [{}], "$ref": "#/no"}, {"type": "object"}),
        (
            {"properties": {"a": {"description": "half \ud800"}}},
            {"type": "object", "properties": {"a": {"description": "half \ufffd"}}},
        ),
        ({"properties": [], "anyOf": 1, "required": "a"}, {"type": "object", "properties": [], "required": "a"}),
    ],
)
def test_schemas(schema: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    before = json.dumps(schema)
    assert sent(schema) == expected
    assert json.dumps(schema) == before, "arguments are checked against it"
    assert sent(expected) == expected


def test_what_fits_the_schema_fits_what_is_sent() -> None:
    schema = {
        "anyOf": [
            {"properties": {"a": A}, "required": ["a"]},
            {"properties": {"a": B, "b": B}, "required": ["a", "b"]},
        ]
    }
    loose = Draft202012Validator(sent(schema))
    for arguments in ({"a": "x"}, {"a": 1, "b": 2}):
        assert Draft202012Validator(schema).is_valid(arguments)
        assert loose.is_valid(arguments)
    assert not loose.is_valid({"b": 1})


def test_descriptions_are_whole() -> None:
    assert sendable(ToolDefinition("t", "d\ud800 \U0001f600", {})).description == "d\ufffd \U0001f600"


@pytest.mark.parametrize("keyword", ["items", "not", "additionalProperties"])
def test_depth_has_an_end(keyword: str) -> None:
    schema: dict[str, Any] = {}
    for _ in range(MOST_DEPTH - 1):
        schema = {keyword: schema}
    sent({"properties": {"a": schema[keyword]}})
    with pytest.raises(ProviderRejected, match="tool t is nested"):
        sent({"properties": {"a": schema}})


SECTIONS: Mapping[str, tuple[Any, Any, Mapping[str, Any]]] = {
    "anthropic": (open_anthropic, AnthropicSchema(), {"api_key": "k"}),
    "google": (open_google, GoogleSchema(), {"api_key": "k"}),
    "ollama": (open_ollama, OllamaSchema(), {}),
    "openai": (open_openai, OpenAISchema(OPENAI), {}),
    "responses": (open_openai, OpenAISchema(OPENAI), {"api": "responses"}),
}


@pytest.mark.parametrize("name", SECTIONS)
async def test_every_service_is_sent_what_it_takes(name: str, aiohttp_server: Any) -> None:
    bodies: list[str] = []

    async def refuse(request: web.Request) -> web.Response:
        bodies.append(await request.text())
        return web.Response(status=400)

    app = web.Application()
    app.router.add_route("*", "/{any:.*}", refuse)
    server = await aiohttp_server(app)
    open_provider, schema, section = SECTIONS[name]
    settings = schema.load({"model": "m-1", "base_url": str(server.make_url("/")).rstrip("/"), **section})
    bad = {"$schema": "x", "properties": {"a": True}, "anyOf": [{"required": ["a"]}]}
    async with open_provider(settings) as provider:
        with pytest.raises(ProviderRejected):
            await collect(provider, ask("hi", ToolDefinition("t", "half \ud800", bad)))
    [body] = [body for body in bodies if '"tools"' in body]
    assert '"a":{}' in body
    assert not [word for word in ("$schema", "anyOf") if word in body]
