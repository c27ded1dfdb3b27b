"""The configured providers by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backchat.errors import NotConfigured
from backchat.ports.providers import LLMProvider

KNOWN_AS: Mapping[str, str] = {"claude": "anthropic"}
"""Words for components that have another name: models are better known than who makes them."""


@dataclass(frozen=True, slots=True)
class Configured:
    """A provider under the name the deployer gave it; ``use`` is the component behind it, the innermost one if
    one wraps another.

    It is another one after the configuration has been read again and said something else of it.
    """

    name: str
    use: str
    provider: LLMProvider


@dataclass(slots=True)
class Providers:
    """``default`` answers when nobody chose; ``fallback`` names who is tried next, in order.

    The one place that changes when the configuration is read again: whoever keeps a provider for later keeps its name.
    """

    configured: Mapping[str, Configured]
    default: str
    fallback: Sequence[str] = ()

    def become(self, other: Providers) -> None:
        """These are configured now."""
        self.configured, self.default, self.fallback = other.configured, other.default, other.fallback

    def find(self, word: str) -> Configured | None:
        """The provider of that name, else the first one whose component has that name, or is known by it."""
        if word in self.configured:
            return self.configured[word]
        use = KNOWN_AS.get(word, word)
        return next((c for c in self.configured.values() if c.use in (word, use)), None)

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
