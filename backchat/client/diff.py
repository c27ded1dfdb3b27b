"""What changed between two versions of a conversation, message by message."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Literal

from backchat.domain.vault import VaultMessage

THOROUGH_MAX = 250_000
"""Pairs of messages that are looked at one by one where no message is unique."""


@dataclass(frozen=True, slots=True)
class Edit:
    """A step from ``a`` to ``b``: ``old`` messages, from the position ``at`` of ``a`` on, become ``new`` ones.

    same     both are the same;  removed  ``new`` is empty;  added  ``old`` is empty
    changed  one message on each side: the same place and role, other words or another time
    """

    kind: Literal["same", "removed", "added", "changed"]
    at: int
    old: tuple[VaultMessage, ...] = field(repr=False)
    new: tuple[VaultMessage, ...] = field(repr=False)


def diff(a: Sequence[VaultMessage], b: Sequence[VaultMessage]) -> list[Edit]:
    """The edits that make ``b`` of ``a``, in order, and without a gap."""
    edits: list[Edit] = []
    i = j = same = 0
    for x, y in [*_pairs(a, b), (len(a), len(b))]:
        if (x, y) != (i, j):
            edits += _same(a, i - same, same)
            edits += _other(a, b, i, x, j, y)
            same = 0
        same += 1
        i, j = x + 1, y + 1
    # The pair behind both ends is none, though it is counted.
    return [*edits, *_same(a, len(a) - (same - 1), same - 1)]


def applied(a: Sequence[VaultMessage], edits: Sequence[Edit]) -> list[VaultMessage]:
    """``a`` after these edits. ValueError if they were not made from it."""
    result: list[VaultMessage] = []
    place = 0
    for edit in edits:
        end = place + len(edit.old)
        if edit.at != place or tuple(a[place:end]) != edit.old:
            raise ValueError("these edits were made from another conversation")
        result += edit.new
        place = end
    if place != len(a):
        raise ValueError("these edits were made from a shorter conversation")
    return result


def _same(a: Sequence[VaultMessage], start: int, count: int) -> list[Edit]:
    kept = tuple(a[start : start + count])
    return [Edit("same", start, kept, kept)] if kept else []


def _other(a: Sequence[VaultMessage], b: Sequence[VaultMessage], i: int, x: int, j: int, y: int) -> Iterator[Edit]:
    """What becomes of ``a[i:x]`` on its way to ``b[j:y]``: first what has its counterpart, then the rest."""
    while i < x and j < y and a[i].role == b[j].role:
        yield Edit("changed", i, (a[i],), (b[j],))
        i, j = i + 1, j + 1
    if i < x:
        yield Edit("removed", i, tuple(a[i:x]), ())
    if j < y:
        yield Edit("added", x, (), tuple(b[j:y]))


def _pairs(a: Sequence[VaultMessage], b: Sequence[VaultMessage]) -> list[tuple[int, int]]:
    """Positions of the same message on both sides, ascending on both: a patience diff.

    Messages that are there once on either side are what the rest is aligned by. Its time grows with the length, where
    that of a shortest diff would grow with length times difference.
    """
    found: list[tuple[int, int]] = []
    todo = [(0, len(a), 0, len(b))]
    while todo:
        i, x, j, y = todo.pop()
        while i < x and j < y and a[i] == b[j]:
            found.append((i, j))
            i, j = i + 1, j + 1
        while i < x and j < y and a[x - 1] == b[y - 1]:
            x, y = x - 1, y - 1
            found.append((x, y))
        if i == x or j == y:
            continue
        if anchors := _anchors(a, b, i, x, j, y):
            found += anchors
            for (p, q), (r, s) in zip([(i - 1, j - 1), *anchors], [*anchors, (x, y)], strict=True):
                todo.append((p + 1, r, q + 1, s))
        elif (x - i) * (y - j) <= THOROUGH_MAX:
            matcher = SequenceMatcher(None, a[i:x], b[j:y], autojunk=False)
            for block in matcher.get_matching_blocks():
                found += [(i + block.a + n, j + block.b + n) for n in range(block.size)]
    return sorted(found)


def _anchors(
    a: Sequence[VaultMessage], b: Sequence[VaultMessage], i: int, x: int, j: int, y: int
) -> list[tuple[int, int]]:
    """The longest ascending run of pairs of messages that are there once on either side."""
    here, there = Counter(a[i:x]), Counter(b[j:y])
    place = {m: n for n, m in enumerate(b[j:y], j) if there[m] == 1}
    tops: list[int] = []
    ends: list[tuple[int, int, int | None]] = []  # positions, and the pair before it in the best run
    best: list[int] = []  # for each length of a run, which pair ends the best one
    for n in range(i, x):
        if here[a[n]] == 1 and (at := place.get(a[n])) is not None:
            length = bisect_left(tops, at)
            tops[length : length + 1] = [at]
            best[length : length + 1] = [len(ends)]
            ends.append((n, at, best[length - 1] if length else None))
    run: list[tuple[int, int]] = []
    step = best[-1] if best else None
    while step is not None:
        n, at, step = ends[step]
        run.append((n, at))
    return run[::-1]
