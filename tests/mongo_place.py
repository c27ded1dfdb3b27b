"""Databases of a MongoDB for tests, empty at the beginning of each."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from backchat.ports.storage import Kind, OnCommit, Purge, Range, RecordStore
from backchat.testing.records import OpenKinds, ignore
from backchat_mongo.component import MONGO


def database_named(name: str) -> str:
    """A name that no other process of this run uses."""
    return f"{name}_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"


def settings_of(url: str, name: str, driver: str = "pymongo", **rest: Any) -> Any:
    return MONGO.schema.load({"url": url, "database": database_named(name), "driver": driver, **rest})


def opening(settings: Any) -> OpenKinds:
    """Opens the database: what it holds of the kinds is deleted the first time, and there again the next."""
    emptied = False

    @asynccontextmanager
    async def opened(kinds: Sequence[Kind], on_commit: OnCommit = ignore) -> AsyncGenerator[RecordStore, None]:
        nonlocal emptied
        if not emptied:
            async with MONGO.open(settings, kinds, ignore) as store:
                await store.apply([Purge(kind.name, ranges=(Range("id", low=""),)) for kind in kinds])
            emptied = True
        async with MONGO.open(settings, kinds, on_commit) as store:
            yield store

    return opened
