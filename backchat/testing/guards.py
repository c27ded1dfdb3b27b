"""Fixtures around every test, for a conftest to import: nothing blocks the loop, no task is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import cache
from importlib.util import find_spec
from typing import Any

import pytest
import pytest_asyncio

__all__ = ["blockbuster", "no_leaked_tasks"]


@pytest.fixture(autouse=True)
def blockbuster() -> Iterator[Any]:
    """The package blockbuster watches the event loop, where it is installed; else this is None."""
    guard = _guard()
    if guard is None:
        yield None
        return
    guard.activate()
    try:
        yield guard
    finally:
        guard.deactivate()


@cache
def _guard() -> Any:
    """Made once: it wraps a hundred functions."""
    if not find_spec("blockbuster"):
        return None
    from blockbuster import BlockBuster

    guard = BlockBuster("backchat")
    # PyMongo looks whether it runs in a container. Nothing keeps it from that, and it takes microseconds.
    guard.functions["os.stat"].can_block_in("pymongo/pool_options.py", "get_container_env_info")
    return guard


@pytest_asyncio.fixture(autouse=True)
async def no_leaked_tasks() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    leaked = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not leaked, f"left behind: {leaked}"
