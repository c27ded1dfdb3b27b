"""Recording scripted answers, and playing them again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from backchat.errors import ProviderError
from backchat.ports.providers import LLMProvider, ModelRequest, ProviderEvent
from backchat.testing.provider import ScriptedProvider, collect
from backchat_replay.player import ReplayProvider, open_replay
from backchat_replay.recorder import RecordingProvider, open_record
from backchat_replay.settings import RecordSchema, ReplaySchema


@asynccontextmanager
async def recording(path: Path, inner: LLMProvider) -> AsyncIterator[RecordingProvider]:
    async with open_record(RecordSchema().load({"path": str(path)}), inner) as provider:
        yield provider


@asynccontextmanager
async def replaying(path: Path, **section: Any) -> AsyncIterator[ReplayProvider]:
    async with open_replay(ReplaySchema().load({"path": str(path), **section})) as provider:
        yield provider


async def record(path: Path, request: ModelRequest, *turns: Any, **more: Any) -> None:
    """Ask once for each of the turns."""
    async with recording(path, ScriptedProvider(*turns, **more)) as provider:
        for _ in turns:
            with suppress(ProviderError):
                await collect(provider, request)


async def replay(path: Path, request: ModelRequest, **section: Any) -> list[ProviderEvent]:
    async with replaying(path, **section) as provider:
        return await collect(provider, request)


def files(path: Path) -> list[Path]:
    """The recordings, in the order in which they were made."""
    return sorted(path.iterdir(), key=lambda p: p.name.split(".")[1])
