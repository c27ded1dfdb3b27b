"""A scripted provider behind a guard, on its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Literal

import pytest

from backchat.domain.limits import ProviderLimits
from backchat.errors import ProviderError
from backchat.ports.providers import ModelRequest, ProviderEvent
from backchat.services.guarding import Guarded
from backchat.testing.provider import ScriptedProvider, Step, ask, collect, said

HI = ask("hi")
DOWN = ProviderError("the model service failed (status 503)", at_work=False)


class Counts:
    """A meter that remembers what is told of providers."""

    def __init__(self) -> None:
        self.again = 0
        self.queue = 0
        self.circuits: list[bool] = []

    def run_started(self) -> None: ...
    def first_token(self, provider: str, seconds: float) -> None: ...
    def committed(self, batches: int) -> None: ...
    def run_ended(self, provider: str, status: str, usage: object) -> None: ...
    def asked_again(self, provider: str) -> None:
        self.again += 1

    def waiting(self, provider: str, more: int) -> None:
        self.queue += more

    def circuit(self, provider: str, is_open: bool) -> None:
        self.circuits.append(is_open)


class _Pause(asyncio.Event):
    """Is waited for like an event, and comes by itself."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    async def wait(self) -> Literal[True]:
        await asyncio.sleep(self._seconds)
        return True


class Paced(ScriptedProvider):
    """A number among the steps is slept for, in seconds. ``asked_at``: when it was asked, each time."""

    def __init__(self, *turns: Sequence[Step | float], **more: Any) -> None:
        super().__init__(*[[_Pause(s) if isinstance(s, int | float) else s for s in turn] for turn in turns], **more)
        self.asked_at: list[float] = []

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ProviderEvent, None]:
        self.asked_at.append(asyncio.get_running_loop().time())
        async with aclosing(super().stream(request)) as events:
            async for event in events:
                yield event


def guarded(provider: ScriptedProvider, *, meter: Counts | None = None, **limits: Any) -> Guarded:
    """Its pauses before another attempt are as short as they may be."""
    guard = Guarded(provider.name, meter or Counts(), ProviderLimits(**limits), spread=lambda low, high: low)
    guard.serve(provider, asyncio.Event())
    return guard


def asks(guard: Guarded, caller: str = "ann") -> asyncio.Task[str]:
    """Somebody asks, and gets a text."""

    async def ask() -> str:
        return said(await collect(guard, replace(HI, caller=caller)))

    return asyncio.create_task(ask())


async def failure(guard: Guarded) -> ProviderError:
    """What asking ends with."""
    with pytest.raises(ProviderError) as caught:
        await collect(guard, HI)
    return caught.value


async def settled() -> None:
    """Everybody has got as far as they get without time passing."""
    for _ in range(10):
        await asyncio.sleep(0)


def now() -> float:
    return asyncio.get_running_loop().time()


def broken(*turns: Any, meter: Counts | None = None, **limits: Any) -> tuple[Paced, Guarded]:
    """A provider whose failures are not made good by asking again."""
    provider = Paced(*turns)
    return provider, guarded(provider, meter=meter, **{"retries": 0, "failures": 3, "pause": 30, **limits})
