"""Guards around every test, and the storages that all is tested on."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import pytest

from backchat.ports.storage import RecordStore
from backchat.services.modeltable import model_table
from backchat.testing.choosing import CHOICES, SQLITE, WORKER, Choice
from backchat.testing.guards import blockbuster, no_leaked_tasks
from backchat.web.logs import set_up_logs
from one_mongod import OneMongod, missing, mongo_url
from sharded_watch import sharded
from sizes import SOAK

__all__ = ["blockbuster", "no_leaked_tasks", "sharded"]
pytest.register_assert_rewrite("sdk_cases", "sdk_talk", "sdk_knowledge", "pairs_made", "pairs_talk", "pairs_openai")
pytest.register_assert_rewrite("pairs_anthropic", "pairs_google", "pairs_ollama")

_MONGOD = pytest.StashKey[OneMongod]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[CHOICES] = (SQLITE, _mongo("mongo", "pymongo"), _mongo("mongo-motor", "motor"))
    if not hasattr(config, "workerinput"):
        config.stash[_MONGOD] = OneMongod()


def pytest_collection_finish() -> None:
    """What is there by now stays: the collector need not look through a million objects again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def pytest_unconfigure(config: pytest.Config) -> None:
    if _MONGOD in config.stash:
        config.stash[_MONGOD].end()


def _mongo(id: str, driver: str) -> Choice:
    @cache
    def settings() -> Mapping[str, Any]:
        from mongo_prepared import prepare_once  # not for tests that do without

        prepare_once(f"backchat_{WORKER}_{driver}")
        return {"url": mongo_url(), "database": f"backchat_{{worker}}_{driver}", "driver": driver}

    def check(store: RecordStore) -> None:
        used = getattr(store, "driver", None)
        assert used == driver, f"the store works with the driver {used}, not with {driver}"

    # Everything three times takes longer than anybody waits: that is for `make soak`.
    return Choice(id=id, use="mongo", settings=settings, check=check, missing=missing(), kit_only=not SOAK)


@pytest.fixture(scope="session", name="mongo_url")
def _mongo_url() -> str:
    """The URL of a MongoDB, for tests that have databases of their own in it."""
    if reason := missing():
        pytest.skip(reason)
    return mongo_url()


@pytest.fixture(autouse=True, scope="session")
def prices() -> None:
    """Read once, so that no test waits for a thread that reads them."""
    model_table()


@pytest.fixture(autouse=True)
def logs() -> Iterator[None]:
    """Log as the server does; pytest's own handlers come back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    set_up_logs("json", "info")
    root.handlers += handlers
    yield
    root.handlers, root.level = handlers, level
