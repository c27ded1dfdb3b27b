"""JSON schemas that strangers send: whether they are any, and whether validating against them comes to an end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any
from urllib.parse import unquote

from jsonschema import Draft7Validator
from jsonschema.exceptions import ValidationError, best_match
from jsonschema.validators import extend

from backchat.errors import InvalidInput

STEPS = 10_000
"""Most subschemas that validating one value may come by, each counted as often as something points to it."""
CHAIN = 150
"""Most subschemas inside each other, following references."""
_INSIDE = frozenset(
    (
        "additionalItems", "additionalProperties", "contains", "contentSchema", "else", "if", "items", "not",
        "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties",
    )
)  # fmt: skip
_LISTED = frozenset(("allOf", "anyOf", "items", "oneOf", "prefixItems"))
_NAMED = frozenset(("dependencies", "dependentSchemas", "patternProperties", "properties"))
_REFERENCES = ("$ref", "$dynamicRef")
_UNEVALUATED = ("unevaluatedItems", "unevaluatedProperties")
_SCHEMAS = ("https://json-schema.org/", "http://json-schema.org/")


def check_references(schema: Mapping[str, Any], at: str) -> None:
    """InvalidInput for what points outside the schema, and for what changes the meaning of a part of it.

    A ``$schema`` inside would have that part read by another version's rules, an ``$id`` move what references mean.
    """
    rest: list[Any] = [schema]
    while rest:
        node = rest.pop()
        if isinstance(node, list):
            rest += node
        elif isinstance(node, dict):
            for key in _REFERENCES:
                if isinstance(node.get(key), str) and not node[key].startswith("#"):
                    raise InvalidInput(f"{key} may only point into the schema itself", field=at)
            if isinstance(node.get("$id"), str):
                raise InvalidInput("a tool's schema can have no $id", field=at)
            if isinstance(node.get("$schema"), str) and (node is not schema or not _is_known(node["$schema"])):
                raise InvalidInput("$schema may only name a version of JSON Schema, for the whole", field=at)
            rest += node.values()


def _is_known(name: str) -> bool:
    return name.startswith(_SCHEMAS)


def check_schema(schema: Mapping[str, Any], at: str) -> None:
    """InvalidInput for what is no JSON schema, and for one that is too large with all its references followed.

    Takes milliseconds; call it in a thread.
    """
    try:
        error = best_match(islice(_META.iter_errors(schema), 1))  # of its causes, the one that tells most
    except (OverflowError, RecursionError):  # what ``re`` raises for some patterns, beside its own error
        raise InvalidInput("is no JSON schema: a pattern in it is too complex", field=at) from None
    if error is not None:
        place = ".".join(str(step) for step in error.absolute_path)
        raise InvalidInput(f"is no JSON schema: {error.message[:200]}", field=f"{at}.{place}" if place else at)
    _Expansion(schema, at).check()


def _unique(validator: Any, wanted: bool, value: Any, schema: Any) -> Iterator[ValidationError]:
    """``uniqueItems`` for names only; jsonschema compares anything else pair by pair."""
    names = [item for item in value if isinstance(item, str)] if wanted and isinstance(value, list) else []
    if len(set(names)) < len(names):
        yield ValidationError("has a name twice")


# Four times as fast as the later drafts, and no tool needs what they add. Without its own name: jsonschema would put
# the validator that it knows by it in the place of this one.
_META: Any = extend(Draft7Validator, {"uniqueItems": _unique})(  # type: ignore[no-untyped-call]
    {key: value for key, value in Draft7Validator.META_SCHEMA.items() if key not in ("$id", "$schema")},
    format_checker=Draft7Validator.FORMAT_CHECKER,
)


class _Expansion:
    """How large a schema is with its references followed; one that leads back into itself counts once."""

    def __init__(self, schema: Mapping[str, Any], at: str) -> None:
        self._schema, self._at = schema, at
        self._sizes: dict[int, int] = {}
        self._open: set[int] = set()
        self._anchors = dict(_anchors(schema))

    def check(self) -> None:
        """Raises InvalidInput."""
        self._size(self._schema)

    def _size(self, node: Any) -> int:
        if not isinstance(node, dict):
            return 1
        if id(node) in self._open:
            return 1
        if id(node) not in self._sizes:
            if len(self._open) == CHAIN:
                raise InvalidInput(f"more than {CHAIN} schemas inside each other", field=self._at)
            self._open.add(id(node))
            size = sum([self._size(inner) for inner in self._inner(node)])
            # What was not evaluated is found by evaluating the rest again, up to twice at every level.
            size = 1 + (3 * size if any(key in node for key in _UNEVALUATED) else size)
            if size > STEPS:
                raise InvalidInput(f"larger than {STEPS} schemas when its references are followed", field=self._at)
            self._open.discard(id(node))
            self._sizes[id(node)] = size
        return self._sizes[id(node)]

    def _inner(self, node: dict[str, Any]) -> Iterator[Any]:
        for key, value in node.items():
            if key in _REFERENCES and isinstance(value, str):
                yield self._target(value)
            elif key in _LISTED and isinstance(value, list):
                yield from value
            elif key in _NAMED and isinstance(value, dict):
                yield from value.values()
            elif key in _INSIDE:
                yield value

    def _target(self, reference: str) -> Any:
        """Where a reference points (RFC 6901, section 6, or an anchor)."""
        fragment = unquote(reference[1:])
        node: Any = self._schema
        if fragment in self._anchors:
            return self._anchors[fragment]
        try:
            if fragment and not fragment.startswith("/"):
                raise KeyError(fragment)
            for step in fragment.split("/")[1:]:
                step = step.replace("~1", "/").replace("~0", "~")
                node = node[int(step) if isinstance(node, list) else step]
        except (KeyError, IndexError, TypeError, ValueError):
            raise InvalidInput(f"{reference[:100]!r} points nowhere in the schema", field=self._at) from None
        return node


def _anchors(schema: Any) -> Iterator[tuple[str, Any]]:
    rest = [schema]
    while rest:
        node = rest.pop()
        if isinstance(node, list):
            rest += node
        elif isinstance(node, dict):
            yield from ((node[key], node) for key in ("$anchor", "$dynamicAnchor") if isinstance(node.get(key), str))
            rest += node.values()
