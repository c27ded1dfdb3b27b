"""The memory strategies of a deployment: its default one, and those that assistants and conversations can choose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from backchat.domain.run import Run
from backchat.errors import NotConfigured
from backchat.ports.memory import DEFAULT, MemoryStrategy, Shown
from backchat.ports.storage import RecordStore
from backchat.services.paths import Path


@dataclass(frozen=True, slots=True)
class Strategies:
    """``named`` are those of the section ``strategies``."""

    default: MemoryStrategy
    named: Mapping[str, MemoryStrategy] = field(default_factory=dict)

    def choose(self, name: str | None) -> MemoryStrategy:
        """The strategy of that name; None is the default. Raises NotConfigured for one that is gone."""
        if name is None or name == DEFAULT:
            return self.default
        if name not in self.named:
            there = ", ".join([DEFAULT, *self.named])
            raise NotConfigured(f"the memory strategy {name!r} is not configured; this server has: {there}")
        return self.named[name]

    def of(self, store: RecordStore, run: Run, leaf: str) -> tuple[str, MemoryStrategy, Path]:
        """The name of the strategy of a run, the strategy, and the path that it sees. Raises NotConfigured."""
        name = run.recipe.strategy or DEFAULT
        return name, self.choose(name), Path(store, run.conversation, leaf, name)

    async def shown(self, store: RecordStore, run: Run) -> Shown:
        """What the model of a run is shown of the past. Raises NotConfigured."""
        _, strategy, path = self.of(store, run, run.parent)
        return await strategy.select(path)
