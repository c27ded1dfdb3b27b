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

from backchat.cli.rereading import can_be_asked, reread_when_asked
from backchat.cli.signals import Hangup, Stop
from backchat.config import Config
from backchat.services.container import Services
from backchat.web.connections import Runner
from backchat.web.keys import SERVICES, STREAMS
from backchat.web.lines import LONGEST_LINE
from backchat.web.logs import log_the_uncaught

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


async def serve(
    app: web.Application,
    config: Config,
    listening: Listening,
    reread: Callable[[], Config],
    *,
    share_port: bool = False,
) -> None:
    """Serve until a signal, then wind down. ``listening`` is called once, with the port, when requests are taken.

    ``reread`` is called in a thread, each time that somebody asks for it: it gives the configuration as it is now.

    Raises ConfigError when a part cannot be opened, ClickException when the address cannot be had.
    """
    stop, hangup = Stop(), Hangup()
    # A client that leaves cancels nothing (handler_cancellation is off): replies are the server's own.
    runner = Runner(
        app, access_log=None, keepalive_timeout=KEEPALIVE, shutdown_timeout=CLOSING, max_line_size=LONGEST_LINE
    )
    host, port = config.server.host, config.server.port
    try:
        await runner.setup()
        log_the_uncaught()
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
        await can_be_asked(app)
        rereading = asyncio.create_task(reread_when_asked(app, hangup.asked, reread))
        try:
            await listening(site.port, app[SERVICES], stop)
            await stop.asked.wait()
        finally:
            rereading.cancel()
            await asyncio.wait((rereading,))
        log.info("server.draining", seconds=config.server.drain)
        await _drain(app, stop, config.server.drain)
    finally:
        await runner.cleanup()
    log.info("server.stopped")


async def _drain(app: web.Application, stop: Stop, seconds: float) -> None:
    """Let what runs end, or stop it at a second signal; the site still answers meanwhile."""
    winding = asyncio.create_task(_wind_down(app, seconds))
    hurry = asyncio.create_task(stop.hurried.wait())
    await asyncio.wait((winding, hurry), return_when=asyncio.FIRST_COMPLETED)
    hurry.cancel()
    if winding.done():
        winding.result()
        return
    winding.cancel()
    await asyncio.wait((winding,))
    # Here and not in the cleanup, which waits for requests that wait for these.
    await app[SERVICES].imports.close()
    await app[SERVICES].runs.drain(0)


async def _wind_down(app: web.Application, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    await app[SERVICES].imports.close()  # the same file can be given again
    await app[SERVICES].runs.drain(until - loop.time())
    # Readers have yet to write how it ended; some follow a run of another process, which is draining as well.
    if streams := app[STREAMS]:
        await asyncio.wait(tuple(streams), timeout=max(LAST_FRAMES, until - loop.time()))
