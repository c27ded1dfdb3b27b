"""The form of a recording, read part by part in whatever order they come, and the recording passed on as it comes.

What is wrong is told in this order: the workspace (404), its credit (402), the size (413), the type (415), the rest
(400). The recording itself can be passed on while it arrives if the workspace is known by then; one that comes before
``workspace_id`` is held in memory until it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, ExitStack
from uuid import UUID

from marshmallow import ValidationError

from backchat.errors import BackchatError, NotFound, TooLarge, Unavailable
from backchat.ports.transcription import Audio
from backchat.services.transcriptions import MOST_BYTES
from backchat.web.body import Misfit, UnsupportedMedia
from backchat.web.dialect import Call
from backchat.web.multipart import Heading
from backchat.web.streamed_form import MOST_TEXT, StreamedForm
from backchat_dialect_workspaces.schemas_media import EMPTY_FILE, NOT_A_FILE, TWICE, UploadSchema

FILE, WORKSPACE, LANGUAGE = "audio_file", "workspace_id", "language"
ENVELOPE = MOST_TEXT + (64 << 10)
"""Bytes of a form besides the recording: its texts, and the headers of its parts."""
PATIENCE = 30.0
"""Seconds to wait for room to hold a recording in."""
PIECE = 64 << 10
ENDINGS: Mapping[str, str] = {
    "flac": "audio/flac",
    "m4a": "audio/mp4",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "mpeg": "audio/mpeg",
    "mpga": "audio/mpeg",
    "oga": "audio/ogg",
    "ogg": "audio/ogg",
    "wav": "audio/wav",
    "webm": "audio/webm",
}
"""What is taken, and the type of each."""
TYPES: Mapping[str, str] = {
    "audio/flac": "flac",
    "audio/x-flac": "flac",
    "audio/mp4": "m4a",
    "audio/m4a": "m4a",
    "audio/x-m4a": "m4a",
    "video/mp4": "mp4",
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
    "audio/x-mp3": "mp3",
    "audio/mpga": "mpga",
    "video/mpeg": "mpeg",
    "audio/ogg": "ogg",
    "application/ogg": "ogg",
    "video/ogg": "ogg",
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
    "audio/vnd.wave": "wav",
    "audio/webm": "webm",
    "video/webm": "webm",
}
"""What a recording is whose name does not tell, as those that a browser has just made."""


class Recording:
    """One request. What it takes is given back by the stack. ``workspace`` is set once it is known."""

    def __init__(self, call: Call, stack: AsyncExitStack) -> None:
        self._call = call
        self._room = stack.enter_context(ExitStack())
        self._form = StreamedForm(call.request, MOST_BYTES + ENVELOPE)
        self._texts: dict[str, str] = {}
        self._wrong: dict[str, list[str]] = {}
        self._file: Heading | None = None
        self._refusal: BackchatError | None = None
        self._held: bytearray | None = None
        self._language: str | None = None
        self.workspace = ""

    async def audio(self) -> tuple[Audio, int | None]:
        """The recording, and how many bytes it has at most if that is known. Reads on until it can be passed on."""
        while (part := await self._form.part()) is not None:
            first = await self._read(part)
            if first is not None:
                self._check()
                return self._shown(_Flow(self, first)), self._call.request.content_length
        if self._refusal is not None:
            raise self._refusal
        self._check()
        assert self._held is not None
        return self._shown(_Held(self._held, self._room)), len(self._held)

    async def rest(self) -> None:
        """What comes behind a recording that was passed on."""
        while (part := await self._form.part()) is not None:
            await self._read(part)
        self._check()

    async def more(self) -> bytes | None:
        return await self._form.data()

    async def _read(self, part: Heading) -> bytes | None:
        """Take a part in; the beginning of the recording if it can be passed on from here."""
        if part.name == FILE and part.filename is None:
            self._wrong[FILE] = [NOT_A_FILE]
        elif part.name == FILE:
            return await self._read_file(part)
        elif part.name in (WORKSPACE, LANGUAGE) and part.filename is None:
            text = await self._form.text()
            if part.name in self._texts:
                self._wrong[part.name] = [TWICE]
            elif text.strip():
                self._texts[part.name] = text
                if part.name == WORKSPACE:
                    await self._enter(text)
        return None

    async def _enter(self, id: str) -> None:
        try:
            self.workspace = str(UUID(id.strip()))
        except ValueError:
            self.workspace = ""
        if self.workspace != id.strip().lower():
            raise NotFound("workspace not found")
        await self._call.services.transcriptions.check(self._call.who, self.workspace)
        if self._refusal is not None:
            raise self._refusal

    async def _read_file(self, part: Heading) -> bytes | None:
        first = await self._form.data()
        if first is None and not part.filename:  # a browser's form in which no file was chosen
            return None
        if self._file is not None:
            self._wrong[FILE] = [TWICE]
            return None
        self._file = part
        if self._form.excess is not None:
            self._refusal = self._form.excess
        elif _format(part) is None:
            self._refusal = UnsupportedMedia(f"a recording must be one of: {', '.join(ENDINGS)}")
        if self._refusal is not None:
            if self.workspace or self._form.excess is not None:  # else what comes behind it would never be read
                raise self._refusal
        elif first is None:
            self._wrong[FILE] = [EMPTY_FILE]
        elif self.workspace:
            return first
        else:
            await self._hold(first)
        return None

    async def _hold(self, first: bytes) -> None:
        room = self._call.services.transcriptions.room
        try:
            async with asyncio.timeout(PATIENCE):
                await room.acquire()
        except TimeoutError:
            raise Unavailable("too many recordings are waiting here", retry_after=5) from None
        self._room.callback(room.release)
        held = self._held = bytearray(first)
        while (piece := await self._form.data()) is not None:
            held += piece
            if len(held) > MOST_BYTES:
                self._refusal = too_large()
                held.clear()
                self._room.close()
                return

    def _check(self) -> None:
        """Raises Misfit for everything that is wrong with what has come so far."""
        given = {**self._texts, **({FILE: self._file} if self._file is not None else {})}
        try:
            self._language = UploadSchema().load(given)[LANGUAGE]
            found: dict[str, list[str]] = {}
        except ValidationError as error:
            found = dict(error.messages_dict)
        if found or self._wrong:
            raise Misfit("body", ValidationError({**found, **self._wrong}))

    def _shown(self, chunks: AsyncIterator[bytes]) -> Audio:
        assert self._file is not None
        ending = _format(self._file)
        assert ending is not None
        # Not the client's own name, of which nobody needs more than the ending.
        return Audio(f"audio.{ending}", ENDINGS[ending], chunks, lambda: self._language)


class _Held:
    """The chunks of a recording that was held, and leaves its room with the last one."""

    def __init__(self, held: bytearray, room: ExitStack) -> None:
        self._held, self._room = held, room
        self._start = 0

    def __aiter__(self) -> _Held:
        return self

    async def __anext__(self) -> bytes:
        piece = bytes(self._held[self._start : self._start + PIECE])
        self._start += PIECE
        if not piece:
            self._held.clear()
            self._room.close()
            raise StopAsyncIteration
        return piece


class _Flow:
    """The chunks of a recording that is passed on while it arrives; behind the last one, all of the form is read."""

    def __init__(self, recording: Recording, first: bytes) -> None:
        self._recording = recording
        self._next: bytes | None = first
        self._size = 0

    def __aiter__(self) -> _Flow:
        return self

    async def __anext__(self) -> bytes:
        piece, self._next = self._next, None
        if piece is None:
            piece = await self._recording.more()
        if piece is None:
            await self._recording.rest()
            raise StopAsyncIteration
        self._size += len(piece)
        if self._size > MOST_BYTES:
            raise too_large()
        return piece


def too_large() -> TooLarge:
    return TooLarge(f"the recording is larger than {MOST_BYTES} bytes")


def _format(part: Heading) -> str | None:
    """The ending of what a file is: of its name, or what its type stands for if the name has none. None: not taken."""
    _, dot, ending = (part.filename or "").rpartition(".")
    if dot and ending.isalnum():
        return ending.lower() if ending.lower() in ENDINGS else None
    return TYPES.get(part.mime)
