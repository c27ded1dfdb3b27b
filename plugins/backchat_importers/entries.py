"""The entries of a JSON file, one after the other: what is in memory is one of them, however large the file is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from math import isfinite
from typing import Any, BinaryIO

import ijson
from ijson.utils import sendable_list

from backchat.errors import InvalidInput
from backchat_importers.surrogates import Whole

CHUNK = 1 << 16
"""Bytes that are read at a time."""
MOST_CONTAINERS = 500_000
"""Objects and arrays of an entry that are kept. An empty one takes two bytes in a file and a hundred in memory."""
INTEGERS = 1 << 63
"""From here on an integer is kept as a float: a store takes 64 bits."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A value of the file, how many containers it is deep, and whether it has so many of them that some are missing."""

    value: Any
    depth: int = 0
    cut: bool = False


def entries(file: BinaryIO, *, under: str | None = None) -> Iterator[Entry]:
    """The elements of an array, or each value of several ones after one another.

    With ``under``, the elements of the array that an object has by that name; what else it has is passed over.

    Raises InvalidInput where the file breaks off or is no JSON, after what came before has been given out.
    """
    found: list[tuple[str, Any]] = sendable_list()
    # Numbers as decimals: asked for floats, the parser takes a large number for the end of the file.
    parser = ijson.basic_parse_coro(found, multiple_values=True)
    whole, assembly = Whole(), _Assembly(under)
    count = 0
    while True:
        chunk = file.read(CHUNK)
        problem = _pushed(parser, whole.of(chunk) if chunk else whole.rest(), last=not chunk)
        for entry in assembly.of(found):
            count += 1
            yield entry
        found.clear()
        if problem is None and not chunk and under is not None and not assembly.met:
            problem = f"has no array `{under}`"
        if problem is not None:
            after = f" after {count} conversation{'s' * (count > 1)}" if count else ""
            raise InvalidInput(f"the file {problem}{after}", field="file")
        if not chunk:
            return


def _pushed(parser: Any, data: bytes, *, last: bool) -> str | None:
    """What is wrong with the file, if something is. Not in the parser's words: they quote the file."""
    try:
        if data:
            parser.send(data)
    except (ijson.JSONError, UnicodeDecodeError):
        return "is no JSON in UTF-8"
    try:
        if last:
            parser.send(b"")
    except ijson.JSONError:
        return "breaks off"
    except StopIteration:
        pass
    return None


class _Assembly:
    """Makes values of the parser's events. ijson's own builder would take time quadratic in the depth.

    met  whether an array of entries has begun
    """

    def __init__(self, under: str | None) -> None:
        self.met = False
        self._under = under
        self._around: list[str] = []  # what the entries are in: an array, or an object, or its array
        self._stack: list[tuple[Any, Any]] = []  # the containers around the innermost one, with their last keys
        self._top: Any = None
        self._key: Any = None
        self._count = self._depth = self._lost = 0

    def of(self, events: Iterable[tuple[str, Any]]) -> Iterator[Entry]:
        top, key, stack, count, lost = self._top, self._key, self._stack, self._count, self._lost
        in_object, in_array = type(top) is dict and not lost, type(top) is list and not lost
        for event, value in events:
            if event == "map_key":
                key = value
            elif event == "string" or value is not None or event == "null":
                if event == "number":
                    value = _number(value)
                if in_object:
                    top[key] = value
                elif in_array:
                    top.append(value)
                elif top is None and self._around != ["start_map"]:
                    yield Entry(value)
            elif event == "start_map" or event == "start_array":
                if lost or (top is not None and count >= MOST_CONTAINERS):
                    lost += 1
                    in_object = in_array = False
                    continue
                made: Any = {} if event == "start_map" else []
                if in_object:
                    top[key] = made
                elif in_array:
                    top.append(made)
                elif self._enters(event, key):
                    continue
                else:
                    count = self._depth = 0
                count += 1
                stack.append((top, key))
                top = made
                in_object = event == "start_map"
                in_array = not in_object
                if len(stack) > self._depth:
                    self._depth = len(stack)
            elif top is None:
                self._around.pop()
            else:
                if lost:
                    lost -= 1
                else:
                    done = top
                    top, key = stack.pop()
                    if top is None and self._around != ["start_map"]:
                        yield Entry(done, self._depth, count >= MOST_CONTAINERS)
                in_object, in_array = type(top) is dict and not lost, type(top) is list and not lost
        self._top, self._key, self._count, self._lost = top, key, count, lost

    def _enters(self, event: str, key: str | None) -> bool:
        """Whether the container that begins is one that entries are in, and none of them."""
        array = event == "start_array" and (not self._around or (self._around == ["start_map"] and key == self._under))
        if array or (self._under is not None and not self._around):
            self._around.append(event)
            self.met = self.met or array
            return True
        return False


def _number(number: Decimal | int) -> float | int | None:
    """As a store takes it; None for what is too large for a float."""
    if type(number) is int and -INTEGERS <= number < INTEGERS:
        return number
    try:
        read = float(number)
    except OverflowError:
        return None
    return read if isfinite(read) else None
