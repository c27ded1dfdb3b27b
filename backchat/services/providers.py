"""The configured providers by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backchat.errors import NotConfigured
from backchat.ports.providers import LLMProvider


@dataclass(frozen=True, slots=True)
class Configured:
    """A provider under the name the deployer gave it; ``use`` is the component behind it."""

    name: str
    use: str
    provider: LLMProvider


@dataclass(frozen=True, slots=True)
class Providers:
    """``default`` answers when nobody chose; ``fallback`` names who is tried next, in order."""

    configured: Mapping[str, Configured]
    default: str
    fallback: Sequence[str] = ()

    def find(self, word: str) -> Configured | None:
        """The provider of that name, else the first one whose component has that name."""
        if word in self.configured:
            return self.configured[word]
        return next((c for c in self.configured.values() if c.use == word), None)

    def choose(self, word: str | None) -> Configured:
        """The provider for a choice; None is the default. Raises NotConfigured for a choice that is gone."""
        if word is None:
            return self.configured[self.default]
        found = self.find(word)
        if found is None:
            raise NotConfigured(f"provider {word!r} is not configured; this server has: {', '.join(self.configured)}")
        return found

    def candidates(self, first: Configured) -> Sequence[Configured]:
        """``first`` and then the fallbacks."""
        return [first, *(self.configured[name] for name in self.fallback if name != first.name)]
