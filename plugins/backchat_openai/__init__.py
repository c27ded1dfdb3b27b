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
from backchat_openai.groq import GroqSchema
from backchat_openai.openrouter import OpenRouterSchema
from backchat_openai.provider import open_openai
from backchat_openai.settings import GROQ, OPENAI, OPENROUTER, SettingsSchema
from backchat_openai.transcriber import open_transcriber
from backchat_openai.transcriber_settings import TranscriberSchema


@hookimpl
def backchat_providers() -> Sequence[ProviderBackend]:
    return [
        Component(OPENAI.name, SettingsSchema(OPENAI), open_openai),
        Component(GROQ.name, GroqSchema(), open_openai),
        Component(OPENROUTER.name, OpenRouterSchema(), open_openai),
    ]


@hookimpl
def backchat_embedders() -> Sequence[EmbedderBackend]:
    return [Component("openai", EmbedderSchema(), open_embedder, "embeddings")]


@hookimpl
def backchat_transcribers() -> Sequence[TranscriberBackend]:
    return [Component(preset.name, TranscriberSchema(preset), open_transcriber) for preset in (OPENAI, GROQ)]
