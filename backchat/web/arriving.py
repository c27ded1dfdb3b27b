"""The body of a request as it arrives."""

from __future__ import annotations

import asyncio

from aiohttp import web

from backchat.errors import TooLarge
from backchat.web.multipart import MalformedBody


class Arriving:
    """The bytes of a body, ``limit`` of them at most; iterate over it. Nobody waits for a byte longer than ``silence``
    seconds.

    Raises TooLarge, MalformedBody, and ConnectionResetError when the client has left.
    """

    def __init__(self, request: web.Request, limit: int, silence: float | None = None) -> None:
        self._request, self._limit, self._silence = request, limit, silence
        self._size = 0

    @property
    def excess(self) -> TooLarge | None:
        """The error for a body that is too large by what its headers say."""
        declared = self._request.content_length
        return self._too_large() if declared is not None and declared > self._limit else None

    def __aiter__(self) -> Arriving:
        return self

    async def __anext__(self) -> bytes:
        try:
            async with asyncio.timeout(self._silence):
                chunk = await self._request.content.readany()
        except TimeoutError:
            raise MalformedBody("the body stopped arriving before its end") from None
        except web.RequestPayloadError:
            raise MalformedBody("the body does not arrive as its headers say") from None
        if not chunk:
            raise StopAsyncIteration
        self._size += len(chunk)
        if self._size > self._limit:
            raise self._too_large()
        return chunk

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the body is larger than {self._limit} bytes")
