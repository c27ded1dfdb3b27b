"""The transcription port: from sound to text."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from backchat.domain.message import Usage
from backchat.ports.component import Component


@dataclass(frozen=True, slots=True)
class Audio:
    """A recording on its way.

    filename  tells the format by its ending, one of ``FORMATS``;  mime  says the same
    chunks    its bytes, once and in order
    language  what is spoken, an ISO 639-1 code, or None if that is not known; it is to be asked after the last chunk,
              for a form may say it behind the recording
    """

    filename: str
    mime: str
    chunks: AsyncIterator[bytes]
    language: Callable[[], str | None]


FORMATS = ("flac", "m4a", "mp3", "mp4", "mpeg", "mpga", "oga", "ogg", "wav", "webm")
"""Source: https://platform.openai.com/docs/api-reference/audio/createTranscription, and ``oga``, which is ``ogg``."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """``language`` is an ISO 639-1 code, ``seconds`` how long the recording is; None where the engine does not say."""

    text: str
    language: str | None = None
    seconds: float | None = None
    usage: Usage | None = None


class Transcriber(Protocol):
    """Test one by subclassing ``backchat.testing.transcription.TranscriberContract``.

    What it costs is booked under ``name``, as that of a provider, and ``model``.
    """

    @property
    def name(self) -> str: ...

    @property
    def model(self) -> str: ...

    async def transcribe(self, audio: Audio) -> Transcript:
        """The text of a recording, which is read as fast as the engine takes it, and kept nowhere.

        Raises ``ProviderError``, and whatever reading ``audio.chunks`` raises. Nobody reads the chunks any more when it
        has returned or raised, also if it was cancelled, and nothing of the recording stays behind.
        """
        ...


OpenTranscriber = Callable[[Any], AbstractAsyncContextManager[Transcriber]]
TranscriberBackend = Component[OpenTranscriber]
