"""One server process: an app, a port, and an orderly end."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import click
import structlog
from aiohttp import web

from backchat.cli.signals import Stop
from backchat.config import Config
from backchat.services.container import Services
from backchat.web.keys import SERVICES, STREAMS

log = structlog.get_logger(source="backchat.server")
BACKLOG = 4096
KEEPALIVE = 75.0
LAST_FRAMES = 2.0
CLOSING = 5.0

Listening = Callable[[int, Services, Stop], Awaitable[None]]


def cannot_listen(host: str, port: int, error: OSError) -> click.ClickException:
    """The one line for an address that is taken, not ours, or none at all."""
    looked_up = isinstance(error, socket.gaierror) or error.errno is None
    reason = error.strerror if looked_up else os.strerror(error.errno)  # type: ignore[arg-type]
    return click.ClickException(f"cannot listen on {host}:{port}: {reason}")


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run to the end, on uvloop where there is one."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None
    try:
        from uvloop import new_event_loop as factory
    except ImportError:
        factory = None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main)


async def serve(app: web.Application, config: Config, listening: Listening, *, share_port: bool = False) -> None:
    """Serve until a signal, then wind down. ``listening`` is called once, with the port, when requests are taken.

    Raises ConfigError when a part cannot be opened, ClickException when the address cannot be had.
    """
    stop = Stop()
    # A client that leaves cancels nothing (handler_cancellation is off): replies are the server's own.
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=KEEPALIVE, shutdown_timeout=CLOSING)
    host, port = config.server.host, config.server.port
    try:
        await runner.setup()
        site = web.TCPSite(runner, host, port, backlog=BACKLOG, reuse_port=share_port or None)
        try:
            await site.start()
        except OSError as error:
            raise cannot_listen(host, port, error) from error
        log.info("server.listening", host=host, port=site.port)
        # What was made to get here stays: the collector need not look at it again, nor run as often as for a script.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)
        await listening(site.port, app[SERVICES], stop)
        await stop.asked.wait()
        log.info("server.draining", seconds=config.server.drain)
        await _drain(app, stop, config.server.drain)
    finally:
        await runner.cleanup()
    log.info("server.stopped")


async def _drain(app: web.Application, stop: Stop, seconds: float) -> None:
    """Let what runs end, while the site still answers: that it takes nothing new, and what readers want to know."""
    runs = app[SERVICES].runs
    drain = asyncio.create_task(runs.drain(seconds))
    hurry = asyncio.create_task(stop.hurried.wait())
    try:
        await asyncio.wait((drain, hurry), return_when=asyncio.FIRST_COMPLETED)
        if not drain.done():
            # Not left to the cleanup: requests that wait for an answer would keep it from getting there.
            drain.cancel()
            await asyncio.wait((drain,))
            await runs.drain(0)
        elif streams := app[STREAMS]:
            # Their readers have yet to write the end of what has just ended.
            await asyncio.wait(tuple(streams), timeout=LAST_FRAMES)
    finally:
        hurry.cancel()
    if not drain.cancelled():
        drain.result()
