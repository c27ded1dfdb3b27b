"""Guards around every test: nothing blocks the loop, no task is left behind."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator

import pytest
from blockbuster import BlockBuster, blockbuster_ctx

from backchat.services.modeltable import model_table
from backchat.web.logs import set_up_logs

pytest.register_assert_rewrite("sdk_cases", "sdk_talk", "sdk_knowledge")


@pytest.fixture(autouse=True, scope="session")
def prices() -> None:
    """Read once, so that no test waits for a thread that reads them."""
    model_table()


@pytest.fixture(autouse=True)
def blockbuster() -> Iterator[BlockBuster]:
    with blockbuster_ctx("backchat") as guard:
        yield guard


@pytest.fixture(autouse=True)
def logs() -> Iterator[None]:
    """Log as the server does; pytest's own handlers come back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    set_up_logs("json", "info")
    root.handlers += handlers
    yield
    root.handlers, root.level = handlers, level


@pytest.fixture(autouse=True)
async def no_leaked_tasks() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    leaked = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not leaked, f"left behind: {leaked}"
