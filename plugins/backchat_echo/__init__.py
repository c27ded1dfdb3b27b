"""The ``echo`` provider: deterministic, without network; the default, and what tests use."""

from __future__ import annotations

from collections.abc import Sequence

from backchat.hookspecs import hookimpl
from backchat.ports.component import Component
from backchat.ports.providers import ProviderBackend
from backchat_echo.provider import SettingsSchema, open_echo


@hookimpl
def backchat_providers() -> Sequence[ProviderBackend]:
    return [Component("echo", SettingsSchema(), open_echo)]
