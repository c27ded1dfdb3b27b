"""Commands of the MongoDB drivers as they are sent, judged as a sharded cluster would (``sharding``)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest
import structlog

from sharding import PAGE, Broadcast, Refused, documented, is_documented, judged

TABLE = documented(PAGE.read_text("utf-8"))


class Watch:
    """What the commands of this process come to while something watches. ``begun`` is called by both drivers, Motor's
    in threads.
    """

    def __init__(self) -> None:
        self._all: list[Broadcast | Refused] | None = None
        self._of_requests: list[Broadcast | Refused] | None = None

    def begun(self, name: str, command: Any) -> None:
        asked = self._of_requests is not None and "request" in structlog.contextvars.get_contextvars()
        if self._all is None and not asked:
            return
        found = list(judged(name, command))
        if self._all is not None:
            self._all += found
        if asked and self._of_requests is not None:
            self._of_requests += found

    @contextmanager
    def all(self) -> Iterator[list[Broadcast | Refused]]:
        """Of every command."""
        self._all = []
        try:
            yield self._all
        finally:
            self._all = None

    @contextmanager
    def of_requests(self) -> Iterator[list[Broadcast | Refused]]:
        """Of the commands that requests have a server send, and what goes on after them: not of those of a test."""
        self._of_requests = []
        try:
            yield self._of_requests
        finally:
            self._of_requests = None


@cache
def watch() -> Watch:
    """The one of this process. Clients that were made before it was first asked for are not watched."""
    from pymongo import monitoring

    one = Watch()

    class Listener(monitoring.CommandListener):
        def started(self, event: monitoring.CommandStartedEvent) -> None:
            one.begun(event.command_name, event.command)

        def succeeded(self, event: monitoring.CommandSucceededEvent) -> None: ...

        def failed(self, event: monitoring.CommandFailedEvent) -> None: ...

    monitoring.register(Listener())
    return one


def faults(found: list[Broadcast | Refused]) -> list[str]:
    """What a sharded cluster would refuse, and what would reach all shards though the manual does not say so."""
    return sorted({str(f) for f in found if isinstance(f, Refused) or not is_documented(f, TABLE)})


@pytest.fixture(autouse=True)
def sharded(request: pytest.FixtureRequest) -> Iterator[None]:
    """What requests ask of MongoDB works in a sharded cluster, and goes to one shard or is in the manual's table."""
    if "storage" not in request.fixturenames or not request.getfixturevalue("storage").id.startswith("mongo"):
        yield
        return
    with watch().of_requests() as found:
        yield
    assert not faults(found), f"in a sharded cluster: {faults(found)} (see docs/operations.md)"
