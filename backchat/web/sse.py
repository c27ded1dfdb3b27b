"""Server-sent events: the only importer of aiohttp_sse."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import orjson
import structlog
from aiohttp import web
from aiohttp_sse import EventSourceResponse

from backchat.domain.run import RunEnded, RunPaused
from backchat.errors import BackchatError, NotFound
from backchat.services.runlog import Numbered
from backchat.web.dialect import Call
from backchat.web.keys import METRICS, OPENINGS, STREAMS
from backchat.web.lasting import lasting

log = structlog.get_logger(source=__name__)

PING_SECONDS = 10
PING = b": ping\n\n"
Encode = Callable[[Sequence[Numbered]], bytes]
Refuse = Callable[[BackchatError], bytes]


def _silent(error: BackchatError) -> bytes:
    return b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A run as a stream shows it, from the event after ``after``.

    ``first`` is sent at once. ``encode`` gets the events that are ready together, and they go out in one write. Without
    ``past_pauses`` the stream ends when the run waits for the client's tool outputs. ``refuse`` makes the last frame
    for a reader who may not read on.
    """

    run: str
    encode: Encode
    first: bytes = b""
    after: int = 0
    past_pauses: bool = True
    refuse: Refuse = _silent


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


async def stream(
    call: Call,
    run: str,
    encode: Encode,
    *,
    first: bytes = b"",
    after: int = 0,
    past_pauses: bool = True,
    refuse: Refuse = _silent,
) -> web.StreamResponse:
    """Show a run as it grows; see ``Shown``. Leaving early ends the showing, not the run."""
    shown = Shown(run=run, encode=encode, first=first, after=after, past_pauses=past_pauses, refuse=refuse)
    return await stream_shown(call, shown)


async def stream_shown(call: Call, shown: Shown) -> web.StreamResponse:
    """Show a run as it grows. Leaving early ends the showing, not the run."""

    async def write(response: EventSourceResponse) -> None:
        await _follow(call, response, shown)

    return await _stream(call, write)


async def stream_when_known(call: Call, what: Callable[[], Awaitable[Shown | bytes]]) -> web.StreamResponse:
    """Begin a stream before it is known what it shows: a run, or frames that are all of it. ``what`` raises nothing."""

    async def write(response: EventSourceResponse) -> None:
        await response.write(PING)  # the headers go out with the first byte
        shown = await what()
        if isinstance(shown, Shown):
            await _follow(call, response, shown)
        else:
            await response.write_eof(shown)

    return await _stream(call, write)


async def stream_frames(call: Call, frames: AsyncGenerator[bytes]) -> web.StreamResponse:
    """Show frames as they come, to the end of where they come from. Leaving early closes that."""

    async def write(response: EventSourceResponse) -> None:
        async with aclosing(frames):
            async for data in frames:
                await response.write(data)
        await response.write_eof()

    return await _stream(call, write)


async def _follow(call: Call, response: EventSourceResponse, shown: Shown) -> None:
    follow = call.services.runs.follow
    with structlog.contextvars.bound_contextvars(run=shown.run):
        try:
            async with aclosing(follow(call.who, shown.run, shown.after, past_pauses=shown.past_pauses)) as batches:
                if shown.first:
                    await response.write(shown.first)
                async for batch in batches:
                    data = shown.encode(batch)
                    last = type(batch[-1][1])
                    if last is RunEnded or (last is RunPaused and not shown.past_pauses):
                        await response.write_eof(data)  # the last frame and the end of the body in one packet
                    elif data:
                        await response.write(data)
        except NotFound as error:
            log.info("stream.access_ended")
            await response.write_eof(shown.refuse(error))


async def _stream(call: Call, write: Callable[[EventSourceResponse], Awaitable[None]]) -> web.StreamResponse:
    response = EventSourceResponse(sep="\n", allow_all_methods=True, ping_interval=PING_SECONDS)
    response.headers["Content-Type"] = "text/event-stream; charset=utf-8"
    call.request.app[METRICS].stream_opened()
    try:
        async with lasting(call, response):
            await response.prepare(call.request)
            async with response:
                await write(response)
    finally:
        call.request.app[METRICS].stream_closed()
    return response


async def end_streams(app: web.Application) -> None:
    """What is still open at shutdown ends at once: streams, whose runs are safe in the store, and openings.

    No run begins any more by then, so that none is left stored and not started.
    """
    streams, openings = app[STREAMS], app[OPENINGS]
    for task in (*streams, *openings):
        task.cancel()
    if openings:  # they use what closes next
        await asyncio.wait(tuple(openings))
