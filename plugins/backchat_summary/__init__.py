"""The ``summary`` memory strategy: the newest messages as they are, and what was said before them in short."""

from __future__ import annotations

from collections.abc import Sequence

from backchat.hookspecs import hookimpl
from backchat.ports.component import Component
from backchat.ports.memory import MemoryBackend
from backchat_summary.settings import SettingsSchema
from backchat_summary.strategy import open_summary


@hookimpl
def backchat_memories() -> Sequence[MemoryBackend]:
    return [Component("summary", SettingsSchema(), open_summary)]
