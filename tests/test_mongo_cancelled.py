"""Reads of the MongoDB store end when whoever asked is cancelled."""

from __future__ import annotations

import asyncio
import random

import pytest

from backchat.ports.storage import Query
from backchat.services.kinds import KINDS
from backchat.testing.records import ignore
from mongo_place import opening, settings_of


@pytest.mark.parametrize("driver", ["pymongo", "motor"])
async def test_nobody_who_reads_overhears_a_cancellation(mongo_url: str, driver: str) -> None:
    """PyMongo alone goes on in one of six cases. A worker that is being stopped would then never end."""
    async with opening(settings_of(mongo_url, f"cancelled_{driver}", driver))(KINDS, ignore) as store:
        went_on = 0

        async def read() -> None:
            nonlocal went_on
            await store.find(Query(kind="run", where=(("status", ("running",)),)))
            task = asyncio.current_task()
            assert task is not None
            went_on += task.cancelling()

        pick = random.Random(7)
        for _ in range(120):
            task = asyncio.create_task(read())
            await asyncio.sleep(pick.uniform(0, 0.003))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert went_on == 0
