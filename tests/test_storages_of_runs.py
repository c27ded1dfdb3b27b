"""What tests may rely on that say nothing of storages: the one of the run, empty, and really opened."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backchat.config import opened
from backchat.ports.storage import Query
from backchat.services.kinds import KINDS
from backchat.testing.choosing import SQLITE, Choice, asked_for
from backchat.testing.loading import loaded
from backchat.testing.memory_store import MemoryStore, open_memory
from backchat.testing.plugin import Serve
from backchat.testing.storages import Storage

FILE = {"use": "sqlite", "path": {"$data": "mine.db"}}


@pytest.mark.parametrize("turn", [1, 2])
async def test_every_test_begins_with_an_empty_store(serve: Serve, storage: Storage, turn: int) -> None:
    """Whichever of the two comes second: the first one leaves something behind."""
    async with storage.open(KINDS) as store:
        assert [kind.name for kind in KINDS if await store.count(Query(kind=kind.name))] == []
    box = await serve()
    await box.key()
    async with storage.open(KINDS) as store:
        assert await store.count(Query(kind="user")) == 1
    assert len(storage.opened) == 1


def _stores(storage: Storage, request: pytest.FixtureRequest) -> None:
    assert request.node.name == request.node.originalname
    assert storage.id == "sqlite"


@pytest.mark.any_storage
def test_a_test_for_any_storage_runs_once(storage: Storage, request: pytest.FixtureRequest) -> None:
    _stores(storage, request)


@pytest.mark.own_storage
async def test_a_test_with_a_storage_of_its_own_runs_once(
    serve: Serve, storage: Storage, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    _stores(storage, request)
    await serve({"storage": FILE})
    assert (tmp_path / "mine.db").stat().st_size
    with pytest.raises(AssertionError, match="own_storage"):
        await serve()


@pytest.mark.any_storage
async def test_a_storage_of_its_own_is_not_used_by_the_way(serve: Serve) -> None:
    with pytest.raises(AssertionError, match="own_storage"):
        await serve({"storage": FILE})


# ---- the guard ------------------------------------------------------------------------------------------------------


async def open_watched(choice: Choice, folder: Path, open: Any = None) -> set[str]:
    """Open what the choice says, or by ``open`` instead, as a server in a test does. The classes that were noted."""
    storage = Storage(choice, folder, folder)
    config = loaded(folder, {"storage": storage.section})
    if open:
        component = replace(config.storage.component, open=open)
        config = replace(config, storage=replace(config.storage, component=component))
    async with opened(storage.watched(config).storage, (), lambda commits: None):
        return storage.opened


@asynccontextmanager
async def open_another(settings: Any, kinds: Any, on_commit: Any) -> AsyncGenerator[MemoryStore, None]:
    async with open_memory(kinds, on_commit) as store:
        yield store


async def test_a_store_that_is_not_the_one_meant_fails_the_test(tmp_path: Path, blockbuster: Any) -> None:
    blockbuster.deactivate()  # a fixture reads these files before the loop runs
    choice = replace(SQLITE, copied=False)
    assert await open_watched(choice, tmp_path) == {"backchat_sqlite.store.SqliteStore"}
    with pytest.raises(AssertionError, match="not one of backchat_sqlite"):
        await open_watched(choice, tmp_path, open_another)

    def wrong(store: object) -> None:
        raise AssertionError("another driver")

    with pytest.raises(AssertionError, match="another driver"):
        await open_watched(replace(choice, check=wrong), tmp_path)


def test_a_run_that_opened_nothing_fails(tmp_path: Path) -> None:
    (tmp_path / "test_nothing.py").write_text("def test_nothing():\n    pass\n")
    asked = ["--backchat-storage=sqlite", '--backchat-storage-config={"path": "{dir}/a.db"}']
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *asked, "test_nothing.py"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert ended.returncode == pytest.ExitCode.TESTS_FAILED
    assert "No test opened the storage sqlite" in ended.stdout
    assert "1 passed, 1 error" in ended.stdout.splitlines()[-1]


# ---- the options ----------------------------------------------------------------------------------------------------


@pytest.fixture
def asking(pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch) -> Any:
    def ask(names: list[str], sections: list[str]) -> Any:
        monkeypatch.setattr(pytestconfig.option, "backchat_storage", names)
        monkeypatch.setattr(pytestconfig.option, "backchat_storage_config", sections)
        return asked_for(pytestconfig)

    return ask


def test_storages_are_named_with_their_sections_in_order(asking: Any, tmp_path: Path) -> None:
    choices = asking(["sqlite", "mongo", "sqlite"], ['{"path": "{dir}/a/{worker}.db"}', '{"url": "{dir}"}'])
    assert [c.id for c in choices] == ["sqlite", "mongo", "sqlite-2"]
    sections = [Storage(choice, tmp_path, tmp_path).section for choice in choices]
    assert sections[0]["path"].startswith(f"{tmp_path}/a/")
    assert "{" not in sections[0]["path"]
    assert sections[1:] == [{"use": "mongo", "url": str(tmp_path)}, {"use": "sqlite"}]


@pytest.mark.parametrize(
    ("names", "sections", "told"),
    [
        (["jasonl"], [], r"--backchat-storage: unknown storage 'jasonl'; installed: .*mongo.*sqlite"),
        (["sqlite"], ["{}", "{}"], "more --backchat-storage-config than --backchat-storage"),
        (["sqlite"], ["secret"], "must be a JSON object"),
        (["sqlite"], ['["secret"]'], "must be a JSON object"),
        (["sqlite"], ['{"use": "secret"}'], "must be a JSON object"),
    ],
)
def test_options_that_make_no_sense(asking: Any, names: list[str], sections: list[str], told: str) -> None:
    with pytest.raises(pytest.UsageError, match=told) as caught:
        asking(names, sections)
    assert "secret" not in str(caught.value)
