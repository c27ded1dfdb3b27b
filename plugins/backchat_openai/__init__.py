"""The providers ``openai``, ``groq`` and ``openrouter``: OpenAI's chat-completions protocol, also of other servers."""

from __future__ import annotations

from collections.abc import Sequence

from backchat.hookspecs import hookimpl
from backchat.ports.component import Component
from backchat.ports.providers import ProviderBackend
from backchat_openai.provider import open_openai
from backchat_openai.settings import GROQ, OPENAI, OPENROUTER, SettingsSchema


@hookimpl
def backchat_providers() -> Sequence[ProviderBackend]:
    return [Component(preset.name, SettingsSchema(preset), open_openai) for preset in (OPENAI, GROQ, OPENROUTER)]
