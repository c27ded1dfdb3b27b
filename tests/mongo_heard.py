"""What a MongoDB store says to its server, and what becomes of its connections."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from pymongo.monitoring import (
    CommandFailedEvent,
    CommandListener,
    CommandStartedEvent,
    CommandSucceededEvent,
    ConnectionClosedEvent,
    ConnectionPoolListener,
)

from backchat_mongo import drivers


class Heard(CommandListener):
    """The commands in their order. Motor calls this in threads."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, Mapping[str, Any]]] = []
        self._waiting: list[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = []

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.commands]

    def next(self, name: str) -> asyncio.Event:
        """Set when a command of that name is sent."""
        event = asyncio.Event()
        self._waiting.append((name, asyncio.get_running_loop(), event))
        return event

    def started(self, event: CommandStartedEvent) -> None:
        self.commands.append((event.command_name, {**event.command}))
        for name, loop, waiting in self._waiting:
            if name == event.command_name:
                loop.call_soon_threadsafe(waiting.set)

    def succeeded(self, event: CommandSucceededEvent) -> None: ...

    def failed(self, event: CommandFailedEvent) -> None: ...


class Lost(ConnectionPoolListener):
    """Why connections were closed: nothing but ``poolClosed`` is good."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def connection_closed(self, event: ConnectionClosedEvent) -> None:
        self.reasons.append(str(event.reason))

    def pool_created(self, event: object) -> None: ...

    pool_ready = pool_cleared = pool_closed = connection_created = connection_ready = pool_created
    connection_check_out_started = connection_check_out_failed = connection_checked_out = pool_created
    connection_checked_in = pool_created


def listen(monkeypatch: pytest.MonkeyPatch, *listeners: object) -> None:
    """Let these hear all stores that are opened from now on."""
    options = drivers._options
    monkeypatch.setattr(drivers, "_options", lambda settings: {**options(settings), "event_listeners": listeners})
