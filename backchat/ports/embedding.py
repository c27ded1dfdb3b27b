"""The embedding port: from texts to vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, Protocol

from backchat.ports.component import Component


class Embedder(Protocol):
    """A configured embedding model. Test one by subclassing ``backchat.testing.embedding.EmbedderContract``."""

    @property
    def model(self) -> str: ...

    @property
    def dimensions(self) -> int: ...

    @property
    def context(self) -> int:
        """Tokens of a text that count; the rest is cut off. 0 if there is no such limit."""
        ...

    async def embed(self, texts: Sequence[str], purpose: Literal["query", "document"]) -> Sequence[bytes]:
        """A vector for each text, in order: ``dimensions`` float32, little-endian, of length 1.

        Any number of texts, any text (an empty one has a vector too). The same text has the same vector. Does not block
        the event loop. Raises ``ProviderError`` or one of its subclasses, and nothing else.
        """
        ...


OpenEmbedder = Callable[[Any], AbstractAsyncContextManager[Embedder]]
EmbedderBackend = Component[OpenEmbedder]
