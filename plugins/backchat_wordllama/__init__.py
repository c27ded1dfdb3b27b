"""The ``wordllama`` embedder: static word vectors whose model comes inside a package; nothing is ever downloaded."""

from __future__ import annotations

from collections.abc import Sequence

from backchat.hookspecs import hookimpl
from backchat.ports.component import Component
from backchat.ports.embedding import EmbedderBackend
from backchat_wordllama.embedder import SettingsSchema, open_wordllama


@hookimpl
def backchat_embedders() -> Sequence[EmbedderBackend]:
    return [Component("wordllama", SettingsSchema(), open_wordllama, "embeddings")]
