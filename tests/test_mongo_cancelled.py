"""What is asked of the MongoDB store ends when whoever asked is cancelled, and when the store is closed."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from pymongo.asynchronous.collection import AsyncCollection

from backchat.errors import Unavailable
from backchat.ports.storage import Put, Query
from backchat.services.kinds import KINDS
from backchat.testing.records import ignore
from backchat_mongo import closing
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


async def test_a_store_is_closed_whose_server_is_silent(mongo_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever still waits for it is told."""

    async def silent(*_: Any, **__: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(closing, "PATIENCE", 0.01, raising=False)
    async with opening(settings_of(mongo_url, "silent"))(KINDS, ignore) as opened:
        store: Any = opened
        monkeypatch.setattr(AsyncCollection, "insert_many", silent)
        monkeypatch.setattr(AsyncCollection, "update_one", silent)
        monkeypatch.setattr(AsyncCollection, "find_one", silent)
        waiting = [
            asyncio.create_task(work)
            for work in (
                store.apply([Put("worker", "a", {}, 0)]),
                store.apply([Put("worker", "b", {}, 0)]),
                store.apply([Put("worker", "c", {})]),
                store.get("worker", "a"),
            )
        ]
        await asyncio.sleep(0)  # they have asked
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await store.close()
            answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(answer) for answer in answers] == 4 * [Unavailable]
