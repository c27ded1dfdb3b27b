"""Which messages of a tree a fork takes along. Pure, and linear in the number of messages.

Everything here takes the messages of a conversation by seq, with the parents that ``rooted`` gives: a parent comes
before its children, and a message without one is a root, of which there may be several.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from backchat.domain.message import Message
from backchat.errors import InvalidInput

Extent = Literal["path", "branches", "level"]
"""``path``: up to the root. ``branches``: that, and the siblings along it. ``level``: all to the target's depth."""


def rooted(messages: Sequence[Message]) -> list[Message]:
    """The messages by seq, as roots those whose parent was deleted.

    A deleted message may have been stored again since: its id then stands after its children, and is not their parent.
    """
    return Rooting().next(messages)


class Rooting:
    """``rooted`` for a tree that comes in pieces."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def next(self, messages: Iterable[Message]) -> list[Message]:
        found: list[Message] = []
        for m in messages:
            found.append(m if m.parent is None or m.parent in self._seen else replace(m, parent=None))
            self._seen.add(m.id)
        return found


def reached(messages: Sequence[Message], target: str, extent: Extent) -> list[Message]:
    """What is copied of a tree when it is forked at ``target``, which is one of the messages.

    Roots are siblings of each other only for ``level``: a path does not touch other roots.
    """
    if extent == "level":
        depth = depths(messages)
        return [m for m in messages if depth[m.id] <= depth[target]]
    path = path_to(messages, target)
    if extent == "path":
        return [m for m in messages if m.id in path]
    above = path - {target}
    return [m for m in messages if m.id in path or m.parent in above]


def begun_at(messages: Sequence[Message], first: str, target: str) -> list[Message]:
    """The tree from the depth of ``first`` down: every message of that depth is a root.

    Raises InvalidInput if ``target`` is not in what is left.
    """
    depth = depths(messages)
    if depth[target] < depth[first]:
        raise InvalidInput("the latest message is above the one to split at", field="body.latestMessageId")
    return rooted([m for m in messages if depth[m.id] >= depth[first]])


def depths(messages: Sequence[Message]) -> Mapping[str, int]:
    """How many messages are above each."""
    depth: dict[str, int] = {}
    for m in messages:
        depth[m.id] = 0 if m.parent is None else depth[m.parent] + 1
    return depth


def path_to(messages: Sequence[Message], target: str) -> set[str]:
    """The ids of a message and of all above it, up to its root."""
    path: set[str] = set()
    wanted: str | None = target
    for m in reversed(messages):
        if m.id == wanted:
            path.add(m.id)
            wanted = m.parent
    return path
