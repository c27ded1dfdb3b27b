"""For authors of transcribers, and of whatever calls one: the port's contract, and a double that tells what came."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar

import pytest
from marshmallow import RAISE, Schema

from backchat.domain.languages import LANGUAGES
from backchat.errors import ProviderError
from backchat.hookspecs import hookimpl
from backchat.ports.component import Component
from backchat.ports.transcription import Audio, Transcriber, TranscriberBackend, Transcript


class Chunks:
    """A recording for tests: bytes are handed out, an exception is raised, an ``asyncio.Event`` is waited for.

    given    how many pieces were handed out;  readers  how many are being waited for at this moment
    stuck    set when somebody has come to an event among the steps
    """

    def __init__(self, steps: Iterable[bytes | BaseException | asyncio.Event]) -> None:
        self._steps = iter(steps)
        self.given = self.readers = 0
        self.stuck = asyncio.Event()

    def __aiter__(self) -> Chunks:
        return self

    async def __anext__(self) -> bytes:
        self.readers += 1
        try:
            await asyncio.sleep(0)
            for step in self._steps:
                if isinstance(step, asyncio.Event):
                    self.stuck.set()
                    await step.wait()
                elif isinstance(step, BaseException):
                    raise step
                else:
                    self.given += 1
                    return step
            raise StopAsyncIteration
        finally:
            self.readers -= 1


def audio(*steps: bytes | BaseException | asyncio.Event, language: str | None = None) -> Audio:
    """A recording that is called a WAV file."""
    return Audio("audio.wav", "audio/wav", Chunks(steps), lambda: language)


class ScriptedTranscriber:
    """A transcriber for tests: each call listens to the end and says the next of ``answers``, the last one again and
    again; an exception among them is raised, an ``asyncio.Event`` waited for before the next one.

    heard      what came, for each call: file name, type, bytes and language;  open  calls that are at work now
    received   bytes that came so far, in all calls
    """

    def __init__(
        self,
        *answers: Transcript | BaseException | asyncio.Event,
        name: str = "scripted",
        model: str = "scripted-1",
    ) -> None:
        self._answers = list(answers) or [Transcript("ok", "en", 1.0)]
        self.name, self.model = name, model
        self.heard: list[tuple[str, str, bytes, str | None]] = []
        self.open = self.received = 0

    async def transcribe(self, audio: Audio) -> Transcript:
        self.open += 1
        try:
            data = bytearray()
            async for chunk in audio.chunks:
                data += chunk
                self.received += len(chunk)
            self.heard.append((audio.filename, audio.mime, bytes(data), audio.language()))
            while True:
                answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
                if isinstance(answer, asyncio.Event):
                    await answer.wait()
                elif isinstance(answer, BaseException):
                    raise answer
                else:
                    return answer
        finally:
            self.open -= 1

    @hookimpl
    def backchat_transcribers(self) -> Sequence[TranscriberBackend]:
        """So that a test can hand the double itself to ``Plugins``; the config selects it with ``use: <name>``."""
        return [Component(self.name, Schema(unknown=RAISE), self._opened)]

    @asynccontextmanager
    async def _opened(self, _: object) -> AsyncIterator[ScriptedTranscriber]:
        yield self


class Unreadable(Exception):
    """What reading a recording raises, in the contract."""


class TranscriberContract(ABC):
    """Subclass it, provide a ``transcriber`` fixture, and pytest runs what every transcriber must keep.

    ``recording`` is one that it understands. Where things can go wrong, give ``failing``: transcribers whose next call
    fails. ``secrets``: what must never be seen.
    """

    secrets: ClassVar[tuple[str, ...]] = ()

    @pytest.fixture
    @abstractmethod
    def transcriber(self) -> object:
        """The opened transcriber under test."""

    @pytest.fixture
    @abstractmethod
    def recording(self) -> bytes:
        """A WAV file."""

    @pytest.fixture
    def failing(self) -> object:
        """Transcribers whose next call fails, each in another way."""
        return ()

    async def test_it_says_who_it_is(self, transcriber: Transcriber) -> None:
        assert transcriber.name
        assert transcriber.model

    async def test_a_recording_has_a_text(self, transcriber: Transcriber, recording: bytes) -> None:
        for language in (None, "en"):
            made = await transcriber.transcribe(audio(recording, language=language))
            assert isinstance(made.text, str)
            assert made.language is None or made.language in LANGUAGES
            assert made.seconds is None or made.seconds >= 0

    async def test_pieces_make_no_difference(self, transcriber: Transcriber, recording: bytes) -> None:
        whole = await transcriber.transcribe(audio(recording))
        for size in (1000, 7, len(recording) - 1):
            pieces = [recording[n : n + size] for n in range(0, len(recording), size)]
            assert await transcriber.transcribe(audio(*pieces)) == whole

    async def test_what_reading_raises_comes_out(self, transcriber: Transcriber, recording: bytes) -> None:
        for before in ([], [recording[:500]]):
            with pytest.raises(Unreadable):
                await transcriber.transcribe(audio(*before, Unreadable()))
        assert (await transcriber.transcribe(audio(recording))).text is not None

    async def test_a_cancelled_call_leaves_the_recording(self, transcriber: Transcriber, recording: bytes) -> None:
        chunks = Chunks([recording[:500], asyncio.Event()])
        call = asyncio.create_task(transcriber.transcribe(Audio("audio.wav", "audio/wav", chunks, lambda: None)))
        async with asyncio.timeout(10):
            await chunks.stuck.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert chunks.readers == 0, "somebody still reads"

    async def test_calls_at_the_same_time_do_not_mix(self, transcriber: Transcriber, recording: bytes) -> None:
        alone = await transcriber.transcribe(audio(recording))
        together = await asyncio.gather(*(transcriber.transcribe(audio(recording)) for _ in range(5)))
        assert together == [alone] * 5

    async def test_it_fails_with_provider_errors_that_keep_secrets(
        self, failing: Sequence[Transcriber], recording: bytes
    ) -> None:
        for broken in failing:
            chunks = Chunks([recording[:500], recording[500:]])
            with pytest.raises(ProviderError) as caught:
                await broken.transcribe(Audio("audio.wav", "audio/wav", chunks, lambda: None))
            assert chunks.readers == 0, "somebody still reads"
            for secret in self.secrets:
                told = f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r} {broken!r}"
                assert secret not in told

    async def test_its_looks_keep_secrets(self, transcriber: Transcriber) -> None:
        for secret in self.secrets:
            assert secret not in f"{transcriber!r} {transcriber}"
