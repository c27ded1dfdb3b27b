"""Loaded by pytest through the pytest11 entry point: fixtures for plugin authors and for backchat's own tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from backchat.testing.choosing import NOTED, Chosen, add_options

if TYPE_CHECKING:
    from backchat.testing.server import Box
    from backchat.testing.storages import Storage

pytest.register_assert_rewrite(
    "backchat.testing.agent",
    "backchat.testing.auth",
    "backchat.testing.embedding",
    "backchat.testing.importing",
    "backchat.testing.learning",
    "backchat.testing.memory_contract",
    "backchat.testing.provider",
    "backchat.testing.storage",
    "backchat.testing.storage_abilities",
    "backchat.testing.storage_compact",
    "backchat.testing.storage_queries",
    "backchat.testing.storage_saving",
    "backchat.testing.storage_search",
    "backchat.testing.storage_values",
    "backchat.testing.storage_writes",
    "backchat.testing.tool",
    "backchat.testing.transcription",
    "backchat.testing.storage_abilities",
)
Serve = Callable[..., Awaitable["Box"]]
F = TypeVar("F", bound=Callable[..., Any])


def async_fixture(function: F) -> F:
    """For coroutines, in any mode of pytest-asyncio. It need not be there: then nobody here has tests that use them."""
    made: Any = pytest.fixture
    with suppress(ImportError):
        import pytest_asyncio

        made = pytest_asyncio.fixture
    found: F = made(function)
    return found


def pytest_addoption(parser: pytest.Parser) -> None:
    add_options(parser)


@pytest.hookimpl(trylast=True)  # a conftest has its say before
def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "any_storage: the storage plays no part; the test runs on the first one only")
    config.addinivalue_line("markers", "own_storage: the test says where its servers store, and runs once")
    config.pluginmanager.register(Chosen(config), "backchat_storages")


@pytest.fixture(scope="session")
def _running() -> Any:
    """Imported here, so that coverage and plugins load first; not in a coroutine, for imports read files."""
    from backchat.testing.server import running

    return running


@pytest.fixture(scope="session")
def _blanks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("blanks")


@pytest.fixture
def storage(request: pytest.FixtureRequest, tmp_path: Path, _blanks: Path) -> Iterator[Storage]:
    """Where the servers of this test store: with several storages, the test runs once on each."""
    from backchat.testing.storages import Storage

    chosen = request.config.pluginmanager.get_plugin("backchat_storages")
    assert isinstance(chosen, Chosen)
    made = Storage(getattr(request, "param", chosen.choices[0]), tmp_path, _blanks)
    yield made
    if made.opened or request.node.get_closest_marker("own_storage") is None:
        request.node.user_properties.append((NOTED, " ".join([made.id, *sorted(made.opened)])))


@async_fixture
async def serve(
    request: pytest.FixtureRequest, tmp_path: Path, storage: Storage, _running: Any
) -> AsyncIterator[Serve]:
    """``await serve(config, plugins=[...])`` starts a server; it is stopped when the test ends.

    It stores in the ``storage`` of the test. A test whose config has a section ``storage`` is marked ``own_storage``.
    """
    own = request.node.get_closest_marker("own_storage") is not None
    async with AsyncExitStack() as stack:

        async def start(config: Mapping[str, Any] | None = None, *args: Any, **kwargs: Any) -> Box:
            assert own == ("storage" in (config or {})), "own_storage is for tests that say where they store, for all"
            return await stack.enter_async_context(_running(tmp_path, config, *args, storage=storage, **kwargs))

        yield start


@async_fixture
async def box(serve: Serve) -> Box:
    """A server on the minimal config: echo, API keys, all dialects, and the storage of the run."""
    return await serve()
