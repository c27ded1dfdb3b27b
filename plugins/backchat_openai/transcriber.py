"""The transcribers ``openai`` and ``groq``: OpenAI's ``POST /audio/transcriptions``, also of other servers."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import isfinite
from typing import Any

import aiohttp
from yarl import URL

from backchat.domain.languages import LANGUAGES
from backchat.domain.message import Usage
from backchat.ports.transcription import Audio, Transcript
from backchat.upstream.failures import Failures
from backchat.upstream.http import post, problem, start_of, whole
from backchat.upstream.pieces import decoded, garbled
from backchat_openai.service import open_service
from backchat_openai.transcriber_settings import TranscriberSettings

_LONGEST_ANSWER = 64 << 20
_LONG_ANSWER = 256 << 10
"""Bytes of JSON that may take more than some milliseconds to read: a thread does it."""

# What Whisper calls a language where ISO's tables call it otherwise, and the aliases that it knows; its codes that ISO
# 639-1 does not have. Source: whisper/tokenizer.py of https://github.com/openai/whisper
_CALLED = {name.casefold(): code for code, name in LANGUAGES.items()} | {
    "castilian": "es",
    "faroese": "fo",
    "flemish": "nl",
    "haitian": "ht",
    "letzeburgesch": "lb",
    "maori": "mi",
    "moldavian": "ro",
    "moldovan": "ro",
    "mandarin": "zh",
    "cantonese": "zh",
    "myanmar": "my",
    "nynorsk": "nn",
    "panjabi": "pa",
    "pushto": "ps",
    "sinhalese": "si",
    "valencian": "ca",
    "jw": "jv",
    "yue": "zh",
}


class _Body:
    """A form with a recording in it, made as the recording comes. ``failure``: what reading the recording raised.

    The HTTP client reads it in a task of its own, which may outlive the request by a moment: see ``left``.
    """

    def __init__(self, settings: TranscriberSettings, audio: Audio) -> None:
        self._boundary = secrets.token_hex(16)
        self._audio = audio
        self._sent_start = self._sent_end = False
        self._reading = asyncio.Lock()
        self._start = b"".join(
            [
                self._text("model", settings.model),
                self._text("response_format", settings.response_format),
                self._part(f'name="file"; filename="{audio.filename}"', audio.mime),
            ]
        )
        self.failure: Exception | None = None

    @property
    def content_type(self) -> str:
        return f"multipart/form-data; boundary={self._boundary}"

    def __aiter__(self) -> _Body:
        return self

    async def __anext__(self) -> bytes:
        if not self._sent_start:
            self._sent_start = True
            return self._start
        if self._sent_end:
            raise StopAsyncIteration
        try:
            async with self._reading:
                return await anext(self._audio.chunks)
        except StopAsyncIteration:
            self._sent_end = True
            language = self._audio.language()
            said = self._text("language", language) if language is not None else b""
            return b"\r\n" + said + f"--{self._boundary}--\r\n".encode()
        except Exception as error:
            self.failure = error
            raise

    async def left(self) -> None:
        """Wait until nobody reads the recording any more; to be called when the request is closed."""
        async with self._reading:
            pass

    def _text(self, name: str, value: str) -> bytes:
        return self._part(f'name="{name}"') + value.encode() + b"\r\n"

    def _part(self, names: str, mime: str | None = None) -> bytes:
        sort = f"\r\nContent-Type: {mime}" if mime is not None else ""
        return f"--{self._boundary}\r\nContent-Disposition: form-data; {names}{sort}\r\n\r\n".encode()


class OpenAITranscriber:
    """The recording goes out in pieces (``Transfer-Encoding: chunked``), for nobody knows its size before its end.

    One attempt more is made when no connection could be made, never once a byte has been sent.
    """

    def __init__(self, settings: TranscriberSettings, session: aiohttp.ClientSession) -> None:
        self._settings = settings
        self._session = session
        self._failures = Failures([settings.api_key or "", *settings.headers.values()])
        base = URL(settings.base_url)
        self._url = base.with_path(base.path.rstrip("/") + "/audio/transcriptions", keep_query=True)
        self.name, self.model = settings.name, settings.model

    def __repr__(self) -> str:
        return f"<OpenAITranscriber {self.model}>"

    async def transcribe(self, audio: Audio) -> Transcript:
        body = _Body(self._settings, audio)
        try:
            async with asyncio.timeout(self._settings.timeout):
                response = await post(self._session, self._url, body, {"Content-Type": body.content_type})
                try:
                    if response.status != 200:
                        raise self._failures.answered(response.status, response.headers, await start_of(response))
                    answer = await whole(response, _LONGEST_ANSWER, "an answer")
                finally:
                    response.close()
        except (aiohttp.ClientError, OSError) as error:
            if body.failure is not None:
                raise body.failure from None
            raise problem(error) from None
        finally:
            await body.left()
        if len(answer) < _LONG_ANSWER:
            return _transcript(answer, self._failures)
        return await asyncio.to_thread(_transcript, answer, self._failures)


@asynccontextmanager
async def open_transcriber(settings: TranscriberSettings) -> AsyncIterator[OpenAITranscriber]:
    async with open_service(settings, accept="application/json") as session:
        yield OpenAITranscriber(settings, session)


def _transcript(body: bytes, failures: Failures) -> Transcript:
    answer = decoded(body)
    if not isinstance(answer, dict):
        raise garbled()
    if answer.get("error"):
        raise failures.reported(answer["error"])
    text = answer.get("text")
    if not isinstance(text, str):
        raise garbled()
    used = answer.get("usage")
    used = used if isinstance(used, dict) else {}
    length = _seconds(answer.get("duration"))
    return Transcript(
        text=text.strip(),
        language=_language(answer),
        seconds=length if length is not None else _seconds(used.get("seconds")),
        usage=_usage(used),
    )


def _language(answer: dict[str, Any]) -> str | None:
    """The one language of an answer: ``language``, a name or a code, or ``languages`` of the later models."""
    said = answer.get("language")
    several = answer.get("languages")
    if said is None and isinstance(several, list) and len(several) == 1 and isinstance(several[0], dict):
        said = several[0].get("code")
    if not isinstance(said, str):
        return None
    word = said.strip().casefold()
    if word in _CALLED:
        return _CALLED[word]
    code = word.partition("-")[0]
    return code if code in LANGUAGES else None


def _seconds(value: object) -> float | None:
    """A length; some servers write it as text."""
    try:
        seconds = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else None
    except (ValueError, OverflowError):
        return None
    return seconds if seconds is not None and isfinite(seconds) and seconds >= 0 else None


def _usage(used: dict[str, Any]) -> Usage | None:
    counts = [used.get(name) for name in ("input_tokens", "output_tokens")]
    if not all(type(count) is int and count >= 0 for count in counts):
        return None
    return Usage(input_tokens=counts[0] or 0, output_tokens=counts[1] or 0)
