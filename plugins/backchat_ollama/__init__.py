"""The provider ``ollama``: its native chat API."""

from __future__ import annotations

from collections.abc import Sequence

from backchat.hookspecs import hookimpl
from backchat.ports.component import Component
from backchat.ports.providers import ProviderBackend
from backchat_ollama.provider import open_ollama
from backchat_ollama.settings import SettingsSchema


@hookimpl
def backchat_providers() -> Sequence[ProviderBackend]:
    return [Component("ollama", SettingsSchema(), open_ollama)]
