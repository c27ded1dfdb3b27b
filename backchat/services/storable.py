"""JSON from elsewhere as every store takes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import chain
from math import isfinite
from typing import Any

import orjson

DEEPEST = 100
"""Levels of nesting that are kept as they are; what is below becomes JSON text."""


def askable(text: str) -> bool:
    """Whether a store can be asked for something of this name. What has others in it is nobody's and nowhere."""
    return text.isprintable()


def storable(value: Any) -> Any:
    """The same value, if it can be stored, with these exceptions.

    Half a surrogate pair becomes U+FFFD, a whole number beyond 64 bits a text, NaN and the infinities null, keys text.
    What is nested more than ``DEEPEST`` levels deep is kept as the text of its JSON: readers add some levels, and
    orjson takes 254.
    """
    try:
        written = orjson.dumps(value)
    except TypeError:
        return _cleaned(value, 0)
    if written.count(b"[") + written.count(b"{") > DEEPEST and _is_deep(value):  # most have not so many
        return _cleaned(value, 0)
    return value


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEEPEST + 1):
        level = list(chain.from_iterable(map(_inside, level)))
        if not level:
            return False
    return True


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, Sequence) and not isinstance(value, str | bytes) else ()


def _cleaned(value: Any, depth: int) -> Any:
    if isinstance(value, Mapping) or (isinstance(value, Sequence) and not isinstance(value, str | bytes)):
        if depth == DEEPEST:
            return json_text(value)
        if isinstance(value, Mapping):
            return {whole(str(k)): _cleaned(v, depth + 1) for k, v in value.items()}
        return [_cleaned(v, depth + 1) for v in value]
    return _scalar(value)


def _scalar(value: Any) -> Any:
    match value:
        case bool() | None:
            return value
        case int():
            return value if -(1 << 63) <= value < 1 << 63 else _number(value)
        case float() | Decimal():
            number = float(value)
            return number if isfinite(number) else None
    return whole(str(value))


def _number(value: int) -> str:
    return str(value) if value.bit_length() < 10_000 else hex(value)  # Python refuses to write long ones in tens


def whole(text: str) -> str:
    """The text, in which a surrogate without its other half is U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def json_text(value: Any) -> str:
    """JSON of any depth; orjson and json both give up on such."""
    written: list[str] = []
    todo: list[Any] = [(value,)]  # values in a tuple, and texts between them
    while todo:
        item = todo.pop()
        if isinstance(item, str):
            written.append(item)
            continue
        (one,) = item
        if isinstance(one, Mapping):
            inner: list[Any] = []
            for key, of in one.items():
                inner += [",", _quoted(whole(str(key))) + ":", (of,)]
            todo += ["}", *reversed(inner[1:]), "{"]
        elif isinstance(one, Sequence) and not isinstance(one, str | bytes):
            inner = []
            for of in one:
                inner += [",", (of,)]
            todo += ["]", *reversed(inner[1:]), "["]
        else:
            written.append(_quoted(_scalar(one)))
    return "".join(written)


def _quoted(value: Any) -> str:
    return orjson.dumps(value).decode()
