"""What a schema finds wrong with a section, message by message, each with the place that it is about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from marshmallow import Schema, fields

from backchat.config.sections import options

Keys = tuple[str | int, ...]


def told(messages: Any, part: Any, keys: Keys) -> Iterator[tuple[Keys, str]]:
    """Marshmallow's messages one by one, each with the place it is about. ``part`` is the schema or field there."""
    if isinstance(messages, str):
        yield keys, messages
    elif isinstance(messages, list):
        for message in messages:
            yield from told(message, part, keys)
    elif isinstance(part, fields.Nested) and not part.many:
        yield from told(messages, part.schema, keys)
    else:
        for key, below in _in_order(messages, part):
            if key == "_schema":
                yield from told(below, part, keys)
            elif isinstance(part, Schema):
                yield from _of_option(key, below, part, (*keys, key))
            elif isinstance(part, fields.Nested):
                yield from told(below, part.schema, (*keys, key))
            elif isinstance(part, fields.Dict) and isinstance(below, dict):
                for side, texts in below.items():  # "key" or "value"
                    yield from told(texts, part.value_field if side == "value" else None, (*keys, key))
            else:
                yield from told(below, part.inner if isinstance(part, fields.List) else None, (*keys, key))


def _in_order(messages: Mapping[Any, Any], part: Any) -> Iterable[tuple[Any, Any]]:
    """Options as the schema orders them, then unknown ones by name: marshmallow looks for these in no fixed order."""
    if not isinstance(part, Schema):
        return messages.items()
    place = {name: n for n, name in enumerate(options(part))}
    return sorted(messages.items(), key=lambda item: (place.get(item[0], len(place)), str(item[0])))


def _of_option(key: str, below: Any, schema: Schema, keys: Keys) -> Iterator[tuple[Keys, str]]:
    known = options(schema)
    for place, text in told(below, known.get(key), keys):
        if key not in known and text == schema.error_messages["unknown"]:
            yield place, unknown(key, list(known))
        elif text == fields.Field.default_error_messages["required"]:
            yield place, "is required"
        elif text == fields.Field.default_error_messages["null"]:
            yield place, "has no value"
        else:
            yield place, text


def unknown(key: str, known: Sequence[str]) -> str:
    close = get_close_matches(key, known, 1)
    if close:
        return f"unknown key; did you mean {close[0]}?"
    return f"unknown key; there are: {', '.join(known)}" if known else "unknown key; there are no options here"
