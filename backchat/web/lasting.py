"""Answers that are written bit by bit, and may last."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from aiohttp import web

from backchat.web.dialect import Call
from backchat.web.keys import STREAMS

log = structlog.get_logger(source=__name__)


@asynccontextmanager
async def lasting(call: Call, response: web.StreamResponse) -> AsyncIterator[None]:
    """Around the writing of a response: it ends at shutdown, and quietly when the client has left.

    What fails before the first byte is raised, and gets a status. Later the end of the body would be a lie: the
    connection breaks, so that a reader of a stream resumes, and a download is not taken for whole.
    """
    task = asyncio.current_task()
    assert task is not None
    streams = call.request.app[STREAMS]
    streams.add(task)
    try:
        yield
    except ConnectionResetError:
        log.debug("stream.client_left")
    except Exception:
        if not response.prepared:
            raise
        log.exception("stream.broken")
        if call.request.transport is not None:
            call.request.transport.abort()
    finally:
        streams.discard(task)
