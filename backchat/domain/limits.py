"""Bounds that the deployer sets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentLimits:
    """Sizes in bytes, ``max_text`` and ``chunk`` in characters, times in seconds."""

    max_size: int = 20 << 20
    wait: float = 25
    time_limit: float = 60
    memory_limit: int = 1 << 30
    max_text: int = 16 << 20
    at_once: int = 2
    chunk: int = 1200
    vector_cache: int = 256 << 20
