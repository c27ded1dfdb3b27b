"""Watches, journals and frozen stores of MongoDB when something goes wrong."""

from __future__ import annotations

import asyncio
import itertools
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from typing import Any

import pytest
from bson import BSON

from backchat.errors import Conflict, Unavailable
from backchat.ports.storage import Query, RecordStore
from backchat.testing.records import KINDS, event, ignore, note
from backchat.testing.storage_watching import told
from backchat_mongo.component import MONGO
from bench.mongod import Mongod, one_node
from mongo_place import settings_of

DRIVERS = ("pymongo", "motor")
PATIENCE = 30.0


@pytest.fixture(scope="module")
def mongod(mongo_url: str) -> Iterator[Mongod]:
    """A server that may be killed."""
    with one_node(options=("--setParameter", "notablescan=1", "--setParameter", "enableTestCommands=1")) as server:
        yield server


def opened(url: str, driver: str, **rest: Any) -> Any:
    return MONGO.open(settings_of(url, f"able_{driver}", driver, **rest), KINDS, ignore)


@pytest.mark.parametrize("driver", DRIVERS)
async def test_a_watch_outlives_its_server(mongod: Mongod, driver: str) -> None:
    async with opened(mongod.url, driver) as store, store.watch("event", {"r"}) as news:
        await store.apply([event("r", 1)])
        await told(news, "r/000001")
        looking = asyncio.create_task(told(news, "r/000002"))
        await asyncio.to_thread(mongod.kill)
        await asyncio.to_thread(mongod.start)
        await store.apply([event("r", 2), event("r", 3)])
        assert (await looking)[0].id == "r/000002"


async def test_a_watch_says_that_its_server_is_gone(mongod: Mongod) -> None:
    async with opened(mongod.url, "pymongo", timeout=1) as store, store.watch("event", {"r"}) as news:
        await asyncio.to_thread(mongod.kill)
        try:
            async with asyncio.timeout(PATIENCE):
                with pytest.raises(Unavailable):
                    await anext(news)
        finally:
            await asyncio.to_thread(mongod.start)
    async with opened(mongod.url, "pymongo") as store, store.watch("event", {"r"}) as news:
        await store.apply([event("r", 10)])
        await told(news, "r/000010")


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("command", ["aggregate", "getMore"])
async def test_positions_that_the_oplog_does_not_hold_any_more(mongod: Mongod, driver: str, command: str) -> None:
    """The server says so when it is asked, or while it tells."""
    fault = {"failCommands": [command], "errorCode": 286, "appName": "backchat"}
    once = {"configureFailPoint": "failCommand", "mode": {"times": 1}, "data": fault}
    async with opened(mongod.url, driver) as store:
        position = await store.begin_journal()
        await store.apply([note(1, expect=None)])
        await asyncio.to_thread(mongod.command, once)
        with pytest.raises(Conflict, match="oplog"):
            await store.journal(position, 10)
        assert (await store.journal(position, 10))[0] == [("note", "n001")]


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("token", [{"_data": "8265"}, {"_data": "no hex"}, {"_data": ""}, {"_data": 7}, {}])
async def test_tokens_that_are_none(mongo_url: str, driver: str, token: dict[str, Any]) -> None:
    async with opened(mongo_url, driver) as store:
        with pytest.raises(Conflict):
            await store.journal(urlsafe_b64encode(BSON.encode(token)).decode(), 10)


async def test_a_moment_that_is_too_long_ago(mongod: Mongod) -> None:
    command = {"setParameter": 1, "minSnapshotHistoryWindowInSeconds": 0}
    async with opened(mongod.url, "pymongo") as store:
        await store.apply([note(1, expect=None)])
        async with store.frozen() as then:
            assert await then.count(Query(kind="note")) == 1
            await asyncio.to_thread(mongod.command, command)
            with pytest.raises(Unavailable, match="minSnapshotHistoryWindowInSeconds"):
                await read_and_write(store, then)


async def read_and_write(store: RecordStore, then: RecordStore) -> None:
    """Until it cannot be done."""
    async with asyncio.timeout(PATIENCE):
        for n in itertools.count(100):
            await store.apply([note(n)])
            await then.count(Query(kind="note"))
