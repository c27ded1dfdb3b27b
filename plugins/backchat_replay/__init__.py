"""The providers ``record``, which writes down what another one says, and ``replay``, which says it again."""

from __future__ import annotations

from collections.abc import Sequence

from backchat.hookspecs import hookimpl
from backchat.ports.component import Component
from backchat.ports.providers import ProviderBackend, ProviderWrapper
from backchat_replay.player import open_replay
from backchat_replay.recorder import open_record
from backchat_replay.settings import RecordSchema, ReplaySchema


@hookimpl
def backchat_providers() -> Sequence[ProviderBackend | ProviderWrapper]:
    return [
        ProviderWrapper("record", RecordSchema(), open_record),
        Component("replay", ReplaySchema(), open_replay),
    ]
