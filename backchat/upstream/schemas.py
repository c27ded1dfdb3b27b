"""Making tools sendable: a service refuses a whole request for one tool whose schema it does not take.

What is sent may say less than the tool's own schema, never more: arguments are checked against that one afterwards.

- Anthropic and OpenAI want an object at the root, without ``anyOf``, ``oneOf``, ``allOf``, ``not`` and ``enum``
  (https://platform.openai.com/docs/guides/function-calling, https://github.com/anthropics/claude-code/issues/5319);
- Ollama reads each property as an object (``ToolProperty``, https://github.com/ollama/ollama/blob/main/api/types.go);
- Gemini does not know ``$schema`` (https://ai.google.dev/api/caching#FunctionDeclaration);
- all read JSON Schema 2020-12, in which a list of ``items`` is called ``prefixItems``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from backchat.domain.tool import ToolDefinition
from backchat.errors import ProviderRejected

MOST_DEPTH = 100
"""Schemas in schemas. With the request around it, JSON of twice that depth is still written and read everywhere."""
_BY_NAME = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_LISTS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_SINGLE = frozenset({"items", "contains", "propertyNames", "not", "if", "then", "else", "contentSchema"})
_MAY_BE_BOOLEAN = frozenset({"additionalProperties", "unevaluatedProperties", "unevaluatedItems", "additionalItems"})
"""Services know ``false`` here, and it is common."""
_WORDS = frozenset({"title", "description", "$comment"})
_NOT_AT_THE_ROOT = frozenset({"anyOf", "oneOf", "allOf", "not", "enum", "const", "if", "then", "else", "$ref"})


def sendable(tool: ToolDefinition) -> ToolDefinition:
    """The tool as all services take it. Raises ProviderRejected if its schema is too deep."""
    schema = _schema(tool.parameters, tool.name, 1)
    schema = {**_loosened(schema), "type": "object"}
    return replace(tool, description=_whole(tool.description), parameters=schema)


def _schema(schema: Any, name: str, depth: int) -> Any:
    """What is no schema stays as it is."""
    if depth > MOST_DEPTH:
        raise ProviderRejected(f"the schema of the tool {name} is nested too deeply")
    if not isinstance(schema, Mapping):
        return schema
    made: dict[str, Any] = {}
    for key, value in _newer(schema).items():
        if key == "$schema":
            continue
        if key in _BY_NAME and isinstance(value, Mapping):
            made[key] = {n: _object(inner, name, depth) for n, inner in value.items() if inner is not False}
        elif key in _LISTS and isinstance(value, list):
            if kept := [_object(inner, name, depth) for inner in value if inner is not False]:
                made[key] = kept
        elif key in _SINGLE and value is not False:
            made[key] = _object(value, name, depth)
        elif key in _MAY_BE_BOOLEAN:
            made[key] = _schema(value, name, depth + 1)
        elif key in _WORDS and isinstance(value, str):
            made[key] = _whole(value)
        elif key not in _SINGLE:
            made[key] = value
    return made


def _object(schema: Any, name: str, depth: int) -> Any:
    """A schema that is ``true`` as the object that says the same."""
    return {} if schema is True else _schema(schema, name, depth + 1)


def _newer(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """https://json-schema.org/draft/2020-12/release-notes#changes-to-items-and-additionalitems"""
    if not isinstance(schema.get("items"), list):
        return schema
    made = {key: value for key, value in schema.items() if key not in ("items", "additionalItems")}
    made["prefixItems"] = schema["items"]
    if "additionalItems" in schema:
        made["items"] = schema["additionalItems"]
    return made


def _loosened(root: dict[str, Any]) -> dict[str, Any]:
    """Without what may not be at the root: the properties of all alternatives are its own, and it requires what all do.

    Raises nothing; a reference that leads nowhere says nothing.
    """
    if not _NOT_AT_THE_ROOT & root.keys():
        return root
    made = {key: value for key, value in root.items() if key not in _NOT_AT_THE_ROOT}
    properties: dict[str, list[Any]] = {name: [inner] for name, inner in _properties(root).items()}
    required = dict.fromkeys(_required(root))
    every = [*_alternatives(root, "allOf"), _led_to(root, root)]
    for alternative in every:
        required |= dict.fromkeys(_required(alternative))
    for key in ("anyOf", "oneOf"):
        choices = list(_alternatives(root, key))
        if choices:
            common = set.intersection(*[set(_required(choice)) for choice in choices])
            required |= {name: None for name in _required(choices[0]) if name in common}
        every += choices
    own = frozenset(properties)
    for alternative in every:
        for name, inner in _properties(alternative).items():
            seen = properties.setdefault(name, [])
            if name not in own and inner not in seen:
                seen.append(inner)
    if properties:
        made["properties"] = {name: seen[0] if len(seen) == 1 else {"anyOf": seen} for name, seen in properties.items()}
    if required:
        made["required"] = list(required)
    return made


def _alternatives(root: Mapping[str, Any], key: str) -> Iterator[Mapping[str, Any]]:
    found = root.get(key)
    for inner in found if isinstance(found, list) else []:
        if isinstance(inner, Mapping):
            yield {**_led_to(root, inner), **inner}


def _led_to(root: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the ``$ref`` of a schema leads to within the root, empty if nothing does."""
    reference = schema.get("$ref")
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return {}
    found: Any = root
    for step in reference[2:].split("/"):
        found = found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _properties(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    found = schema.get("properties")
    return found if isinstance(found, Mapping) else {}


def _required(schema: Mapping[str, Any]) -> list[str]:
    found = schema.get("required")
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def _whole(text: str) -> str:
    """The text, in which a surrogate without its other half is U+FFFD."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
