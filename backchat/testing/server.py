"""A whole server in a test's own process: config in, HTTP client out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer

from backchat.app import build_app, now
from backchat.services.container import Services
from backchat.testing.loading import MINIMAL, loaded
from backchat.testing.storages import Storage
from backchat.web.keys import SERVICES
from backchat.web.lines import LONGEST_LINE

__all__ = ["MINIMAL", "Box", "events", "parse_events", "running"]


class Box:
    """A running server. ``client`` speaks to it; ``services`` are what its dialects see."""

    def __init__(self, client: TestClient[Any, Any], services: Services) -> None:
        self.client = client
        self.services = services

    async def key(self, user: str = "ann", scopes: Sequence[str] = ()) -> dict[str, str]:
        """Headers with a fresh API key of that user, who is made if need be."""
        account = await self.services.accounts.ensure_user(user)
        _, plaintext = await self.services.accounts.create_key(account, "test", scopes=tuple(scopes))
        return {"Authorization": f"Bearer {plaintext}"}


@asynccontextmanager
async def running(
    data: Path,
    config: Mapping[str, Any] | None = None,
    plugins: Sequence[object] = (),
    clock: Callable[[], datetime] = now,
    storage: Storage | None = None,
) -> AsyncIterator[Box]:
    """Serve ``config`` (sections replace those of ``MINIMAL``) with its data under ``data``.

    ``plugins`` are registered beside the installed ones. ``storage`` is where it stores, unless ``config`` says so.
    """
    sections = dict(config or {})
    if storage and "storage" not in sections:
        found = await asyncio.to_thread(loaded, data, {**sections, "storage": storage.section}, plugins)
        found = storage.watched(found)
    else:
        found = await asyncio.to_thread(loaded, data, sections, plugins)
    app = build_app(found, clock)
    server = TestServer(app)
    await server.start_server(access_log=None, max_line_size=LONGEST_LINE)
    async with TestClient(server) as client:
        yield Box(client, app[SERVICES])


async def events(response: ClientResponse) -> list[tuple[str, int | None, dict[str, Any]]]:
    """The (name, id, data) of every event of a stream, to its end."""
    return parse_events(await response.read())


def parse_events(body: bytes) -> list[tuple[str, int | None, dict[str, Any]]]:
    """The events of a complete stream; comments are left out."""
    found = []
    for block in body.split(b"\n\n"):
        fields = dict(
            line.split(b": ", 1) for line in block.split(b"\n") if b": " in line and not line.startswith(b":")
        )
        if fields:
            id = int(fields[b"id"]) if b"id" in fields else None
            found.append((fields[b"event"].decode(), id, orjson.loads(fields[b"data"])))
    return found
