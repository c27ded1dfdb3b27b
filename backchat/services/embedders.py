"""The configured embedding models by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from backchat.ports.embedding import Embedder


@dataclass(frozen=True, slots=True)
class Embedders:
    """The first one is the default. There may be none: then nothing is found by meaning, only by words."""

    configured: Mapping[str, Embedder] = field(default_factory=dict)

    def name(self, word: str | None) -> str | None:
        """The name of the embedder for a choice, None being the default; None if there is no such one (any more)."""
        if word is None:
            return next(iter(self.configured), None)
        return word if word in self.configured else None

    def find(self, word: str | None) -> Embedder | None:
        name = self.name(word)
        return None if name is None else self.configured[name]
