"""Transcribing recordings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

from backchat.domain.identity import Identity
from backchat.domain.message import Usage
from backchat.domain.usage import Payer, UsageRecord
from backchat.errors import NotConfigured
from backchat.ports.storage import RecordStore
from backchat.ports.transcription import Audio, Transcriber, Transcript
from backchat.services.estimates import costs_nothing
from backchat.services.finishing import through
from backchat.services.ledger import Ledger
from backchat.services.workspaces import Workspaces

MOST_BYTES = 25 << 20
"""The largest recording. Source: https://platform.openai.com/docs/guides/speech-to-text, of which 25 MB are MiB."""
BYTES_A_SECOND = 16_000
"""Of a recording whose length nobody says: those of an MP3 with 128 kbit/s."""
HELD = 4
"""Recordings that may wait in memory at the same time until it is known where they belong."""


@dataclass(slots=True)
class _Passed:
    """Chunks on their way, counted. ``whole``: they were read to their end."""

    chunks: AsyncIterator[bytes]
    size: int = 0
    whole: bool = False

    def __aiter__(self) -> _Passed:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await anext(self.chunks)
        except StopAsyncIteration:
            self.whole = True
            raise
        self.size += len(chunk)
        return chunk


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcriptions:
    """``transcriber`` None: nothing is configured for it. ``room`` is taken by those who hold a recording in memory."""

    store: RecordStore
    workspaces: Workspaces
    ledger: Ledger
    transcriber: Transcriber | None
    room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(HELD), compare=False)

    async def check(self, who: Identity, workspace: str) -> None:
        """Raises NotFound for the workspace, then InsufficientCredits. To be asked before the recording is read."""
        await self.workspaces.open(who, workspace)
        await self.ledger.check(Payer(user=who.user, workspace=workspace))

    async def transcribe(self, who: Identity, workspace: str, audio: Audio, size: int | None = None) -> Transcript:
        """The text of a recording, of ``size`` bytes at most if that is known.

        What it costs is booked before the call, as an estimate by its size, and again after it: also if it fails, the
        client leaves, or the server is killed. Nothing is left of it if the engine refuses it, or has not got
        all of it: because it was refused here meanwhile, or did not come.

        Raises like ``check``, then NotConfigured, but only when all of the recording was read, ``ProviderError``, and
        what reading the recording raises.
        """
        await self.check(who, workspace)
        engine = self.transcriber
        if engine is None:
            async for _ in audio.chunks:
                pass
            raise NotConfigured("this server has nothing to transcribe recordings with")
        payer = Payer(user=who.user, workspace=workspace)
        first = self._estimate(engine, payer, size or 0)
        passed = _Passed(audio.chunks)
        last: UsageRecord | None = None
        try:
            await self.store.apply([self.ledger.booked(first)])
            made = await engine.transcribe(replace(audio, chunks=passed))
            last = self._entry(engine, payer, made, passed.size)
        except BaseException as error:
            if passed.whole and not costs_nothing(error):
                last = self._estimate(engine, payer, passed.size)
            raise
        finally:
            await through(self.ledger.settle(first, last))
        return made

    def _entry(self, engine: Transcriber, payer: Payer, made: Transcript, size: int) -> UsageRecord:
        """What a transcription has cost. An engine that says neither tokens nor a length is believed its size."""
        told = made.usage is not None or made.seconds is not None
        seconds = made.seconds if told else size / BYTES_A_SECOND
        return self.ledger.entry(
            payer,
            "transcription",
            engine.name,
            engine.model,
            made.usage or Usage(),
            seconds=seconds,
            estimated=not told,
        )

    def _estimate(self, engine: Transcriber, payer: Payer, size: int) -> UsageRecord:
        return self.ledger.entry(
            payer,
            "transcription",
            engine.name,
            engine.model,
            Usage(),
            seconds=size / BYTES_A_SECOND,
            estimated=True,
        )
