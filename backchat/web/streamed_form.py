"""A multipart form whose parts are read by the handler as they arrive, and kept nowhere."""

from __future__ import annotations

from collections import deque

from aiohttp import web

from backchat.errors import TooLarge
from backchat.web.arriving import Arriving
from backchat.web.body import MULTIPART, kind_of
from backchat.web.multipart import Heading, Splitter, boundary_of, decoded

SILENCE = 30.0
"""Seconds after which a form that does not go on is given up."""
MOST_TEXT = 64 << 10


class StreamedForm:
    """The parts of a form one after the other. No more of it is read from the connection than was asked for.

    ``limit`` is that of the whole body, in bytes; ``excess`` the error for one that is larger by what its headers say,
    for whoever wants to know it before that much has arrived. Raises UnsupportedMedia, MalformedBody, TooLarge, and
    ConnectionResetError when the client has left.
    """

    def __init__(self, request: web.Request, limit: int) -> None:
        kind_of(request, (MULTIPART,))
        self._splitter = Splitter(boundary_of(request.headers["Content-Type"]))
        self._arriving = Arriving(request, limit, SILENCE)
        self._found: deque[Heading | bytes | None] = deque()
        self._inside = False
        self._text_left = MOST_TEXT
        self.excess: TooLarge | None = self._arriving.excess

    async def part(self) -> Heading | None:
        """The next part; what is left of the one before is passed over. None at the end of the form."""
        while self._inside:
            await self.data()
        if not await self._more():
            return None
        heading = self._found.popleft()
        assert isinstance(heading, Heading)
        self._inside = True
        return heading

    async def data(self) -> bytes | None:
        """The next piece of the part's data, None at its end."""
        if not self._inside:
            return None
        await self._more()
        piece = self._found.popleft()
        assert not isinstance(piece, Heading)
        self._inside = piece is not None
        return piece

    async def text(self) -> str:
        """All of the part, which is no file. Raises TooLarge when the texts of a form are more than 64 KiB together."""
        pieces: list[bytes] = []
        while (piece := await self.data()) is not None:
            self._text_left -= len(piece)
            if self._text_left < 0:
                raise TooLarge(f"the text fields of the form are larger than {MOST_TEXT} bytes")
            pieces.append(piece)
        return decoded(b"".join(pieces))

    async def _more(self) -> bool:
        """Whether there is something more of the form; read until there is."""
        while not self._found:
            try:
                chunk = await anext(self._arriving)
            except StopAsyncIteration:
                self._splitter.close()
                return False
            self._found.extend(self._splitter.feed(chunk))
        return True
