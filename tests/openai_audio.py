"""A local server that speaks OpenAI's audio protocol, for tests.

Every form is checked against the types that the ``openai`` package publishes; every answer it makes up by itself is one
of that package's types, about the WAV file that came.
"""

from __future__ import annotations

import asyncio
import wave
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO
from typing import Any, get_type_hints

from aiohttp import BodyPartReader, web
from openai.types.audio import Transcription, TranscriptionVerbose
from openai.types.audio.transcription_create_params import TranscriptionCreateParamsNonStreaming
from pydantic import TypeAdapter

from openai_upstream import Cut, Hang

_PARAMS: Mapping[str, Any] = get_type_hints(TranscriptionCreateParamsNonStreaming)


class Begin:
    """Send the headers of an answer, and no more."""


Answer = tuple[int, bytes] | type[Cut] | type[Hang] | type[Begin]
RATE = 8000


def wav(seconds: float = 0.25) -> bytes:
    """A recording of a tone."""
    file = BytesIO()
    with wave.open(file, "wb") as made:
        made.setnchannels(1)
        made.setsampwidth(2)
        made.setframerate(RATE)
        made.writeframes(bytes((n * n) % 251 for n in range(2 * round(seconds * RATE))))
    return file.getvalue()


@dataclass
class AudioUpstream:
    """``answers``: status and body of the next answers; after them it answers by itself.

    early      answer before the form is read;  slow  wait for this before each read of the file
    forms      the texts of each form, in the order in which they were sent;  files  name, type and bytes
    received   bytes of files so far;  open  requests that are being answered;  idle  set when there are none any more
    arrived    set when a form has come;  broken  set when one did not come whole
    """

    base_url: str = ""
    language: str = "english"
    early: bool = False
    slow: asyncio.Event | None = None
    answers: list[Answer] = field(default_factory=list)
    forms: list[dict[str, str]] = field(default_factory=list)
    files: list[tuple[str, str, bytes]] = field(default_factory=list)
    requests: list[Mapping[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    received: int = 0
    open: int = 0
    broken: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    idle: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(dict(request.headers))
        self.paths.append(request.path_qs)
        self.open += 1
        self.idle.clear()
        try:
            if not self.early:
                await self._read(request)
            self.arrived.set()
            return await self._answer(request)
        except (asyncio.CancelledError, ConnectionResetError, ValueError):
            self.broken.set()
            raise
        finally:
            self.open -= 1
            if not self.open:
                self.idle.set()

    async def _read(self, request: web.Request) -> None:
        form: dict[str, str] = {}
        async for part in await request.multipart():
            assert isinstance(part, BodyPartReader)
            assert part.name
            if part.filename is None:
                form[part.name] = await part.text()
                continue
            data = bytearray()
            while True:
                if self.slow is not None:
                    await self.slow.wait()
                chunk = await part.read_chunk(1 << 16)
                if not chunk:
                    break
                data += chunk
                self.received += len(chunk)
            self.files.append((part.filename, part.headers.get("Content-Type", ""), bytes(data)))
            form[part.name] = "here"
        self.forms.append(form)
        self.problems += misfits(form)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        next_one = self.answers.pop(0) if self.answers else None
        if next_one is Cut:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if next_one is Begin:
            await web.StreamResponse().prepare(request)
        if next_one in (Hang, Begin):
            await asyncio.Event().wait()
        if isinstance(next_one, tuple):
            return web.Response(status=next_one[0], body=next_one[1], content_type="application/json")
        return web.json_response(self.by_itself(self.forms[-1], self.files[-1][2]))

    def by_itself(self, form: Mapping[str, str], data: bytes) -> dict[str, Any]:
        seconds, said = 0.0, f"I heard {sha256(data).hexdigest()[:8]}."
        if data.startswith(b"RIFF"):
            with wave.open(BytesIO(data)) as read:
                seconds = read.getnframes() / read.getframerate()
        if form.get("response_format") == "verbose_json":
            made: dict[str, Any] = {"task": "transcribe", "text": said, "language": self.language, "duration": seconds}
            made |= {"segments": [], "usage": {"type": "duration", "seconds": round(seconds)}}
            TranscriptionVerbose.model_validate({**made, "usage": {"type": "duration", "seconds": float(seconds)}})
            return made
        counts = {"input_tokens": 14, "output_tokens": 45, "total_tokens": 59}
        made = {"text": said, "usage": {"type": "tokens", **counts}}
        Transcription.model_validate(made, strict=True)
        return made


def misfits(form: Mapping[str, str]) -> list[str]:
    """How a form differs from the published types."""
    found = [f"not in the published types: {name}" for name in form if name not in _PARAMS]
    found += [f"{name} is missing" for name in TranscriptionCreateParamsNonStreaming.__required_keys__ - set(form)]
    for name, value in form.items():
        try:
            if name in _PARAMS and name != "file":
                TypeAdapter(_PARAMS[name]).validate_python(value)
        except ValueError as error:
            found.append(str(error))
    return found


@asynccontextmanager
async def serve_audio() -> AsyncIterator[AudioUpstream]:
    upstream = AudioUpstream()
    app = web.Application(client_max_size=1 << 28)
    app.router.add_post("/v1/audio/transcriptions", upstream.answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    upstream.base_url = f"http://{host}:{port}/v1"
    try:
        yield upstream
    finally:
        await runner.cleanup()
