"""For authors of embedders, and of whatever calls one: the port's contract, and a deterministic embedder."""

from __future__ import annotations

import asyncio
import sys
from abc import ABC, abstractmethod
from array import array
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from hashlib import blake2b
from math import sqrt
from typing import ClassVar, Literal

import pytest
from marshmallow import RAISE, Schema

from backchat.errors import ProviderError
from backchat.hookspecs import hookimpl
from backchat.ports.component import Component
from backchat.ports.embedding import Embedder, EmbedderBackend
from backchat.ports.words import words

Purpose = Literal["query", "document"]
TOLERANCE = 1e-3
MOST_UNEVEN = [
    "",
    " ",
    "\n\t\r",
    "\x00",
    "a\x00b",
    "\ud800",
    "half a \udc00 character",
    "😀🏳️‍🌈",
    "東京タワーへ行く",
    "नमस्ते 𝒳 e\u0301",
    "!@#$%^&*()" * 400,
    "long " * 20_000,
    "z" * 50_000,
]


def numbers(vector: bytes) -> list[float]:
    """The float32 of a vector."""
    read = array("f", vector)
    if sys.byteorder == "big":
        read.byteswap()
    return read.tolist()


def vector_of(values: Sequence[float]) -> bytes:
    """Values, not all 0, as a vector of length 1."""
    length = sqrt(sum(v * v for v in values))
    made = array("f", [v / length for v in values])
    if sys.byteorder == "big":
        made.byteswap()
    return made.tobytes()


def cosine(a: bytes, b: bytes) -> float:
    """Of two vectors of length 1."""
    return sum(x * y for x, y in zip(numbers(a), numbers(b), strict=True))


class HashEmbedder:
    """An embedder for tests: texts are near to each other as far as they have words in common.

    Every word counts in one dimension, which its digest picks, so that with few dimensions words meet. ``meanings``
    maps a word to another one that it stands for: texts may then be near without sharing a word.

    asked      the texts and the purpose of each call, in order
    failures   raised by the next calls, one each
    """

    context = 0

    def __init__(
        self,
        dimensions: int = 512,
        *,
        meanings: Mapping[str, str] | None = None,
        model: str = "hash-1",
        name: str = "hash",
    ) -> None:
        self.dimensions = dimensions
        self.model = model
        self.name = name
        self.asked: list[tuple[list[str], Purpose]] = []
        self.failures: list[ProviderError] = []
        self._meanings = meanings or {}

    async def embed(self, texts: Sequence[str], purpose: Purpose) -> Sequence[bytes]:
        self.asked.append((list(texts), purpose))
        await asyncio.sleep(0)
        if self.failures:
            raise self.failures.pop(0)
        return [self._vector(text) for text in texts]

    def _vector(self, text: str) -> bytes:
        values = [0.0] * self.dimensions
        for word in words(text) or [""]:
            meant = self._meanings.get(word, word)
            values[int.from_bytes(blake2b(meant.encode(), digest_size=4).digest()) % self.dimensions] += 1
        return vector_of(values)

    @hookimpl
    def backchat_embedders(self) -> Sequence[EmbedderBackend]:
        """So that a test can hand the double itself to ``Plugins``; the config selects it with ``use: <name>``."""
        return [Component(self.name, Schema(unknown=RAISE), self._opened)]

    @asynccontextmanager
    async def _opened(self, _: object) -> AsyncIterator[HashEmbedder]:
        yield self


class EmbedderContract(ABC):
    """Subclass it, provide an ``embedder`` fixture, and pytest runs what every embedder must keep.

    Where things can go wrong, give ``failing``: embedders whose next call fails. ``secrets``: what must never be seen.
    """

    secrets: ClassVar[tuple[str, ...]] = ()

    @pytest.fixture
    @abstractmethod
    def embedder(self) -> object:
        """The opened embedder under test."""

    @pytest.fixture
    def failing(self) -> object:
        """Embedders whose next call fails, each in another way."""
        return ()

    async def test_a_vector_for_each_text(self, embedder: Embedder) -> None:
        for purpose in ("query", "document"):
            for count in (0, 1, 2, 5):
                vectors = await embedder.embed([f"text {n}" for n in range(count)], purpose)
                assert len(vectors) == count
                assert all(type(v) is bytes and len(v) == 4 * embedder.dimensions for v in vectors)
        assert embedder.dimensions > 0
        assert embedder.context >= 0
        assert embedder.model

    async def test_vectors_have_length_1(self, embedder: Embedder) -> None:
        vectors = await embedder.embed(["green tea", "black coffee with milk", ""], "document")
        assert [sum(n * n for n in numbers(v)) for v in vectors] == pytest.approx([1, 1, 1], abs=TOLERANCE)

    async def test_any_text_has_one(self, embedder: Embedder) -> None:
        together = await embedder.embed(MOST_UNEVEN, "document")
        assert len(together) == len(MOST_UNEVEN)
        for text, vector in zip(MOST_UNEVEN, together, strict=True):
            assert cosine(vector, vector) == pytest.approx(1, abs=TOLERANCE), text[:20]
            (alone,) = await embedder.embed([text], "document")
            assert cosine(alone, vector) == pytest.approx(1, abs=TOLERANCE), text[:20]

    async def test_many_texts_in_order(self, embedder: Embedder) -> None:
        texts = [f"report number {n} of {n % 17} pages about {n * n}" for n in range(3_000)]
        vectors = await embedder.embed(texts, "document")
        assert len(vectors) == len(texts)
        for n in (0, 1, 511, 512, 2_047, 2_048, 2_999):
            (alone,) = await embedder.embed([texts[n]], "document")
            assert cosine(alone, vectors[n]) == pytest.approx(1, abs=TOLERANCE)

    async def test_texts_differ(self, embedder: Embedder) -> None:
        a, b, again = await embedder.embed(
            ["green tea from Japan", "invoice for March", "green tea from Japan"], "query"
        )
        assert cosine(a, again) == pytest.approx(1, abs=TOLERANCE)
        assert cosine(a, b) < 1 - 10 * TOLERANCE

    async def test_calls_at_the_same_time_do_not_mix(self, embedder: Embedder) -> None:
        texts = [[f"caller {n}", f"says {n * n}"] for n in range(8)]
        together = await asyncio.gather(*(embedder.embed(t, "query") for t in texts))
        for mine, vectors in zip(texts, together, strict=True):
            for vector, alone in zip(vectors, await embedder.embed(mine, "query"), strict=True):
                assert cosine(vector, alone) == pytest.approx(1, abs=TOLERANCE)

    async def test_it_fails_with_provider_errors_that_keep_secrets(self, failing: Sequence[Embedder]) -> None:
        for broken in failing:
            with pytest.raises(ProviderError) as caught:
                await broken.embed(["hello"], "query")
            for secret in self.secrets:
                assert (
                    secret not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r} {broken!r}"
                )

    async def test_its_looks_keep_secrets(self, embedder: Embedder) -> None:
        for secret in self.secrets:
            assert secret not in f"{embedder!r} {embedder}"
