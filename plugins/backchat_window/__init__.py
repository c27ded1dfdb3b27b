"""The ``window`` memory strategy: the newest messages of a conversation."""

from __future__ import annotations

from collections.abc import Sequence

from backchat.hookspecs import hookimpl
from backchat.ports.component import Component
from backchat.ports.memory import MemoryBackend
from backchat_window.strategy import SettingsSchema, open_window


@hookimpl
def backchat_memories() -> Sequence[MemoryBackend]:
    return [Component("window", SettingsSchema(), open_window)]
