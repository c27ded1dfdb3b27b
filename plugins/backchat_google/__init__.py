"""The provider ``google``: Gemini, over the Gemini API."""

from __future__ import annotations

from collections.abc import Sequence

from backchat.hookspecs import hookimpl
from backchat.ports.component import Component
from backchat.ports.providers import ProviderBackend
from backchat_google.provider import open_google
from backchat_google.settings import SettingsSchema


@hookimpl
def backchat_providers() -> Sequence[ProviderBackend]:
    return [Component("google", SettingsSchema(), open_google)]
