"""How much of each campaign, and how long at most."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    kills: int = 200
    streams: int = 50
    posts: int = 100
    repeats: int = 5
    drops: int = 1000
    runs: int = 1000
    tasks: int = 200
    readers: int = 300
    messages: int = 100_000
    storage: str = "mongo"
    """Of the campaigns that have the choice: ``sqlite``, ``mongo`` or ``mongo-motor``."""
    mongo_kills: int = 20
    failovers: int = 5
    weak: bool = False
    ports: int = 9100
    minutes: float = 60.0
    seed: int = 1
    directory: Path | None = None
    began: float = field(default_factory=time.monotonic)

    @property
    def exhausted(self) -> bool:
        return time.monotonic() - self.began > 60 * self.minutes
