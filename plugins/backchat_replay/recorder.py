"""The provider ``record``: another one, and a recording of every answer that comes to its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from time import monotonic, time_ns

import structlog

from backchat.errors import ProviderError
from backchat.ports.providers import Abilities, Finish, LLMProvider, ModelRequest, ProviderEvent
from backchat_replay import directory
from backchat_replay.asked import asked
from backchat_replay.scrubbing import Heard, scrubbed, scrubbed_events
from backchat_replay.settings import RecordSettings
from backchat_replay.written import About, Recording

log = structlog.get_logger(source=__name__)


class RecordingProvider:
    """A recording is written before its end is handed on: whoever has seen the end of an answer finds it there.

    An answer that is not heard to its end, as one that is cancelled, is not recorded. If a recording cannot be written,
    the answer goes on, and the log says so.
    """

    def __init__(self, settings: RecordSettings, inner: LLMProvider) -> None:
        self._path = settings.path
        self._inner = inner

    def __repr__(self) -> str:
        return f"<RecordingProvider of {self._inner!r}>"

    @property
    def model(self) -> str:
        return self._inner.model

    @property
    def abilities(self) -> Abilities:
        return self._inner.abilities

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ProviderEvent, None]:
        asked_at = time_ns()
        seen = await asyncio.to_thread(asked, request, self.model)
        when = datetime.fromtimestamp(asked_at / 1e9, UTC).isoformat()
        about = About(seen, request.model or self.model, self.model, when)
        heard: list[Heard] = []
        last = monotonic()
        try:
            stream = self._inner.stream(request)
            del request  # images and long prompts need not live as long as the answer
            async with aclosing(stream) as events:
                async for event in events:
                    last, before = monotonic(), last
                    heard.append(Heard(last - before, event))
                    if type(event) is Finish:
                        await self._write(asked_at, about, heard)
                    yield event
        except ProviderError as failure:
            await self._write(asked_at, about, heard, failure, monotonic() - last)
            raise

    async def models(self) -> Sequence[str]:
        return await self._inner.models()

    async def _write(
        self,
        asked_at: int,
        about: About,
        heard: Sequence[Heard],
        failure: ProviderError | None = None,
        after: float = 0.0,
    ) -> None:
        def write() -> None:
            told = _scrubbed_failure(failure)
            directory.write(self._path, Recording(about, scrubbed_events(heard), told, after), asked_at)

        try:
            await asyncio.to_thread(write)
        except OSError as error:
            log.error("record.not_written", path=str(self._path), error=error.strerror)


@asynccontextmanager
async def open_record(settings: RecordSettings, inner: LLMProvider) -> AsyncIterator[RecordingProvider]:
    """Raises ConfigError."""
    await asyncio.to_thread(directory.made, settings.path)
    yield RecordingProvider(settings, inner)


def _scrubbed_failure(failure: ProviderError | None) -> ProviderError | None:
    if failure is None:
        return None
    told = scrubbed(str(failure))
    return type(failure)(told, field=failure.field, retry_after=failure.retry_after, at_work=failure.at_work)
