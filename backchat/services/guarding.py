"""A guard around a configured provider: how long it is waited for, how often it is asked, and by how many at once."""

from __future__ import annotations

import asyncio
from asyncio import current_task
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from math import ceil, inf
from random import uniform

import structlog

from backchat.domain.limits import ProviderLimits
from backchat.domain.run import StatusNote
from backchat.errors import GaveWay, ProviderCredentials, ProviderError, ProviderRejected, ProviderThrottled
from backchat.ports.metrics import Meter
from backchat.ports.providers import Abilities, LLMProvider, ModelRequest, ProviderEvent
from backchat.services.circuits import SOON, Circuits, passes_soon
from backchat.services.guarded_calls import GuardedCall, Service, Way
from backchat.services.slots import Slots

log = structlog.get_logger(source=__name__)
FIRST_PAUSE = 0.5
"""Seconds before a call is made again, at most; they double with every further time."""


class Guarded:
    """The provider of a name, for as long as the process runs: what answers under that name can change.

    What a call has begun with, it ends with. Between two attempts, and while it waits for its turn, it has begun with
    nothing. ``spread`` gives a number between two.
    """

    def __init__(
        self, name: str, meter: Meter, limits: ProviderLimits, *, spread: Callable[[float, float], float] = uniform
    ) -> None:
        self.name, self.limits = name, limits
        self.model, self.abilities = "", Abilities()
        self._meter, self._spread = meter, spread
        self._slots = Slots(inf)
        self._service: Service | None = None
        self.limit(limits)

    def limit(self, limits: ProviderLimits) -> None:
        """From now on these hold; for a stream that is open, from its next event on."""
        self.limits = limits
        self._slots.resize(inf if limits.at_once is None else limits.at_once)

    def serve(self, provider: LLMProvider, over: asyncio.Event) -> None:
        """From now on this provider answers. ``over`` is set once another one does, and no stream of it is left."""
        self.withdraw()
        self.model, self.abilities = provider.model, provider.abilities
        time = asyncio.get_running_loop().time
        self._service = Service(provider, Circuits(self.name, self._meter, time), over)

    def withdraw(self) -> None:
        """From now on nobody answers."""
        if self._service is not None:
            self._service.retire()
            self._service = None

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ProviderEvent, None]:
        """What the provider says, and notes while it is waited for.

        Raises what it does, ``ProviderTimeout`` when it is silent for too long; and, with nothing spent,
        ``ProviderThrottled`` when no turn comes in time, ``ProviderError`` while the circuit is open and for a provider
        that is no longer configured. A call in the background waits as long as others do, holds no turn while it
        pauses, and ends with ``GaveWay`` when one that is not would have to wait for such calls alone.
        """
        model, caller, waits = request.model, request.caller, request.waits
        self._current().circuit(model).check()
        asked, again, way = [request], 0, Way() if request.background else None
        del request
        async with AsyncExitStack() as turn:
            if self._slots.all_taken if way is None else self._slots.none_to_spare:
                waits(True)
                yield StatusNote(f"{self.name} is asked by many at the moment; waiting for a turn")
            await self._wait(turn, caller, way)
            while True:
                waits(False)
                call = GuardedCall(self._current(), model, self, way)
                time, loop = call.time, asyncio.get_running_loop()
                try:
                    with call:
                        async with aclosing(call.service.provider.stream(asked[0])) as events:
                            async for event in events:
                                call.task = None  # whoever reads may take its time
                                if not call.begun:
                                    call.hear(event)
                                    if call.came:
                                        asked.clear()  # images and long prompts need not live as long as the answer
                                yield event
                                call.task, call.since = current_task(loop), time()
                    return
                except ProviderError as error:
                    pause = self._pause(error, call, again)
                    if pause is None:
                        call.failed(error)
                        raise
                    call.left()
                    code = error.code
                again += 1
                waits(True)
                if way is not None:
                    await turn.aclose()
                log.info("provider.asked_again", provider=self.name, code=code, seconds=round(pause, 3))
                self._meter.asked_again(self.name)
                yield StatusNote(f"{self.name} failed; asking it again")
                await asyncio.sleep(pause)
                if way is not None:
                    await self._wait(turn, caller, way)

    async def models(self) -> Sequence[str]:
        """What the provider lists. No limit of this guard holds for that."""
        with self._current() as provider:
            return await provider.models()

    def _current(self) -> Service:
        if self._service is None:
            raise ProviderError(f"the provider {self.name} is no longer configured on this server", at_work=False)
        return self._service

    async def _wait(self, turn: AsyncExitStack, caller: str, way: Way | None) -> None:
        """Enter a slot."""
        give_way = None if way is None else way.give
        seconds = self.limits.wait
        self._meter.waiting(self.name, 1)
        try:
            async with asyncio.timeout(seconds if way is None else None):
                await turn.enter_async_context(self._slots.one(caller, give_way=give_way))
        except TimeoutError:
            raise ProviderThrottled(
                f"{self.name} is asked by too many at the moment: no turn in {seconds:g} seconds",
                retry_after=max(1, ceil(seconds)),
            ) from None
        finally:
            self._meter.waiting(self.name, -1)

    def _pause(self, error: ProviderError, call: GuardedCall, again: int) -> float | None:
        """Seconds until it is asked again; None if it is not."""
        if call.came or again >= self.limits.retries or call.circuit.is_open:
            return None
        if error.at_work or isinstance(error, ProviderRejected | ProviderCredentials | GaveWay):
            return None
        if not passes_soon(error) and (error.retry_after is not None or isinstance(error, ProviderThrottled)):
            return None
        most = min(FIRST_PAUSE * 2**again, SOON)
        return (error.retry_after or 0) + self._spread(most / 2, most)
