"""A model's tool calls, made to fit the tools' schemas before anybody acts on them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import replace
from functools import lru_cache
from typing import Any

import json_repair
import referencing
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.exceptions import SchemaError, UnknownType
from jsonschema.validators import extend
from referencing.exceptions import Unresolvable

from backchat.domain.message import ToolCall
from backchat.domain.tool import ToolDefinition
from backchat.services.storable import whole

# A pattern is a stranger's regular expression: one that backtracks would hold the server up. Models mostly keep to it.
# Comparing each item with each other takes the square of their number.
_UNCHECKED = {"pattern": None, "patternProperties": None, "uniqueItems": None}
_STEPS: ContextVar[Counter[str]] = ContextVar("backchat.toolcalls.steps")


class Exhausted(Exception):
    """Following the references of a schema takes too long."""


def _counted(name: str) -> Callable[..., Iterator[ValidationError]]:
    """The keyword, as often as ``MOST_STEPS`` allows: only references make a schema larger than its text."""
    follow = Draft202012Validator.VALIDATORS[name]

    def followed(validator: Any, reference: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        steps = _STEPS.get()
        steps[name] += 1
        if steps[name] > MOST_STEPS:
            raise Exhausted
        yield from follow(validator, reference, instance, schema) or ()

    return followed


_KEYWORDS = {**_UNCHECKED, "$ref": _counted("$ref"), "$dynamicRef": _counted("$dynamicRef")}
_Validator: Any = extend(Draft202012Validator, _KEYWORDS)  # type: ignore[no-untyped-call]
_NOTHING_REMOTE: referencing.Registry[Any] = referencing.Registry()


MOST_BROKEN = 16_384
"""Characters of broken JSON that are looked at for repair; it takes more than linear time."""
MOST_SCHEMA = 16_384
"""Characters of a schema whose validator is kept."""
MOST_STEPS = 10_000


class Misfit(Exception):
    """The call cannot be handed out; the message is for the model."""


def fitting(call: ToolCall, tools: Sequence[ToolDefinition]) -> ToolCall:
    """The call with arguments that are valid JSON and valid for its tool.

    What models get wrong most is mended: broken JSON, numbers as text, a single value for a list, a default or a null
    left out, the case of an enum's value, half a character. Raises Misfit for the rest, and for a tool that there is
    not. About a schema that is none, or that takes too long, nothing is said: the arguments stay.
    """
    tool = next((t for t in tools if t.name == call.name), None)
    if tool is None:
        raise Misfit(f"There is no tool {call.name!r}; there are: {', '.join(t.name for t in tools)}.")
    arguments = _parsed(call.arguments)
    if not isinstance(arguments, dict):
        raise Misfit(f"The arguments of {call.name} must be a JSON object.")
    try:
        if _fault(arguments, tool.parameters) is not None:
            arguments = _mended(arguments, tool.parameters)
            if (fault := _fault(arguments, tool.parameters)) is not None:
                raise Misfit(f"The arguments of {call.name} do not fit its schema: {_told(fault)}")
    except (SchemaError, UnknownType, Unresolvable, Exhausted, RecursionError, OverflowError):
        pass
    try:
        written = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise Misfit(f"The arguments of {call.name} hold a number that is not JSON.") from None
    return replace(call, arguments=whole(written))


def _parsed(text: str) -> Any:
    """Raises Misfit for what is no JSON and cannot be made any."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    if not text.strip():
        return {}
    if len(text) > MOST_BROKEN:
        raise Misfit("The arguments are not valid JSON.")
    try:
        return json_repair.loads(text)
    except (ValueError, RecursionError):
        raise Misfit("The arguments are not valid JSON.") from None


def _fault(arguments: Any, schema: Mapping[str, Any]) -> ValidationError | None:
    text = json.dumps(schema)
    validator = _kept(text) if len(text) <= MOST_SCHEMA else _validator(text)
    _STEPS.set(Counter())
    return next(validator.iter_errors(arguments), None)


@lru_cache(128)
def _kept(schema: str) -> Any:
    """For checking a schema takes tens of milliseconds."""
    return _validator(schema)


def _validator(schema: str) -> Any:
    """Raises SchemaError."""
    parsed = _undeclared(json.loads(schema))
    _Validator.check_schema(parsed)
    return _Validator(parsed, registry=_NOTHING_REMOTE)


def _undeclared(schema: Any) -> Any:
    """Without ``$schema``, at which a validator would give way to one that checks everything."""
    if isinstance(schema, dict):
        return {name: _undeclared(inner) for name, inner in schema.items() if name != "$schema"}
    return [_undeclared(inner) for inner in schema] if isinstance(schema, list) else schema


def _told(fault: ValidationError) -> str:
    place = ".".join(str(p) for p in fault.absolute_path)
    return whole(f"{place}: {fault.message[:300]}" if place else fault.message[:300])


def _mended(value: Any, schema: Any) -> Any:
    """The value with the usual mistakes put right; whether it fits now is for the validator to say."""
    if not isinstance(schema, Mapping):
        return value
    wanted = schema.get("type")
    if isinstance(value, str):
        value = _from_text(value, wanted, schema)
    elif wanted == "string" and isinstance(value, int | float) and not isinstance(value, bool):
        value = json.dumps(value)
    elif wanted == "integer" and isinstance(value, float) and value.is_integer():
        value = int(value)
    if wanted == "array" and not isinstance(value, list) and value is not None:
        value = [value]
    if isinstance(value, list):
        return [_mended(item, schema.get("items")) for item in value]
    if isinstance(value, dict):
        return _mended_object(value, schema)
    return value


def _mended_object(value: dict[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    properties = schema.get("properties")
    properties = properties if isinstance(properties, Mapping) else {}
    required = schema.get("required") or ()
    closed = schema.get("additionalProperties") is False
    mended: dict[str, Any] = {}
    for name, inner in value.items():
        if (closed and name not in properties) or (inner is None and name not in required):
            continue
        mended[name] = _mended(inner, properties.get(name))
    for name in required:
        if name not in mended and isinstance(properties.get(name), Mapping) and "default" in properties[name]:
            mended[name] = properties[name]["default"]
    return mended


def _from_text(value: str, wanted: object, schema: Mapping[str, Any]) -> Any:
    choices = schema.get("enum")
    if isinstance(choices, list):
        return next((c for c in choices if isinstance(c, str) and c.casefold() == value.strip().casefold()), value)
    kinds: Mapping[object, type | tuple[type, ...]] = {
        "integer": int,
        "number": (int, float),
        "boolean": bool,
        "array": list,
        "object": dict,
    }
    if wanted in kinds:
        try:
            parsed = json.loads(value.strip().lower() if wanted == "boolean" else value)
        except ValueError:
            return value
        if wanted == "integer" and isinstance(parsed, float) and parsed.is_integer():
            return int(parsed)
        if isinstance(parsed, kinds[wanted]) and (wanted == "boolean") == isinstance(parsed, bool):
            return parsed
    return value
