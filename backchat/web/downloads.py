"""Answers that a browser saves as a file: whole, or written as they are made."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from urllib.parse import quote

from aiohttp import web

from backchat.errors import InvalidInput
from backchat.services.filenames import kept_name
from backchat.web.dialect import Call
from backchat.web.lasting import lasting

_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 ._-()")
UNNAMED = "conversation"
LONGEST = 120
"""Characters of a name before its end: what every file system takes, also in four bytes each with a part of it cut."""


def attachment(name: str, end: str) -> dict[str, str]:
    """The headers of a file of this name, which may be any text; ``end`` is like ``.json``.

    The name is given twice (RFC 6266): in ASCII for old readers, and as it is.
    """
    try:
        kept = kept_name(re.sub(r"[/\\]", "-", name)[:LONGEST]).strip(". ")
    except InvalidInput:
        kept = ""
    safe = (kept or UNNAMED) + end
    plain = "".join([c if c in _PLAIN else "_" for c in safe])
    both = f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(safe, safe='')}"
    return {"Content-Disposition": both, "X-Content-Type-Options": "nosniff"}


async def download(call: Call, chunks: AsyncIterator[bytes], headers: dict[str, str]) -> web.StreamResponse:
    """Write what comes, as it comes. What fails before the first chunk has a status; later the connection breaks.

    A download that ended like a complete one without being it would be taken for one.
    """
    response = web.StreamResponse(headers=headers)
    async with lasting(call, response), aclosing(_ended(chunks)) as source:
        async for chunk in source:
            if not response.prepared:
                await response.prepare(call.request)
            await response.write(chunk)
        if not response.prepared:
            await response.prepare(call.request)
        await response.write_eof()
    return response


async def _ended(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """The chunks; what makes them ends when this does."""
    try:
        async for chunk in chunks:
            yield chunk
    finally:
        if isinstance(chunks, AsyncGenerator):
            await chunks.aclose()
