"""Several processes on one port: started here, replaced when one dies, ended together.

A worker's standard output tells that it listens; the end of its standard input tells it that this process is gone.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import structlog
from prometheus_client.multiprocess import mark_process_dead

from backchat.cli.server import cannot_listen
from backchat.cli.signals import Hangup, Stop

log = structlog.get_logger(source="backchat.workers")
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 30.0
STEADY = 10.0


@contextmanager
def reserve(host: str, port: int) -> Iterator[int]:
    """Hold the port of every address of the host, without listening; yields it, for 0 the one that was found.

    Raises ClickException when it cannot be had.
    """
    with ExitStack() as held:
        try:
            for family, kind, protocol, _, address in _addresses(host, port):
                if port:
                    # Alone first: with SO_REUSEPORT the port of another server of ours would be ours as well.
                    _bound(family, kind, protocol, (address[0], port, *address[2:]), share=False).close()
                shared = _bound(family, kind, protocol, (address[0], port, *address[2:]), share=True)
                held.enter_context(shared)
                port = shared.getsockname()[1]
        except OSError as error:
            raise cannot_listen(host, port, error) from error
        yield port


def _addresses(host: str, port: int) -> Iterable[tuple[int, int, int, str, tuple[Any, ...]]]:
    return dict.fromkeys(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE))


def _bound(family: int, kind: int, protocol: int, address: tuple[Any, ...], *, share: bool) -> socket.socket:
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


class Crew:
    """``count`` processes of one command. ``metrics`` is the directory in which they put their counters together."""

    def __init__(self, command: Sequence[str], count: int, metrics: str) -> None:
        self._command, self._count, self._metrics = command, count, metrics
        self._running: set[Process] = set()
        self._ready: set[Process] = set()
        self._hangups = 0
        self._came_up = False
        self._code = 0

    async def work(self) -> int:
        """Until a signal has ended all of them. The exit code: 0, or that of the process that never came up."""
        self._stop = Stop()
        forwarders = [asyncio.create_task(each) for each in (self._forward(), self._hang_up(Hangup()))]
        try:
            await asyncio.gather(*[self._keep() for _ in range(self._count)])
        finally:
            for forwarder in forwarders:
                forwarder.cancel()
        return self._code

    async def _forward(self) -> None:
        for asked in (self._stop.asked, self._stop.hurried):
            await asked.wait()
            for process in self._running:
                _send(process, signal.SIGTERM)

    async def _hang_up(self, hangup: Hangup) -> None:
        """Hand it on to those that are ready, and to the others once they are: it would end them before."""
        while True:
            await hangup.asked.wait()
            hangup.asked.clear()
            self._hangups += 1
            for process in self._ready:
                _send(process, signal.SIGHUP)

    async def _keep(self) -> None:
        """Keep one of them running."""
        pause = FIRST_PAUSE
        while not self._stop.asked.is_set():
            began = time.monotonic()
            code = await self._one()
            if self._stop.asked.is_set():
                return
            if not self._came_up:
                # No process has ever listened, so the next one would not either.
                self._code = code if code > 0 else 1
                self._stop.ask()
                return
            pause = FIRST_PAUSE if time.monotonic() - began > STEADY else min(2 * pause, LONGEST_PAUSE)
            log.error("worker.died", code=code, restart_in=pause)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.asked.wait(), pause)

    async def _one(self) -> int:
        """One process from its start to its end."""
        heard = self._hangups
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=PIPE,
            stdout=PIPE,
            env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": self._metrics},
            # Away from the terminal's signals: this process forwards them, and two would mean haste.
            start_new_session=True,
        )
        self._running.add(process)
        try:
            if self._stop.asked.is_set():
                _send(process, signal.SIGTERM)
            assert process.stdout is not None
            if await process.stdout.readline():
                self._came_up = True
                log.info("worker.ready", pid=process.pid)
                self._ready.add(process)
                if heard != self._hangups:
                    _send(process, signal.SIGHUP)
            return await process.wait()
        finally:
            self._running.discard(process)
            self._ready.discard(process)
            await asyncio.to_thread(mark_process_dead, process.pid, self._metrics)


def _send(process: Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(number)
