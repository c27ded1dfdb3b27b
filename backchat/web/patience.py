"""Answers that may take longer than a client waits for a sign of life: in one piece, or as a stream.

An answer has an opening, which decides what is answered and may be refused, and what follows it. The opening is work of
the server's own: once begun it goes on to its end, for a run that is stored and not started would be nobody's.

What is ready or refused in time is an ordinary response with its real status. Later the status is already out: 200, the
headers of no particular answer, and a sign of life now and then, until the answer is there or what failed it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import structlog
from aiohttp import web

from backchat.errors import BackchatError, Draining, Internal
from backchat.web.dialect import Call
from backchat.web.keys import OPENINGS, STREAMS
from backchat.web.sse import Shown, stream_shown, stream_when_known

log = structlog.get_logger(source=__name__)
T = TypeVar("T")
Made = TypeVar("Made")
BLANK = b" "
"""White space before a JSON text belongs to no value (RFC 8259, section 2): every reader passes over it."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: after how many the status goes out all the same, and then between the blanks before a JSON text."""

    after: float = 27.0
    every: float = 10.0


class Opening(Generic[Made]):
    """The beginning of an answer, on its way. Nobody stops it but the server's shutdown, when runs begin no more."""

    def __init__(self, call: Call, work: Coroutine[Any, Any, Made]) -> None:
        self._task = asyncio.create_task(work)
        openings = call.request.app[OPENINGS]
        openings.add(self._task)
        self._task.add_done_callback(openings.discard)

    @property
    def made(self) -> Made | None:
        """What it has made, if it is done and did not fail."""
        task = self._task
        return task.result() if task.done() and not task.cancelled() and task.exception() is None else None

    async def ready(self, seconds: float) -> bool:
        """Wait for its end, for so long at most."""
        await self._wait(seconds)
        return self._task.done()

    async def result(self) -> Made:
        """Wait for its end; who is cancelled here leaves it going. Raises what it failed with, and Draining."""
        await self._wait(None)
        if self._task.cancelled():
            raise Draining("the server is shutting down", retry_after=5)
        return self._task.result()

    async def _wait(self, seconds: float | None) -> None:
        try:
            await asyncio.wait({self._task}, timeout=seconds)
        except asyncio.CancelledError:
            self._task.add_done_callback(_left_alone)
            raise


def _left_alone(task: asyncio.Task[Any]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        code = error.code if isinstance(error, BackchatError) else None
        log.warning("answer.failed_unheard", code=code, exc_info=None if code else error)


async def patiently(
    call: Call,
    opening: Coroutine[Any, Any, Made],
    answer: Callable[[Made], Awaitable[T]],
    render: Callable[[T], web.Response],
    failed: Callable[[Made | None, BackchatError], T],
    patience: Patience,
) -> web.StreamResponse:
    """Answer in one piece, as JSON. ``failed`` makes a late failure an answer, with what the opening made if it did.

    ``answer`` only waits for what the server does anyway: it is cancelled when the client has left, and at shutdown.
    """
    begun = Opening(call, opening)

    async def whole() -> T:
        return await answer(await begun.result())

    task = asyncio.create_task(whole())
    try:
        await asyncio.wait({task}, timeout=patience.after)
        if task.done():
            return render(task.result())
        return await _late(call, task, render, lambda e: failed(begun.made, e), patience.every)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})


async def streamed(
    call: Call,
    opening: Coroutine[Any, Any, Shown | bytes],
    failed: Callable[[BackchatError], bytes],
    patience: Patience,
) -> web.StreamResponse:
    """Answer as a stream: of a run, or of frames that are all of it. ``failed`` makes a late refusal a last frame."""
    begun = Opening(call, opening)
    if not await begun.ready(patience.after):

        async def what() -> Shown | bytes:
            try:
                return await begun.result()
            except Exception as error:
                return failed(_problem(error))

        return await stream_when_known(call, what)
    shown = await begun.result()
    if isinstance(shown, Shown):
        return await stream_shown(call, shown)
    return web.Response(body=shown, content_type="text/event-stream", charset="utf-8")


async def _late(
    call: Call,
    task: asyncio.Task[T],
    render: Callable[[T], web.Response],
    failed: Callable[[BackchatError], T],
    every: float,
) -> web.StreamResponse:
    mine = asyncio.current_task()
    assert mine is not None
    streams = call.request.app[STREAMS]
    streams.add(mine)  # to be ended at shutdown, as the other answers whose status is out
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    try:
        await response.prepare(call.request)
        while not task.done():
            await response.write(BLANK)
            await asyncio.wait({task}, timeout=every)
        body = _rendered(task, render, failed).body
        assert isinstance(body, bytes)
        await response.write_eof(body)
    except ConnectionResetError:
        log.debug("answer.client_left")
    finally:
        streams.discard(mine)
    return response


def _rendered(
    task: asyncio.Task[T], render: Callable[[T], web.Response], failed: Callable[[BackchatError], T]
) -> web.Response:
    try:
        return render(task.result())
    except Exception as error:
        return render(failed(_problem(error)))


def _problem(error: Exception) -> BackchatError:
    """The error as a late answer may show it."""
    if not isinstance(error, BackchatError):
        log.error("answer.crashed", exc_info=error)
        error = Internal("internal error")
    log.warning("answer.failed_late", code=error.code)
    return error
