"""Past the messages of a tree that are left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping


class Walk:
    """Finds the message that takes the place of one which is left out: the nearest above it.

    parents  of all, as the file has them: some are not there, some lead in a circle
    left     whether a message is left out
    """

    def __init__(self, parents: Mapping[str, str | None], left: Callable[[str], bool]) -> None:
        self._parents, self._left = parents, left
        self._known: dict[str, str | None] = {}

    def parent(self, id: str) -> str | None:
        return self.nearest(self._parents.get(id))

    def nearest(self, id: str | None) -> str | None:
        """This message itself if it stays. None where there is none above it."""
        path: dict[str, None] = {}
        while id is not None and id not in self._known and id not in path and self._left(id):
            path[id] = None
            id = self._parents.get(id)
        if id is not None and (id in self._known or id in path):
            id = self._known.get(id)
        self._known.update(dict.fromkeys(path, id))
        return id
