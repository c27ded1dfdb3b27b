"""Every transcriber keeps the contract of the port."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest
from marshmallow import ValidationError

from backchat.domain.message import Usage
from backchat.errors import (
    ProviderCredentials,
    ProviderError,
    ProviderRejected,
    ProviderThrottled,
    ProviderTimeout,
)
from backchat.ports.transcription import Audio, Transcriber, Transcript
from backchat.testing.transcription import Chunks, ScriptedTranscriber, TranscriberContract, audio
from backchat_openai.settings import GROQ, OPENAI
from backchat_openai.transcriber import OpenAITranscriber, open_transcriber
from backchat_openai.transcriber_settings import TranscriberSchema, TranscriberSettings
from openai_audio import Answer, AudioUpstream, Begin, serve_audio, wav
from openai_upstream import Cut, Hang

KEY = "sk-secret-0123456789abcdef"


class TestScripted(TranscriberContract):
    @pytest.fixture
    def transcriber(self) -> ScriptedTranscriber:
        return ScriptedTranscriber()

    @pytest.fixture
    def recording(self) -> bytes:
        return wav()

    @pytest.fixture
    def failing(self) -> Sequence[Transcriber]:
        return [ScriptedTranscriber(ProviderError("broken"))]


@pytest.fixture
async def upstream() -> AsyncIterator[AudioUpstream]:
    async with serve_audio() as upstream:
        yield upstream
        assert upstream.problems == []
        if upstream.open:  # whoever has left is noticed a moment later
            async with asyncio.timeout(5):
                await upstream.idle.wait()


def section(upstream: AudioUpstream, **more: object) -> TranscriberSettings:
    loaded = TranscriberSchema(OPENAI).load({"api_key": KEY, "base_url": upstream.base_url, **more})
    assert isinstance(loaded, TranscriberSettings)
    return loaded


class TestOpenAI(TranscriberContract):
    secrets = (KEY,)

    @pytest.fixture
    async def transcriber(self, upstream: AudioUpstream) -> AsyncIterator[OpenAITranscriber]:
        async with open_transcriber(section(upstream)) as transcriber:
            yield transcriber

    @pytest.fixture
    def recording(self) -> bytes:
        return wav()

    @pytest.fixture
    def nobody(self) -> Iterator[str]:
        with socket.socket() as bound:  # bound but not listening: whoever connects is refused
            bound.bind(("127.0.0.1", 0))
            yield f"http://127.0.0.1:{bound.getsockname()[1]}/v1"

    @pytest.fixture
    async def failing(self, upstream: AudioUpstream, nobody: str) -> AsyncIterator[Sequence[Transcriber]]:
        leak = f'{{"error": {{"message": "Incorrect API key provided: {KEY}"}}}}'.encode()
        upstream.answers += [(401, leak), (400, leak), (200, leak), Cut]
        async with AsyncExitStack() as stack:
            settings = [section(upstream) for _ in range(4)] + [section(upstream, base_url=nobody)]
            yield [await stack.enter_async_context(open_transcriber(s)) for s in settings]
        assert upstream.answers == []


class TestALaterModel(TestOpenAI):
    """One that says tokens, and neither a length nor a language."""

    @pytest.fixture
    async def transcriber(self, upstream: AudioUpstream) -> AsyncIterator[OpenAITranscriber]:
        async with open_transcriber(section(upstream, model="gpt-4o-mini-transcribe")) as transcriber:
            yield transcriber


async def said(upstream: AudioUpstream, answer: Answer | dict[str, Any], **more: object) -> Transcript:
    """What is made of an answer."""
    upstream.answers.append((200, json.dumps(answer).encode()) if isinstance(answer, dict) else answer)
    async with open_transcriber(section(upstream, **more)) as transcriber:
        return await transcriber.transcribe(audio(wav()))


class TestTheOpenAIProtocol:
    async def test_what_is_sent(self, upstream: AudioUpstream) -> None:
        settings = section(upstream, base_url=upstream.base_url + "/?v=1", headers={"X-Team": "a"}, project="p")
        async with open_transcriber(settings) as transcriber:
            made = await transcriber.transcribe(audio(wav(0.5), language="de"))
        assert (made.language, made.seconds, made.usage) == ("en", 0.5, None)
        assert upstream.files == [("audio.wav", "audio/wav", wav(0.5))]
        assert upstream.forms == [
            {"model": "whisper-1", "response_format": "verbose_json", "file": "here", "language": "de"}
        ]
        assert upstream.paths == ["/v1/audio/transcriptions?v=1"]
        headers = upstream.requests[0]
        assert headers["Authorization"] == f"Bearer {KEY}"
        assert (headers["X-Team"], headers["OpenAI-Project"]) == ("a", "p")
        assert headers["Transfer-Encoding"] == "chunked"

    async def test_models_that_do_not_know_verbose_json(self, upstream: AudioUpstream) -> None:
        async with open_transcriber(section(upstream, model="gpt-4o-transcribe")) as transcriber:
            made = await transcriber.transcribe(audio(wav()))
        assert upstream.forms == [{"model": "gpt-4o-transcribe", "response_format": "json", "file": "here"}]
        assert (made.language, made.seconds, made.usage) == (None, None, Usage(14, 45))

    async def test_local_servers_need_no_key(self, upstream: AudioUpstream) -> None:
        settings = TranscriberSchema(OPENAI).load({"base_url": upstream.base_url, "model": "small"})
        async with open_transcriber(settings) as transcriber:
            await transcriber.transcribe(audio(wav()))
        assert "Authorization" not in upstream.requests[0]

    def test_the_presets(self) -> None:
        for preset, model in ((OPENAI, "whisper-1"), (GROQ, "whisper-large-v3-turbo")):
            settings = TranscriberSchema(preset).load({"api_key": KEY})
            assert (settings.name, settings.model, settings.base_url) == (preset.name, model, preset.base_url)
            assert settings.response_format == "verbose_json"
            assert KEY not in repr(settings)
        for bad in (
            {"base_url": "ftp://a"},
            {"api_key": "a\nb"},
            {"timeout": 0},
            {"response_format": "text"},
            {"x": 1},
        ):
            with pytest.raises(ValidationError):
                TranscriberSchema(OPENAI).load(bad)

    @pytest.mark.parametrize(
        ("word", "code"),
        [
            ("english", "en"),
            ("German", "de"),
            ("fr", "fr"),
            ("pt-BR", "pt"),
            ("castilian", "es"),
            ("haitian creole", "ht"),
            ("myanmar", "my"),
            ("javanese", "jv"),
            ("jw", "jv"),
            ("cantonese", "zh"),
            ("hawaiian", None),
            ("", None),
            (7, None),
        ],
    )
    async def test_languages_become_codes(self, upstream: AudioUpstream, word: object, code: str | None) -> None:
        assert (await said(upstream, {"text": "a", "language": word})).language == code

    async def test_languages_of_the_later_models(self, upstream: AudioUpstream) -> None:
        assert (await said(upstream, {"text": "a", "languages": [{"code": "nl"}]})).language == "nl"
        assert (await said(upstream, {"text": "a", "languages": [{"code": "nl"}, {"code": "de"}]})).language is None
        assert (await said(upstream, {"text": "a", "languages": []})).language is None

    async def test_lengths(self, upstream: AudioUpstream) -> None:
        for answer, seconds in (
            ({"duration": 2.5, "usage": {"type": "duration", "seconds": 3}}, 2.5),
            ({"duration": "8.47"}, 8.47),
            ({"usage": {"type": "duration", "seconds": 3}}, 3),
            ({"duration": -1}, None),
            ({"duration": "NaN"}, None),
            ({"duration": True}, None),
            ({"usage": 5}, None),
        ):
            assert (await said(upstream, {"text": "a", **answer})).seconds == seconds, answer

    async def test_failures_have_names(self, upstream: AudioUpstream) -> None:
        for answer, error in (
            ((401, b"{}"), ProviderCredentials),
            ((403, b"{}"), ProviderCredentials),
            ((413, b'{"error": {"message": "too long"}}'), ProviderRejected),
            ((429, b"{}"), ProviderThrottled),
            ((500, b"oops"), ProviderError),
            ((504, b""), ProviderTimeout),
            ((307, b""), ProviderError),
            ((200, b"<html>"), ProviderError),
            ((200, b"[]"), ProviderError),
            ((200, b'{"text": 5}'), ProviderError),
            ((200, b'{"error": {"message": "x", "code": "rate_limit_exceeded"}}'), ProviderThrottled),
            (Cut, ProviderError),
        ):
            with pytest.raises(ProviderError) as caught:
                await said(upstream, answer)
            assert type(caught.value) is error, answer

    async def test_a_service_that_says_nothing(self, upstream: AudioUpstream) -> None:
        for limit in ({"read_timeout": 0.05}, {"timeout": 0.05}):
            with pytest.raises(ProviderTimeout):
                await said(upstream, Hang, **limit)

    async def test_a_recording_that_stops_is_timed_too(self, upstream: AudioUpstream) -> None:
        chunks = Chunks([wav(), asyncio.Event()])
        async with open_transcriber(section(upstream, timeout=0.1)) as transcriber:
            with pytest.raises(ProviderTimeout):
                await transcriber.transcribe(audio_of(chunks))
        assert chunks.readers == 0
        assert upstream.forms == []

    async def test_an_answer_before_the_end_of_the_recording(self, upstream: AudioUpstream) -> None:
        upstream.early = True
        upstream.answers.append((401, b"{}"))
        chunks = Chunks([wav(), asyncio.Event()])
        async with open_transcriber(section(upstream)) as transcriber:
            with pytest.raises(ProviderCredentials):
                await transcriber.transcribe(audio_of(chunks))
        assert chunks.readers == 0, "somebody still reads"

    async def test_an_answer_that_is_given_up_before_the_end_of_the_recording(self, upstream: AudioUpstream) -> None:
        upstream.early = True
        upstream.answers.append(Begin)
        chunks = Chunks([wav(), asyncio.Event()])
        async with open_transcriber(section(upstream, timeout=0.2)) as transcriber:
            with pytest.raises(ProviderTimeout):
                await transcriber.transcribe(audio_of(chunks))
            assert chunks.stuck.is_set()
            assert chunks.readers == 0, "somebody still reads"
            async with asyncio.timeout(5):
                await upstream.broken.wait()

    async def test_no_faster_than_the_service_takes_it(self, upstream: AudioUpstream) -> None:
        upstream.slow = asyncio.Event()
        chunks = Chunks([bytes(1 << 16)] * 400)
        async with open_transcriber(section(upstream)) as transcriber:
            call = asyncio.create_task(transcriber.transcribe(audio_of(chunks)))
            before = -1
            while chunks.given != before or not chunks.given:  # until the buffers of both ends are full
                before = chunks.given
                await asyncio.sleep(0.05)
            assert 0 < chunks.given < 300
            upstream.slow.set()
            await call
        assert (chunks.given, upstream.received) == (400, 400 << 16)

    async def test_a_recording_that_breaks_is_never_taken_for_whole(self, upstream: AudioUpstream) -> None:
        async with open_transcriber(section(upstream)) as transcriber:
            with pytest.raises(OSError, match="gone"):
                await transcriber.transcribe(audio(wav(), OSError("gone")))
        async with asyncio.timeout(5):
            await upstream.broken.wait()
        assert upstream.forms == []


def audio_of(chunks: Chunks) -> Audio:
    return Audio("audio.wav", "audio/wav", chunks, lambda: None)
