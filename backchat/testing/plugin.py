"""Loaded by pytest through the pytest11 entry point: fixtures for plugin authors and for backchat's own tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from backchat.testing.server import Box

pytest.register_assert_rewrite(
    "backchat.testing.agent",
    "backchat.testing.embedding",
    "backchat.testing.importing",
    "backchat.testing.learning",
    "backchat.testing.provider",
    "backchat.testing.memory_contract",
    "backchat.testing.tool",
    "backchat.testing.transcription",
)
Serve = Callable[..., Awaitable["Box"]]


@pytest.fixture(scope="session")
def _running() -> Any:
    """Imported here, so that coverage and plugins load first; not in a coroutine, for imports read files."""
    from backchat.testing.server import running

    return running


@pytest.fixture
async def serve(tmp_path: Path, _running: Any) -> AsyncIterator[Serve]:
    """``await serve(config, plugins=[...])`` starts a server; it is stopped when the test ends."""
    async with AsyncExitStack() as stack:

        async def start(*args: Any, **kwargs: Any) -> Box:
            return await stack.enter_async_context(_running(tmp_path, *args, **kwargs))

        yield start


@pytest.fixture
async def box(serve: Serve) -> Box:
    """A server on the minimal config: SQLite, echo, API keys, all dialects."""
    return await serve()
