"""The entries of a JSON file, one after the other: what is in memory is one of them, however large the file is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from math import isfinite
from typing import Any, BinaryIO

from backchat.errors import InvalidInput
from backchat.ports.importing import EntryTooLarge
from backchat.services.json_events import JsonEvents
from backchat_importers.values import TITLE

MOST_CONTAINERS = 500_000
"""Objects and arrays of an entry that are kept. An empty one takes two bytes in a file and a hundred in memory."""
LONGEST = 48 << 20
"""Bytes of a text that is passed over: the parser has it in memory."""
INTEGERS = 1 << 63
"""From here on an integer is kept as a float: a store takes 64 bits."""

TOO_MANY = "it consists of too many parts"
_TITLES = ("title", "name")


@dataclass(frozen=True, slots=True)
class Entry:
    """A value of the file; ``problem`` says why some of it is missing, if some is."""

    value: Any
    problem: str | None = None


def entries(file: BinaryIO, *, under: str | None = None) -> Iterator[Entry]:
    """The elements of an array, or each value of several ones after one another.

    With ``under``, the elements of the array that an object has by that name; what else it has is passed over. Of one
    that is too large only its title is kept.

    Raises InvalidInput where the file breaks off or is no JSON, after what came before has been given out.
    """
    events, assembly = JsonEvents(file), _Assembly(under)
    count = 0
    while not events.ended:
        try:
            found = events.read()
        except EntryTooLarge as error:
            if events.silent > LONGEST:
                raise
            assembly.drop(str(error))
            continue
        for entry in assembly.of(found):
            count += 1
            yield entry
    problem = events.problem
    if problem is None and under is not None and not assembly.met:
        problem = f"has no array `{under}`"
    if problem is not None:
        after = f" after {count} conversation{'s' * (count > 1)}" if count else ""
        raise InvalidInput(f"the file {problem}{after}", field="file")


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
        self._count = self._lost = 0
        self._problem: str | None = None  # the entry's, of which nothing is kept any more

    def drop(self, problem: str) -> None:
        """Let go of the entry that is being made, but for its title; the rest of it is passed over."""
        if self._top is None or self._problem is not None:
            return
        made = [*(container for container, _ in self._stack[1:]), self._top]
        outer = made[0]
        title = {k: v[:TITLE] for k in _TITLES if type(v := outer.get(k)) is str} if type(outer) is dict else {}
        for container in made:
            container.clear()
        if title:
            outer.update(title)
        self._problem = problem

    def of(self, events: Iterable[tuple[str, Any]]) -> Iterator[Entry]:
        top, key, stack, count, lost = self._top, self._key, self._stack, self._count, self._lost
        keeps = not lost and self._problem is None
        in_object, in_array = keeps and type(top) is dict, keeps and type(top) is list
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
                if lost or (top is not None and (count >= MOST_CONTAINERS or self._problem is not None)):
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
                    count = 0
                count += 1
                stack.append((top, key))
                top = made
                in_object = event == "start_map"
                in_array = not in_object
            elif top is None:
                self._around.pop()
            else:
                if lost:
                    lost -= 1
                else:
                    done = top
                    top, key = stack.pop()
                    if top is None:
                        problem = self._problem or (TOO_MANY if count >= MOST_CONTAINERS else None)
                        self._problem = None
                        if self._around != ["start_map"]:
                            yield Entry(done, problem)
                keeps = not lost and self._problem is None
                in_object, in_array = keeps and type(top) is dict, keeps and type(top) is list
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
