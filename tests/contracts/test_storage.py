"""The storage contract, against every store there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from backchat.testing.memory_store import open_memory
from backchat.testing.records import OpenKinds, ignore
from backchat.testing.storage import DurableStorageContract, StorageContract
from backchat_sqlite.component import SQLITE


class TestMemory(StorageContract):
    module = "backchat.testing.memory_store"

    @pytest.fixture
    def open_store(self) -> OpenKinds:
        return open_memory


class TestSqlite(DurableStorageContract):
    module = "backchat_sqlite"

    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenKinds:
        settings = SQLITE.schema.load({"path": str(tmp_path / "backchat.db")})
        return lambda kinds, on_commit=ignore: SQLITE.open(settings, kinds, on_commit)
