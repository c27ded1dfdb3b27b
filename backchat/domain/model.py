"""Models that can be asked for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """A model of a configured provider or embedder.

    name      what a request may name as its model;  provider  the deployer's name of the provider or embedder
    context   tokens that go in, 0 if that is not known;  output  tokens that come out at most
    dimensions  of an embedding model's vectors
    price, cached_price, cache_write_price, image_price, output_price  list prices of the provider's own service in US
              dollars for a million tokens: sent, sent again, sent to be kept, of images, said; None where none is known
    as_of     the day that the prices and abilities were known; None if nothing but the name is known
    """

    name: str
    provider: str
    kind: Literal["llm", "embedding"] = "llm"
    context: int = 0
    output: int | None = None
    dimensions: int | None = None
    tools: bool = False
    vision: bool = False
    reasoning: bool = False
    audio_input: bool = False
    audio_output: bool = False
    video_input: bool = False
    image_output: bool = False
    price: float | None = None
    cached_price: float | None = None
    cache_write_price: float | None = None
    image_price: float | None = None
    output_price: float | None = None
    as_of: date | None = None
