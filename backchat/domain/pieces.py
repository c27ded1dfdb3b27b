"""Text that grows piece by piece."""

from __future__ import annotations

_LOOSE = 8


class Pieces:
    """The pieces of a growing text, held compactly: a short string takes many times the bytes of its characters."""

    __slots__ = ("_loose", "length")

    def __init__(self) -> None:
        self._loose: list[str] = []
        self.length = 0

    def add(self, piece: str) -> None:
        loose = self._loose
        loose.append(piece)
        self.length += len(piece)
        if len(loose) >= _LOOSE:
            loose[:] = ["".join(loose)]

    def __str__(self) -> str:
        return "".join(self._loose)
