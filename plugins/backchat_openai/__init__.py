"""The providers ``openai``, ``groq`` and ``openrouter``, the embedder ``openai`` and the transcribers ``openai`` and
``groq``: OpenAI's protocols.

Other servers speak them too; ``base_url`` says where.
"""

from __future__ import annotations

from collections.abc import Sequence

from backchat.hookspecs import hookimpl
from backchat.ports.component import Component
from backchat.ports.embedding import EmbedderBackend
from backchat.ports.providers import ProviderBackend
from backchat.ports.transcription import TranscriberBackend
from backchat_openai.embedder import open_embedder
from backchat_openai.embedder_settings import EmbedderSchema
from backchat_openai.provider import open_openai
from backchat_openai.settings import GROQ, OPENAI, OPENROUTER, SettingsSchema
from backchat_openai.transcriber import open_transcriber
from backchat_openai.transcriber_settings import TranscriberSchema


@hookimpl
def backchat_providers() -> Sequence[ProviderBackend]:
    return [Component(preset.name, SettingsSchema(preset), open_openai) for preset in (OPENAI, GROQ, OPENROUTER)]


@hookimpl
def backchat_embedders() -> Sequence[EmbedderBackend]:
    return [Component("openai", EmbedderSchema(), open_embedder, "embeddings")]


@hookimpl
def backchat_transcribers() -> Sequence[TranscriberBackend]:
    return [Component(preset.name, TranscriberSchema(preset), open_transcriber) for preset in (OPENAI, GROQ)]
