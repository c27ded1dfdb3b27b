"""The provider ``replay``: it says what was recorded, and nothing else."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager

import structlog

from backchat.errors import ConfigError, ProviderError, ProviderRejected
from backchat.ports.providers import Abilities, ModelRequest, ProviderEvent
from backchat.upstream.refusing import refuse
from backchat_replay import directory
from backchat_replay.asked import Asked, asked
from backchat_replay.settings import ReplaySettings
from backchat_replay.written import Damaged, Recording

log = structlog.get_logger(source=__name__)

_NO_MODEL = "replay"
_GIVE_WAY = 64


class ReplayProvider:
    """Recordings of equal requests are played in the order in which they were made, then the last one again and again;
    each process counts for itself, from its start.
    """

    def __init__(self, settings: ReplaySettings, model: str) -> None:
        self._path, self._timing = settings.path, settings.timing
        self._played: Counter[str] = Counter()
        self.model = model
        self.abilities = Abilities(
            vision=settings.vision,
            tools=settings.tools,
            reasoning=settings.reasoning,
            json_output=settings.json_output,
            files=settings.files,
            instructions=settings.instructions,
        )

    def __repr__(self) -> str:
        return f"<ReplayProvider {self.model}>"

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ProviderEvent, None]:
        refuse(request, self.abilities)
        seen = await asyncio.to_thread(asked, request, self.model)
        del request
        recording = await self._recording(seen)
        for n, heard in enumerate(recording.events, 1):
            if self._timing:
                await asyncio.sleep(heard.after)
            elif n % _GIVE_WAY == 0:
                await asyncio.sleep(0)
            yield heard.event
        if recording.failure is not None:
            if self._timing:
                await asyncio.sleep(recording.after)
            raise recording.failure

    async def models(self) -> Sequence[str]:
        """The models that were recorded, and the one that it claims to be."""
        try:
            recorded = await asyncio.to_thread(directory.models, self._path)
        except OSError:
            raise ProviderError("the directory of recordings cannot be read", at_work=False) from None
        return list(dict.fromkeys([self.model, *recorded]))

    async def _recording(self, seen: Asked) -> Recording:
        number = self._played[seen.digest]
        self._played[seen.digest] += 1
        try:
            names = await asyncio.to_thread(directory.of_request, self._path, seen)
            if names:
                name = names[min(number, len(names) - 1)]
                return await asyncio.to_thread(directory.read, self._path, name)
            count, nearest = await asyncio.to_thread(directory.nearest, self._path, seen)
        except Damaged as damage:
            log.error("replay.damaged", path=str(self._path), recording=name, reason=str(damage))
            raise ProviderError(f"the recording {name} is damaged: {damage}", at_work=False) from None
        except OSError as error:
            log.error("replay.unreadable", path=str(self._path), error=error.strerror)
            raise ProviderError("the recordings cannot be read", at_work=False) from None
        del self._played[seen.digest]
        raise self._unknown(seen, count, nearest)

    def _unknown(self, seen: Asked, count: int, nearest: Asked | None) -> ProviderRejected:
        differs = seen.differences(nearest) if nearest else []
        log.warning("replay.unknown", path=str(self._path), recordings=count, differs=differs)
        told = f"this request was never recorded: none of the {count} recordings is of it"
        if differs:
            told += f"; the nearest one differs in {', '.join(differs)}"
        return ProviderRejected(told)


@asynccontextmanager
async def open_replay(settings: ReplaySettings) -> AsyncIterator[ReplayProvider]:
    """Raises ConfigError."""
    await asyncio.to_thread(directory.there, settings.path)
    model = settings.model
    if model is None:
        try:
            recorded = await asyncio.to_thread(directory.models, settings.path)
        except OSError as error:
            raise ConfigError(f"path: the recordings cannot be read: {error.strerror}") from None
        model = recorded[0] if recorded else _NO_MODEL
    yield ReplayProvider(settings, model)
