"""Server-sent events: the only importer of aiohttp_sse."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing

import orjson
import structlog
from aiohttp import web
from aiohttp_sse import EventSourceResponse

from backchat.domain.run import RunEnded
from backchat.services.runlog import Numbered
from backchat.web.dialect import Call
from backchat.web.keys import METRICS, STREAMS

log = structlog.get_logger(source=__name__)
PING_SECONDS = 10
Encode = Callable[[Sequence[Numbered]], bytes]


def frame(event: str, data: object, id: int | None = None) -> bytes:
    """One event. Its JSON is on one line for every reader, also for those that split at Unicode's line ends."""
    payload = orjson.dumps(data)
    if not payload.isascii():
        payload = (
            payload.replace(b"\xe2\x80\xa8", b"\\u2028")
            .replace(b"\xe2\x80\xa9", b"\\u2029")
            .replace(b"\xc2\x85", b"\\u0085")
        )
    if id is None:
        return b"event: %b\ndata: %b\n\n" % (event.encode(), payload)
    return b"event: %b\nid: %d\ndata: %b\n\n" % (event.encode(), id, payload)


async def stream(call: Call, run: str, encode: Encode, *, first: bytes = b"") -> web.StreamResponse:
    """Show a run from its first event, as it grows. Leaving early ends the showing, not the run.

    ``first`` is sent at once. ``encode`` gets the events that are ready together, and they go out in one write.
    """
    task = asyncio.current_task()
    assert task is not None
    streams = call.request.app[STREAMS]
    streams.add(task)
    call.request.app[METRICS].stream_opened()
    response = EventSourceResponse(sep="\n", allow_all_methods=True, ping_interval=PING_SECONDS)
    response.headers["Content-Type"] = "text/event-stream; charset=utf-8"
    try:
        await response.prepare(call.request)
        async with response, aclosing(call.services.runs.follow(run)) as batches:
            if first:
                await response.write(first)
            async for batch in batches:
                data = encode(batch)
                if type(batch[-1][1]) is RunEnded:
                    await response.write_eof(data)  # the last frame and the end of the body in one packet
                elif data:
                    await response.write(data)
    except ConnectionResetError:
        log.debug("stream.client_left", run=run)
    except Exception:
        if not response.prepared:
            raise
        # Too late for a status, and the end of the stream would be a lie: the connection breaks, the reader resumes.
        log.exception("stream.broken", run=run)
        if call.request.transport is not None:
            call.request.transport.abort()
    finally:
        streams.discard(task)
        call.request.app[METRICS].stream_closed()
    return response


async def end_streams(app: web.Application) -> None:
    """Streams that are still open at shutdown end at once; their runs are safe in the store."""
    streams = app[STREAMS]
    for task in tuple(streams):
        task.cancel()
